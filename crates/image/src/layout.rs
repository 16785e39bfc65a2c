//! A folder of images: the OCI image layout (OCI image specification, "Image Layout").
//!
//! Skopeo, umoci, podman and buildah read and write the same. Images are built into it, on it and out of it.
//!
//! Invariant: a blob stands under its digest only when it is whole, and the index names a manifest only when the manifest is
//! there. Several processes may write at once.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use nuages_model::{
    Blob, BlobSink, BlobSource, Descriptor, Digest, Progress, PutOutcome, Sha256, SinkError, SourceError,
};
use oci_spec::image::{DescriptorBuilder, ImageIndex, ImageIndexBuilder, MediaType, SCHEMA_VERSION};

use crate::ImageError;

/// The file that makes a folder an image layout, and what it says.
const MARKER: &str = "oci-layout";
pub(crate) const MARKED: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "index.json";
/// What a manifest is called in the index.
const NAME: &str = "org.opencontainers.image.ref.name";

/// A longer index is not read.
const LONGEST_INDEX: u64 = 8 << 20;

/// A folder in the OCI image layout.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use nuages_image::OciLayout;
/// use nuages_model::BlobSource as _;
///
/// # let folder = tempfile::tempdir()?;
/// let layout = OciLayout::create(folder.path())?;
/// assert_eq!(layout.find_manifest("latest").await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OciLayout {
    folder: PathBuf,
}

