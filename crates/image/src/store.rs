//! A folder of blobs that were made on this machine, so that what did not change is neither compressed nor read again.
//!
//! Invariant: a file under a digest's name holds exactly that content: it is written under another name first. Many
//! processes may use one folder; whatever is missing is made again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nuages_model::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::gzip::{self, FORMAT};
use crate::members::Members;

/// The media type of the layers that are made here.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Unfinished files older than this belong to nobody.
const ABANDONED: Duration = Duration::from_hours(24);
/// What a layer became is remembered for longer than the layer: it is all that is needed while a registry has it.
const REMEMBERED: Duration = Duration::from_hours(90 * 24);

/// A folder of blobs.
///
/// ```
/// # fn main() -> Result<(), nuages_image::ImageError> {
/// # let folder = tempfile::tempdir().unwrap();
/// let store = nuages_image::BlobStore::open(folder.path())?;
/// let digest = store.put(b"hello")?;
/// assert_eq!(store.get(&digest)?.as_deref(), Some(&b"hello"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BlobStore {
    folder: PathBuf,
}

/// What an uncompressed layer became, or which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    size: u64,
}

/// A layer before it has its name.
struct Unfinished {
    file: tempfile::NamedTempFile,
    made: gzip::Compressed,
}

impl BlobStore {
    /// Opens a folder, and makes it if there is none.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let store = Self { folder: folder.into() };
        for part in [
            store.blobs(),
            store.layers(),
            store.members().folder,
            store.archived(),
            store.selections(),
            store.contents(),
            store.packages(),
            store.roots(),
            store.bytecode(),
            store.collected(),
            store.unfinished(),
        ] {
            fs::create_dir_all(&part).map_err(ImageError::file("make the folder", part))?;
        }
        Ok(store)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("sha256")
    }

    fn layers(&self) -> PathBuf {
        self.folder.join(FORMAT)
    }

    /// Where the compressed blocks of layers stand.
    pub(crate) fn members(&self) -> Members {
        Members {
            folder: self.folder.join(format!("{FORMAT}-members")),
            blobs: self.blobs(),
        }
    }

    fn archived(&self) -> PathBuf {
        self.folder.join("archived")
    }

    pub(crate) fn unfinished(&self) -> PathBuf {
        self.folder.join("unfinished")
    }

    pub(crate) fn contents(&self) -> PathBuf {
        self.folder.join("contents")
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    /// Base images, unpacked.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.join("roots")
    }

    /// What modules were compiled to.
    pub(crate) fn bytecode(&self) -> PathBuf {
        self.folder.join("bytecode")
    }

    /// Static files, and what was read to collect them.
    pub(crate) fn collected(&self) -> PathBuf {
        self.folder.join("collected")
    }

    /// A folder of the cache counts as used just now.
    pub(crate) fn touch(&self, folder: &Path) {
        debug_assert!(folder.starts_with(&self.folder), "only what is the cache's");
        // Pruning only removes what was not used for longest; where a folder takes no time it goes earlier.
        let _ = fs::File::open(folder).and_then(|folder| folder.set_modified(SystemTime::now()));
    }

    fn selections(&self) -> PathBuf {
        self.folder.join("selected")
    }

    /// Where a blob stands, or would.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Whether a blob is there. It then counts as used just now.
    pub fn has(&self, digest: &Digest) -> bool {
        let Ok(file) = fs::File::options().append(true).open(self.path(digest)) else {
            return false;
        };
        // Pruning only removes what was not used for longest; a file system without times prunes at random.
        let _ = file.set_modified(SystemTime::now());
        true
    }

    /// Reads a small blob.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ImageError> {
        let path = self.path(digest);
        match fs::read(&path) {
            // A file that a crash of the machine cut short is as good as none.
            Ok(content) => Ok((Digest::of(&content) == *digest).then_some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::file("read", path)(error)),
        }
    }

    /// Keeps a small blob.
    pub fn put(&self, content: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(content);
        let path = self.unfinished_name();
        fs::write(&path, content).map_err(ImageError::file("write", &path))?;
        Self::finish(&path, &self.path(&digest))?;
        Ok(digest)
    }

    /// What a layer became when it was last compressed, if that is known.
    pub fn layer(&self, diff_id: &Digest) -> Option<Descriptor> {
        let known = Self::recall(&self.layers().join(diff_id.hex()))?;
        Some(Descriptor {
            media_type: LAYER.into(),
            digest: known.digest,
            size: known.size,
        })
    }

    /// Which layer stood under this name in an engine's archive. Docker makes the name from the digests of the layer and of
    /// all below it, so it never stands for two; that the length is the same is asked all the same.
    pub(crate) fn archived_layer(&self, name: &str, size: u64) -> Option<Digest> {
        let known = Self::recall(&self.archived().join(Digest::of(name.as_bytes()).hex()))?;
        (known.size == size).then_some(known.digest)
    }

    pub(crate) fn remember_archived(&self, name: &str, size: u64, diff_id: &Digest) -> Result<(), ImageError> {
        let known = Known {
            digest: diff_id.clone(),
            size,
        };
        self.note(&known, &self.archived().join(Digest::of(name.as_bytes()).hex()))
    }

    pub(crate) fn note(&self, known: &impl Serialize, to: &Path) -> Result<(), ImageError> {
        let note = self.unfinished_name();
        fs::write(&note, serde_json::to_vec(known).unwrap_or_default()).map_err(ImageError::file("write", &note))?;
        Self::finish(&note, to)
    }

    /// Compresses a layer and keeps it. `None` if its content is not what `diff_id` says.
    pub(crate) fn put_layer(&self, mut layer: impl Read, diff_id: &Digest) -> Result<Option<Descriptor>, ImageError> {
        let unfinished = self.compress(|writer| {
            let path = self.unfinished();
            io::copy(&mut layer, writer).map_err(ImageError::file("write", path))?;
            Ok(())
        })?;
        if unfinished.made.diff_id != *diff_id {
            return Ok(None);
        }
        self.keep_layer(unfinished).map(Some)
    }

    /// Compresses a layer while it is written, and keeps it.
    pub(crate) fn write_layer(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<(Descriptor, Digest), ImageError> {
        let unfinished = self.compress(write)?;
        let diff_id = unfinished.made.diff_id.clone();
        Ok((self.keep_layer(unfinished)?, diff_id))
    }

    fn compress(&self, write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>) -> Result<Unfinished, ImageError> {
        let path = self.unfinished();
        let file = self.temporary().map_err(ImageError::file("write", &path))?;
        let writer = io::BufWriter::with_capacity(1024 * 1024, file);
        let mut compressor = gzip::Compressor::with(writer, Some(self.members()));
        write(&mut compressor)?;
        let (made, writer) = compressor.finish().map_err(ImageError::file("write", &path))?;
        let file = writer
            .into_inner()
            .map_err(|error| ImageError::file("write", path)(error.into_error()))?;
        Ok(Unfinished { file, made })
    }

    fn keep_layer(&self, unfinished: Unfinished) -> Result<Descriptor, ImageError> {
        let Unfinished { file, made } = unfinished;
        let path = self.path(&made.digest);
        file.persist(&path)
            .map_err(|error| ImageError::file("write", path)(error.error))?;
        self.members().remember(&made.digest, &made.places);
        let known = Known {
            digest: made.digest.clone(),
            size: made.size,
        };
        self.note(&known, &self.layers().join(made.diff_id.hex()))?;
        Ok(Descriptor {
            media_type: LAYER.into(),
            digest: made.digest,
            size: made.size,
        })
    }

    /// Which layer files in this state became.
    pub(crate) fn selected(&self, key: &Digest) -> Option<(Descriptor, Digest)> {
        let known = Self::recall(&self.selections().join(key.hex()))?;
        Some((self.layer(&known.digest)?, known.digest))
    }

    pub(crate) fn remember_selected(&self, key: &Digest, diff_id: &Digest) -> Result<(), ImageError> {
        let known = Known {
            digest: diff_id.clone(),
            size: 0,
        };
        self.note(&known, &self.selections().join(key.hex()))
    }

    /// What was noted there. It then counts as used just now.
    fn recall(path: &Path) -> Option<Known> {
        let known = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        if let Ok(file) = fs::File::options().append(true).open(path) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(known)
    }

    /// Keeps a blob whose digest is known, as it is. `false` if its content is another.
    pub(crate) fn put_exact(&self, mut content: impl Read, digest: &Digest) -> Result<bool, ImageError> {
        let path = self.unfinished_name();
        let copy = || -> io::Result<Digest> {
            let mut file = fs::File::create(&path)?;
            let mut hash = nuages_model::Sha256::new();
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = content.read(&mut buffer)?;
                if read == 0 {
                    return Ok(hash.finish());
                }
                hash.update(&buffer[..read]);
                file.write_all(&buffer[..read])?;
            }
        };
        let mut copy = copy;
        let found = copy().map_err(ImageError::file("write", &path))?;
        if found != *digest {
            let _ = fs::remove_file(&path);
            return Ok(false);
        }
        Self::finish(&path, &self.path(digest))?;
        Ok(true)
    }

    /// Removes the blobs that were not used for longest until no more than `keep` bytes are left, and answers how many
    /// bytes went.
    pub fn prune(&self, keep: u64) -> Result<u64, ImageError> {
        let now = SystemTime::now();
        for (folder, age) in [
            (self.unfinished(), ABANDONED),
            (self.layers(), REMEMBERED),
            (self.members().folder, REMEMBERED),
            (self.archived(), REMEMBERED),
            (self.selections(), REMEMBERED),
            (self.contents(), REMEMBERED),
        ] {
            for (time, _, path) in listed(&folder)? {
                if now.duration_since(time).is_ok_and(|old| old > age) {
                    let _ = fs::remove_file(path);
                }
            }
        }
        for folder in [
            self.roots(),
            self.bytecode(),
            self.collected(),
            self.packages(),
            self.unfinished(),
        ] {
            prune_folders(&folder, now)?;
        }
        // What another format of compression remembered.
        for entry in fs::read_dir(&self.folder)
            .map_err(ImageError::file("read the folder", &self.folder))?
            .flatten()
        {
            let ours = [self.layers(), self.members().folder].contains(&entry.path());
            if entry.file_name().to_string_lossy().starts_with("gzip") && !ours {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let mut blobs = listed(&self.blobs())?;
        blobs.sort_unstable_by_key(|(time, ..)| *time);
        let mut held: u64 = blobs.iter().map(|(_, size, _)| size).sum();
        let mut gone = 0;
        for (_, size, path) in blobs {
            if held <= keep {
                break;
            }
            if fs::remove_file(path).is_ok() {
                held -= size;
                gone += size;
            }
        }
        Ok(gone)
    }

    fn unfinished_name(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.unfinished().join(format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// A file of the store's own file system that goes when it is dropped.
    pub(crate) fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(self.unfinished())
    }

    fn finish(from: &Path, to: &Path) -> Result<(), ImageError> {
        fs::rename(from, to).map_err(ImageError::file("write", to))
    }

    /// Every blob with its size, for tests and for people.
    pub fn list(&self) -> Result<BTreeMap<String, u64>, ImageError> {
        let named = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        Ok(listed(&self.blobs())?
            .into_iter()
            .map(|(_, size, path)| (named(&path), size))
            .collect())
    }
}

/// Removes the folders that nobody used for long, and what was left unfinished.
fn prune_folders(folder: &Path, now: SystemTime) -> Result<(), ImageError> {
    let entries = fs::read_dir(folder).map_err(ImageError::file("read the folder", folder))?;
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let age = if entry.file_name().to_string_lossy().starts_with(".tmp") {
            ABANDONED
        } else {
            REMEMBERED
        };
        let used = metadata.modified().unwrap_or(now);
        if metadata.is_dir() && now.duration_since(used).is_ok_and(|old| old > age) {
            // Under another name first, so that nobody finds half of it.
            let name = format!(".tmp-pruned-{}", entry.file_name().to_string_lossy());
            let gone = folder.join(name);
            if fs::rename(entry.path(), &gone).is_ok() {
                let _ = fs::remove_dir_all(gone);
            }
        }
    }
    Ok(())
}

fn listed(folder: &Path) -> Result<Vec<(SystemTime, u64, PathBuf)>, ImageError> {
    let entries = fs::read_dir(folder).map_err(ImageError::file("read the folder", folder))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((
                metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                metadata.len(),
                entry.path(),
            ))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_compressed_once_and_remembered_after_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let content = b"layer".repeat(1000);
        let diff_id = Digest::of(&content);
        assert_eq!(store.layer(&diff_id), None);
        let made = store.put_layer(content.as_slice(), &diff_id).unwrap().unwrap();
        assert!(store.has(&made.digest));
        assert_eq!(store.layer(&diff_id), Some(made.clone()));
        assert_eq!(store.prune(0).unwrap(), made.size);
        assert!(!store.has(&made.digest));
        assert_eq!(store.layer(&diff_id), Some(made));
    }

    #[test]
    fn content_under_a_wrong_name_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        assert_eq!(store.put_layer(&b"a"[..], &Digest::of(b"b")).unwrap(), None);
        assert!(!store.put_exact(&b"a"[..], &Digest::of(b"b")).unwrap());
        assert!(store.put_exact(&b"a"[..], &Digest::of(b"a")).unwrap());
        assert_eq!(store.list().unwrap().len(), 1);
        // A file that the machine's crash cut short.
        fs::write(store.path(&Digest::of(b"a")), b"").unwrap();
        assert_eq!(store.get(&Digest::of(b"a")).unwrap(), None);
        assert_eq!(fs::read_dir(folder.path().join("unfinished")).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn folders_go_when_nobody_used_them_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let old = |name: &str, days: u64| {
            let made = store.roots().join(name);
            fs::create_dir_all(made.join("usr")).unwrap();
            fs::write(made.join("usr/python"), "x").unwrap();
            let then = SystemTime::now() - Duration::from_hours(24 * days);
            fs::File::open(&made).unwrap().set_modified(then).unwrap();
            made
        };
        let kept = [old("recent", 80), old("used", 100), old(".tmpnow", 0)];
        let gone = [old("old", 100), old(".tmpleft", 2)];
        store.touch(&kept[1]);
        store.prune(0).unwrap();
        assert!(kept.iter().all(|folder| folder.is_dir()));
        assert!(!gone.iter().any(|folder| folder.exists()));
        assert_eq!(fs::read_dir(store.roots()).unwrap().count(), kept.len());
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let old = store.put(&[1; 100]).unwrap();
        let used = store.put(&[2; 100]).unwrap();
        for digest in [&old, &used] {
            let file = fs::File::options().append(true).open(store.path(digest)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
                .unwrap();
        }
        assert!(store.has(&used));
        assert_eq!(store.prune(150).unwrap(), 100);
        assert!(store.has(&used) && !store.has(&old));
    }
}
