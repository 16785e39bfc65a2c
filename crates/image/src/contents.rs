//! What a base image holds that Python packages depend on: its C library, its Python, its shared libraries.
//!
//! Manifest and configuration do not tell it, so the layers are read once, as streams, and what they hold is remembered
//! under their digests.
//!
//! Invariant: nothing is unpacked, and nothing of an image is run.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use nuages_model::{Descriptor, Digest, Progress, Sha256};
use serde::{Deserialize, Serialize};

use crate::elf::Elf;
use crate::nodes::{Node, Nodes};
use crate::{Base, BlobStore, ImageError};

/// What is remembered is forgotten when this changes.
const FORMAT: u32 = 2;
/// A C library is no longer than this.
const LONGEST_LIBRARY: u64 = 32 << 20;

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its C library.
    pub libc: Option<Libc>,
    /// The Python that `python3` or `python` starts.
    pub python: Option<Python>,
    /// Shared libraries where the loader looks for them, by the names under which it does.
    pub libraries: BTreeSet<String>,
}

/// As it stands in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    format: u32,
    contents: Contents,
}

/// A C library, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// GNU's: Debian, Ubuntu, Red Hat.
    Glibc(u32, u32),
    /// Alpine's.
    Musl(u32, u32),
}

/// A Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// The program, with links followed, such as `/usr/local/bin/python3.13`.
    pub path: String,
    /// `3` and `13`.
    pub version: (u32, u32),
}

impl Python {
    /// What stands in the names of its compiled modules, such as `cpython-313`.
    pub(crate) fn cache_tag(&self) -> String {
        let (major, minor) = self.version;
        format!("cpython-{major}{minor}")
    }
}

impl Base {
    /// What the image holds. The layers are read once for ever; those that are not here are fetched.
    pub async fn contents(&self, store: &BlobStore, progress: &Progress) -> Result<Contents, ImageError> {
        let path = search_path(self);
        let key = self.key(&format!("contents {FORMAT} {}", path.join(":")));
        if let Some(known) = store.recall_contents(&key) {
            return Ok(known);
        }
        progress.status("reading what the base image holds");
        let read = move |files: Vec<(PathBuf, Descriptor)>| {
            let mut seen = Seen::default();
            each_layer(&files, |stream| seen.layer(stream))?;
            Ok(seen.contents(&path))
        };
        let contents = self.read_layers(store, progress, read).await?;
        store.remember_contents(&key, &contents)?;
        Ok(contents)
    }

    /// Names what is made of its layers in this way.
    pub(crate) fn key(&self, way: &str) -> Digest {
        let mut hash = Sha256::new();
        hash.update(way.as_bytes());
        for layer in self.layers() {
            hash.update(b"\n");
            hash.update(layer.diff_id.as_str().as_bytes());
        }
        hash.finish()
    }

    /// Does something that blocks with the files of its layers; those that are not here are fetched.
    pub(crate) async fn read_layers<T: Send + 'static>(
        &self,
        store: &BlobStore,
        progress: &Progress,
        read: impl FnOnce(Vec<(PathBuf, Descriptor)>) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let mut files = Vec::new();
        for layer in self.layers() {
            files.push((
                self.fetch(&layer.descriptor, store, progress).await?,
                layer.descriptor.clone(),
            ));
        }
        let name = self.name().to_owned();
        let done = tokio::task::spawn_blocking(move || read(files)).await;
        done.map_err(|error| ImageError::Base {
            image: name,
            why: error.to_string(),
        })?
    }
}

/// Each layer as a plain tar, the lowest first.
pub(crate) fn each_layer(
    files: &[(PathBuf, Descriptor)],
    mut read: impl FnMut(Box<dyn Read>) -> std::io::Result<()>,
) -> Result<(), ImageError> {
    for (file, layer) in files {
        let opened = std::fs::File::open(file).map_err(ImageError::file("read", file))?;
        let stream = uncompressed(BufReader::new(opened), &layer.media_type);
        read(stream).map_err(ImageError::file("read the layer", file))?;
    }
    Ok(())
}

/// Where the image looks for programs.
fn search_path(base: &Base) -> Vec<String> {
    let env = base.env();
    let path = env
        .iter()
        .rfind(|(name, _)| name == "PATH")
        .map(|(_, value)| value.as_str());
    let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path.split(':').map(str::to_owned).collect()
}

