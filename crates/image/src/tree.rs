//! What a layer holds: files, folders and links, by their paths in the image.
//!
//! Invariant: no path leads out of the image. Names, contents, links and who may execute what decide a layer's bytes; on
//! which machine and when they were written makes no difference.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nuages_model::{Digest, Sha256};

use crate::context::{Entry, EntryKind, Stamp};
use crate::dockerignore::Ignore;
use crate::fingerprint::RACY;
use crate::tar_writer::TarWriter;
use crate::walk::walk;
use crate::{Context, ImageError};

/// Names what decides a layer's bytes besides its entries. It changes with the way in which they are written.
pub(crate) const FORMAT: &str = "tree-1";

/// The files of a layer.
///
/// ```
/// # fn main() -> Result<(), nuages_image::ImageError> {
/// let mut tree = nuages_image::Tree::new();
/// tree.bytes("/srv/site/index.html", "<h1>hello</h1>", false)?;
/// tree.link("/srv/current", "site")?;
/// assert_eq!(tree.paths().count(), 4, "with the folders that they stand in");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Folder,
    Link(PathBuf),
    Bytes {
        content: Bytes,
        executable: bool,
    },
    File {
        from: PathBuf,
        stamp: Stamp,
        executable: bool,
        /// Whether nobody writes to it any more.
        kept: bool,
    },
}