impl OciLayout {
    /// Opens a layout that is there.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let folder = folder.into();
        let marker = folder.join(MARKER);
        let text = fs::read_to_string(&marker).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ImageError::NoLayout {
                path: folder.clone(),
                why: format!("it has no file `{MARKER}`"),
            },
            _ => ImageError::file("read", &marker)(error),
        })?;
        let version = serde_json::from_str::<oci_spec::image::OciLayout>(&text);
        match version {
            Ok(layout) if layout.image_layout_version().starts_with("1.") => Ok(Self { folder }),
            Ok(layout) => Err(ImageError::NoLayout {
                path: folder,
                why: format!("it is of version {}", layout.image_layout_version()),
            }),
            Err(error) => Err(ImageError::NoLayout {
                path: folder,
                why: format!("`{MARKER}`: {error}"),
            }),
        }
    }

    /// Opens a layout, and makes it where there is nothing yet.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let folder = folder.into();
        let blobs = folder.join("blobs").join("sha256");
        fs::create_dir_all(&blobs).map_err(ImageError::file("make the folder", &blobs))?;
        let marker = folder.join(MARKER);
        if !marker.exists() {
            write_whole(&folder, &marker, MARKED.as_bytes()).map_err(ImageError::file("write", &marker))?;
        }
        Self::open(folder)
    }

    /// Where it stands.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a manifest or index here is called, and what it is.
    pub fn images(&self) -> Result<Vec<(Option<String>, Descriptor)>, ImageError> {
        let path = self.folder.join(INDEX);
        let index = self.index().map_err(ImageError::file("read", path))?;
        let named = index.manifests().iter();
        let named = named.filter_map(|listed| Some((called(listed).map(str::to_owned), descriptor(listed)?)));
        Ok(named.collect())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join("sha256").join(digest.hex())
    }

    fn index(&self) -> io::Result<ImageIndex> {
        match fs::File::open(self.folder.join(INDEX)) {
            Ok(file) => ImageIndex::from_reader(file.take(LONGEST_INDEX)).map_err(invalid),
            Err(error) if error.kind() == io::ErrorKind::NotFound => empty(),
            Err(error) => Err(error),
        }
    }

    /// Gives a manifest its name, and takes it from whatever had it. Who gives its digest gives it none: it is listed
    /// without, unless an index that is listed names it.
    fn name(&self, manifest: &Descriptor, content: &[u8], name: &str) -> io::Result<()> {
        let lock = fs::File::create(self.folder.join(".lock"))?;
        lock.lock()?;
        let name = Some(name).filter(|name| name.parse::<Digest>().is_err());
        let mut index = self.index()?;
        let mut listed = index.manifests().clone();
        if name.is_none()
            && listed
                .iter()
                .any(|other| other.digest().digest() == manifest.digest.hex())
        {
            return Ok(());
        }
        let named_by_it = children(content);
        listed.retain(|other| {
            if let Some(called) = called(other) {
                return Some(called) != name;
            }
            let digest = other.digest().digest();
            digest != manifest.digest.hex() && !named_by_it.iter().any(|child| child == digest)
        });
        let digest = manifest
            .digest
            .as_str()
            .parse::<oci_spec::image::Digest>()
            .map_err(invalid)?;
        let mut entry = DescriptorBuilder::default()
            .media_type(MediaType::from(manifest.media_type.as_str()))
            .digest(digest)
            .size(manifest.size);
        if let Some(name) = name {
            entry = entry.annotations([(NAME.to_owned(), name.to_owned())]);
        }
        listed.push(entry.build().map_err(invalid)?);
        index.set_manifests(listed);
        let text = index.to_string().map_err(invalid)?;
        write_whole(&self.folder, &self.folder.join(INDEX), text.as_bytes())
    }

    fn put(&self, descriptor: &Descriptor, blob: &Blob) -> io::Result<PutOutcome> {
        let path = self.blob_path(&descriptor.digest);
        if path.exists() {
            return Ok(PutOutcome::Present);
        }
        let mut part = tempfile::NamedTempFile::new_in(&self.folder)?;
        let found = match blob {
            Blob::Bytes(bytes) => {
                part.write_all(bytes)?;
                Digest::of(bytes)
            }
            Blob::File(file) => copy(fs::File::open(file)?, part.as_file_mut())?,
        };
        persist(part, &path, &found, &descriptor.digest)?;
        Ok(PutOutcome::Sent)
    }

    fn fetch(&self, descriptor: &Descriptor, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let mut part = tempfile::NamedTempFile::new_in(folder)?;
        let found = copy(fs::File::open(self.blob_path(&descriptor.digest))?, part.as_file_mut())?;
        persist(part, path, &found, &descriptor.digest)
    }

    fn find(&self, reference: &str) -> io::Result<Option<(Descriptor, Bytes)>> {
        let wanted = reference.parse::<Digest>().ok();
        let index = self.index()?;
        let mut listed = index.manifests().iter();
        let found = listed.find(|listed| match &wanted {
            Some(digest) => listed.digest().digest() == digest.hex(),
            None => called(listed) == Some(reference),
        });
        // The manifests of an index are not in the list.
        let found = found.and_then(descriptor).or_else(|| {
            let digest = wanted?;
            let size = fs::metadata(self.blob_path(&digest)).ok()?.len();
            Some(Descriptor {
                media_type: String::new(),
                digest,
                size,
            })
        });
        let Some(mut found) = found else { return Ok(None) };
        let mut content = Vec::new();
        fs::File::open(self.blob_path(&found.digest))?
            .take(LONGEST_INDEX)
            .read_to_end(&mut content)?;
        if Digest::of(&content) != found.digest {
            return Err(damaged(&found.digest));
        }
        if found.media_type.is_empty() {
            found.media_type = said_type(&content);
        }
        found.size = content.len() as u64;
        Ok(Some((found, content.into())))
    }
}

/// What a manifest is called here.
fn called(listed: &oci_spec::image::Descriptor) -> Option<&str> {
    let notes = listed.annotations().as_ref()?;
    notes.get(NAME).map(String::as_str)
}

/// The digests, without their algorithm, of the manifests that an index names. None of a manifest.
fn children(content: &[u8]) -> Vec<String> {
    let index = ImageIndex::from_reader(content);
    let named = index.iter().flat_map(ImageIndex::manifests);
    named.map(|child| child.digest().digest().to_owned()).collect()
}

fn empty() -> io::Result<ImageIndex> {
    ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([])
        .build()
        .map_err(invalid)
}

fn descriptor(listed: &oci_spec::image::Descriptor) -> Option<Descriptor> {
    Some(Descriptor {
        media_type: listed.media_type().to_string(),
        digest: listed.digest().to_string().parse().ok()?,
        size: listed.size(),
    })
}