/// A layer as a plain tar, whatever it is compressed with.
pub(crate) fn uncompressed<'a>(stream: impl Read + 'a, media_type: &str) -> Box<dyn Read + 'a> {
    if media_type.ends_with("gzip") {
        Box::new(flate2::read::MultiGzDecoder::new(stream))
    } else if media_type.ends_with("zstd") {
        Box::new(Zstd::Waiting(Some(stream)))
    } else {
        Box::new(stream)
    }
}

/// A frame's header is read with the first bytes that are asked for, so that an error of it is one of reading.
enum Zstd<R: Read> {
    Waiting(Option<R>),
    Reading(Box<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self {
                Self::Reading(decoder) => return decoder.read(buffer),
                Self::Waiting(stream) => {
                    let stream = stream
                        .take()
                        .ok_or_else(|| std::io::Error::other("the stream is broken"))?;
                    let decoder = ruzstd::decoding::StreamingDecoder::new(stream);
                    *self = Self::Reading(Box::new(decoder.map_err(std::io::Error::other)?));
                }
            }
        }
    }
}

/// The files of the layers so far.
#[derive(Debug, Default)]
struct Seen(Nodes<Kind>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Any,
    /// A C library that says its version.
    Glibc(u32, u32),
    /// Alpine's list of what is installed.
    Apk(Option<(u32, u32)>),
}

impl Seen {
    fn layer(&mut self, stream: impl Read) -> std::io::Result<()> {
        self.0.layer(stream, |entry, path| kind(entry, path))
    }

    fn contents(&self, path: &[String]) -> Contents {
        let mut libraries = BTreeSet::new();
        let (mut glibc, mut musl, mut apk) = (None, false, None);
        for (path, node) in self.0.iter() {
            match node {
                Node::File(Kind::Glibc(major, minor)) => glibc = glibc.max(Some((*major, *minor))),
                Node::File(Kind::Apk(version)) => apk = *version,
                _ => {}
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if *node != Node::Folder && name.contains(".so") && path.parent().is_some_and(is_library_folder) {
                musl |= name.starts_with("ld-musl-");
                libraries.insert(name.into_owned());
            }
        }
        let libc = match (glibc, musl) {
            (Some((major, minor)), _) => Some(Libc::Glibc(major, minor)),
            // Wheels for musl are for 1.1 or 1.2; what is built today is 1.2.
            (None, true) => apk.or(Some((1, 2))).map(|(major, minor)| Libc::Musl(major, minor)),
            (None, false) => None,
        };
        Contents {
            libc,
            python: self.python(path),
            libraries,
        }
    }

    fn python(&self, path: &[String]) -> Option<Python> {
        let programs = ["python3", "python"];
        let candidates = path
            .iter()
            .flat_map(|folder| programs.map(|program| Path::new(folder).join(program)));
        candidates.into_iter().find_map(|candidate| {
            let program = self.0.resolve(&candidate)?;
            let name = program.file_name()?.to_str()?;
            let version = crate::elf::version(name.strip_prefix("python")?)?;
            Some(Python {
                path: format!("/{}", program.to_str()?),
                version,
            })
        })
    }
}

/// What a file is to us. Only those are read that say a version.
fn kind(entry: &mut impl Read, path: &Path) -> std::io::Result<Kind> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = |entry: &mut dyn Read| {
        let mut content = Vec::new();
        entry.take(LONGEST_LIBRARY).read_to_end(&mut content).map(|_| content)
    };
    if name.starts_with("libc.so.") || name.starts_with("libc-2.") {
        let content = text(entry)?;
        let elf = Elf::read(&content).unwrap_or_default();
        let version = elf.and_then(|elf| elf.newest_defined("GLIBC_"));
        return Ok(version.map_or(Kind::Any, |(major, minor)| Kind::Glibc(major, minor)));
    }
    if path == Path::new("lib/apk/db/installed") || path == Path::new("usr/lib/apk/db/installed") {
        let content = String::from_utf8_lossy(&text(entry)?).into_owned();
        let mut lines = content
            .lines()
            .skip_while(|line| *line != "P:musl")
            .take_while(|line| !line.is_empty());
        let version = lines
            .find_map(|line| line.strip_prefix("V:"))
            .and_then(crate::elf::version);
        return Ok(Kind::Apk(version));
    }
    Ok(Kind::Any)
}

