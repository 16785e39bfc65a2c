//! Sends an exported image to where images are kept.
//!
//! Invariant: configuration and layers go side by side, the manifest after all of them, and a tag last; so nothing that
//! can be pulled is ever incomplete.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nuages_model::{Blob, BlobSink, Descriptor, Digest, Progress, PutOutcome};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::export::{Exported, MANIFEST, export};
use crate::{BlobStore, Engine, ImageError};

/// So many blobs are sent at once. Registries take more, and a connection is full with fewer.
const AT_ONCE: usize = 4;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The digest to deploy.
    pub digest: Digest,
    /// Blobs that were sent.
    pub sent: usize,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Blobs that were there already, or were mounted from another repository.
    pub present: usize,
}

/// Takes an image out of the engine and sends it, under these tags in this order. What the far side has is neither read
/// nor sent.
///
/// ```no_run
/// use nuages_image::{BlobStore, Engine, push};
/// use nuages_model::{BlobSink, Progress};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(sink: &dyn BlobSink) -> Result<(), nuages_image::ImageError> {
/// let engine = Engine::connect().await?;
/// let store = BlobStore::open("cache/blobs")?;
/// let tag = |digest: &nuages_model::Digest| vec![format!("build-{}", digest.hex())];
/// let pushed = push(&engine, "blog:latest", &store, sink, tag, &Progress::none(), &CancellationToken::new()).await?;
/// println!("{}: {} bytes sent", pushed.digest, pushed.sent_bytes);
/// # Ok(())
/// # }
/// ```
pub async fn push(
    engine: &Engine,
    image: &str,
    store: &BlobStore,
    sink: &dyn BlobSink,
    tags: impl Fn(&Digest) -> Vec<String> + Send,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Pushed, ImageError> {
    let pushing = async {
        let exported = export(engine, image, store, Some(sink), progress).await?;
        let wanted = tags(&exported.digest);
        match send(&exported, sink, &wanted, progress).await {
            // The far side forgot a layer between two looks, or the cache was emptied under us: read everything.
            Err(Sending::Gone) => {
                let exported = export(engine, image, store, None, progress).await?;
                send(&exported, sink, &wanted, progress)
                    .await
                    .map_err(|error| error.into_error(image))
            }
            done => done.map_err(|error| error.into_error(image)),
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ImageError::Cancelled { what: format!("push the image {image}") }),
        pushed = pushing => pushed,
    }
}

/// Why sending ended.
pub(crate) enum Sending {
    /// A layer is neither here nor there.
    Gone,
    Failed(ImageError),
}

impl Sending {
    pub(crate) fn into_error(self, image: &str) -> ImageError {
        match self {
            Self::Gone => ImageError::Export {
                image: image.into(),
                why: "a layer vanished while it was sent".into(),
            },
            Self::Failed(error) => error,
        }
    }
}

pub(crate) async fn send(
    image: &Exported,
    sink: &dyn BlobSink,
    tags: &[String],
    progress: &Progress,
) -> Result<Pushed, Sending> {
    let mut blobs: Vec<(Descriptor, Option<Blob>)> =
        vec![(image.config.clone(), Some(Blob::Bytes(image.config_content.clone())))];
    for layer in &image.layers {
        // The same layer may stand in an image twice.
        if !blobs.iter().any(|(seen, _)| seen.digest == layer.descriptor.digest) {
            blobs.push((layer.descriptor.clone(), layer.file.clone().map(Blob::File)));
        }
    }
    // The largest first: the others fill the time that it takes.
    blobs.sort_by_key(|(descriptor, _)| std::cmp::Reverse(descriptor.size));
    let total = blobs.len();
    let outcomes: Vec<(u64, PutOutcome)> = stream::iter(blobs)
        .map(|(descriptor, blob)| async move {
            let outcome = match blob {
                Some(blob) => sink.put_blob(&descriptor, blob, progress).await,
                None => match sink.has(&descriptor.digest).await {
                    Ok(true) => Ok(PutOutcome::Present),
                    Ok(false) => return Err(Sending::Gone),
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(outcome) => Ok((descriptor.size, outcome)),
                Err(_) if matches!(file_is_gone(image, &descriptor.digest), Some(true)) => Err(Sending::Gone),
                Err(error) => Err(Sending::Failed(error.into())),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let sent = outcomes.iter().filter(|(_, outcome)| *outcome == PutOutcome::Sent);
    let (count, bytes) = sent.fold((0, 0), |(count, bytes), (size, _)| (count + 1, bytes + size));
    for tag in tags {
        let theirs = sink.put_manifest(MANIFEST, image.manifest.clone(), tag).await;
        let theirs = theirs.map_err(|error| Sending::Failed(error.into()))?;
        if theirs != image.digest {
            return Err(Sending::Failed(ImageError::DigestMismatch {
                ours: image.digest.clone(),
                theirs,
            }));
        }
    }
    Ok(Pushed {
        digest: image.digest.clone(),
        sent: count,
        sent_bytes: bytes,
        present: total - count,
    })
}

/// Whether the file of a layer was removed since it was exported.
fn file_is_gone(image: &Exported, digest: &Digest) -> Option<bool> {
    let layer = image.layers.iter().find(|layer| layer.descriptor.digest == *digest)?;
    layer.file.as_ref().map(|file| !file.exists())
}
