//! Packages that are folders of the project: first-party code, which is copied and not installed.
//!
//! Invariant: none is outside the project's folder, also not by way of a link: what a build does not see cannot be in
//! its image.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::requirements_txt::clean;
use super::table;
use crate::ImageError;
use crate::packages::normal;

/// A package in the project's own folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstParty {
    /// In the form that all tools compare; empty where its folder does not say.
    pub name: String,
    /// Its folder, from the project's; empty where it is the project itself.
    pub path: PathBuf,
    /// The folder from which it is imported, from the project's: `path`, or `path/src` for example.
    pub import_root: PathBuf,
}

/// Such a folder, as a lock names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Local {
    /// From the project's folder.
    pub(crate) path: PathBuf,
}

impl Local {
    /// What stands at this path, which must be in the project.
    pub(crate) fn within(project: &Path, path: &Path, place: &str) -> Result<Self, ImageError> {
        let outside = || {
            ImageError::packages(
                format!(
                    "{} is outside the project's folder, where no build sees it ({place})",
                    path.display()
                ),
                Some("move it into the project, or publish it to a package index".into()),
            )
        };
        let (own, there) = (absolute(project)?, absolute(path)?);
        let below = there.strip_prefix(&own).map_err(|_| outside())?.to_owned();
        if below
            .components()
            .any(|part| matches!(part, std::path::Component::ParentDir))
        {
            return Err(outside());
        }
        let real = there.canonicalize().map_err(ImageError::file("find", &there))?;
        let whole = own.canonicalize().map_err(ImageError::file("find", &own))?;
        if !real.starts_with(whole) {
            return Err(outside());
        }
        Ok(Self { path: below })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ImageError> {
    let absolute = std::path::absolute(path).map_err(ImageError::file("find", path))?;
    Ok(clean(&absolute))
}

impl FirstParty {
    /// Looks at the package's own settings.
    pub(super) fn look(project: &Path, local: &Local) -> Result<Self, ImageError> {
        let folder = project.join(&local.path);
        let settings = table(&folder.join("pyproject.toml"))?.unwrap_or_default();
        let name = name(&settings).map(|name| normal(&name)).unwrap_or_default();
        let backend = text(&settings, &["build-system", "build-backend"]).unwrap_or_default();
        let compiles = [
            "maturin",
            "scikit_build_core",
            "mesonpy",
            "setuptools_rust",
            "pdm.backend.cython",
        ];
        if compiles.iter().any(|known| backend.starts_with(known)) {
            return Err(ImageError::packages(
                format!(
                    "{} is compiled by {backend}, and nothing is compiled here",
                    local.path.display()
                ),
                Some("publish it as a wheel to a package index, or set `builder = \"docker\"`".into()),
            ));
        }
        let root = match root(&settings) {
            Some(root) => root,
            // The layout that most tools take by themselves.
            None if folder.join("src").is_dir() && !folder.join("src/__init__.py").exists() => "src".to_owned(),
            None => String::new(),
        };
        let import_root = clean(&local.path.join(root));
        Ok(Self {
            name,
            path: local.path.clone(),
            import_root: Local::within(project, &project.join(import_root), "its settings")?.path,
        })
    }
}

/// Where its settings say that the code is.
fn root(settings: &Table) -> Option<String> {
    let first = |path: &[&str]| match get(settings, path)? {
        Value::Array(items) => items.first().cloned(),
        other => Some(other.clone()),
    };
    let poetry =
        first(&["tool", "poetry", "packages"]).and_then(|package| Some(package.get("from")?.as_str()?.to_owned()));
    let folders =
        || first(&["tool", "setuptools", "packages", "find", "where"]).and_then(|at| Some(at.as_str()?.to_owned()));
    let mapped = || text(settings, &["tool", "setuptools", "package-dir", ""]);
    let uv = || text(settings, &["tool", "uv", "build-backend", "module-root"]);
    poetry.or_else(folders).or_else(mapped).or_else(uv)
}

fn name(settings: &Table) -> Option<String> {
    text(settings, &["project", "name"]).or_else(|| text(settings, &["tool", "poetry", "name"]))
}

pub(super) fn get<'a>(settings: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(settings.get(*first)?, |value, name| value.get(name))
}

pub(super) fn text(settings: &Table, path: &[&str]) -> Option<String> {
    get(settings, path)?.as_str().map(str::to_owned)
}
