//! Which files of a folder a build sees, in one order.
//!
//! Invariant: a folder that is left out is entered only where something below it may be kept, and stands in the list only
//! if something is.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::ImageError;
use crate::context::{Entry, EntryKind, Stamp};
use crate::dockerignore::{Ignore, Verdict};

/// nuages' own folder in a project.
const OWN_FOLDER: &str = ".nuages";

/// What was found.
pub(crate) struct Walked {
    /// Every folder before what it holds.
    pub(crate) entries: Vec<Entry>,
    /// What is neither file, folder nor link.
    pub(crate) passed_over: Vec<PathBuf>,
}

/// Walks `root`, without `left_out` and what `ignore` leaves out.
pub(crate) fn walk(root: &Path, ignore: &Ignore, left_out: &[PathBuf]) -> Result<Walked, ImageError> {
    let mut walk = Walk {
        root,
        ignore,
        left_out: below(root, left_out),
        entries: Vec::new(),
        passed_over: Vec::new(),
    };
    walk.folder(Path::new(""), "", None, &mut Vec::new())?;
    let Walk {
        entries, passed_over, ..
    } = walk;
    Ok(Walked { entries, passed_over })
}

/// Those of `files` that lie in `root`, as the walk meets them. Links on the way there are followed, as the system does.
fn below(root: &Path, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let Ok(root) = root.canonicalize() else {
        return BTreeSet::new();
    };
    let real = |file: &PathBuf| {
        let folder = std::path::absolute(file).ok()?.parent()?.canonicalize().ok()?;
        Some(folder.join(file.file_name()?).strip_prefix(&root).ok()?.to_owned())
    };
    files.iter().filter_map(real).collect()
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

// Windows knows no such permission; Docker's own client marks everything there.
#[cfg(not(unix))]
fn is_executable(_metadata: &Metadata) -> bool {
    true
}

/// What is no folder, as an entry. `None` if it is neither a file nor a link.
pub(crate) fn entry(metadata: &Metadata, full: &Path, path: PathBuf) -> Result<Option<Entry>, ImageError> {
    let kind = metadata.file_type();
    let kind = if kind.is_symlink() {
        EntryKind::Link {
            target: std::fs::read_link(full).map_err(ImageError::file("read the link", full))?,
        }
    } else if kind.is_file() {
        EntryKind::File {
            size: metadata.len(),
            executable: is_executable(metadata),
        }
    } else {
        return Ok(None);
    };
    let stamp = Stamp::of(metadata);
    Ok(Some(Entry { path, kind, stamp }))
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    left_out: BTreeSet<PathBuf>,
    entries: Vec<Entry>,
    passed_over: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Walks one folder. `held_back` are the folders above that are left out themselves, and enter only with the first
    /// thing below them that is kept.
    fn folder(
        &mut self,
        relative: &Path,
        slashed: &str,
        verdict: Option<&Verdict>,
        held_back: &mut Vec<Entry>,
    ) -> Result<(), ImageError> {
        let path = self.root.join(relative);
        let mut children = std::fs::read_dir(&path)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(ImageError::file("read the folder", &path))?;
        children.sort_unstable();
        for name in children {
            if relative.as_os_str().is_empty() && name == OWN_FOLDER {
                continue;
            }
            let child = relative.join(&name);
            if self.left_out.contains(&child) {
                continue;
            }
            // Docker matches what is not UTF-8 with replacement characters, too.
            let name = name.to_string_lossy();
            let child_slashed = if slashed.is_empty() {
                name.into_owned()
            } else {
                format!("{slashed}/{name}")
            };
            let child_verdict = self.ignore.check(&child_slashed, verdict);
            let full = self.root.join(&child);
            let metadata = match std::fs::symlink_metadata(&full) {
                Ok(metadata) => metadata,
                Err(_) if child_verdict.excluded => continue,
                Err(error) => return Err(ImageError::file("read", full)(error)),
            };
            let stamp = Stamp::of(&metadata);
            let kind = metadata.file_type();
            if kind.is_dir() {
                if child_verdict.excluded && !self.ignore.may_keep_below(&child_slashed) {
                    continue;
                }
                let entry = Entry {
                    path: child.clone(),
                    kind: EntryKind::Folder,
                    stamp,
                };
                if child_verdict.excluded {
                    held_back.push(entry);
                    let depth = held_back.len();
                    self.folder(&child, &child_slashed, Some(&child_verdict), held_back)?;
                    // Still there if nothing below was kept.
                    if held_back.len() == depth {
                        held_back.pop();
                    }
                } else {
                    self.entries.append(held_back);
                    self.entries.push(entry);
                    self.folder(&child, &child_slashed, Some(&child_verdict), held_back)?;
                }
                continue;
            }
            if child_verdict.excluded {
                continue;
            }
            match entry(&metadata, &full, child.clone())? {
                Some(entry) => {
                    self.entries.append(held_back);
                    self.entries.push(entry);
                }
                None => self.passed_over.push(child),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn seen(root: &Path, left_out: &[PathBuf]) -> Vec<String> {
        let walked = walk(root, &Ignore::default(), left_out).unwrap();
        let name = |entry: &Entry| entry.path.to_str().unwrap().replace(std::path::MAIN_SEPARATOR, "/");
        walked.entries.iter().map(name).collect()
    }

    #[test]
    fn a_store_in_the_project_is_not_the_builds() {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        for file in [
            "manage.py",
            "records/mine.db",
            "records/mine.db-wal",
            "records/notes.txt",
            ".nuages/nuages.db",
        ] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), file).unwrap();
        }
        let store = ["", "-wal", "-shm"].map(|end| root.join(format!("records/mine.db{end}")));
        assert_eq!(seen(root, &store), ["manage.py", "records", "records/notes.txt"]);
        // Files elsewhere, and those that are not there, are nobody's business here.
        let elsewhere = [PathBuf::from("/nowhere/manage.py"), root.join("../manage.py")];
        assert_eq!(seen(root, &elsewhere).len(), 5);
    }

    #[cfg(unix)]
    #[test]
    fn a_store_is_known_under_another_path_too() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("app");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("nuages.db"), "").unwrap();
        std::os::unix::fs::symlink(&root, folder.path().join("link")).unwrap();
        assert_eq!(seen(&root, &[folder.path().join("link/nuages.db")]), [""; 0]);
    }
}
