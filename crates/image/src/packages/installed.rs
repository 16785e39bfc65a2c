//! What an installer left in a folder: packages, and the files of each.
//!
//! Invariant: a file belongs to one package, and every file that a package names is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{below, record};
use crate::ImageError;

/// Packages in a folder.
#[derive(Debug, Clone)]
pub(super) struct Installed {
    pub(super) folder: PathBuf,
    /// By name.
    pub(super) packages: Vec<Package>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Package {
    /// As it calls itself, in the form that all tools compare.
    pub(super) name: String,
    pub(super) version: String,
    /// Its `.dist-info` folder.
    pub(super) info: String,
    pub(super) files: Vec<record::Line>,
    /// The length of all files.
    pub(super) size: u64,
}

/// What the installer writes for itself, which differs from run to run or tells of this machine.
const OF_THE_INSTALLER: [&str; 4] = ["INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"];

impl Installed {
    pub(super) fn read(folder: &Path) -> Result<Self, ImageError> {
        let listed = std::fs::read_dir(folder).map_err(ImageError::file("read the folder", folder))?;
        let names = listed.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names
            .collect::<Result<Vec<_>, _>>()
            .map_err(ImageError::file("read the folder", folder))?;
        let mut packages = BTreeMap::new();
        for name in names {
            let Some(info) = name.to_str().filter(|name| name.ends_with(".dist-info")) else {
                continue;
            };
            let package = Package::read(folder, info)?;
            packages.insert(package.name.clone(), package);
        }
        Ok(Self {
            folder: folder.to_owned(),
            packages: packages.into_values().collect(),
        })
    }
}

impl Package {
    fn read(folder: &Path, info: &str) -> Result<Self, ImageError> {
        let text = |name: &str| {
            let path = folder.join(info).join(name);
            std::fs::read_to_string(&path).map_err(ImageError::file("read", path))
        };
        let metadata = text("METADATA")?;
        let field = |name: &str| {
            let mut lines = metadata.lines().take_while(|line| !line.is_empty());
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let broken = |why: &str| ImageError::Packages {
            why: format!("the package in {info} {why}"),
            hint: None,
        };
        let name = field("Name").ok_or_else(|| broken("has no name"))?;
        let version = field("Version").ok_or_else(|| broken("has no version"))?;
        let lines = record::read(&text("RECORD")?).map_err(|line| broken(&format!("has an odd RECORD: {line}")))?;
        let own = |line: &record::Line| {
            let name = line.path.strip_prefix(info).and_then(|rest| rest.strip_prefix('/'));
            !name.is_some_and(|name| OF_THE_INSTALLER.contains(&name))
        };
        let files: Vec<record::Line> = lines.into_iter().filter(own).collect();
        let mut size = 0;
        for file in &files {
            let path = below(folder, &file.path);
            size += std::fs::symlink_metadata(&path)
                .map_err(ImageError::file("read", &path))?
                .len();
        }
        Ok(Self {
            name: normal(&name),
            version,
            info: info.to_owned(),
            files,
            size,
        })
    }
}

/// Names that differ in case, dots, dashes and underscores are one (Python Packaging User Guide, "Names and
/// normalization").
pub(crate) fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_everybody_does() {
        for name in [
            "Django_Rest.Framework",
            "django-rest--framework",
            "DJANGO.REST_FRAMEWORK",
        ] {
            assert_eq!(normal(name), "django-rest-framework");
        }
    }
}
