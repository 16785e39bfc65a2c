//! The port between whoever makes an image and whoever stores it.
//!
//! Invariant: a blob is complete and its digest is known before it is offered, and a manifest is put after all that it
//! names. An implementation skips what the far side already has.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Digest, Progress};

/// An OCI content descriptor: media type, digest, size (OCI image specification, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Descriptor {
    /// The media type.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
}

/// Content to be stored: in memory when it is small (configurations), in a file when it is not (layers).
#[derive(Debug, Clone)]
pub enum Blob {
    /// The bytes themselves.
    Bytes(Bytes),
    /// A file that holds exactly these bytes.
    File(PathBuf),
}

/// How a blob came to be at the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PutOutcome {
    /// It was there already.
    Present,
    /// It was mounted from another repository.
    Mounted,
    /// Its bytes were sent.
    Sent,
}

/// Why content could not be stored. The cause is the implementation's own error.
#[derive(Debug, thiserror::Error)]
#[error("failed to store {what}")]
pub struct SinkError {
    /// What was being stored.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A place that takes the blobs and manifests of images: a registry's repository, a folder.
#[async_trait]
pub trait BlobSink: Send + Sync {
    /// Whether the content is there already.
    async fn has(&self, digest: &Digest) -> Result<bool, SinkError>;

    /// Takes a blob from where the far side has it already, without its bytes. `false` where it cannot.
    async fn mount(&self, descriptor: &Descriptor) -> Result<bool, SinkError> {
        let _ = descriptor;
        Ok(false)
    }

    /// Stores a blob unless it is there.
    async fn put_blob(&self, descriptor: &Descriptor, blob: Blob, progress: &Progress)
    -> Result<PutOutcome, SinkError>;

    /// Stores a manifest under this tag, and answers its digest as the far side computed it.
    async fn put_manifest(&self, media_type: &str, manifest: Bytes, tag: &str) -> Result<Digest, SinkError>;
}
