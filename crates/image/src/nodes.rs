//! The files of an image, layer over layer, as paths: what stands where, and where a link leads.
//!
//! Invariant: a later layer replaces and removes what an earlier one holds, as the OCI image specification says
//! ("Representing Changes"). No path leads out of the image: an absolute link begins at the image's root, and `..` ends
//! there.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

/// Links lead to links, but not for ever.
const MOST_LINKS: usize = 40;
/// No image has more files than this.
const MOST: usize = 2_000_000;

/// What a layer says of a file's end.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// What stands at a path; `F` is what is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node<F> {
    Folder,
    Link(PathBuf),
    File(F),
}

/// Every path, from the image's root. A folder stands for all that lead through it.
#[derive(Debug)]
pub(crate) struct Nodes<F> {
    nodes: BTreeMap<PathBuf, Node<F>>,
}

impl<F> Default for Nodes<F> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new() }
    }
}

impl<F: Clone> Nodes<F> {
    /// Puts a layer, a plain tar, on those so far. `file` is asked of every file that is none of a whiteout; devices, pipes
    /// and sockets are passed over.
    pub(crate) fn layer<R: Read>(
        &mut self,
        stream: R,
        mut file: impl FnMut(&mut tar::Entry<'_, R>, &Path) -> io::Result<F>,
    ) -> io::Result<()> {
        let mut archive = tar::Archive::new(stream);
        // What a layer removes is of the layers below it, whatever the order of its entries.
        let mut own = BTreeMap::new();
        let mut removed = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some(path) = inner(&entry.path()?) else { continue };
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some(name) = name else { continue };
            if name == OPAQUE {
                removed.push((path.parent().unwrap_or_else(|| Path::new("")).to_owned(), false));
                continue;
            }
            if let Some(gone) = name.strip_prefix(WHITEOUT) {
                removed.push((path.with_file_name(gone), true));
                continue;
            }
            let kind = entry.header().entry_type();
            let node = if kind.is_dir() {
                Node::Folder
            } else if kind.is_symlink() {
                Node::Link(entry.link_name()?.unwrap_or_default().into_owned())
            } else if kind.is_hard_link() {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                let target = inner(&target).unwrap_or_default();
                let known = own.get(&target).or_else(|| self.nodes.get(&target));
                let Some(known @ Node::File(_)) = known else { continue };
                known.clone()
            } else if kind.is_file() {
                Node::File(file(&mut entry, &path)?)
            } else {
                continue;
            };
            own.insert(path, node);
            if own.len() + self.nodes.len() > MOST {
                return Err(io::Error::other(format!("it has more than {MOST} files")));
            }
        }
        for (path, itself) in removed {
            let Some(path) = self.place(&path) else { continue };
            self.clear(&path);
            if itself {
                self.nodes.remove(&path);
            }
        }
        for (path, node) in own {
            self.insert(&path, node);
        }
        Ok(())
    }

    /// Puts something at a path, through the links that lead there.
    pub(crate) fn insert(&mut self, path: &Path, node: Node<F>) {
        let Some(path) = self.place(path) else { return };
        // A file in place of a folder replaces all that was in it.
        if !matches!(node, Node::Folder) && matches!(self.nodes.get(&path), Some(Node::Folder)) {
            self.clear(&path);
        }
        self.nodes.insert(path, node);
    }

    /// Where a path really stands: the links of its folders followed, and folders made where there are none. `None` if one
    /// of those links leads nowhere.
    fn place(&mut self, path: &Path) -> Option<PathBuf> {
        let name = path.file_name()?;
        let mut real = PathBuf::new();
        for part in path.parent()?.components() {
            real.push(part);
            match self.nodes.get(&real) {
                Some(Node::Folder) => {}
                Some(Node::Link(_)) => {
                    real = self.resolve(&real)?;
                    if !self.is_folder(&real) {
                        return None;
                    }
                }
                // A layer need not list every folder.
                Some(Node::File(_)) | None => {
                    self.nodes.insert(real.clone(), Node::Folder);
                }
            }
        }
        Some(real.join(name))
    }

    /// Removes what stands below a path.
    fn clear(&mut self, path: &Path) {
        let after = self.nodes.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        let below = after
            .map(|(other, _)| other)
            .take_while(|other| other.starts_with(path));
        for gone in below.cloned().collect::<Vec<_>>() {
            self.nodes.remove(&gone);
        }
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || matches!(self.nodes.get(path), Some(Node::Folder))
    }

