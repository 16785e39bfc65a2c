//! What a run read, and whether one now would read the same.
//!
//! Invariant: a trace holds only where every file, every listing and every look of the run would give what it gave then.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nuages_model::{Digest, Sha256};
use serde::{Deserialize, Serialize};

use super::{Asked, Found};
use crate::nodes::{Node, Nodes};

/// Where it stands.
pub(super) const FILE: &str = "trace.json";
const FORMAT: u32 = 1;
/// Files of this machine that are longer were not read for settings.
const LONGEST: u64 = 16 << 20;

/// Paths, as the run saw them.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Reads {
    read: Vec<PathBuf>,
    listed: Vec<PathBuf>,
    /// Whether they are there, and what they are.
    looked: Vec<PathBuf>,
    /// Whether other programs were started, of which nothing is known.
    children: bool,
}

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Trace {
    format: u32,
    /// Of the project, by their paths there.
    project: BTreeMap<PathBuf, Seen>,
    /// Of this machine.
    machine: BTreeMap<PathBuf, Seen>,
    /// The whole project, where more was read than is known.
    whole: Option<Digest>,
    pub(super) found: Found,
}

/// What there was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Seen {
    Nothing,
    /// Something that was only looked at.
    File,
    Folder,
    /// Something that was read: a file's content, or a folder's names.
    Content(Digest),
}

/// The project as the image will have it.
pub(super) struct Project {
    nodes: Nodes<Option<Digest>>,
    names: BTreeMap<PathBuf, Digest>,
    whole: Digest,
}

impl Project {
    pub(super) fn of(asked: &Asked<'_>) -> Self {
        let files = &asked.fingerprint.files;
        let nodes = asked.project.nodes(Path::new(asked.working_dir), |entry| {
            entry.path.to_str().and_then(|path| files.get(path)).cloned()
        });
        let mut names: BTreeMap<PathBuf, Sha256> = BTreeMap::new();
        for (path, _) in nodes.iter() {
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            let hash = names.entry(folder.to_owned()).or_default();
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(b"\0");
        }
        Self {
            nodes,
            names: names.into_iter().map(|(path, hash)| (path, hash.finish())).collect(),
            whole: asked.fingerprint.digest.clone(),
        }
    }

    /// What is at a path; `closely` tells its content.
    fn seen(&self, path: &Path, closely: bool) -> Seen {
        let Some(real) = self.nodes.resolve(path) else {
            return Seen::Nothing;
        };
        match (self.nodes.get(&real), closely) {
            (Some(Node::File(_)), false) => Seen::File,
            (Some(Node::File(digest)), true) => digest.clone().map_or(Seen::File, Seen::Content),
            (_, false) => Seen::Folder,
            (_, true) => Seen::Content(self.names.get(&real).cloned().unwrap_or_else(|| Digest::of(b""))),
        }
    }

    fn is_there(&self, path: &Path) -> bool {
        self.seen(path, false) != Seen::Nothing
    }
}

/// The same of this machine. `None` for what is not to be remembered.
fn seen_here(path: &Path, closely: bool) -> Option<Seen> {
    let Ok(metadata) = fs::metadata(path) else {
        return Some(Seen::Nothing);
    };
    match (metadata.is_dir(), closely) {
        (true, false) => Some(Seen::Folder),
        (false, false) => Some(Seen::File),
        (true, true) => {
            let mut names: Vec<_> = fs::read_dir(path)
                .ok()?
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            names.sort();
            let names: Vec<&[u8]> = names.iter().map(|name| name.as_encoded_bytes()).collect();
            Some(Seen::Content(Digest::of(&names.join(&0))))
        }
        (false, true) if metadata.is_file() && metadata.len() <= LONGEST => {
            fs::read(path).ok().map(|content| Seen::Content(Digest::of(&content)))
        }
        (false, true) => None,
    }
}

impl Reads {
    pub(super) fn started_programs(&self) -> bool {
        self.children
    }

    /// A path of the image that the run looked for and that this machine has not.
    pub(super) fn only_in_image(&self, project: &Project, working_dir: &Path) -> Option<PathBuf> {
        let mut all = self.read.iter().chain(&self.listed).chain(&self.looked);
        let found = all.find(|path| {
            let below = path
                .strip_prefix(working_dir)
                .ok()
                .filter(|below| !below.as_os_str().is_empty());
            below.is_some_and(|below| project.is_there(below)) && !path.exists()
        });
        found.cloned()
    }

    /// `here` tells whether it ran on this machine, and not in a container of the base.
    pub(super) fn into_trace(
        self,
        found: Found,
        project: &Project,
        asked: &Asked<'_>,
        app: &Path,
        here: bool,
    ) -> Trace {
        let mut trace = Trace {
            format: FORMAT,
            project: BTreeMap::new(),
            machine: BTreeMap::new(),
            whole: self.children.then(|| asked.fingerprint.digest.clone()),
            found,
        };
        let closely = self.read.into_iter().chain(self.listed).map(|path| (path, true));
        for (path, closely) in self.looked.into_iter().map(|path| (path, false)).chain(closely) {
            if let Ok(below) = path.strip_prefix(app) {
                trace.project.insert(below.to_owned(), project.seen(below, closely));
            } else if here {
                match seen_here(&path, closely) {
                    Some(seen) => {
                        trace.machine.insert(path, seen);
                    }
                    None => trace.whole = Some(asked.fingerprint.digest.clone()),
                }
            }
        }
        trace
    }
}

