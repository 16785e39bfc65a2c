//! The build context: the files of a project that a build may see, in one order, as one stream.
//!
//! What makes a difference between two machines and not between two projects is levelled: owner, time stamps, the umask
//! (a file is 0644, or 0755 if its owner may execute it). Symbolic links stay links and are never followed; sockets,
//! devices and pipes are passed over with a warning. nuages' own folder, `.nuages`, never enters, nor do files that the
//! caller names: a store of records is written to in every run, and would make every build another one.
//!
//! Invariant: the stream holds memory for a few chunks, however large the project is.

use std::fs::Metadata;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use nuages_model::Progress;
use tokio::sync::mpsc;

use crate::ImageError;
use crate::dockerignore::Ignore;
use crate::tar_writer::TarWriter;
use crate::walk::{Walked, walk};

/// A Dockerfile that is not part of the context travels under this name.
const FOREIGN_DOCKERFILE: &str = ".nuages.Dockerfile";

/// One entry of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path within the context, as this system writes it.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// What tells this state of the file from another without reading it.
    pub stamp: Stamp,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its length.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// Where it points to, as written.
        target: PathBuf,
    },
}

/// What the file system says of a file's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Length.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds.
    pub mtime: i64,
    /// Time of the last change of anything, in nanoseconds.
    pub ctime: i64,
    /// Number of the file in its file system.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
}

impl Stamp {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            size: metadata.len(),
            mtime: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
            ctime: metadata
                .ctime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.ctime_nsec()),
            inode: metadata.ino(),
            mode: metadata.mode(),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let since = |time: std::io::Result<std::time::SystemTime>| {
            time.ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                .and_then(|since| i64::try_from(since.as_nanos()).ok())
                .unwrap_or_default()
        };
        let mtime = since(metadata.modified());
        Self {
            size: metadata.len(),
            mtime,
            ctime: mtime,
            inode: 0,
            mode: 0,
        }
    }
}

/// A project's files as a build sees them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let project = tempfile::tempdir()?;
/// std::fs::write(project.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n")?;
/// std::fs::write(project.path().join(".dockerignore"), "*.log\n")?;
/// std::fs::write(project.path().join("debug.log"), "")?;
/// let context = nuages_image::Context::open(project.path(), "Dockerfile".as_ref(), &nuages_model::Progress::none())?;
/// let paths: Vec<_> = context.entries().iter().map(|entry| entry.path.to_str().unwrap()).collect();
/// assert_eq!(paths, [".dockerignore", "Dockerfile"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Context {
    root: PathBuf,
    entries: Vec<Entry>,
    dockerfile: PathBuf,
    dockerfile_text: Vec<u8>,
    own_dockerfile: Option<String>,
}

impl Context {
    /// Lists the files of `root` that `.dockerignore` leaves in. The Dockerfile may stand anywhere; a relative path is
    /// relative to `root`. Blocks while it walks.
    pub fn open(root: &Path, dockerfile: &Path, progress: &Progress) -> Result<Self, ImageError> {
        Self::open_without(root, dockerfile, &[], progress)
    }

