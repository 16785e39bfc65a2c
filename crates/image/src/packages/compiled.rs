//! The packages' modules, compiled.
//!
//! Invariant: a folder of compiled modules is there whole or not at all, and is named after all that a package holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nuages_model::Sha256;

use super::installed::Package;
use super::layers::{OF_THE_ENVIRONMENT, site_packages};
use super::{Packages, below};
use crate::bytecode::{self, Module, Of};

/// A package whose modules are not compiled yet.
pub(crate) struct Unfinished {
    pub(crate) modules: Vec<Module>,
    /// Where they are compiled to,
    pub(crate) made: PathBuf,
    /// and where they are then.
    pub(crate) to: PathBuf,
}

impl Packages {
    /// What is to be compiled, for it to be below `part` first.
    pub(crate) fn to_compile(&self, cache: &Path, part: &Path) -> Vec<Unfinished> {
        let site = site_packages(&self.python);
        let tag = self.python.cache_tag();
        let packages = self.installed.packages.iter().map(|package| (package, folder(package)));
        let unfinished = packages.filter(|(_, folder)| !cache.join(folder).is_dir());
        let unfinished = unfinished.map(|(package, folder)| {
            let made = part.join(&folder);
            let modules = modules(package).map(|path| Module {
                of: Of::Site,
                path: path.to_owned(),
                shown: format!("{site}/{path}"),
                size: below(&self.installed.folder, path)
                    .metadata()
                    .map_or(0, |metadata| metadata.len()),
                digest: None,
                to: compiled(&made, path, &tag),
            });
            Unfinished {
                modules: modules.collect(),
                to: cache.join(folder),
                made: made.clone(),
            }
        });
        unfinished.collect()
    }

    /// All of them are compiled, here.
    pub(crate) fn compiled_in(&mut self, cache: PathBuf) {
        self.bytecode = Some(cache);
    }

    /// Names in the folder of packages, and where the compiled modules below them are. Those that several packages share
    /// are left out.
    pub(crate) fn compiled_links(&self) -> Vec<(String, PathBuf)> {
        let Some(cache) = &self.bytecode else { return Vec::new() };
        let tag = self.python.cache_tag();
        let mut links: BTreeMap<String, Option<PathBuf>> = BTreeMap::new();
        for package in &self.installed.packages {
            let at = cache.join(folder(package));
            let mut own = BTreeMap::new();
            for path in modules(package) {
                match path.split_once('/') {
                    Some((top, _)) => own.insert(top.to_owned(), at.join(top)),
                    None => own.insert(
                        compiled(Path::new(""), path, &tag).display().to_string(),
                        compiled(&at, path, &tag),
                    ),
                };
            }
            for (name, target) in own {
                links
                    .entry(name)
                    .and_modify(|shared| *shared = None)
                    .or_insert(Some(target));
            }
        }
        links
            .into_iter()
            .filter_map(|(name, target)| Some((name, target?)))
            .collect()
    }

    /// Where a package's compiled modules are.
    pub(super) fn compiled_of(&self, package: &Package) -> Option<PathBuf> {
        self.bytecode.as_ref().map(|cache| cache.join(folder(package)))
    }
}

fn folder(package: &Package) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(format!("{}\n{}\n", package.name, package.version).as_bytes());
    for line in &package.files {
        hash.update(line.path.as_bytes());
        hash.update(b"\n");
        hash.update(line.rest.as_bytes());
        hash.update(b"\n");
    }
    Path::new("packages").join(hash.finish().hex())
}

fn modules(package: &Package) -> impl Iterator<Item = &str> {
    package
        .files
        .iter()
        .map(|file| file.path.as_str())
        .filter(|path| is_module(path))
}

/// What is imported, as far as a name tells.
fn is_module(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or_default();
    bytecode::is_module(Path::new(path)) && top != "bin" && !OF_THE_ENVIRONMENT.contains(&top)
}

/// A module's compiled one, in such a folder, where there is one.
pub(super) fn compiled_module(folder: &Path, path: &str, tag: &str) -> Option<PathBuf> {
    let file = compiled(folder, path, tag);
    (is_module(path) && file.is_file()).then_some(file)
}

/// Where a compiled module stands, in a folder that is laid out like that of the packages.
fn compiled(folder: &Path, path: &str, tag: &str) -> PathBuf {
    below(folder, path).with_extension(format!("{tag}.pyc"))
}
