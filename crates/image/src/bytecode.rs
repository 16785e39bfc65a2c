//! Modules as the interpreter wants them, so that nothing is compiled when a container starts.
//!
//! They are compiled by the image's Python, several at once, and kept by content: a changed line compiles one module. They
//! say the paths of the image, and are never compared with their sources (PEP 552, `unchecked-hash`): in an image neither
//! changes without the other.
//!
//! Invariant: the same module, at the same path of the image, and the same Python give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use nuages_model::{Digest, Progress, Sha256};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::context::EntryKind;
use crate::executor::{Executor, Job};
use crate::{BlobStore, Context, Fingerprint, ImageError, Packages};

const SCRIPT: &str = include_str!("bytecode.py");
/// What is compiled otherwise gets another folder.
const FORMAT: &str = "bytecode-1";
const WHAT: &str = "compile the modules";
const LIMIT: Duration = Duration::from_mins(10);
/// A run compiles so much at least: starting a Python has its price, too.
const WORTH_A_RUN: u64 = 256 << 10;

/// A module that is to be compiled.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) of: Of,
    /// Its path there.
    pub(crate) path: String,
    /// Its path in the image.
    pub(crate) shown: String,
    pub(crate) size: u64,
    /// What its content must be, of a module that may change meanwhile.
    pub(crate) digest: Option<Digest>,
    /// Where the compiled one is to be.
    pub(crate) to: PathBuf,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Of {
    /// The project's.
    App,
    /// The packages'.
    Site,
}

#[derive(Serialize)]
struct Asked<'a> {
    number: usize,
    of: Of,
    path: &'a str,
    shown: &'a str,
    sha256: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    failed: Vec<(usize, String)>,
    changed: Vec<PathBuf>,
}

/// A project, the state of its files, and where it stands in the image.
pub(crate) type OfProject<'a> = (&'a Context, &'a Fingerprint, &'a str);

/// Where the project's compiled modules are, by their own paths, if everything is compiled. Those of the packages are the
/// packages' then.
pub(crate) fn remembered(
    identity: &Digest,
    packages: &mut Packages,
    of_project: OfProject<'_>,
    store: &BlobStore,
    progress: &Progress,
) -> Result<Option<BTreeMap<PathBuf, PathBuf>>, ImageError> {
    let cache = cache(identity, store)?;
    let own = modules(of_project, &cache);
    if own.iter().any(is_missing) || !packages.to_compile(&cache, &cache).is_empty() {
        return Ok(None);
    }
    packages.compiled_in(cache);
    Ok(Some(known(own, progress)))
}

/// Compiles what is not compiled yet, and tells the same.
pub(crate) async fn compile(
    executor: &Executor<'_>,
    packages: &mut Packages,
    of_project: OfProject<'_>,
    store: &BlobStore,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<BTreeMap<PathBuf, PathBuf>, ImageError> {
    let cache = cache(executor.identity(), store)?;
    let part = tempfile::tempdir_in(store.unfinished()).map_err(ImageError::file("write", store.unfinished()))?;
    let own = modules(of_project, &cache);
    let mut wanted: Vec<Module> = own.iter().filter(|module| is_missing(module)).cloned().collect();
    let unfinished = packages.to_compile(&cache, part.path());
    wanted.extend(unfinished.iter().flat_map(|package| package.modules.iter().cloned()));
    if !wanted.is_empty() {
        progress.status(match wanted.len() {
            1 => "compiling a module".to_owned(),
            many => format!("compiling {many} modules"),
        });
    }
    let batches = split(wanted, executor.side_by_side());
    let runs = batches
        .iter()
        .map(|batch| run(executor, packages, of_project, batch, progress, cancel));
    try_join_all(runs).await?;
    for package in unfinished {
        fs::create_dir_all(&package.made).map_err(ImageError::file("make the folder", &package.made))?;
        let made = fs::rename(&package.made, &package.to);
        // Another process may have been faster; what it made is the same.
        if !package.to.is_dir() {
            made.map_err(ImageError::file("write", &package.to))?;
        }
    }
    packages.compiled_in(cache);
    Ok(known(own, progress))
}

/// Where what this Python compiles is kept.
fn cache(identity: &Digest, store: &BlobStore) -> Result<PathBuf, ImageError> {
    let mut hash = Sha256::new();
    hash.update(FORMAT.as_bytes());
    hash.update(SCRIPT.as_bytes());
    hash.update(identity.as_str().as_bytes());
    let cache = store.bytecode().join(hash.finish().hex());
    for part in ["code", "packages"].map(|part| cache.join(part)) {
        fs::create_dir_all(&part).map_err(ImageError::file("make the folder", part))?;
    }
    store.touch(&cache);
    Ok(cache)
}

fn is_missing(module: &Module) -> bool {
    !module.to.exists() && !refused(&module.to).exists()
}

fn known(own: Vec<Module>, progress: &Progress) -> BTreeMap<PathBuf, PathBuf> {
    let mut compiled = BTreeMap::new();
    for module in own {
        if let Ok(why) = fs::read_to_string(refused(&module.to)) {
            progress.warning(format!("{} cannot be compiled: {why}", module.path));
        } else {
            compiled.insert(PathBuf::from(module.path), module.to);
        }
    }
    compiled
}

/// Where it says why a module cannot be compiled.
fn refused(compiled: &Path) -> PathBuf {
    compiled.with_extension("refused")
}

/// The project's modules.
fn modules((project, fingerprint, working_dir): OfProject<'_>, cache: &Path) -> Vec<Module> {
    let files = project.entries().iter().filter_map(|entry| match entry.kind {
        EntryKind::File { size, .. } => Some((entry.path.to_str()?, size)),
        _ => None,
    });
    let modules = files
        .filter(|(path, _)| is_module(Path::new(path)))
        .filter_map(|(path, size)| {
            let digest = fingerprint.files.get(path)?;
            let slashed = path.replace(std::path::MAIN_SEPARATOR, "/");
            let shown = format!("{}/{slashed}", working_dir.trim_end_matches('/'));
            let name = Digest::of(format!("{shown}\n{digest}").as_bytes());
            Some(Module {
                of: Of::App,
                path: path.to_owned(),
                shown,
                size,
                digest: Some(digest.clone()),
                to: cache.join(format!("code/{}.pyc", name.hex())),
            })
        });
    modules.collect()
}

/// Whether a file is imported, as far as its name tells.
pub(crate) fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py")
}

