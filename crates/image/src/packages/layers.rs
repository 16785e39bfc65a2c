//! Packages as layers of a virtual environment.
//!
//! A virtual environment and no PYTHONPATH, because `.pth` files work in the one and not in the other.
//!
//! Invariant: each package is in one layer, and in which one follows from its own name and size. So one that changes
//! moves no other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nuages_model::Digest;

use super::compiled::compiled_module;
use super::installed::Package;
use super::{Packages, below, record, scripts};
use crate::contents::Python;
use crate::{ImageError, Tree};

/// Where the packages are in the image.
pub const VENV: &str = "/opt/venv";

/// A package of this size has a layer of its own,
const LARGE: u64 = 1 << 20;
/// as long as there are no more of them: an image has room for few layers.
const MOST: usize = 12;
/// The others share these.
const BUCKETS: u8 = 4;

/// What a wheel brings for the environment itself, beside its code.
pub(super) const OF_THE_ENVIRONMENT: [&str; 4] = ["share", "etc", "include", "man"];

pub(super) fn of(packages: &Packages) -> Result<Vec<(String, Tree)>, ImageError> {
    let Packages { installed, python, .. } = packages;
    let mut large: Vec<&Package> = installed
        .packages
        .iter()
        .filter(|package| package.size >= LARGE)
        .collect();
    large.sort_by_key(|package| (std::cmp::Reverse(package.size), &package.name));
    large.truncate(MOST);
    large.sort_by_key(|package| &package.name);
    let mut layers = vec![("virtual environment".to_owned(), environment(python)?)];
    for package in &large {
        let mut tree = Tree::new();
        put(package, packages, &mut tree)?;
        layers.push((format!("{} {}", package.name, package.version), tree));
    }
    let mut buckets: BTreeMap<u8, Tree> = BTreeMap::new();
    for package in &installed.packages {
        if large.iter().all(|other| other.name != package.name) {
            put(package, packages, buckets.entry(bucket(&package.name)).or_default())?;
        }
    }
    layers.extend(
        buckets
            .into_iter()
            .map(|(number, tree)| (format!("packages {}", number + 1), tree)),
    );
    Ok(layers)
}

fn bucket(name: &str) -> u8 {
    let digest = Digest::of(name.as_bytes());
    let first = u8::from_str_radix(&digest.hex()[..2], 16).unwrap_or_default();
    first % BUCKETS
}

/// What makes a folder a virtual environment.
fn environment(python: &Python) -> Result<Tree, ImageError> {
    let (major, minor) = python.version;
    let home = Path::new(&python.path)
        .parent()
        .unwrap_or_else(|| Path::new("/usr/bin"));
    let mut tree = Tree::new();
    let config = format!(
        "home = {}\ninclude-system-site-packages = false\nversion = {major}.{minor}\n",
        home.display()
    );
    tree.bytes(format!("{VENV}/pyvenv.cfg"), config, false)?;
    tree.link(format!("{VENV}/bin/python"), &python.path)?;
    for name in ["python3".to_owned(), format!("python{major}.{minor}")] {
        tree.link(format!("{VENV}/bin/{name}"), "python")?;
    }
    tree.folder(site_packages(python))?;
    Ok(tree)
}

pub(super) fn site_packages(python: &Python) -> String {
    let (major, minor) = python.version;
    format!("{VENV}/lib/python{major}.{minor}/site-packages")
}

fn put(package: &Package, packages: &Packages, tree: &mut Tree) -> Result<(), ImageError> {
    let Packages { installed, python, .. } = packages;
    let site = site_packages(python);
    let (compiled, tag) = (packages.compiled_of(package), python.cache_tag());
    let record = format!("{}/RECORD", package.info);
    let mut lines = String::new();
    for file in &package.files {
        if file.path == record {
            continue;
        }
        let from = below(&installed.folder, &file.path);
        let top = file.path.split('/').next().unwrap_or_default();
        if top == "bin" {
            let content = std::fs::read(&from).map_err(ImageError::file("read", &from))?;
            // From where RECORD stands.
            let said = format!("../../../{}", file.path);
            let to = format!("{VENV}/{}", file.path);
            if let Some(content) = scripts::started_by(&content, &format!("{VENV}/bin/python")) {
                lines.push_str(&record::write(&said, &record::rest_of(&content)));
                tree.bytes(to, content, true)?;
            } else {
                lines.push_str(&record::write(&said, &file.rest));
                tree.add_kept(&from, to)?;
            }
            continue;
        }
        let of_environment =
            OF_THE_ENVIRONMENT.contains(&top) && !installed.folder.join(top).join("__init__.py").exists();
        if of_environment {
            lines.push_str(&record::write(&format!("../../../{}", file.path), &file.rest));
            tree.add_kept(&from, format!("{VENV}/{}", file.path))?;
        } else {
            lines.push_str(&record::write(&file.path, &file.rest));
            let to = format!("{site}/{}", file.path);
            let module = compiled
                .as_ref()
                .and_then(|folder| compiled_module(folder, &file.path, &tag));
            if let Some(module) = module {
                tree.add_kept(module, beside(&to, &tag))?;
            }
            tree.add_kept(&from, to)?;
        }
    }
    lines.push_str(&record::write(&record, ","));
    tree.bytes(format!("{site}/{record}"), lines, false)
}

/// Where Python looks for a module's compiled one.
pub(crate) fn beside(module: impl AsRef<Path>, tag: &str) -> PathBuf {
    let module = module.as_ref();
    let name = module.with_extension(format!("{tag}.pyc"));
    let folder = module.parent().unwrap_or_else(|| Path::new("")).join("__pycache__");
    folder.join(name.file_name().unwrap_or_default())
}