/// Where the loader looks unless it is told of other folders.
fn is_library_folder(folder: &Path) -> bool {
    let mut parts = folder
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .peekable();
    if parts.peek() == Some(&"usr") {
        parts.next();
        if parts.peek() == Some(&"local") {
            parts.next();
        }
    }
    let library = parts
        .next()
        .is_some_and(|name| matches!(name, "lib" | "lib64" | "lib32"));
    // Debian's folder of an architecture.
    library && parts.next().is_none_or(|name| name.contains("-linux-")) && parts.next().is_none()
}

impl BlobStore {
    fn recall_contents(&self, key: &Digest) -> Option<Contents> {
        let known = std::fs::read(self.contents().join(key.hex())).ok()?;
        let known: Remembered = serde_json::from_slice(&known).ok()?;
        (known.format == FORMAT).then_some(known.contents)
    }

    fn remember_contents(&self, key: &Digest, contents: &Contents) -> Result<(), ImageError> {
        let remembered = Remembered {
            format: FORMAT,
            contents: contents.clone(),
        };
        self.note(&remembered, &self.contents().join(key.hex()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy)]
    enum Entry<'a> {
        File(&'a str, &'a str),
        Link(&'a str, &'a str),
        Folder(&'a str),
    }
    use Entry::{File, Folder, Link};

    fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = crate::tar_writer::TarWriter::new(&mut out, Path::new("layer"));
        for entry in entries {
            match *entry {
                File(path, content) => writer.bytes(Path::new(path), content.as_bytes(), true).unwrap(),
                Link(path, target) => writer.link(Path::new(path), Path::new(target)).unwrap(),
                Folder(path) => writer.folder(Path::new(path)).unwrap(),
            }
        }
        writer.finish().unwrap();
        out
    }

