//! Pulling from a registry, and giving up soon where there is none.
//!
//! Invariant: a pull that says nothing for a while is over; one that moves may take as long as it needs.

use std::time::Duration;

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use nuages_model::Progress;

use crate::Engine;

/// A registry that is there says something in this time; a firewall that swallows packets does not.
const SILENCE: Duration = Duration::from_secs(20);

/// Pulls an image. The error is a fragment that says why not.
pub(super) async fn pull(engine: &Engine, tag: &str, progress: &Progress) -> Result<(), String> {
    let options = CreateImageOptionsBuilder::default().from_image(tag).build();
    let mut stream = Box::pin(engine.docker().create_image(Some(options), None, None));
    loop {
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Err(_) => return Err(format!("the registry said nothing for {}s", SILENCE.as_secs())),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Ok(Some(Ok(info))) => {
                if let (Some(layer), Some(detail)) = (&info.id, &info.progress_detail) {
                    let bytes = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
                    if let Some(done) = bytes(detail.current) {
                        progress.bytes(format!("{tag} {layer}"), done, bytes(detail.total));
                    }
                } else if let Some(status) = info.status {
                    progress.line(tag, status);
                }
            }
        }
    }
}
