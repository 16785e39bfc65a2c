//! Why the store refused, or could not be used.

use std::path::PathBuf;

use nuages_model::ReleaseId;
use nuages_saga::StoreError;

/// Why the store refused, or could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleasesError {
    /// The file or its folder could not be made.
    #[error("failed to make {}", .path.display())]
    Create {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address where a path is needed.
    #[error("{} is no path on this machine: a store that several machines share has no code yet", .0.display())]
    Shared(PathBuf),
    /// What stands there is no store and cannot become one. It was not touched.
    #[error("{} is {what}", .path.display())]
    InTheWay {
        /// What stands there.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A link to nothing.
    #[error("{} is a link to {}, which is not there", .path.display(), .target.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// It cannot be seen what stands there.
    #[error("failed to read {}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A newer version of nuages has written the file. It was not touched.
    #[error("{} was written by nuages {tool} (format {found}), and this version knows formats up to {known}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known.
        known: u32,
        /// The version that wrote it.
        tool: String,
    },
    /// The file is not what was written. It was not touched.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is a database of another program. It was not touched.
    #[error("{} is not a store of nuages", .0.display())]
    Foreign(PathBuf),
    /// The database failed.
    #[error("failed to {what} in {}", .path.display())]
    Sql {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// A value in a row could not be read or written.
    #[error("failed to read {what} of a record")]
    Field {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The lease is somebody else's. Nothing was written.
    #[error("the lease on the environment was lost")]
    LeaseLost,
    /// There is no such release in this environment.
    #[error("there is no release {0} in this environment")]
    NoSuchRelease(ReleaseId),
    /// A refusal in the saga's own words.
    #[error(transparent)]
    Refused(StoreError),
    /// The thread that does the database's work ended.
    #[error("failed to use the store: its thread ended")]
    Stopped(#[source] tokio::task::JoinError),
}

impl ReleasesError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Create { .. } | Self::Foreign(_) => Some("name another place with --store or NUAGES_STORE".into()),
            Self::Shared(_) => Some("--store and NUAGES_STORE name a folder, or a file that ends in .db".into()),
            Self::InTheWay { .. } => Some(
                "--store and NUAGES_STORE name a folder, or a file that ends in .db; without them it is .nuages in the \
                 project's folder"
                    .into(),
            ),
            Self::Dangling { path, .. } => Some(format!(
                "bring back what it points to, or remove the link: `rm {}`; nuages then knows no earlier release",
                path.display()
            )),
            Self::Unreadable { path, .. } => Some(format!(
                "make it readable for this user (`ls -ld {}` tells whose it is), or name another place with --store or \
                 NUAGES_STORE",
                path.display()
            )),
            Self::Newer { tool, .. } => Some(nuages_saga::install(tool, "wrote it")),
            Self::Damaged { path, .. } => Some(format!(
                "keep a copy of {0}, and put back a backup of it; without one, move it away: nuages then knows no \
                 earlier release",
                path.display()
            )),
            Self::Sql { source, path, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => Some("free some space and repeat the command".into()),
                // Without room for the index of its log SQLite speaks of input and output.
                Some(rusqlite::ErrorCode::SystemIoFailure) => Some(format!(
                    "the disk may be full: look with `df -h {}`, free some space, and repeat the command",
                    path.parent().unwrap_or(path).display()
                )),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    Some("another process writes to the store; repeat the command".into())
                }
                Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                    Some("make the file writable, or name another place with --store or NUAGES_STORE".into())
                }
                _ => None,
            },
            Self::NoSuchRelease(_) => Some("`nuages releases` lists those there are".into()),
            Self::Refused(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<StoreError> for ReleasesError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LeaseLost => Self::LeaseLost,
            other => Self::Refused(other),
        }
    }
}

impl From<ReleasesError> for StoreError {
    fn from(error: ReleasesError) -> Self {
        match error {
            ReleasesError::LeaseLost => Self::LeaseLost,
            ReleasesError::Refused(refused) => refused,
            other => {
                let hint = other.hint();
                Self::Backend {
                    what: other.to_string(),
                    hint,
                    source: Box::new(Cause(other)),
                }
            }
        }
    }
}

/// Shows the cause alone: the sentence above it is the backend error's own.
#[derive(Debug)]
struct Cause(ReleasesError);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::error::Error::source(&self.0) {
            Some(source) => write!(f, "{source}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0).and_then(std::error::Error::source)
    }
}
