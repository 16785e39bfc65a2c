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
use std::path::{Component, Path, PathBuf};

use nuages_model::Progress;

use crate::ImageError;
use crate::dockerignore::Ignore;
use crate::nodes::{Node, Nodes};
use crate::tar_stream::TarStream;
use crate::tar_writer::TarWriter;
use crate::walk::{Walked, walk};

/// A Dockerfile that is not part of the context travels under this name.
const FOREIGN_DOCKERFILE: &str = ".nuages.Dockerfile";

/// Where a link leads that leads out of the project.
pub(crate) const NOWHERE: &str = ".not-in-the-project";

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
        let entries = list(root, &ignore, left_out, progress)?;
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

    /// As [`open_without`](Self::open_without), of a project that needs no Dockerfile. Where it has no `.dockerignore`, what
    /// no image needs is left out; modules that this machine compiled are, always.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let project = tempfile::tempdir()?;
    /// std::fs::write(project.path().join("manage.py"), "")?;
    /// std::fs::write(project.path().join(".env"), "SECRET_KEY=mine")?;
    /// let context = nuages_image::Context::of_project(project.path(), &[], &nuages_model::Progress::none())?;
    /// let paths: Vec<_> = context.entries().iter().map(|entry| entry.path.to_str().unwrap()).collect();
    /// assert_eq!(paths, ["manage.py"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_project(root: &Path, left_out: &[PathBuf], progress: &Progress) -> Result<Self, ImageError> {
        let entries = list(root, &Ignore::of_project(root)?, left_out, progress)?;
        let secret = |entry: &&Entry| entry.path.file_name().is_some_and(|name| name == ".env");
        if let Some(entry) = entries.iter().find(secret) {
            progress.warning(format!(
                "{} is part of the image: list it in .dockerignore, and name what it holds under `[secrets]`",
                entry.path.display()
            ));
        }
        Ok(Self {
            root: root.to_owned(),
            entries,
            dockerfile: root.join("Dockerfile"),
            dockerfile_text: Vec::new(),
            own_dockerfile: None,
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

    /// Its files as the image will have them: where links lead, and where they lead nowhere. Above the project the image has
    /// folders that are not known here.
    pub(crate) fn nodes<F: Clone>(&self, working_dir: &Path, file: impl Fn(&Entry) -> F) -> Nodes<F> {
        let mut nodes = Nodes::default();
        for entry in &self.entries {
            let node = match &entry.kind {
                EntryKind::Folder => Node::Folder,
                EntryKind::File { .. } => Node::File(file(entry)),
                EntryKind::Link { target } => Node::Link(match target.strip_prefix(working_dir) {
                    Ok(below) => Path::new("/").join(below),
                    Err(_) if !target.is_absolute() && stays(&entry.path, target) => target.clone(),
                    Err(_) => NOWHERE.into(),
                }),
            };
            nodes.insert(&entry.path, node);
        }
        nodes
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

    /// The context as a tar stream. The error that ends it early is the reader's to take from [`TarStream::failure`]:
    /// the engine would only say that the stream broke.
    pub fn stream(self, progress: &Progress) -> TarStream {
        let progress = progress.clone();
        TarStream::of(move |writer| self.write(writer, &progress))
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

/// What `ignore` leaves in, and warnings of what people do not expect.
fn list(root: &Path, ignore: &Ignore, left_out: &[PathBuf], progress: &Progress) -> Result<Vec<Entry>, ImageError> {
    let Walked { entries, passed_over } = walk(root, ignore, left_out)?;
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
        progress.warning("`.git` is part of the build, so every commit makes another image; list it in .dockerignore");
    }
    Ok(entries)
}

/// Whether a relative link stays in the project.
fn stays(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::ParentDir if depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    true
}