/// What a document says that it is.
fn said_type(content: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    value["mediaType"].as_str().unwrap_or_default().to_owned()
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn damaged(digest: &Digest) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the content under {} has another digest", digest.short()),
    )
}

fn copy(mut from: impl io::Read, mut to: impl io::Write) -> io::Result<Digest> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 * 1024]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hash.finish()),
            Ok(read) => {
                hash.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn persist(part: tempfile::NamedTempFile, path: &Path, found: &Digest, expected: &Digest) -> io::Result<()> {
    if found != expected {
        return Err(damaged(expected));
    }
    readable(part.as_file())?;
    part.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A temporary file is its owner's alone; an image is for whoever may enter the folder.
#[cfg(unix)]
fn readable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_file: &fs::File) -> io::Result<()> {
    Ok(())
}

fn write_whole(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(content)?;
    readable(part.as_file())?;
    part.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn sink(what: String, source: io::Error) -> SinkError {
    SinkError {
        what,
        source: Box::new(source),
    }
}

fn source(what: String, source: io::Error) -> SourceError {
    SourceError {
        what,
        source: Box::new(source),
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[async_trait]
impl BlobSink for OciLayout {
    async fn has(&self, digest: &Digest) -> Result<bool, SinkError> {
        Ok(self.blob_path(digest).exists())
    }

    async fn put_blob(
        &self,
        descriptor: &Descriptor,
        blob: Blob,
        progress: &Progress,
    ) -> Result<PutOutcome, SinkError> {
        let (layout, wanted) = (self.clone(), descriptor.clone());
        let put = blocking(move || layout.put(&wanted, &blob)).await;
        let short = descriptor.digest.short();
        progress.bytes(short, descriptor.size, Some(descriptor.size));
        put.map_err(|error| sink(format!("the blob {short}"), error))
    }

    async fn put_manifest(&self, media_type: &str, manifest: Bytes, tag: &str) -> Result<Digest, SinkError> {
        let digest = Digest::of(&manifest);
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.clone(),
            size: manifest.len() as u64,
        };
        let (layout, name) = (self.clone(), tag.to_owned());
        let put = blocking(move || {
            layout.put(&descriptor, &Blob::Bytes(manifest.clone()))?;
            layout.name(&descriptor, &manifest, &name)
        });
        put.await.map_err(|error| sink(format!("the manifest {tag}"), error))?;
        Ok(digest)
    }
}

#[async_trait]
impl BlobSource for OciLayout {
    async fn find_manifest(&self, reference: &str) -> Result<Option<(Descriptor, Bytes)>, SourceError> {
        let (layout, wanted) = (self.clone(), reference.to_owned());
        blocking(move || layout.find(&wanted))
            .await
            .map_err(|error| source(format!("the manifest {reference}"), error))
    }

    async fn fetch_blob(&self, descriptor: &Descriptor, path: &Path, progress: &Progress) -> Result<(), SourceError> {
        let (layout, wanted, to) = (self.clone(), descriptor.clone(), path.to_owned());
        let fetched = blocking(move || layout.fetch(&wanted, &to)).await;
        let short = descriptor.digest.short();
        progress.bytes(short, descriptor.size, Some(descriptor.size));
        fetched.map_err(|error| source(format!("the blob {short}"), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::MANIFEST;

    fn bytes(text: &'static str) -> (Descriptor, Blob) {
        let content = Bytes::from_static(text.as_bytes());
        let descriptor = Descriptor {
            media_type: "text/plain".into(),
            digest: Digest::of(&content),
            size: content.len() as u64,
        };
        (descriptor, Blob::Bytes(content))
    }

    #[tokio::test]
    async fn what_was_put_comes_back_under_its_name_and_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let layout = OciLayout::create(folder.path().join("images")).unwrap();
        let (descriptor, blob) = bytes("a layer");
        let quiet = Progress::none();
        assert_eq!(
            layout.put_blob(&descriptor, blob.clone(), &quiet).await.unwrap(),
            PutOutcome::Sent
        );
        assert_eq!(
            layout.put_blob(&descriptor, blob, &quiet).await.unwrap(),
            PutOutcome::Present
        );
        assert!(layout.has(&descriptor.digest).await.unwrap());
        let to = folder.path().join("layer");
        layout.fetch_blob(&descriptor, &to, &quiet).await.unwrap();
        assert_eq!(fs::read(to).unwrap(), b"a layer");

        let first = layout
            .put_manifest(MANIFEST, Bytes::from_static(b"{}"), "1")
            .await
            .unwrap();
        let second = layout
            .put_manifest(MANIFEST, Bytes::from_static(b"{ }"), "1")
            .await
            .unwrap();
        layout
            .put_manifest(MANIFEST, Bytes::from_static(b"{}"), "0")
            .await
            .unwrap();
        let layout = OciLayout::open(layout.folder()).unwrap();
        let found = layout.find_manifest("1").await.unwrap().unwrap();
        assert_eq!((found.0.digest, found.1.as_ref()), (second, &b"{ }"[..]));
        let found = layout.find_manifest(first.as_str()).await.unwrap().unwrap();
        assert_eq!(found.0.media_type, MANIFEST);
        assert_eq!(layout.find_manifest("2").await.unwrap(), None);
        let names: Vec<_> = layout
            .images()
            .unwrap()
            .into_iter()
            .map(|(name, _)| name.unwrap())
            .collect();
        assert_eq!(names, ["1", "0"], "a name is moved, not kept twice");
    }

    #[tokio::test]
    async fn the_images_of_an_index_are_found_by_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let layout = OciLayout::create(folder.path()).unwrap();
        let child = Bytes::from_static(b"{}");
        let digest = Digest::of(&child);
        let by_digest = || layout.put_manifest(MANIFEST, child.clone(), digest.as_str());
        by_digest().await.unwrap();
        assert_eq!(layout.images().unwrap()[0].0, None, "listed, for it has no name");
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = serde_json::json!({ "schemaVersion": 2, "manifests":
            [{ "mediaType": MANIFEST, "digest": digest, "size": 2 }] });
        let index = Bytes::from(index.to_string());
        layout.put_manifest(media_type, index, "v1").await.unwrap();
        let names: Vec<_> = layout.images().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [Some("v1".to_owned())]);
        assert!(layout.find_manifest(digest.as_str()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_is_not_what_it_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layout = OciLayout::create(folder.path()).unwrap();
        let (descriptor, _) = bytes("a layer");
        let (_, other) = bytes("another");
        let quiet = Progress::none();
        layout.put_blob(&descriptor, other, &quiet).await.unwrap_err();
        assert!(!layout.has(&descriptor.digest).await.unwrap());
        fs::write(layout.blob_path(&descriptor.digest), "damaged").unwrap();
        let to = folder.path().join("layer");
        layout.fetch_blob(&descriptor, &to, &quiet).await.unwrap_err();
        assert!(!to.exists());
        layout.find_manifest(descriptor.digest.as_str()).await.unwrap_err();
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left.len(), 2, "nothing unfinished is left: {left:?}");
    }

    #[test]
    fn a_folder_of_something_else_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let said = OciLayout::open(folder.path()).unwrap_err().to_string();
        assert!(said.ends_with("it has no file `oci-layout`"), "{said}");
        fs::write(folder.path().join(MARKER), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        OciLayout::open(folder.path()).unwrap_err();
        fs::write(folder.path().join(MARKER), "[").unwrap();
        OciLayout::open(folder.path()).unwrap_err();
    }

    #[tokio::test]
    async fn many_write_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let layout = OciLayout::create(folder.path()).unwrap();
        let mut writing = tokio::task::JoinSet::new();
        for number in 0..20 {
            let layout = layout.clone();
            writing.spawn(async move {
                let manifest = Bytes::from(format!("{{\"n\":{number}}}"));
                layout
                    .put_manifest(MANIFEST, manifest, &format!("v{number}"))
                    .await
                    .unwrap()
            });
        }
        writing.join_all().await;
        assert_eq!(layout.images().unwrap().len(), 20);
    }
}