impl Trace {
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let trace: Self = serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()?;
        (trace.format == FORMAT).then_some(trace)
    }

    /// Whether a run now would read the same.
    pub(super) fn holds(&self, project: &Project) -> bool {
        let closely = |seen: &Seen| matches!(seen, Seen::Content(_));
        let mut own = self.project.iter();
        let mut machine = self.machine.iter();
        self.whole.as_ref().is_none_or(|whole| *whole == project.whole)
            && own.all(|(path, seen)| match seen {
                // What was not there is not read closely.
                Seen::Nothing => !project.is_there(path),
                seen => project.seen(path, closely(seen)) == *seen,
            })
            && machine.all(|(path, seen)| match seen {
                Seen::Nothing => !path.exists(),
                seen => seen_here(path, closely(seen)).as_ref() == Some(seen),
            })
    }

    /// Another for each that reads otherwise.
    pub(super) fn name(&self) -> String {
        Digest::of(&serde_json::to_vec(self).unwrap_or_default()).hex()[..32].to_owned()
    }
}

/// Removes the oldest runs.
pub(super) fn forget_oldest(folder: &Path, most: usize) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let made = |entry: &fs::DirEntry| entry.metadata().and_then(|metadata| metadata.modified());
    let mut runs: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| Some((made(&entry).ok()?, entry.path())))
        .collect();
    runs.sort();
    let many = runs.len().saturating_sub(most);
    for (_, run) in runs.into_iter().take(many) {
        let _ = fs::remove_dir_all(run);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Context, Packages};
    use nuages_model::Progress;

    /// Whether a trace of these looks holds after a change of the project.
    fn holds_after(change: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("blog/static")).unwrap();
        for (path, text) in [
            ("blog/settings.py", "a"),
            ("blog/views.py", "b"),
            ("blog/static/site.css", "c"),
            ("README", "d"),
        ] {
            fs::write(at(path), text).unwrap();
        }
        let packages = Packages::named(&[]);
        let look = |reads: &dyn Fn(Asked<'_>) -> bool| {
            let project = Context::of_project(folder.path(), &[], &Progress::none()).unwrap();
            let fingerprint = project.fingerprint(None).unwrap();
            reads(Asked {
                project: &project,
                fingerprint: &fingerprint,
                packages: &packages,
                working_dir: "/app",
                manage: Path::new("manage.py"),
                import_roots: &[],
                env: &BTreeMap::new(),
                limit: Duration::from_secs(1),
            })
        };
        let app = |path: &str| Path::new("/run/app").join(path);
        let reads = Reads {
            read: vec![app("blog/settings.py"), app("blog/static/site.css")],
            listed: vec![app("blog/static"), app("assets")],
            looked: vec![app("blog/views.py"), app("local.py")],
            children: false,
        };
        let trace = std::cell::OnceCell::new();
        look(&|asked| {
            let found = Found::Nothing { why: String::new() };
            trace
                .set(
                    reads
                        .clone()
                        .into_trace(found, &Project::of(&asked), &asked, Path::new("/run/app"), true),
                )
                .unwrap();
            true
        });
        change(folder.path());
        look(&|asked| trace.get().unwrap().holds(&Project::of(&asked)))
    }

    #[test]
    fn what_was_not_read_makes_no_difference() {
        assert!(holds_after(|_| {}));
        assert!(holds_after(
            |project| fs::write(project.join("README"), "other").unwrap()
        ));
        assert!(holds_after(
            |project| fs::write(project.join("blog/views.py"), "other").unwrap()
        ));
        assert!(holds_after(
            |project| fs::write(project.join("blog/new.py"), "x").unwrap()
        ));
    }

    #[test]
    fn what_was_read_listed_or_missed_does() {
        assert!(!holds_after(|project| fs::write(
            project.join("blog/settings.py"),
            "other"
        )
        .unwrap()));
        assert!(!holds_after(|project| fs::write(
            project.join("blog/static/site.css"),
            "d{}"
        )
        .unwrap()));
        assert!(!holds_after(|project| fs::write(
            project.join("blog/static/new.css"),
            ""
        )
        .unwrap()));
        assert!(!holds_after(|project| fs::remove_file(
            project.join("blog/static/site.css")
        )
        .unwrap()));
        assert!(!holds_after(
            |project| fs::remove_file(project.join("blog/views.py")).unwrap()
        ));
        assert!(!holds_after(|project| fs::write(project.join("local.py"), "").unwrap()));
        assert!(!holds_after(|project| fs::create_dir(project.join("assets")).unwrap()));
    }

    #[test]
    fn what_a_container_read_is_not_this_machine_s() {
        let folder = tempfile::tempdir().unwrap();
        let project = Context::of_project(folder.path(), &[], &Progress::none()).unwrap();
        let fingerprint = project.fingerprint(None).unwrap();
        let asked = Asked {
            project: &project,
            fingerprint: &fingerprint,
            packages: &Packages::named(&[]),
            working_dir: "/app",
            manage: Path::new("manage.py"),
            import_roots: &[],
            env: &BTreeMap::new(),
            limit: Duration::from_secs(1),
        };
        let trace = |here: bool| {
            let reads = Reads {
                read: Vec::new(),
                listed: Vec::new(),
                looked: vec![folder.path().to_owned(), "/app/local.py".into()],
                children: false,
            };
            let found = Found::Nothing { why: String::new() };
            reads.into_trace(found, &Project::of(&asked), &asked, Path::new("/app"), here)
        };
        let seen = |here: bool| (trace(here).project.len(), trace(here).machine.len());
        assert_eq!((seen(true), seen(false)), ((1, 1), (1, 0)));
    }

    #[test]
    fn the_oldest_runs_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        for age in 0..5_u64 {
            let run = folder.path().join(age.to_string());
            fs::create_dir(&run).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age * 100);
            fs::File::open(&run).unwrap().set_modified(then).unwrap();
        }
        forget_oldest(folder.path(), 2);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["0", "1"]);
    }
}
