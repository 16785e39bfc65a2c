//! Answers of a site that a test gives itself, without a socket: with the clock paused no answer would come over one.
//!
//! Invariant: they hold for the future that they were given to, and for no other.

use std::sync::{Arc, LazyLock};

use url::Url;

use super::Bad;

/// Status and page of a URL.
pub(crate) type Pages = Arc<dyn Fn(&Url) -> Result<(u16, String), Bad> + Send + Sync>;

tokio::task_local! {
    static PAGES: Pages;
}

/// Runs a future for which a site answers so.
pub(crate) fn with_pages<T>(pages: Pages, work: impl Future<Output = T>) -> impl Future<Output = T> {
    Box::pin(PAGES.scope(pages, work))
}

/// The scripted answer, where there is one.
pub(super) fn answer(url: &Url) -> Option<Result<(u16, String), Bad>> {
    PAGES.try_with(|pages| pages(url)).ok()
}

/// A client to pass around where answers are scripted; making one takes longer than a whole scripted deployment.
pub(super) fn client() -> Option<reqwest::Client> {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bare = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        bare.build().expect("a client that goes nowhere")
    });
    PAGES.try_with(|_| CLIENT.clone()).ok()
}
