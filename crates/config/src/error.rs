//! What can go wrong before and around the reading of a file.
//!
//! Invariant: what is wrong *in* a file is a [`ConfigErrors`], with places; everything else is a sentence here.

use std::io;
use std::path::PathBuf;

use crate::ConfigErrors;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No `nuages.toml` here nor above.
    #[error("failed to find nuages.toml in {} or a folder above it", start.display())]
    NotFound {
        /// Where the search began.
        start: PathBuf,
    },
    /// A file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

impl ConfigError {
    /// The next command, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some(
                "`nuages init DIR` writes one for a Django project; `--project DIR` names another folder".to_owned(),
            ),
            Self::Read { .. } | Self::Write { .. } | Self::Invalid(_) => None,
        }
    }
}
