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
    /// Something else of the name `nuages.toml`.
    #[error("failed to read {}: it is {what}", path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A `nuages.toml` that links to nothing.
    #[error("failed to read {}: it is a link to {}, which is not there", path.display(), target.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// A `nuages.toml` beyond any that a person writes.
    #[error("failed to read {}: it is larger than 256 KiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
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
    /// A folder without Django's `manage.py`.
    #[error("failed to find manage.py in {} or the folders below it", dir.display())]
    NoManagePy {
        /// The folder.
        dir: PathBuf,
    },
    /// More than one project.
    #[error("failed to choose between {} Django projects: {}", found.len(), list(found))]
    SeveralManagePy {
        /// Their folders, as they were found.
        found: Vec<PathBuf>,
    },
    /// There is a `nuages.toml` already.
    #[error("failed to write {}: it exists already, and is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

fn list(found: &[PathBuf]) -> String {
    found
        .iter()
        .map(|dir| dir.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

impl ConfigError {
    /// The next command, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some(
                "`nuages init DIR` writes one for a Django project; `--project DIR` names another folder".to_owned(),
            ),
            Self::NoManagePy { .. } => {
                Some("`nuages init DIR` takes the folder of a Django project, the one with manage.py".to_owned())
            }
            Self::SeveralManagePy { found } => {
                let commands = found.iter().map(|dir| format!("`nuages init {}`", dir.display()));
                Some(format!("choose one: {}", commands.collect::<Vec<_>>().join(" or ")))
            }
            Self::NotAFile { .. } => {
                Some("move it away; `nuages init DIR` then writes a file for a Django project".to_owned())
            }
            Self::Dangling { .. } => Some("bring back what it points to, or remove the link".to_owned()),
            Self::TooLarge { .. } => {
                Some("look whether it is a nuages.toml at all; `--project DIR` names another folder".to_owned())
            }
            Self::Exists { path } => Some(format!("remove {} first, to have a new one made", path.display())),
            Self::Read { path, source } => match source.kind() {
                io::ErrorKind::NotFound => {
                    Some("name a folder that exists: with `--project DIR` or NUAGES_PROJECT".to_owned())
                }
                io::ErrorKind::PermissionDenied => Some(format!("make it readable: `chmod u+r {}`", path.display())),
                _ => None,
            },
            Self::Invalid(errors) => errors.problems().first()?.hint().map(str::to_owned),
            Self::Write { .. } => None,
        }
    }
}
