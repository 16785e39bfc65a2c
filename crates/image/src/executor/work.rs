//! The folder in which a Python is run on this machine: an environment like the image's, a copy of the project, and room
//! for what comes out.
//!
//! Invariant: it is private and goes when it is dropped. A link of the project leads within the copy or nowhere, as it
//! would in the image.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::{Job, Places};
use crate::context::{EntryKind, NOWHERE};
use crate::nodes::relative;
use crate::{BlobStore, Context, ImageError};

pub(super) struct Work {
    pub(super) places: Places,
    pub(super) python: PathBuf,
    pub(super) script: PathBuf,
    pub(super) input: PathBuf,
    at: PathBuf,
    /// Removes it.
    _folder: tempfile::TempDir,
}

impl Work {
    /// Prepares it. `program` is the Python, `home` the folder that its standard library is found from, and `image` the one
    /// that holds all of it. Blocks.
    pub(super) fn prepare(
        store: &BlobStore,
        job: &Job<'_>,
        program: &Path,
        home: &Path,
        image: &Path,
    ) -> Result<Self, ImageError> {
        let parent = store.unfinished();
        let folder = tempfile::tempdir_in(&parent).map_err(ImageError::file("write", parent))?;
        let at = folder
            .path()
            .canonicalize()
            .map_err(ImageError::file("read", folder.path()))?;
        let (major, minor) = job.packages.python().version;
        let site = at.join(format!("venv/lib/python{major}.{minor}/site-packages"));
        let work = Self {
            places: Places {
                app: if job.copied {
                    at.join("app")
                } else {
                    job.project.root().to_owned()
                },
                out: at.join("out"),
                result: at.join("result.json"),
                elsewhere: vec![at.clone(), job.packages.folder().to_owned(), image.to_owned()],
                site,
            },
            python: at.join("venv/bin/python"),
            script: at.join("script.py"),
            input: at.join("job.json"),
            at: at.clone(),
            _folder: folder,
        };
        let write = |path: &Path, content: &[u8]| fs::write(path, content).map_err(ImageError::file("write", path));
        for name in ["venv/bin", "out", "home", "tmp", "pycache"] {
            let path = at.join(name);
            fs::create_dir_all(&path).map_err(ImageError::file("make the folder", path))?;
        }
        let config = format!(
            "home = {}\ninclude-system-site-packages = false\nversion = {major}.{minor}\n",
            home.display()
        );
        write(&at.join("venv/pyvenv.cfg"), config.as_bytes())?;
        link(program, &work.python)?;
        link(job.packages.folder(), &work.places.site)?;
        let compiled = at.join("pycache").join(below_root(&work.places.site));
        for (name, file) in job.packages.compiled_links() {
            link(&file, &compiled.join(name))?;
        }
        write(&work.script, job.script.as_bytes())?;
        write(&work.input, &work.places.told(&job.input).to_string().into_bytes())?;
        if job.copied {
            copy(job.project, Path::new(job.working_dir), &work.places.app)?;
        }
        Ok(work)
    }

    /// What the Python sees of variables: nothing of this machine's.
    pub(super) fn env(&self, base: &[(String, String)], job: &Job<'_>) -> Vec<(String, OsString)> {
        let at = &self.at;
        let own = |name: &str| name == "PATH" || name == "HOME" || name == "TMPDIR" || name.starts_with("PYTHON");
        let loader = |name: &str| name.starts_with("LD_");
        let mut env: Vec<(String, OsString)> = vec![("LANG".into(), "C.UTF-8".into())];
        let of_base = base.iter().filter(|(name, _)| !own(name) && !loader(name));
        env.extend(of_base.map(|(name, value)| (name.clone(), value.into())));
        let of_job = job.env.iter().filter(|(name, _)| !own(name) && !loader(name));
        env.extend(of_job.map(|(name, value)| (name.clone(), value.into())));
        if let Some(path) = job.env.get("PYTHONPATH") {
            env.push(("PYTHONPATH".into(), self.import_path(path, job.working_dir)));
        }
        let python = ["PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE"].map(|name| (name.to_owned(), "1".into()));
        env.extend(python);
        env.push(("PYTHONHASHSEED".into(), "0".into()));
        for (name, folder) in [
            ("PATH", "venv/bin"),
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("PYTHONPYCACHEPREFIX", "pycache"),
        ] {
            env.push((name.into(), at.join(folder).into()));
        }
        env
    }

