//! Static files: the project's own `collectstatic`, run by the image's Python, without a secret, a database or a network.
//!
//! What a run reads is noted, so that it is not repeated while all of that is the same: files, listed folders, and what it
//! looked for and did not find. Then nothing is run, and the files are there already.
//!
//! Invariant: the files depend on the project as the image will have it, the packages, the base and the variables that are
//! given; nothing is written into the project.

mod failure;
mod trace;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nuages_model::{Digest, Progress, Sha256};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::failure::Failure;
use self::trace::{Project, Trace};
use crate::executor::{Done, Executor, Job};
use crate::{BlobStore, Context, Fingerprint, ImageError, Packages};

const SCRIPT: &str = include_str!("collect.py");
const WHAT: &str = "collect the static files";
/// Runs of one key that are remembered: as branches are switched, earlier ones come back.
const MOST: usize = 8;

/// What a run is given.
#[derive(Debug, Clone)]
pub(crate) struct Asked<'a> {
    pub(crate) project: &'a Context,
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) packages: &'a Packages,
    pub(crate) working_dir: &'a str,
    pub(crate) manage: &'a Path,
    pub(crate) import_roots: &'a [PathBuf],
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) limit: Duration,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Collected {
    /// Files, in a folder of the cache, for a folder of the image.
    Files {
        folder: PathBuf,
        root: String,
        count: usize,
    },
    /// Nothing is to be collected, for this reason.
    Nothing { why: String },
}

/// As it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Found {
    Files { root: String, count: usize },
    Nothing { why: String },
}

/// What the script answers.
#[derive(Debug, Deserialize)]
struct Answer {
    outcome: Outcome,
    /// Where it would have collected to; for files that go elsewhere, by what.
    root: Option<String>,
    failure: Option<Failure>,
    #[serde(flatten)]
    reads: trace::Reads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Collected,
    /// `STATIC_ROOT` is not set.
    Unset,
    /// The project has no app that collects.
    NoApp,
    /// They are kept by a service.
    Elsewhere,
    Failed,
}

/// What an earlier run found that read all that one would read now.
pub(crate) fn remembered(asked: &Asked<'_>, base: &Digest, store: &BlobStore) -> Option<Collected> {
    let folder = store.collected().join(key(asked, base).hex());
    let project = Project::of(asked);
    let runs = std::fs::read_dir(&folder).ok()?.flatten();
    let found = runs.into_iter().find_map(|run| {
        let trace = Trace::read(&run.path())?;
        let found = trace.holds(&project).then_some(trace.found)?;
        collected(found, &run.path())
    })?;
    store.touch(&folder);
    Some(found)
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ran {
    Collected(Collected),
    /// It needs what the image alone has, for this reason; without a container it fails with this error.
    NotHere {
        why: String,
        error: ImageError,
    },
}

/// Runs it.
pub(crate) async fn collect(
    asked: &Asked<'_>,
    base: &Digest,
    executor: &Executor<'_>,
    store: &BlobStore,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Ran, ImageError> {
    progress.status("collecting static files");
    let job = Job {
        what: WHAT,
        source: "collectstatic",
        script: SCRIPT,
        input: serde_json::json!({ "manage": asked.manage, "paths": asked.import_roots }),
        packages: asked.packages,
        project: asked.project,
        copied: true,
        working_dir: asked.working_dir,
        env: asked.env,
        limit: asked.limit,
    };
    let done = executor.run(&job, progress, cancel).await?;
    let answer = done.result.clone().and_then(|result| Answer::deserialize(result).ok());
    let Some(answer) = answer else {
        let why = match done.code {
            Some(code) => format!("manage.py ended with exit code {code} before it was done"),
            None => "manage.py was killed, as happens where memory is short".to_owned(),
        };
        return Err(ImageError::Collect {
            why,
            hint: None,
            tail: done.tail,
        });
    };
    let found = match (answer.outcome, &answer.root) {
        (Outcome::Failed, _) => {
            let error = failure::explain(answer.failure, &done);
            // Libraries are looked for by programs that know this machine's, not the image's.
            let may_be_there = answer.reads.started_programs() && !executor.is_in_image();
            let why = "the project starts programs, which the image alone has".to_owned();
            return if may_be_there {
                Ok(Ran::NotHere { why, error })
            } else {
                Err(error)
            };
        }
        (Outcome::Collected, Some(root)) => Found::Files {
            root: in_image(Path::new(root), &done.app, asked.working_dir)?,
            count: 0,
        },
        (Outcome::Unset | Outcome::Collected, _) => Found::Nothing {
            why: "STATIC_ROOT is not set".into(),
        },
        (Outcome::NoApp, _) => Found::Nothing {
            why: "`django.contrib.staticfiles` is not among the INSTALLED_APPS".into(),
        },
        (Outcome::Elsewhere, by) => Found::Nothing {
            why: format!(
                "{} keeps them elsewhere, and nothing is uploaded by a build",
                by.as_deref().unwrap_or("a storage")
            ),
        },
    };
    let project = Project::of(asked);
    if !executor.is_in_image()
        && let Some(path) = answer.reads.only_in_image(&project, Path::new(asked.working_dir))
    {
        let error = failure::only_in_image(&path, done.tail);
        let why = format!("the project names {}, which the image alone has", path.display());
        return Ok(Ran::NotHere { why, error });
    }
    let here = !executor.is_in_image();
    let trace = answer.reads.into_trace(found, &project, asked, &done.app, here);
    keep(trace, &key(asked, base), &done, store).map(Ran::Collected)
}

/// Puts what came out into the cache, with what was read for it.
fn keep(mut trace: Trace, key: &Digest, done: &Done, store: &BlobStore) -> Result<Collected, ImageError> {
    let parent = store.collected().join(key.hex());
    std::fs::create_dir_all(&parent).map_err(ImageError::file("make the folder", &parent))?;
    let part = tempfile::tempdir_in(store.collected()).map_err(ImageError::file("write", store.collected()))?;
    let files = part.path().join("files");
    std::fs::rename(&done.out, &files).map_err(ImageError::file("write", &files))?;
    if let Found::Files { count: counted, .. } = &mut trace.found {
        *counted = count(&files)?;
    }
    store.note(&trace, &part.path().join(trace::FILE))?;
    let to = parent.join(trace.name());
    // One that tells of the same reads, and was not found again: somebody took its files away.
    let _ = std::fs::remove_dir_all(&to);
    let made = std::fs::rename(part.path(), &to);
    if !to.is_dir() {
        made.map_err(ImageError::file("write", &to))?;
    }
    trace::forget_oldest(&parent, MOST);
    collected(trace.found, &to).ok_or_else(|| ImageError::Collect {
        why: "what was collected is gone from the cache".into(),
        hint: None,
        tail: Vec::new(),
    })
}

fn collected(found: Found, run: &Path) -> Option<Collected> {
    match found {
        Found::Nothing { why } => Some(Collected::Nothing { why }),
        Found::Files { root, count } => {
            let folder = run.join("files");
            folder.is_dir().then_some(Collected::Files { folder, root, count })
        }
    }
}

fn count(folder: &Path) -> Result<usize, ImageError> {
    let walked = crate::walk::walk(folder, &crate::dockerignore::Ignore::default(), &[])?;
    let files = walked
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, crate::EntryKind::File { .. }));
    Ok(files.count())
}

