//! The port between whoever needs an image, to build on it or to copy it, and whoever has it.
//!
//! Invariant: what is given out has the digest that it was asked for by. An implementation compares it, not its caller.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Descriptor, Progress};

/// Why content could not be read. The cause is the implementation's own error.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {what}")]
pub struct SourceError {
    /// What was being read.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A place that gives out the blobs and manifests of images: a registry's repository, a folder.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// A manifest or an index, by its tag or its digest, byte for byte. `None` if there is no such thing.
    async fn find_manifest(&self, reference: &str) -> Result<Option<(Descriptor, Bytes)>, SourceError>;

    /// Writes a blob into this file, which holds all of it afterwards, or is not there.
    async fn fetch_blob(&self, descriptor: &Descriptor, path: &Path, progress: &Progress) -> Result<(), SourceError>;
}