/// Shares of about the same length, the same in each order of what came in.
fn split(mut modules: Vec<Module>, most: usize) -> Vec<Vec<Module>> {
    let length: u64 = modules.iter().map(|module| module.size).sum();
    let shares = usize::try_from(length / WORTH_A_RUN)
        .unwrap_or(usize::MAX)
        .clamp(1, most.max(1));
    modules.sort_by_key(|module| (std::cmp::Reverse(module.size), module.to.clone()));
    let mut batches: Vec<(u64, Vec<Module>)> = (0..shares).map(|_| (0, Vec::new())).collect();
    for module in modules {
        if let Some(lightest) = batches.iter_mut().min_by_key(|(length, _)| *length) {
            lightest.0 += module.size.max(1);
            lightest.1.push(module);
        }
    }
    batches
        .into_iter()
        .map(|(_, batch)| batch)
        .filter(|batch| !batch.is_empty())
        .collect()
}

async fn run(
    executor: &Executor<'_>,
    packages: &Packages,
    (project, _, working_dir): OfProject<'_>,
    batch: &[Module],
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(), ImageError> {
    let modules: Vec<Asked<'_>> = batch
        .iter()
        .enumerate()
        .map(|(number, module)| Asked {
            number,
            of: module.of,
            path: &module.path,
            shown: &module.shown,
            sha256: module.digest.as_ref().map(Digest::hex).unwrap_or_default(),
        })
        .collect();
    let job = Job {
        what: WHAT,
        source: "compile",
        script: SCRIPT,
        input: serde_json::json!({ "modules": modules }),
        packages,
        project,
        copied: false,
        working_dir,
        env: &BTreeMap::new(),
        limit: LIMIT,
    };
    let done = executor.run(&job, progress, cancel).await?;
    let answer = done.result.and_then(|result| Answer::deserialize(result).ok());
    let Some(answer) = answer else {
        let last = done
            .tail
            .last()
            .cloned()
            .unwrap_or_else(|| "it said nothing".to_owned());
        return Err(ImageError::Python {
            why: format!("it could not compile the modules: {last}"),
        });
    };
    if let Some(path) = answer.changed.into_iter().next() {
        return Err(ImageError::Changed {
            path: project.root().join(path),
        });
    }
    let failed: BTreeMap<usize, String> = answer.failed.into_iter().collect();
    for (number, module) in batch.iter().enumerate() {
        if let Some(folder) = module.to.parent() {
            fs::create_dir_all(folder).map_err(ImageError::file("make the folder", folder))?;
        }
        if let Some(why) = failed.get(&number) {
            // A package may hold what is no Python; nobody imports it.
            if module.of == Of::App {
                let note = refused(&module.to);
                fs::write(&note, why).map_err(ImageError::file("write", note))?;
            }
            continue;
        }
        let from = done.out.join(number.to_string());
        fs::rename(&from, &module.to).map_err(ImageError::file("write", &module.to))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_do_not_depend_on_the_order() {
        let module = |size: u64| Module {
            of: Of::Site,
            path: format!("m{size}.py"),
            shown: String::new(),
            size,
            digest: None,
            to: format!("m{size}.pyc").into(),
        };
        let sizes = |batches: Vec<Vec<Module>>| -> Vec<Vec<u64>> {
            batches
                .iter()
                .map(|batch| batch.iter().map(|module| module.size).collect())
                .collect()
        };
        let kib = |sizes: &[u64]| sizes.iter().map(|size| module(size << 10)).collect::<Vec<_>>();
        assert_eq!(
            sizes(split(kib(&[100, 900, 500, 300]), 2)),
            [[900 << 10].to_vec(), [500 << 10, 300 << 10, 100 << 10].to_vec()]
        );
        assert_eq!(
            sizes(split(kib(&[300, 500, 900, 100]), 2)),
            sizes(split(kib(&[100, 900, 500, 300]), 2))
        );
        assert_eq!(split(kib(&[1, 2, 3]), 8).len(), 1, "not worth a second Python");
        assert_eq!(split(Vec::new(), 8).len(), 0);
    }
}