    fn seen(layers: &[&[Entry<'_>]]) -> Contents {
        let mut seen = Seen::default();
        for layer in layers {
            seen.layer(tar(layer).as_slice()).unwrap();
        }
        seen.contents(&["/usr/local/bin".to_owned(), "/usr/bin".to_owned()])
    }

    #[test]
    fn a_python_is_found_as_a_shell_finds_it() {
        let debian = [
            Link("bin", "usr/bin"),
            Folder("usr/bin"),
            Link("usr/bin/python3", "python3.11"),
            File("usr/bin/python3.11", "x"),
        ];
        assert_eq!(seen(&[&debian]).python.unwrap().path, "/usr/bin/python3.11");
        let own = [
            Link("usr/local/bin/python3", "/opt/python/bin/python3"),
            Link("opt/python", "./python-3.13"),
            Link("opt/python-3.13/bin/python3", "../bin/python3.13"),
            File("opt/python-3.13/bin/python3.13", "x"),
        ];
        let found = seen(&[&debian, &own]).python.unwrap();
        assert_eq!(
            (found.path.as_str(), found.version),
            ("/opt/python-3.13/bin/python3.13", (3, 13))
        );
        let gone = [File("opt/.wh.python-3.13", "")];
        assert_eq!(
            seen(&[&debian, &own, &gone]).python.unwrap().path,
            "/usr/bin/python3.11"
        );
        let round = [Link("usr/bin/python3", "python3")];
        assert_eq!(seen(&[&round]).python, None);
    }

    #[test]
    fn libraries_are_those_that_the_loader_finds() {
        let one = [
            File("usr/lib/x86_64-linux-gnu/libpq.so.5.15", "x"),
            Link("usr/lib/x86_64-linux-gnu/libpq.so.5", "libpq.so.5.15"),
            File("usr/lib/python3/dist-packages/own.so", "x"),
            File("usr/local/lib/libpython3.13.so.1.0", "x"),
            File("lib64/notes.txt", "x"),
        ];
        let names: Vec<String> = seen(&[&one]).libraries.into_iter().collect();
        assert_eq!(names, ["libpq.so.5", "libpq.so.5.15", "libpython3.13.so.1.0"]);
        let opaque = [
            File("usr/lib/x86_64-linux-gnu/.wh..wh..opq", ""),
            File("usr/lib/x86_64-linux-gnu/libz.so.1", ""),
        ];
        let names: Vec<String> = seen(&[&one, &opaque]).libraries.into_iter().collect();
        assert_eq!(names, ["libpython3.13.so.1.0", "libz.so.1"]);
        let replaced = [File("usr/local/lib", "x")];
        assert!(
            !seen(&[&one, &[Folder("usr/local/lib")], &replaced])
                .libraries
                .contains("libpython3.13.so.1.0")
        );
    }

    #[test]
    fn alpine_says_its_musl() {
        let alpine = [
            File("lib/ld-musl-x86_64.so.1", "x"),
            File(
                "lib/apk/db/installed",
                "P:busybox\nV:1.37.0-r12\n\nP:musl\nV:1.2.5-r9\n\nP:zlib\nV:1.3\n",
            ),
        ];
        assert_eq!(seen(&[&alpine]).libc, Some(Libc::Musl(1, 2)));
        assert_eq!(seen(&[&[File("etc/passwd", "x")]]).libc, None);
        assert_eq!(seen(&[&[File("lib/libc.so.6", "no library")]]).libc, None);
    }

    #[test]
    fn every_compression_is_read() {
        let plain = tar(&[File("usr/bin/python3.12", "x"), Link("usr/bin/python3", "python3.12")]);
        let mut gzip = crate::gzip::Compressor::new(Vec::new());
        std::io::Write::write_all(&mut gzip, &plain).unwrap();
        let (_, gzip) = gzip.finish().unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(plain.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        for (kind, layer) in [("tar", plain), ("tar+gzip", gzip), ("tar+zstd", zstd)] {
            let mut seen = Seen::default();
            seen.layer(uncompressed(layer.as_slice(), kind)).unwrap();
            assert_eq!(seen.python(&["/usr/bin".into()]).unwrap().version, (3, 12), "{kind}");
            let mut seen = Seen::default();
            assert!(
                seen.layer(uncompressed(&layer[..layer.len() / 2], kind)).is_err(),
                "{kind}"
            );
        }
    }

    /// Names that mean something, in any order and at any depth: whiteouts, circles of links, files in place of folders.
    fn any_entries() -> impl Strategy<Value = Vec<(String, u8, String)>> {
        let name =
            "(usr|bin|lib|python3|python3\\.13|\\.wh\\.bin|\\.wh\\.\\.wh\\.\\.opq|libc\\.so\\.6|ld-musl-x\\.so\\.1)";
        let path = proptest::string::string_regex(&format!("{name}(/{name}){{0,3}}")).unwrap();
        let target = proptest::string::string_regex(&format!("/?(\\.\\./)?{name}(/{name}){{0,2}}")).unwrap();
        proptest::collection::vec((path, 0..3_u8, target), 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(nuages_testkit::fuzz::cases(256)))]
        #[test]
        fn layers_of_any_shape_end(layers in proptest::collection::vec(any_entries(), 1..4), damage: u64, cut in 0..8_usize) {
            let mut seen = Seen::default();
            for entries in &layers {
                let entries: Vec<Entry<'_>> = entries.iter().map(|(path, kind, target)| match kind {
                    0 => File(path, "\x7fELF and no more"),
                    1 => Link(path, target),
                    _ => Folder(path),
                }).collect();
                let whole = tar(&entries);
                seen.layer(whole.as_slice()).unwrap();
                // What is damaged is read as far as it goes, or refused.
                let spoiled = nuages_testkit::fuzz::spoil(damage, &whole);
                let _ = Seen::default().layer(&spoiled[..spoiled.len() - spoiled.len() * cut / 8]);
            }
            let contents = seen.contents(&["/usr/bin".to_owned(), "/bin".to_owned()]);
            prop_assert!(contents.libraries.iter().all(|name| !name.contains('/')));
        }

        #[test]
        fn damaged_compression_is_an_error(damage: u64, content in proptest::collection::vec(any::<u8>(), 0..300)) {
            for kind in ["tar", "tar+gzip", "tar+zstd"] {
                let spoiled = nuages_testkit::fuzz::spoil(damage, &content);
                let mut out = Vec::new();
                let _ = uncompressed(spoiled.as_slice(), kind).read_to_end(&mut out);
            }
        }
    }
}
