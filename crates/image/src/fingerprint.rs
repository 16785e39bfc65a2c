//! A digest of all that a build may see, without reading again what did not change.
//!
//! What was read is remembered in the project's own folder with the file's state: size, times, number, mode. A file in the
//! same state has the same content, with one exception that git calls racy: it was written again so soon after it was read
//! that the clock had not moved. So a file that changed shortly before it was read is not remembered.
//!
//! Invariant: the fingerprint depends on paths, modes, links and contents alone; the memory only saves time, and a broken
//! one is no error.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nuages_model::{Digest, Sha256};
use serde::{Deserialize, Serialize};

use crate::context::{Entry, EntryKind, Stamp};
use crate::{Context, ImageError};

/// File systems count time in steps of up to two seconds (FAT), and their clock may be another machine's.
pub(crate) const RACY: i64 = 3_000_000_000;

/// The memory's format; another one is forgotten.
const FORMAT: u32 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    format: u32,
    files: BTreeMap<String, (Stamp, Digest)>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The digest of the whole context.
    pub digest: Digest,
    /// Files that were read to know it; the others were remembered.
    pub read: usize,
    /// The content of each file, by its path in the context. What has no name in UTF-8 is left out.
    pub files: BTreeMap<String, Digest>,
}

impl Context {
    /// The context's fingerprint. `memory` is a file that this function reads and writes, such as
    /// `.nuages/context.json`. Blocks while it reads.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let project = tempfile::tempdir()?;
    /// std::fs::write(project.path().join("Dockerfile"), "FROM scratch\n")?;
    /// let open = || nuages_image::Context::open(project.path(), "Dockerfile".as_ref(), &nuages_model::Progress::none());
    /// let before = open()?.fingerprint(None)?;
    /// std::fs::write(project.path().join("settings.py"), "DEBUG = True\n")?;
    /// assert_ne!(before.digest, open()?.fingerprint(None)?.digest);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fingerprint(&self, memory: Option<&Path>) -> Result<Fingerprint, ImageError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let now = now
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .unwrap_or_default();
        self.fingerprint_at(memory, now)
    }

    fn fingerprint_at(&self, memory: Option<&Path>, now: i64) -> Result<Fingerprint, ImageError> {
        let mut known = memory.map(recall).unwrap_or_default();
        let mut next = Memory {
            format: FORMAT,
            files: BTreeMap::new(),
        };
        let mut hash = Sha256::new();
        let mut read = 0;
        let mut changed = false;
        let mut files = BTreeMap::new();
        for entry in self.entries() {
            // Names are bytes to the file system; what is no UTF-8 is read every time, and hashed as it is.
            let name = entry.path.as_os_str().as_encoded_bytes();
            let mut part = |kind: u8, content: &[u8]| {
                hash.update(&[kind]);
                hash.update(&(name.len() as u64).to_le_bytes());
                hash.update(name);
                hash.update(&(content.len() as u64).to_le_bytes());
                hash.update(content);
            };
            match &entry.kind {
                EntryKind::Folder => part(b'd', &[]),
                EntryKind::Link { target } => part(b'l', target.as_os_str().as_encoded_bytes()),
                EntryKind::File { executable, .. } => {
                    let key = entry.path.to_str();
                    let remembered = key.and_then(|key| known.files.remove(key));
                    let digest = match remembered {
                        Some((stamp, digest)) if stamp == entry.stamp => digest,
                        _ => {
                            read += 1;
                            changed = true;
                            self.digest_of(entry)?
                        }
                    };
                    part(if *executable { b'x' } else { b'f' }, digest.hex().as_bytes());
                    let settled = entry.stamp.mtime.max(entry.stamp.ctime) < now.saturating_sub(RACY);
                    if let Some(key) = key {
                        files.insert(key.to_owned(), digest.clone());
                    }
                    if let Some(key) = key.filter(|_| settled) {
                        next.files.insert(key.to_owned(), (entry.stamp, digest));
                    }
                }
            }
        }
        if let Some(path) = memory.filter(|_| changed || !known.files.is_empty()) {
            remember(path, &next);
        }
        Ok(Fingerprint {
            digest: hash.finish(),
            read,
            files,
        })
    }

    fn digest_of(&self, entry: &Entry) -> Result<Digest, ImageError> {
        let path: PathBuf = self.root().join(&entry.path);
        let mut file = std::fs::File::open(&path).map_err(ImageError::file("read", &path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hash.finish()),
                Ok(read) => hash.update(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImageError::file("read", path)(error)),
            }
        }
    }
}