    /// Folders of the image, as far as they are the project's, in the copy.
    fn import_path(&self, path: &str, working_dir: &str) -> OsString {
        let folders = path.split(':').filter_map(|folder| {
            let below = if Path::new(folder).is_absolute() {
                Path::new(folder).strip_prefix(working_dir).ok()?
            } else {
                Path::new(folder)
            };
            Some(self.places.app.join(below))
        });
        std::env::join_paths(folders).unwrap_or_default()
    }

    /// What the script left to be read.
    pub(super) fn result(&self) -> Option<Value> {
        super::read_result(&fs::read(&self.places.result).ok()?)
    }
}

fn below_root(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

fn link(target: &Path, at: &Path) -> Result<(), ImageError> {
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder).map_err(ImageError::file("make the folder", folder))?;
    }
    std::os::unix::fs::symlink(target, at).map_err(ImageError::file("write", at))
}

/// Copies what the image will have of a project.
fn copy(project: &Context, working_dir: &Path, to: &Path) -> Result<(), ImageError> {
    fs::create_dir(to).map_err(ImageError::file("make the folder", to))?;
    let there = project.nodes(working_dir, |_| ());
    for entry in project.entries() {
        let (from, at) = (project.root().join(&entry.path), to.join(&entry.path));
        match &entry.kind {
            EntryKind::Folder => fs::create_dir(&at).map_err(ImageError::file("make the folder", &at))?,
            EntryKind::Link { .. } => {
                let real = there.resolve(&entry.path);
                let target = real.map_or_else(|| NOWHERE.into(), |real| relative(&entry.path, &real));
                std::os::unix::fs::symlink(target, &at).map_err(ImageError::file("write", &at))?;
            }
            EntryKind::File { size, .. } => {
                let mut file = fs::File::open(&from).map_err(ImageError::file("read", &from))?;
                let mut copied = fs::File::create_new(&at).map_err(ImageError::file("write", &at))?;
                let written = std::io::copy(&mut file, &mut copied).map_err(ImageError::file("copy", &from))?;
                copied.flush().map_err(ImageError::file("write", &at))?;
                if written != *size {
                    return Err(ImageError::Changed { path: from });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nuages_model::Progress;

    use super::*;

    #[test]
    fn no_link_of_a_copy_leads_to_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (project, to) = (folder.path().join("project"), folder.path().join("copy"));
        fs::create_dir_all(project.join("static/deep")).unwrap();
        fs::write(folder.path().join("secret"), "of this machine").unwrap();
        fs::write(project.join("static/site.css"), "a{}").unwrap();
        for (link, target) in [
            ("static/in", "deep/../site.css"),
            ("static/image", "/app/static/site.css"),
            ("static/up", "../../secret"),
            ("static/absolute", "/etc/passwd"),
            ("static/deep/round", "../deep/round"),
            ("static/deep/folder", ".."),
            ("static/deep/through", "folder/../../secret"),
        ] {
            std::os::unix::fs::symlink(target, project.join(link)).unwrap();
        }
        let project = Context::of_project(&project, &[], &Progress::none()).unwrap();
        copy(&project, Path::new("/app"), &to).unwrap();
        let real = to.canonicalize().unwrap();
        for (link, leads) in [
            ("in", true),
            ("image", true),
            ("up", false),
            ("absolute", false),
            ("deep/round", false),
            ("deep/folder", true),
            ("deep/through", false),
        ] {
            let led = to.join("static").join(link).canonicalize().ok();
            assert_eq!(led.is_some(), leads, "{link}: {led:?}");
            assert!(led.is_none_or(|led| led.starts_with(&real)), "{link}");
        }
    }
}
