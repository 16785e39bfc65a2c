//! Where the store stands, and whether that will do.
//!
//! Invariant: nothing is decided from the environment here: the caller says what is so.

use std::path::{Path, PathBuf};

/// The store's file of a project: `PROJECT/.nuages/nuages.db`, unless the person named another place. What is named
/// is the file when it ends in `.db`, and its folder otherwise.
///
/// ```
/// use std::path::Path;
/// let project = Path::new("/srv/blog");
/// assert_eq!(nuages_releases::location(project, None), Path::new("/srv/blog/.nuages/nuages.db"));
/// assert_eq!(nuages_releases::location(project, Some(Path::new("/mnt/x.db"))), Path::new("/mnt/x.db"));
/// assert_eq!(nuages_releases::location(project, Some(Path::new("/mnt/store"))), Path::new("/mnt/store/nuages.db"));
/// ```
pub fn location(project: &Path, named: Option<&Path>) -> PathBuf {
    match named {
        None => project.join(".nuages").join(FILE_NAME),
        Some(file) if file.extension().is_some_and(|extension| extension == "db") => file.to_owned(),
        Some(folder) => folder.join(FILE_NAME),
    }
}

/// The file's name where only its folder was named.
pub(crate) const FILE_NAME: &str = "nuages.db";

/// What is so when a store in a file is about to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The environment is in a real AWS account, not in an emulator.
    pub real_account: bool,
    /// A CI system runs this (`CI=true`).
    pub ci: bool,
    /// The person named the store (`--store`, `NUAGES_STORE`).
    pub named: bool,
}

/// Whether a store in a file will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suitability {
    /// It will.
    Suits,
    /// It will for one person on one machine: say so.
    OnePersonOnly,
    /// It protects nothing there: its lease and its rollback targets vanish with the runner.
    Refused,
}

impl Circumstances {
    /// Whether a store in a file will do.
    ///
    /// ```
    /// use nuages_releases::{Circumstances, Suitability};
    ///
    /// let ci = Circumstances { real_account: true, ci: true, named: false };
    /// assert_eq!(ci.judge(), Suitability::Refused);
    /// assert!(ci.judge().hint().unwrap().contains("--store"));
    /// ```
    pub fn judge(self) -> Suitability {
        match self {
            Self {
                real_account: false, ..
            } => Suitability::Suits,
            Self {
                ci: true, named: false, ..
            } => Suitability::Refused,
            Self { .. } => Suitability::OnePersonOnly,
        }
    }
}

impl Suitability {
    /// What the person should know.
    pub fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Suits => None,
            Self::OnePersonOnly => Some(
                "releases and the lease are kept in a file on this machine: nobody elsewhere sees them, or is kept from \
                 deploying at the same time",
            ),
            Self::Refused => Some(
                "in CI the store would vanish with the runner, and with it the lease, the journal and the rollback targets",
            ),
        }
    }

    /// What to do about it.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Suits => None,
            Self::OnePersonOnly => Some("keep the file on a disk that lasts, and deploy from this machine only"),
            Self::Refused => Some("name a place that outlives the job with --store or NUAGES_STORE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_circumstance() {
        let judge = |real_account, ci, named| {
            Circumstances {
                real_account,
                ci,
                named,
            }
            .judge()
        };
        for (ci, named) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(judge(false, ci, named), Suitability::Suits);
        }
        assert_eq!(judge(true, false, false), Suitability::OnePersonOnly);
        assert_eq!(judge(true, false, true), Suitability::OnePersonOnly);
        assert_eq!(judge(true, true, true), Suitability::OnePersonOnly);
        assert_eq!(judge(true, true, false), Suitability::Refused);
    }
}