impl Tree {
    /// A tree that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All paths, in their order in the layer, from the image's root.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.nodes.keys().map(PathBuf::as_path)
    }

    /// A folder.
    pub fn folder(&mut self, path: impl AsRef<Path>) -> Result<(), ImageError> {
        self.insert(path.as_ref(), Node::Folder)
    }

    /// A symbolic link. It is not followed; where it points to is not looked at.
    pub fn link(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Result<(), ImageError> {
        self.insert(path.as_ref(), Node::Link(target.into()))
    }

    /// A file of this content.
    pub fn bytes(
        &mut self,
        path: impl AsRef<Path>,
        content: impl Into<Bytes>,
        executable: bool,
    ) -> Result<(), ImageError> {
        let content = content.into();
        self.insert(path.as_ref(), Node::Bytes { content, executable })
    }

    /// A file or a folder of this machine, and all below it, at this path. Links stay links; sockets, pipes and devices
    /// are an error. Blocks while it looks.
    pub fn add(&mut self, from: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(), ImageError> {
        self.add_from(from.as_ref(), path.as_ref(), false)
    }

    /// The same of what stands in a cache, where what was written once is not written again.
    pub(crate) fn add_kept(&mut self, from: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(), ImageError> {
        self.add_from(from.as_ref(), path.as_ref(), true)
    }

    fn add_from(&mut self, from: &Path, path: &Path, kept: bool) -> Result<(), ImageError> {
        let metadata = std::fs::symlink_metadata(from).map_err(ImageError::file("read", from))?;
        if metadata.is_dir() {
            let walked = walk(from, &Ignore::default(), &[])?;
            if let Some(first) = walked.passed_over.first() {
                return Err(ImageError::NoFile {
                    path: from.join(first),
                    why: "it is a socket, a pipe or a device",
                });
            }
            self.folder(path)?;
            return self.insert_all(&walked.entries, from, path, kept);
        }
        let name = from.file_name().unwrap_or_default();
        let folder = from.parent().unwrap_or_else(|| Path::new(""));
        let entry = crate::walk::entry(&metadata, from, PathBuf::from(name))?;
        let entry = entry.ok_or_else(|| ImageError::NoFile {
            path: from.to_owned(),
            why: "it is a socket, a pipe or a device",
        })?;
        self.insert(path, node(&entry, folder, kept))
    }

    /// What a build sees of a project, below this path.
    pub fn add_context(&mut self, context: &Context, path: impl AsRef<Path>) -> Result<(), ImageError> {
        self.add_context_without(context, path.as_ref(), None)
    }

    /// The same without a folder of it.
    pub(crate) fn add_context_without(
        &mut self,
        context: &Context,
        path: &Path,
        without: Option<&Path>,
    ) -> Result<(), ImageError> {
        self.folder(path)?;
        let entries = context.entries().iter();
        let entries = entries.filter(|entry| !without.is_some_and(|without| entry.path.starts_with(without)));
        self.insert_all(entries, context.root(), path, false)
    }

    fn insert_all<'a>(
        &mut self,
        entries: impl IntoIterator<Item = &'a Entry>,
        from: &Path,
        path: &Path,
        kept: bool,
    ) -> Result<(), ImageError> {
        for entry in entries {
            self.insert(&path.join(&entry.path), node(entry, from, kept))?;
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, node: Node) -> Result<(), ImageError> {
        let path = inner(path)?;
        let mut parent = path.parent();
        while let Some(folder) = parent.filter(|folder| !folder.as_os_str().is_empty()) {
            match self.nodes.get(folder) {
                Some(Node::Folder) => break,
                None => {
                    self.nodes.insert(folder.to_owned(), Node::Folder);
                }
                Some(_) => {
                    return Err(ImageError::NoPath {
                        path,
                        why: "something above it is no folder",
                    });
                }
            }
            parent = folder.parent();
        }
        if path.as_os_str().is_empty() {
            // The root is there in any image.
            return match node {
                Node::Folder => Ok(()),
                _ => Err(ImageError::NoPath {
                    path,
                    why: "the root is a folder",
                }),
            };
        }
        if matches!(self.nodes.get(&path), Some(Node::Folder)) && !matches!(node, Node::Folder) {
            return Err(ImageError::NoPath {
                path,
                why: "it is a folder already",
            });
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Writes it as a tar. Blocks.
    pub(crate) fn write(&self, writer: &mut dyn Write) -> Result<(), ImageError> {
        let mut tar = TarWriter::new(writer, Path::new("layer"));
        for (path, node) in &self.nodes {
            match node {
                Node::Folder => tar.folder(path)?,
                Node::Link(target) => tar.link(path, target)?,
                Node::Bytes { content, executable } => tar.bytes(path, content, *executable)?,
                Node::File {
                    from,
                    stamp,
                    executable,
                    ..
                } => tar.file(path, from, stamp.size, *executable)?,
            }
        }
        tar.finish()
    }

    /// Whether every file is still in the state in which it was when it was listed.
    pub(crate) fn is_as_listed(&self) -> bool {
        self.nodes.values().all(|node| match node {
            Node::File { from, stamp, .. } => {
                std::fs::symlink_metadata(from).is_ok_and(|metadata| Stamp::of(&metadata) == *stamp)
            }
            Node::Folder | Node::Link(_) | Node::Bytes { .. } => true,
        })
    }

    /// What tells this state of all its files from any other, without reading them. `None` where a file changed so short
    /// a while ago that it may change again without a trace.
    pub(crate) fn key(&self) -> Option<Digest> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        self.key_at(i64::try_from(now.as_nanos()).ok()?)
    }

    fn key_at(&self, now: i64) -> Option<Digest> {
        let mut hash = Sha256::new();
        let mut part = |content: &[u8]| {
            hash.update(&(content.len() as u64).to_le_bytes());
            hash.update(content);
        };
        part(FORMAT.as_bytes());
        part(crate::gzip::FORMAT.as_bytes());
        for (path, node) in &self.nodes {
            part(path.as_os_str().as_encoded_bytes());
            match node {
                Node::Folder => part(b"folder"),
                Node::Link(target) => {
                    part(b"link");
                    part(target.as_os_str().as_encoded_bytes());
                }
                Node::Bytes { content, executable } => {
                    part(if *executable { b"program" } else { b"bytes" });
                    part(content);
                }
                Node::File {
                    from,
                    stamp,
                    executable,
                    kept,
                } => {
                    if !kept && stamp.mtime.max(stamp.ctime) >= now.saturating_sub(RACY) {
                        return None;
                    }
                    part(if *executable { b"executable" } else { b"file" });
                    part(from.as_os_str().as_encoded_bytes());
                    let Stamp {
                        size,
                        mtime,
                        ctime,
                        inode,
                        mode,
                    } = stamp;
                    part(&size.to_le_bytes());
                    part(&mtime.to_le_bytes());
                    part(&ctime.to_le_bytes());
                    part(&inode.to_le_bytes());
                    part(&mode.to_le_bytes());
                }
            }
        }
        Some(hash.finish())
    }
}

fn node(entry: &Entry, from: &Path, kept: bool) -> Node {
    match &entry.kind {
        EntryKind::Folder => Node::Folder,
        EntryKind::Link { target } => Node::Link(target.clone()),
        EntryKind::File { executable, .. } => Node::File {
            from: from.join(&entry.path),
            stamp: entry.stamp,
            executable: *executable,
            kept,
        },
    }
}

/// A path within the image, from its root.
fn inner(path: &Path) -> Result<PathBuf, ImageError> {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => inner.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ImageError::NoPath {
                    path: path.to_owned(),
                    why: "it leads out of where it begins",
                });
            }
        }
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(tree: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        tree.write(&mut out).unwrap();
        out
    }

    fn listed(tar: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        entries
            .map(|entry| entry.path().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_folder_stands_before_what_it_holds() {
        let mut tree = Tree::new();
        tree.bytes("/app/posts/views.py", "pass", false).unwrap();
        tree.bytes("app/manage.py", "pass", true).unwrap();
        tree.link("./app/posts/current", "../manage.py").unwrap();
        tree.folder("/").unwrap();
        assert_eq!(
            listed(&written(&tree)),
            [
                "app",
                "app/manage.py",
                "app/posts",
                "app/posts/current",
                "app/posts/views.py"
            ]
        );
    }

    #[test]
    fn no_path_leads_out() {
        let mut tree = Tree::new();
        for path in ["../etc/passwd", "/app/../../etc", "app/.."] {
            tree.bytes(path, "x", false).unwrap_err();
        }
        tree.bytes("/", "x", false).unwrap_err();
        tree.bytes("/app", "x", false).unwrap();
        tree.bytes("/app/manage.py", "x", false).unwrap_err();
        tree.folder("/srv").unwrap();
        tree.bytes("/srv", "x", false).unwrap_err();
        assert_eq!(tree.paths().count(), 2);
    }

    #[test]
    fn a_key_tells_states_apart_and_trusts_no_young_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.py");
        std::fs::write(&file, "one").unwrap();
        let tree = |at: &str| {
            let mut tree = Tree::new();
            tree.add(folder.path(), at).unwrap();
            tree
        };
        let later = i64::MAX;
        assert_eq!(tree("/app").key(), None, "it was written just now");
        let before = tree("/app").key_at(later);
        assert_eq!(tree("/app").key_at(later), before);
        assert_ne!(tree("/srv").key_at(later), before);
        std::fs::write(&file, "two").unwrap();
        let changed = std::fs::metadata(&file).unwrap().modified().unwrap() + std::time::Duration::from_nanos(1);
        std::fs::File::options()
            .append(true)
            .open(&file)
            .unwrap()
            .set_modified(changed)
            .unwrap();
        assert_ne!(tree("/app").key_at(later), before);
    }

    #[cfg(unix)]
    #[test]
    fn what_this_machine_is_makes_no_difference() {
        use std::os::unix::fs::PermissionsExt as _;
        let layer = |modes: [u32; 2]| {
            let folder = tempfile::tempdir().unwrap();
            for (name, mode) in [("data.txt", modes[0]), ("run.sh", modes[1])] {
                let path = folder.path().join(name);
                std::fs::write(&path, name).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            std::os::unix::fs::symlink("/nowhere", folder.path().join("link")).unwrap();
            let mut tree = Tree::new();
            tree.add(folder.path(), "/app").unwrap();
            tree.add(folder.path().join("run.sh"), "/usr/bin/run").unwrap();
            written(&tree)
        };
        assert_eq!(layer([0o600, 0o700]), layer([0o664, 0o775]));
        assert_ne!(layer([0o600, 0o700]), layer([0o700, 0o700]));
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gunicorn.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for from in [folder.path(), &socket] {
            let said = Tree::new().add(from, "/app").unwrap_err().to_string();
            assert!(said.contains("gunicorn.sock to the image: it is a socket"), "{said}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_order_of_insertion_makes_no_difference(
            paths in proptest::collection::btree_set("[a-c]{1,2}(/[a-c]{1,2}){0,2}", 0..12), seed in 0..12_usize,
        ) {
            let fill = |order: &[&String]| {
                let mut tree = Tree::new();
                for path in order {
                    // What is a folder already is left out either way.
                    let below = paths.iter().any(|other| other.starts_with(&format!("{path}/")));
                    if !below {
                        tree.bytes(path, path.as_bytes().to_vec(), false).unwrap();
                    }
                }
                written(&tree)
            };
            let mut order: Vec<&String> = paths.iter().collect();
            let sorted = fill(&order);
            let by = seed.min(order.len());
            order.rotate_left(by);
            prop_assert_eq!(fill(&order), sorted);
        }
    }
}
