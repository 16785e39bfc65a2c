//! Blobs, here and at the other origin.
//!
//! Invariant: the other origin gives nothing to who signs a request a second time, as storage does.

use ::http::{Method, Request, Response};
use bytes::Bytes;
use nuages_model::Digest;

use super::Shared;
use super::wire::{error, plain};

impl Shared {
    /// The other origin, where blobs are read. Storage refuses a signed request that is signed twice, and so does this.
    pub(super) fn elsewhere(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.headers().contains_key("authorization") {
            return error(400, "InvalidArgument", "only one way to sign a request is allowed");
        }
        let Some((repository, digest)) = request.uri().path().trim_start_matches('/').rsplit_once('/') else {
            return error(404, "NoSuchKey", "");
        };
        let Some(content) = digest
            .parse()
            .ok()
            .and_then(|digest| self.state().blobs.get(&(repository.to_owned(), digest)).cloned())
        else {
            return error(404, "NoSuchKey", "");
        };
        self.content(request, content)
    }

    fn content(&self, request: &Request<Bytes>, content: Bytes) -> Response<Bytes> {
        let from = request
            .headers()
            .get("range")
            .and_then(|range| range.to_str().ok())
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match from.filter(|from| self.behaviour.ranges && *from < content.len()) {
            Some(from) => plain(206, &[], content.slice(from..)),
            None => plain(200, &[], content),
        }
    }

    pub(super) fn blob(&self, request: &Request<Bytes>, repository: &str, digest: &str) -> Response<Bytes> {
        let Ok(digest) = digest.parse::<Digest>() else {
            return error(400, "DIGEST_INVALID", "no digest");
        };
        let Some(content) = self
            .state()
            .blobs
            .get(&(repository.to_owned(), digest.clone()))
            .cloned()
        else {
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        if self.behaviour.redirect_blobs && *request.method() == Method::GET {
            let location = format!("http://{}/{repository}/{digest}", self.elsewhere);
            return plain(307, &[("location", location)], Bytes::new());
        }
        let mut response = self.content(request, content);
        self.say_digest(&mut response, &digest);
        response
    }
}
