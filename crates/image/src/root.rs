//! A base image's files on this machine, so that its Python can be run without an engine.
//!
//! All of them: what a Python reads while it runs (time zones, certificates, libraries that are opened by name) cannot be
//! known before.
//!
//! Invariant: nothing is written outside the cache's folder. Every link on the disk is relative, leads to a file or folder of
//! the same image and through no other link; one that leads elsewhere is left out. Owners, devices and special permissions are
//! ignored. A root is there whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nuages_model::Progress;

use crate::contents::each_layer;
use crate::nodes::{Node, Nodes, relative};
use crate::{Base, BlobStore, ImageError};

/// What is unpacked otherwise gets another folder.
const FORMAT: &str = "root-1";
/// A base that is longer than this is none.
const LONGEST: u64 = 16 << 30;

/// Where a base's files are.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    folder: PathBuf,
}

/// A file that was read, by its number in the folder of all.
#[derive(Debug, Clone, Copy)]
struct Unpacked {
    number: usize,
    executable: bool,
}

impl Root {
    /// Unpacks a base, once for ever.
    pub(crate) async fn unpack(base: &Base, store: &BlobStore, progress: &Progress) -> Result<Self, ImageError> {
        let folder = store.roots().join(base.key(FORMAT).hex());
        if !folder.is_dir() {
            progress.status("unpacking the base image");
            let (roots, to) = (store.roots(), folder.clone());
            base.read_layers(store, progress, move |files| {
                let part = tempfile::tempdir_in(&roots).map_err(ImageError::file("write", roots))?;
                let pool = part.path().join("files");
                fs::create_dir(&pool).map_err(ImageError::file("make the folder", &pool))?;
                let mut image = Nodes::default();
                let mut reading = Reading {
                    pool: &pool,
                    number: 0,
                    left: LONGEST,
                };
                each_layer(&files, |stream| image.layer(stream, |entry, _| reading.file(entry)))?;
                let root = part.path().join("root");
                arrange(&image, &pool, &root).map_err(ImageError::file("unpack the base image into", &root))?;
                // Another process may have been faster; what it made is the same.
                let made = fs::rename(&root, &to);
                if to.is_dir() {
                    Ok(())
                } else {
                    made.map_err(ImageError::file("write", to))
                }
            })
            .await?;
        }
        store.touch(&folder);
        let real = folder
            .canonicalize()
            .map_err(ImageError::file("read the folder", &folder))?;
        Ok(Self { folder: real })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where something of the image is on this machine, with its links followed.
    pub(crate) fn find(&self, path: &str) -> Option<PathBuf> {
        let found = self.folder.join(path.trim_start_matches('/')).canonicalize().ok()?;
        found.starts_with(&self.folder).then_some(found)
    }
}

struct Reading<'a> {
    pool: &'a Path,
    number: usize,
    left: u64,
}

impl Reading<'_> {
    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<Unpacked> {
        let executable = entry.header().mode()? & 0o111 != 0;
        let number = self.number;
        self.number += 1;
        let mut file = fs::File::create_new(self.pool.join(number.to_string()))?;
        let read = io::copy(&mut entry.take(self.left.saturating_add(1)), &mut file)?;
        self.left = self
            .left
            .checked_sub(read)
            .ok_or_else(|| io::Error::other(format!("it holds more than {} GiB", LONGEST >> 30)))?;
        Ok(Unpacked { number, executable })
    }
}

/// Moves the files to where they stand, and makes the links.
fn arrange(image: &Nodes<Unpacked>, pool: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir(root)?;
    let mut moved: BTreeMap<usize, PathBuf> = BTreeMap::new();
    for (path, node) in image.iter() {
        let to = root.join(path);
        match node {
            Node::Folder => fs::create_dir(&to)?,
            Node::File(Unpacked { number, executable }) => {
                if let Some(first) = moved.get(number) {
                    fs::hard_link(first, &to)?;
                    continue;
                }
                fs::rename(pool.join(number.to_string()), &to)?;
                if *executable {
                    allow(&to)?;
                }
                moved.insert(*number, to);
            }
            Node::Link(_) => {
                if let Some(real) = image.resolve(path) {
                    std::os::unix::fs::symlink(relative(path, &real), &to)?;
                }
            }
        }
    }
    Ok(())
}

