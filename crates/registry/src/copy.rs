//! An image from one place to another.
//!
//! Invariant: a tag names an image at the far side only when all of it is there, byte for byte as it was: its digest stays.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nuages_model::{Blob, BlobSink, BlobSource, Descriptor, Digest, Progress, PutOutcome};

use crate::client::protocol;
use crate::{Manifest, RegistryError};

/// Blobs that are under way at once.
const AT_ONCE: usize = 4;
/// An index of indexes is rare, and one below that is a trap.
const DEEPEST: usize = 4;
/// Layers that their makers let nobody pass on (OCI image specification, "Non-Distributable Layers").
const KEPT_BACK: [&str; 2] = ["nondistributable", "rootfs.foreign"];

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The image's digest, the same at both ends.
    pub digest: Digest,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Blobs that the far side had, or could mount.
    pub skipped: usize,
}

/// Copies an image, or an index with the images of all its platforms, and then gives it these tags. With none it is there by
/// its digest alone. What the far side has is neither read nor sent.
///
/// ```no_run
/// use nuages_model::Progress;
/// use nuages_registry::{Credentials, Options, Registry, copy};
///
/// # async fn example() -> Result<(), nuages_registry::RegistryError> {
/// let registry = Registry::new("localhost:5000", Credentials::Anonymous, Options::default())?;
/// let (from, to) = (registry.repository("blog"), registry.repository("live/blog"));
/// // In one registry nothing has to move.
/// let to = to.mounting_from([from.name().to_owned()]);
/// let copied = copy(&from, "v1", &to, &["v1".to_owned()], &Progress::none()).await?;
/// println!("{}", copied.digest);
/// # Ok(())
/// # }
/// ```
pub async fn copy(
    from: &dyn BlobSource,
    reference: &str,
    to: &dyn BlobSink,
    tags: &[String],
    progress: &Progress,
) -> Result<Copied, RegistryError> {
    let top = find(from, reference).await?;
    let digest = top.digest.clone();
    let folder = tempfile::tempdir().map_err(|source| RegistryError::File {
        what: "make a folder in",
        path: std::env::temp_dir(),
        source,
    })?;
    // From the leaves up: whatever is there names only what is there too.
    let mut manifests = Vec::new();
    let mut open = vec![(top, 0)];
    while let Some((manifest, depth)) = open.pop() {
        for child in manifest.children()? {
            if depth == DEEPEST {
                return Err(protocol("read the index", "it names indexes of indexes without an end"));
            }
            open.push((find(from, child.digest.as_str()).await?, depth + 1));
        }
        manifests.push(manifest);
    }
    let mut blobs: Vec<Descriptor> = Vec::new();
    for manifest in &manifests {
        let own = manifest.blobs()?.into_iter();
        let own = own.filter(|blob| !KEPT_BACK.iter().any(|kind| blob.media_type.contains(kind)));
        blobs.extend(own);
    }
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    blobs.dedup_by(|a, b| a.digest == b.digest);
    let sent: Vec<u64> = stream::iter(&blobs)
        .map(|blob| copy_blob(from, blob, to, folder.path(), progress))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    for manifest in manifests.iter().rev() {
        let own = [manifest.digest.to_string()];
        let names = if manifest.digest == digest && !tags.is_empty() {
            tags
        } else {
            &own
        };
        for name in names {
            to.put_manifest(&manifest.media_type, manifest.content.clone(), name)
                .await?;
        }
    }
    Ok(Copied {
        digest,
        sent_bytes: sent.iter().sum(),
        skipped: sent.iter().filter(|bytes| **bytes == 0).count(),
    })
}

async fn find(from: &dyn BlobSource, reference: &str) -> Result<Manifest, RegistryError> {
    let found: Option<(Descriptor, Bytes)> = from.find_manifest(reference).await?;
    let (descriptor, content) = found.ok_or_else(|| RegistryError::NoImage {
        reference: reference.to_owned(),
    })?;
    Ok(Manifest {
        media_type: descriptor.media_type,
        digest: descriptor.digest,
        content,
    })
}

/// Answers how much was sent.
async fn copy_blob(
    from: &dyn BlobSource,
    blob: &Descriptor,
    to: &dyn BlobSink,
    folder: &std::path::Path,
    progress: &Progress,
) -> Result<u64, RegistryError> {
    if to.has(&blob.digest).await? || to.mount(blob).await? {
        return Ok(0);
    }
    let file = folder.join(blob.digest.hex());
    from.fetch_blob(blob, &file, progress).await?;
    let put = to.put_blob(blob, Blob::File(file.clone()), progress).await;
    // A file that stays here goes with its folder.
    let _ = tokio::fs::remove_file(&file).await;
    Ok(match put? {
        PutOutcome::Sent => blob.size,
        PutOutcome::Present | PutOutcome::Mounted => 0,
    })
}