    /// A path with its links followed, those of its folders, too. `None` if there is nothing.
    pub(crate) fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut done = PathBuf::new();
        let mut left = parts(path);
        let mut links = 0;
        while let Some(next) = left.pop_front() {
            if !self.is_folder(&done) {
                return None;
            }
            let Some(name) = next else {
                done.pop();
                continue;
            };
            done.push(name);
            match self.nodes.get(&done)? {
                Node::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    done.pop();
                    if target.has_root() {
                        done.clear();
                    }
                    let mut ahead = parts(target);
                    ahead.append(&mut left);
                    left = ahead;
                }
                Node::Folder | Node::File(_) => {}
            }
        }
        Some(done)
    }

    /// What really stands at a path; its links are not followed.
    pub(crate) fn get(&self, path: &Path) -> Option<&Node<F>> {
        self.nodes.get(path)
    }

    /// Everything, each folder before what it holds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Path, &Node<F>)> {
        self.nodes.iter().map(|(path, node)| (path.as_path(), node))
    }
}

/// The names of a path; `None` is one step up.
fn parts(path: &Path) -> VecDeque<Option<OsString>> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(Some(name.to_owned())),
        Component::ParentDir => Some(None),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

/// A path from the image's root. `None` if it leads out of it.
pub(crate) fn inner(path: &Path) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inner.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(inner)
}

/// What a link says to lead to another path below the same root, where no folder on the way is a link.
#[cfg(unix)]
pub(crate) fn relative(link: &Path, target: &Path) -> PathBuf {
    let folder = link.parent().unwrap_or_else(|| Path::new(""));
    let shared = folder
        .components()
        .zip(target.components())
        .take_while(|(one, other)| one == other);
    let shared = shared.count();
    let up = folder.components().skip(shared).map(|_| Path::new(".."));
    let down: PathBuf = target.components().skip(shared).collect();
    let path = up.collect::<PathBuf>().join(down);
    if path.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(entries: &[(&str, Option<&str>)]) -> Nodes<()> {
        let mut nodes = Nodes::default();
        for (path, target) in entries {
            let node = target.map_or(Node::File(()), |target| Node::Link(target.into()));
            nodes.insert(Path::new(path), node);
        }
        nodes
    }

    fn leads(nodes: &Nodes<()>, path: &str) -> String {
        let real = nodes.resolve(Path::new(path));
        real.map_or_else(|| "nowhere".to_owned(), |real| real.display().to_string())
    }

    #[test]
    fn a_link_leads_within_the_image() {
        let image = nodes(&[
            ("etc/passwd", None),
            ("usr/lib/libz.so", None),
            ("lib", Some("usr/lib")),
            ("up", Some("../../../etc/passwd")),
            ("root", Some("/")),
            ("srv/deep/er", Some("../../lib/../../etc/passwd")),
            ("round", Some("about")),
            ("about", Some("./round")),
            ("gone", Some("/nowhere")),
            ("through", Some("etc/passwd/..")),
        ]);
        for (path, led) in [
            ("lib/libz.so", "usr/lib/libz.so"),
            ("up", "etc/passwd"),
            ("root/root/root/etc/passwd", "etc/passwd"),
            ("srv/deep/er", "etc/passwd"),
            ("round", "nowhere"),
            ("gone", "nowhere"),
            ("through", "nowhere"),
            ("../../lib", "usr/lib"),
        ] {
            assert_eq!(leads(&image, path), led, "{path}");
        }
    }

    #[test]
    fn what_is_put_through_a_link_stands_where_it_leads() {
        let mut image = nodes(&[("usr/lib/a", None), ("lib", Some("usr/lib")), ("lost", Some("nowhere"))]);
        image.insert(Path::new("lib/b"), Node::File(()));
        image.insert(Path::new("lost/c"), Node::File(()));
        let paths: Vec<_> = image.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["lib", "lost", "usr", "usr/lib", "usr/lib/a", "usr/lib/b"]);
        image.insert(Path::new("usr/lib"), Node::File(()));
        assert_eq!(leads(&image, "usr/lib/a"), "nowhere");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_says_the_shortest_way() {
        for (link, target, said) in [
            ("a/b/c", "a/b/d", "d"),
            ("a/b/c", "x", "../../x"),
            ("c", "a/b", "a/b"),
            ("a/c", "a", "."),
            ("c", "", "."),
            ("a/b/c", "", "../.."),
        ] {
            assert_eq!(relative(Path::new(link), Path::new(target)), Path::new(said), "{link}");
        }
    }

    proptest! {
        #[test]
        fn every_path_that_resolves_is_really_there(
            links in proptest::collection::vec(("[ab]{1,2}(/[ab]{1,2}){0,2}", "/?([ab.]{1,2}/){0,3}[ab]"), 0..12), asked in "([ab.]{1,2}/){0,3}[ab]",
        ) {
            let mut image = Nodes::default();
            for (index, (path, target)) in links.iter().enumerate() {
                let node = if index % 3 == 0 { Node::File(()) } else { Node::Link(target.into()) };
                image.insert(Path::new(path), node);
            }
            if let Some(real) = image.resolve(Path::new(&asked)) {
                let plain = real.components().all(|part| matches!(part, Component::Normal(_)));
                prop_assert!(plain, "{}", real.display());
                prop_assert!(real.as_os_str().is_empty() || !matches!(image.get(&real), None | Some(Node::Link(_))));
            }
        }
    }
}