    /// As [`open`](Self::open), without these files, wherever they are.
    pub fn open_without(
        root: &Path,
        dockerfile: &Path,
        left_out: &[PathBuf],
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        let dockerfile = root.join(dockerfile);
        let dockerfile_text = std::fs::read(&dockerfile).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ImageError::NoDockerfile {
                path: dockerfile.clone(),
            },
            _ => ImageError::file("read", &dockerfile)(error),
        })?;
        let ignore = Ignore::read(root, &dockerfile)?;
        let Walked { entries, passed_over } = walk(root, &ignore, left_out)?;
        if let Some(first) = passed_over.first() {
            let more = if passed_over.len() > 1 {
                format!(" and {} more", passed_over.len() - 1)
            } else {
                String::new()
            };
            progress.warning(format!(
                "{}{more}: sockets, pipes and devices are not part of a build",
                first.display()
            ));
        }
        if entries
            .iter()
            .any(|entry| entry.path == Path::new(".git") && entry.kind == EntryKind::Folder)
        {
            progress
                .warning("`.git` is part of the build, so every commit makes another image; list it in .dockerignore");
        }
        let own_dockerfile = dockerfile.strip_prefix(root).ok().and_then(|relative| {
            let listed = entries
                .iter()
                .any(|e| e.path == relative && matches!(e.kind, EntryKind::File { .. }));
            relative
                .to_str()
                .filter(|_| listed)
                .map(|path| path.replace(std::path::MAIN_SEPARATOR, "/"))
        });
        Ok(Self {
            root: root.to_owned(),
            entries,
            dockerfile,
            dockerfile_text,
            own_dockerfile,
        })
    }

    /// The entries, every folder before what it holds.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the Dockerfile stands on this machine.
    pub fn dockerfile(&self) -> &Path {
        &self.dockerfile
    }

    /// The Dockerfile's content.
    pub fn dockerfile_text(&self) -> &[u8] {
        &self.dockerfile_text
    }

    /// The Dockerfile's path within the stream: its own, or one of ours where `.dockerignore` leaves it out or it stands
    /// outside.
    pub fn dockerfile_name(&self) -> &str {
        self.own_dockerfile.as_deref().unwrap_or(FOREIGN_DOCKERFILE)
    }

    /// The length of all files.
    pub fn size(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| {
                if let EntryKind::File { size, .. } = entry.kind {
                    size
                } else {
                    0
                }
            })
            .sum()
    }

    /// The context as a tar stream. The error that ends it early is the reader's to take from [`ContextStream::failure`]:
    /// the engine would only say that the stream broke.
    pub fn stream(self, progress: &Progress) -> ContextStream {
        let (sender, receiver) = mpsc::channel(8);
        let failure = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&failure);
        let progress = progress.clone();
        tokio::task::spawn_blocking(move || {
            let mut writer = ChunkWriter {
                sender,
                chunk: Vec::with_capacity(CHUNK),
            };
            let done = self
                .write(&mut writer, &progress)
                .and_then(|()| writer.flush().map_err(ImageError::file("send", &self.root)));
            if let Err(error) = done {
                // Nobody reads any more: the build ended first, and its own error says why.
                let gone = matches!(&error, ImageError::File { what: "send", .. });
                if !gone {
                    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    let _ = writer
                        .sender
                        .blocking_send(Err(std::io::Error::other("the build context could not be read")));
                }
            }
        });
        ContextStream { receiver, failure }
    }

    /// Writes the context as a tar. Blocks.
    pub fn write(&self, writer: &mut dyn Write, progress: &Progress) -> Result<(), ImageError> {
        let mut tar = TarWriter::new(writer, &self.root);
        let (mut done, total) = (0, self.size());
        for entry in &self.entries {
            match &entry.kind {
                EntryKind::Folder => tar.folder(&entry.path)?,
                EntryKind::Link { target } => tar.link(&entry.path, target)?,
                EntryKind::File { size, executable } => {
                    tar.file(&entry.path, &self.root.join(&entry.path), *size, *executable)?;
                    done += size;
                    progress.bytes("build context", done, Some(total));
                }
            }
        }
        if self.own_dockerfile.is_none() {
            tar.bytes(Path::new(FOREIGN_DOCKERFILE), &self.dockerfile_text, false)?;
        }
        tar.finish()
    }
}

/// A running tar stream of a context.
#[derive(Debug)]
pub struct ContextStream {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    failure: Arc<Mutex<Option<ImageError>>>,
}

/// Where a [`ContextStream`] leaves the reason for its early end.
#[derive(Debug, Clone)]
pub struct ContextFailure(Arc<Mutex<Option<ImageError>>>);

impl ContextFailure {
    /// The reason, once.
    pub fn take(&self) -> Option<ImageError> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl ContextStream {
    /// Where to look for the reason if the stream ends in an error.
    pub fn failure(&self) -> ContextFailure {
        ContextFailure(Arc::clone(&self.failure))
    }
}

impl futures_util::Stream for ContextStream {
    type Item = std::io::Result<Bytes>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx)
    }
}

const CHUNK: usize = 128 * 1024;

struct ChunkWriter {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, content: &[u8]) -> std::io::Result<usize> {
        let take = content.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&content[..take]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}