/// All that decides besides the project's files.
fn key(asked: &Asked<'_>, base: &Digest) -> Digest {
    let mut hash = Sha256::new();
    let mut part = |content: &[u8]| {
        hash.update(&(content.len() as u64).to_le_bytes());
        hash.update(content);
    };
    part(SCRIPT.as_bytes());
    part(base.as_str().as_bytes());
    part(
        asked
            .packages
            .folder()
            .file_name()
            .unwrap_or_default()
            .as_encoded_bytes(),
    );
    part(asked.working_dir.as_bytes());
    part(asked.manage.as_os_str().as_encoded_bytes());
    for path in asked.import_roots {
        part(b"import");
        part(path.as_os_str().as_encoded_bytes());
    }
    for (name, value) in asked.env {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    hash.finish()
}

/// Where a folder of the run is in the image.
fn in_image(root: &Path, app: &Path, working_dir: &str) -> Result<String, ImageError> {
    let working_dir = Path::new(working_dir);
    let above = working_dir.parent().unwrap_or(working_dir);
    let path = match (
        root.strip_prefix(app),
        app.parent().map(|parent| root.strip_prefix(parent)),
    ) {
        (Ok(below), _) => working_dir.join(below),
        // Beside the project.
        (_, Some(Ok(beside))) => above.join(beside),
        _ => root.to_owned(),
    };
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // What it holds is replaced as a whole.
    let own = plain && !working_dir.starts_with(&path);
    let text = path.to_str().filter(|_| own);
    text.map(str::to_owned).ok_or_else(|| ImageError::NoPath {
        path: path.clone(),
        why: "STATIC_ROOT must be a folder of its own",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_root_is_where_the_image_has_it() {
        let at = |root: &str| in_image(Path::new(root), Path::new("/cache/x1/app"), "/app");
        assert_eq!(at("/cache/x1/app/staticfiles").unwrap(), "/app/staticfiles");
        assert_eq!(at("/cache/x1/public/static").unwrap(), "/public/static");
        assert_eq!(at("/var/www/static").unwrap(), "/var/www/static");
        for root in ["/", "/app", "/cache/x1/app", "/cache/x1", "/app/../etc"] {
            at(root).unwrap_err();
        }
    }
}