fn recall(path: &Path) -> Memory {
    let memory: Option<Memory> = std::fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    memory.filter(|memory| memory.format == FORMAT).unwrap_or_default()
}

/// Whole or not at all: two processes may do this at once.
fn remember(path: &Path, memory: &Memory) {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(memory)?)?;
        file.persist(path)?;
        Ok(())
    };
    // Without it the next run reads the files again.
    if let Err(error) = write() {
        tracing::debug!(%error, path = %path.display(), "the memory of what was read could not be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuages_model::Progress;

    fn project() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        std::fs::write(folder.path().join("a.py"), "1").unwrap();
        folder
    }

    fn open(folder: &Path) -> Context {
        Context::open(folder, "Dockerfile".as_ref(), &Progress::none()).unwrap()
    }

    fn now() -> i64 {
        i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
    }

    #[test]
    fn what_did_not_change_is_not_read() {
        let folder = project();
        let memory = folder.path().join(".nuages/context.json");
        let later = now() + 2 * RACY;
        let first = open(folder.path()).fingerprint_at(Some(&memory), later).unwrap();
        assert_eq!(first.read, 2);
        let second = open(folder.path()).fingerprint_at(Some(&memory), later).unwrap();
        assert_eq!((second.read, &second.digest), (0, &first.digest));
        // The memory changes nothing about the result.
        assert_eq!(open(folder.path()).fingerprint(None).unwrap().digest, first.digest);

        std::fs::write(folder.path().join("a.py"), "2").unwrap();
        let third = open(folder.path()).fingerprint_at(Some(&memory), later).unwrap();
        assert_eq!(third.read, 1);
        assert_ne!(third.digest, first.digest);

        std::fs::write(&memory, "broken").unwrap();
        let fourth = open(folder.path()).fingerprint_at(Some(&memory), later).unwrap();
        assert_eq!((fourth.read, fourth.digest), (2, third.digest));
    }

    #[test]
    fn what_changed_just_now_is_read_again() {
        let folder = project();
        let memory = folder.path().join(".nuages/context.json");
        // All in one tick of the clock: the size and the times are the same, the content is not.
        assert_eq!(open(folder.path()).fingerprint(Some(&memory)).unwrap().read, 2);
        assert_eq!(open(folder.path()).fingerprint(Some(&memory)).unwrap().read, 2);
    }

    #[cfg(unix)]
    #[test]
    fn tells_what_makes_a_difference() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = project();
        let path = folder.path().join("a.py");
        let print = || open(folder.path()).fingerprint(None).unwrap().digest;
        let mut seen = vec![print()];
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o755);
        seen.push(print());
        std::fs::rename(&path, folder.path().join("b.py")).unwrap();
        seen.push(print());
        symlink("b.py", &path).unwrap();
        seen.push(print());
        std::fs::remove_file(&path).unwrap();
        symlink("c.py", &path).unwrap();
        seen.push(print());
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        seen.push(print());
        std::fs::write(folder.path().join(".dockerignore"), "b.py\n").unwrap();
        seen.push(print());
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());

        // What makes none: the umask, times, our own folder, what is left out.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1").unwrap();
        mode(0o600);
        let before = print();
        mode(0o664);
        std::fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(UNIX_EPOCH)
            .unwrap();
        std::fs::create_dir(folder.path().join(".nuages")).unwrap();
        std::fs::write(folder.path().join(".nuages/journal"), "x").unwrap();
        std::fs::write(folder.path().join("b.py"), "other").unwrap();
        assert_eq!(print(), before);
    }
}
