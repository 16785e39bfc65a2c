//! What is to be installed: packages, each pinned so that it can be nothing else.
//!
//! Invariant: the text depends on the packages alone, and not on the file, the order or the comments that they came with.
//! It holds no address of an index, which may hold a password.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::ImageError;
use crate::dependencies::RequirementsFile;

/// What is to be installed, and for what.
#[derive(Debug, Clone)]
pub struct Requirements {
    /// Sorted by name.
    pub(crate) packages: Vec<Pinned>,
    pub(crate) indexes: Vec<Index>,
    /// The project: wheels in it are named from here, and uv's own settings stand here.
    pub(crate) folder: PathBuf,
    pub(crate) platform: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pinned {
    /// In the form that all tools compare.
    pub(crate) name: String,
    pub(crate) at: At,
    /// On what it is installed, in the words of PEP 508.
    pub(crate) marker: Option<String>,
    /// Such as `sha256:…`. Any of them will do.
    pub(crate) hashes: BTreeSet<String>,
}

/// Where a package is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// On an index, in this version.
    Version(String),
    /// At this address.
    File(String),
    /// A wheel of the project's folder, by its path in it.
    Wheel(PathBuf),
    /// In a repository, at a commit: `git+https://…@0123…`.
    Commit(String),
}

/// Where packages are looked for, beside where this machine looks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Index {
    /// A line of a `requirements.txt`, such as `--extra-index-url https://…`.
    Line(String),
    /// By the name under which a password may be in the environment.
    Named { name: String, url: String },
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(_) => f.write_str("Line(***)"),
            Self::Named { name, .. } => write!(f, "Named({name})"),
        }
    }
}

impl Requirements {
    /// Those of a `requirements.txt` in which every package has its version and its hashes, for a platform such as
    /// `linux/amd64`.
    ///
    /// ```
    /// # fn main() -> Result<(), nuages_image::ImageError> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let file = folder.path().join("requirements.txt");
    /// # let hash = "3be5a72d04c873d690d7c6dedd33d6fae2ef82759881ceec02fc2efd0cba564f";
    /// # std::fs::write(&file, format!("# A comment.\nSQLparse==0.6.1 --hash=sha256:{hash}\n")).unwrap();
    /// let requirements = nuages_image::Requirements::of_file(&file, "linux/amd64")?;
    /// assert!(requirements.text().starts_with("sqlparse==0.6.1 \\\n    --hash=sha256:3be5"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_file(file: &Path, platform: &str) -> Result<Self, ImageError> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let read = RequirementsFile::read(file)?;
        let (packages, local) = read.pinned(folder)?;
        if let Some(local) = local.first() {
            return Err(ImageError::packages(
                format!("`{}` is a folder and no pinned package", local.path.display()),
                None,
            ));
        }
        Ok(Self::new(packages, read.indexes, folder, platform))
    }

    pub(crate) fn new(mut packages: Vec<Pinned>, indexes: Vec<Index>, folder: &Path, platform: &str) -> Self {
        packages.sort();
        packages.dedup();
        Self {
            packages,
            indexes,
            folder: folder.to_owned(),
            platform: platform.to_owned(),
        }
    }

    /// The platform that they are for, such as `linux/amd64`.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// All packages, as a `requirements.txt`. It tells these packages from any others.
    pub fn text(&self) -> String {
        text(&self.packages)
    }

    /// The lines of what has hashes, and of what has commits, for uv.
    pub(super) fn lines(&self) -> Result<(String, String), ImageError> {
        let (commits, mut hashed): (Vec<Pinned>, Vec<Pinned>) = self
            .packages
            .iter()
            .cloned()
            .partition(|package| matches!(package.at, At::Commit(_)));
        for package in &mut hashed {
            if let At::Wheel(path) = &package.at {
                let path = self.folder.join(path);
                let path = std::path::absolute(&path).map_err(ImageError::file("find", &path))?;
                let address = url::Url::from_file_path(&path)
                    .map_err(|()| ImageError::packages(format!("{} cannot be named to uv", path.display()), None))?;
                package.at = At::File(address.into());
            }
        }
        let mut lines: String = String::new();
        for index in &self.indexes {
            if let Index::Line(line) = index {
                let _ = writeln!(lines, "{line}");
            }
        }
        let commits = if commits.is_empty() {
            String::new()
        } else {
            text(&commits)
        };
        lines.push_str(&text(&hashed));
        Ok((lines, commits))
    }

    /// Whether there is anything that has hashes, and that wheels can be had of.
    pub(super) fn has_hashed(&self) -> bool {
        self.packages.iter().any(|package| !matches!(package.at, At::Commit(_)))
    }
}

/// Whether these are the letters of a hash that is good enough to tell files apart.
pub(crate) fn is_hash(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, digits)| {
        let length = match kind {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        digits.len() == length && digits.chars().all(|c| c.is_ascii_hexdigit())
    })
}

impl Pinned {
    /// A lock is written by others, and its words become lines of a list: none may be two.
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        let odd = |what: &str| ImageError::packages(format!("`{}` has {what} that is none", self.name), None);
        let letters = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !letters(&self.name, "-_.") || self.name.starts_with('-') {
            return Err(odd("a name"));
        }
        let address = |text: &str| text.contains("://") && !text.contains(char::is_whitespace) && !text.contains(" --");
        match &self.at {
            At::Version(version) if !letters(version, ".+!-_") => return Err(odd("a version")),
            At::File(text) if !address(text) => return Err(odd("an address")),
            At::Commit(text) if !(address(text) && text.starts_with("git+")) => return Err(odd("an address")),
            _ => {}
        }
        let marker = self.marker.as_deref().unwrap_or_default();
        if marker.contains(char::is_control) || marker.contains("--") || marker.contains('#') {
            return Err(odd("a marker"));
        }
        if marker.contains("dependency_groups") || marker.contains("extras") {
            return Err(ImageError::packages(
                format!("the lock installs {} by groups or extras of its own", self.name),
                Some(
                    "write the lock for the application alone, as a `requirements.txt` with hashes for example".into(),
                ),
            ));
        }
        if !self.hashes.iter().all(|hash| is_hash(hash)) {
            return Err(odd("a hash"));
        }
        Ok(())
    }
}

pub(crate) fn text(packages: &[Pinned]) -> String {
    let mut out = String::new();
    for package in packages {
        let Pinned {
            name,
            at,
            marker,
            hashes,
        } = package;
        let _ = match at {
            At::Version(version) => write!(out, "{name}=={version}"),
            At::File(address) | At::Commit(address) => write!(out, "{name} @ {address}"),
            At::Wheel(path) => write!(out, "{name} @ ./{}", path.display().to_string().replace('\\', "/")),
        };
        if let Some(marker) = marker {
            let _ = write!(out, " ; {marker}");
        }
        for hash in hashes {
            let _ = write!(out, " \\\n    --hash={hash}");
        }
        out.push('\n');
    }
    out
}