fn allow(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{OciLayout, Recipe, Tree};
    use nuages_model::Digest;
    use tokio_util::sync::CancellationToken;

    /// An image of these layers, each a list of paths; `>` makes a link.
    async fn base(folder: &Path, layers: Vec<Tree>) -> Base {
        let store = BlobStore::open(folder.join("made")).unwrap();
        let layout = OciLayout::create(folder.join("images")).unwrap();
        let recipe = Recipe::on(Base::scratch("linux/amd64"));
        let recipe = layers
            .into_iter()
            .fold(recipe, |recipe, tree| recipe.layer("files", tree));
        let tags = |_: &Digest| vec!["latest".to_owned()];
        let (quiet, cancel) = (Progress::none(), CancellationToken::new());
        recipe.push(&store, &layout, tags, &quiet, &cancel).await.unwrap();
        Base::read(Arc::new(layout), "latest", "linux/amd64", &store, &quiet)
            .await
            .unwrap()
    }

    fn tree(entries: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, content) in entries {
            match content.strip_prefix('>') {
                Some(target) => tree.link(path, target).unwrap(),
                None => tree
                    .bytes(
                        path,
                        content.to_string(),
                        Path::new(path).extension().is_some_and(|end| end == "sh"),
                    )
                    .unwrap(),
            }
        }
        tree
    }

    #[tokio::test]
    async fn a_base_is_unpacked_as_its_layers_say() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "of this machine").unwrap();
        let outside = format!(">{}/secret", folder.path().display());
        let layers = vec![
            tree(&[
                ("usr/lib/old.py", "old"),
                ("usr/lib/run.sh", "run"),
                ("usr/share/doc/a", "a"),
                ("lib", ">usr/lib"),
                ("bin/python", ">/lib/run.sh"),
                ("up", ">../../../../../../../../etc/passwd"),
                ("outside", &outside),
                ("round", ">round"),
                ("here", ">."),
            ]),
            tree(&[
                ("usr/lib/.wh.old.py", ""),
                ("usr/share/doc/.wh..wh..opq", ""),
                ("usr/share/doc/b", "b"),
            ]),
            tree(&[("lib", ">/usr/lib"), ("usr/lib/new.py", "new")]),
        ];
        let base = base(folder.path(), layers).await;
        let store = BlobStore::open(folder.path().join("cache")).unwrap();
        let quiet = Progress::none();
        let (one, two) = tokio::join!(Root::unpack(&base, &store, &quiet), Root::unpack(&base, &store, &quiet));
        let (root, other) = (one.unwrap(), two.unwrap());
        assert_eq!(root.folder, other.folder, "two at a time make one");
        let mut found = Vec::new();
        let walked = crate::walk::walk(root.folder(), &crate::dockerignore::Ignore::default(), &[]).unwrap();
        for entry in walked.entries {
            found.push(match entry.kind {
                crate::EntryKind::Link { target } => format!("{} -> {}", entry.path.display(), target.display()),
                _ => entry.path.display().to_string(),
            });
        }
        insta::assert_snapshot!(found.join("\n"), @r"
        bin
        bin/python -> ../usr/lib/run.sh
        here -> .
        lib -> usr/lib
        usr
        usr/lib
        usr/lib/new.py
        usr/lib/run.sh
        usr/share
        usr/share/doc
        usr/share/doc/b
        ");
        let program = root.find("/bin/python").unwrap();
        assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(root.find("/outside"), None);
        assert_eq!(
            fs::read_dir(store.roots()).unwrap().count(),
            1,
            "nothing is left behind"
        );
        assert_eq!(fs::read_to_string(root.find("lib/new.py").unwrap()).unwrap(), "new");
    }

    #[tokio::test]
    async fn half_a_layer_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let base = base(folder.path(), vec![tree(&[("a", "a")])]).await;
        let store = BlobStore::open(folder.path().join("cache")).unwrap();
        let layer = &base.layers()[0].descriptor;
        base.fetch(layer, &store, &Progress::none()).await.unwrap();
        let whole = fs::read(store.path(&layer.digest)).unwrap();
        fs::write(store.path(&layer.digest), &whole[..whole.len() / 2]).unwrap();
        Root::unpack(&base, &store, &Progress::none()).await.unwrap_err();
        assert_eq!(fs::read_dir(store.roots()).unwrap().count(), 0);
    }

    #[test]
    fn a_device_and_a_dangling_hard_link_are_no_files() {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name) in [
            (tar::EntryType::Block, "dev/sda"),
            (tar::EntryType::Fifo, "pipe"),
            (tar::EntryType::Link, "hard"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_mode(0o6777);
            if kind == tar::EntryType::Link {
                header.set_link_name("../../etc/shadow").unwrap();
            }
            tar.append_data(&mut header, name, io::empty()).unwrap();
        }
        let mut image: Nodes<()> = Nodes::default();
        image
            .layer(tar.into_inner().unwrap().as_slice(), |_, _| Ok(()))
            .unwrap();
        assert_eq!(image.iter().count(), 0);
    }
}
