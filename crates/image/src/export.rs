//! Takes an image out of the engine as what a registry holds: a configuration, compressed layers, a manifest.
//!
//! An engine gives an image out only as one stream with every layer in it, uncompressed. So it is asked as rarely as can
//! be: not at all where the configuration is known and every layer is in the [`BlobStore`] or at the far side; and of the
//! stream only those layers are compressed that are in neither.
//!
//! Invariant: the manifest's digest is known before anything is sent, and the same layers give the same digest everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::StreamExt as _;
use nuages_model::{BlobSink, Descriptor, Digest, Progress};
use serde::Deserialize;

use crate::ca_bundle;
use crate::error::engine_error;
use crate::{BlobStore, Engine, ImageError, inspect};

/// The media type of the manifests that are made here.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of their configurations.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Documents in the stream (configurations, manifests) are read up to here.
const LARGEST_DOCUMENT: u64 = 8 * 1024 * 1024;

/// An image, ready to be pushed.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The digest of the manifest: what a deployment pins.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Bytes,
    /// The configuration's descriptor.
    pub config: Descriptor,
    /// The configuration.
    pub config_content: Bytes,
    /// The layers, the base's first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The compressed layer.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed one.
    pub diff_id: Digest,
    /// The compressed layer's file. `None` if the far side has it and it is not here.
    pub file: Option<PathBuf>,
}

/// Takes an image out of the engine. With a sink, layers that it has already are not even read.
///
/// ```no_run
/// use nuages_image::{BlobStore, Engine, export};
/// use nuages_model::Progress;
///
/// # async fn example() -> Result<(), nuages_image::ImageError> {
/// let engine = Engine::connect().await?;
/// let store = BlobStore::open("cache/blobs")?;
/// let image = export(&engine, "python:3.13-slim", &store, None, &Progress::none()).await?;
/// println!("{} in {} layers", image.digest, image.layers.len());
/// # Ok(())
/// # }
/// ```
pub async fn export(
    engine: &Engine,
    image: &str,
    store: &BlobStore,
    sink: Option<&dyn BlobSink>,
    progress: &Progress,
) -> Result<Exported, ImageError> {
    let config = inspect(engine, image).await?;
    let mut layers = BTreeMap::new();
    for diff_id in &config.layers {
        if layers.contains_key(diff_id) {
            continue;
        }
        if let Some(known) = store.layer(diff_id) {
            let here = store.has(&known.digest);
            let there = !here
                && match sink {
                    Some(sink) => sink.has(&known.digest).await?,
                    None => false,
                };
            if here || there {
                let file = here.then(|| store.path(&known.digest));
                layers.insert(
                    diff_id.clone(),
                    Layer {
                        descriptor: known,
                        diff_id: diff_id.clone(),
                        file,
                    },
                );
            }
        }
    }
    // The engine's id for an image is its configuration's digest, except where containerd keeps the images.
    let id: Option<Digest> = image_id(engine, image).await?;
    let mut config_content = match &id {
        Some(id) => store.get(id)?,
        None => None,
    };
    if config_content.is_none() || config.layers.iter().any(|diff_id| !layers.contains_key(diff_id)) {
        progress.status("reading the image from the engine");
        let wanted = config
            .layers
            .iter()
            .filter(|diff_id| !layers.contains_key(diff_id))
            .cloned()
            .collect();
        let saved = save(engine, image, store, wanted, progress, config.size).await?;
        config_content = Some(saved.config);
        layers.extend(saved.layers);
    }
    let config_content = Bytes::from(config_content.unwrap_or_default());
    warn_of_leaks(&config_content, progress);
    let config_digest = store.put(&config_content)?;
    let ordered = config.layers.iter().map(|diff_id| {
        layers.get(diff_id).cloned().ok_or_else(|| ImageError::Export {
            image: image.to_owned(),
            why: format!("the engine did not give out the layer {}", diff_id.short()),
        })
    });
    let layers = ordered.collect::<Result<Vec<_>, _>>()?;
    let config = Descriptor {
        media_type: CONFIG.into(),
        digest: config_digest,
        size: config_content.len() as u64,
    };
    let manifest = manifest(&config, layers.iter().map(|layer| &layer.descriptor));
    Ok(Exported {
        digest: Digest::of(&manifest),
        manifest,
        config,
        config_content,
        layers,
    })
}

async fn image_id(engine: &Engine, image: &str) -> Result<Option<Digest>, ImageError> {
    if engine.info().containerd_store {
        return Ok(None);
    }
    let found = engine
        .docker()
        .inspect_image(image)
        .await
        .map_err(engine_error(format!("inspect the image {image}")))?;
    Ok(found.id.and_then(|id| id.parse().ok()))
}

/// The manifest, byte for byte the same for the same descriptors.
fn manifest<'a>(config: &Descriptor, layers: impl Iterator<Item = &'a Descriptor>) -> Bytes {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest<'a> {
        schema_version: u8,
        media_type: &'static str,
        config: &'a Descriptor,
        layers: Vec<&'a Descriptor>,
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config,
        layers: layers.collect(),
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&manifest).unwrap_or_default().into()
}

struct Saved {
    config: Vec<u8>,
    layers: BTreeMap<Digest, Layer>,
}

async fn save(
    engine: &Engine,
    image: &str,
    store: &BlobStore,
    wanted: BTreeSet<Digest>,
    progress: &Progress,
    size: u64,
) -> Result<Saved, ImageError> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    let docker = engine.patient();
    let what = format!("export the image {image}");
    let (task_store, task_image) = (store.clone(), image.to_owned());
    let reader = tokio::task::spawn_blocking(move || {
        read_save(
            tar::Archive::new(Chunks {
                receiver,
                current: Bytes::new(),
            }),
            &task_image,
            &task_store,
            &wanted,
        )
    });
    let mut stream = std::pin::pin!(docker.export_image(image));
    let mut done = 0;
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                done += chunk.len() as u64;
                progress.bytes("image from the engine", done, Some(size.max(done)));
                if sender.send(chunk).await.is_err() {
                    // The reader ended first; its result says why.
                    break;
                }
            }
            Err(error) => {
                broken = Some(engine_error(what.clone())(error));
                break;
            }
        }
    }
    drop(sender);
    let saved = reader.await.map_err(|error| ImageError::Export {
        image: image.into(),
        why: error.to_string(),
    })?;
    // A stream that broke explains an archive that ends early.
    match broken {
        Some(error) => Err(error),
        None => saved,
    }
}

/// One of `docker save`'s own lists of what its archive holds.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Reads the archive in either layout. Up to Docker 24 a layer is `ID/layer.tar`, which does not say its digest; later
/// a layer is `blobs/sha256/HEX`, uncompressed, or compressed where containerd keeps the images.
fn read_save(
    mut archive: tar::Archive<impl Read>,
    image: &str,
    store: &BlobStore,
    wanted: &BTreeSet<Digest>,
) -> Result<Saved, ImageError> {
    let refuse = |why: String| ImageError::Export {
        image: image.to_owned(),
        why,
    };
    let broken = |error: std::io::Error| refuse(error.to_string());
    let mut documents = BTreeMap::new();
    let mut layers: BTreeMap<Digest, Layer> = BTreeMap::new();
    // Compressed layers as containerd keeps them, by their name in the archive.
    let mut compressed: BTreeMap<String, Descriptor> = BTreeMap::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        let digest: Option<Digest> = name
            .strip_prefix("blobs/sha256/")
            .and_then(|hex| format!("sha256:{hex}").parse().ok());
        if let Some(diff_id) = digest.as_ref().filter(|digest| wanted.contains(digest)) {
            let made = store.put_layer(&mut entry, diff_id)?;
            let made = made.ok_or_else(|| refuse(format!("{name} is not what its name says")))?;
            layers.insert(diff_id.clone(), layer(store, made, diff_id.clone()));
        } else if digest.is_none()
            && std::path::Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "tar")
        {
            if store
                .archived_layer(&name, size)
                .is_some_and(|diff_id| !wanted.contains(&diff_id))
            {
                continue;
            }
            // Which layer it is shows only when it was read once.
            let spooled = spool(&mut entry, store).map_err(broken)?;
            store.remember_archived(&name, size, &spooled.diff_id)?;
            if wanted.contains(&spooled.diff_id) && !layers.contains_key(&spooled.diff_id) {
                let file = std::fs::File::open(&spooled.path).map_err(ImageError::file("read", &spooled.path))?;
                let made = store.put_layer(file, &spooled.diff_id)?;
                let made = made.ok_or_else(|| ImageError::Changed {
                    path: spooled.path.to_path_buf(),
                })?;
                layers.insert(spooled.diff_id.clone(), layer(store, made, spooled.diff_id.clone()));
            }
        } else if size <= LARGEST_DOCUMENT {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken)?;
            if let Some(digest) = digest
                && let Some(media_type) = compression(&content)
            {
                store.put_exact(content.as_slice(), &digest)?;
                compressed.insert(
                    name.clone(),
                    Descriptor {
                        media_type: media_type.into(),
                        digest,
                        size,
                    },
                );
            }
            documents.insert(name, content);
        } else if let Some(digest) = digest {
            let mut start = [0; 4];
            let read = read_full(&mut entry, &mut start).map_err(broken)?;
            if let Some(media_type) = compression(&start[..read])
                && store.put_exact(start[..read].chain(&mut entry), &digest)?
            {
                compressed.insert(
                    name,
                    Descriptor {
                        media_type: media_type.into(),
                        digest,
                        size,
                    },
                );
            }
        }
    }
    let list = documents
        .get("manifest.json")
        .ok_or_else(|| refuse("the archive has no manifest.json".into()))?;
    let list: Vec<Listed> = serde_json::from_slice(list).map_err(|error| refuse(format!("manifest.json: {error}")))?;
    let listed = list
        .into_iter()
        .next()
        .ok_or_else(|| refuse("manifest.json lists nothing".into()))?;
    let config = documents
        .remove(&listed.config)
        .ok_or_else(|| refuse(format!("{} is missing", listed.config)))?;
    let diff_ids = diff_ids(&config).map_err(|error| refuse(format!("{}: {error}", listed.config)))?;
    for (diff_id, name) in diff_ids.iter().zip(&listed.layers) {
        if wanted.contains(diff_id)
            && !layers.contains_key(diff_id)
            && let Some(descriptor) = compressed.get(name)
        {
            layers.insert(diff_id.clone(), layer(store, descriptor.clone(), diff_id.clone()));
        }
    }
    Ok(Saved { config, layers })
}

fn layer(store: &BlobStore, descriptor: Descriptor, diff_id: Digest) -> Layer {
    Layer {
        file: Some(store.path(&descriptor.digest)),
        descriptor,
        diff_id,
    }
}

fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Rootfs,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        diff_ids: Vec<Digest>,
    }
    serde_json::from_slice::<Config>(config).map(|config| config.rootfs.diff_ids)
}

/// A compressed layer's media type, by its first bytes.
fn compression(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(&[0x1f, 0x8b]) {
        Some(crate::store::LAYER)
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some("application/vnd.oci.image.layer.v1.tar+zstd")
    } else {
        None
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

struct Spooled {
    path: tempfile::TempPath,
    diff_id: Digest,
}

/// Writes a layer to a file beside the store's others, and says which it is.
fn spool(from: &mut impl Read, store: &BlobStore) -> std::io::Result<Spooled> {
    use std::io::Write as _;
    let mut file = store.temporary()?;
    let mut hash = nuages_model::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
    file.flush()?;
    Ok(Spooled {
        path: file.into_temp_path(),
        diff_id: hash.finish(),
    })
}

/// Bytes from the engine's stream, for a reader that blocks.
struct Chunks {
    receiver: tokio::sync::mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let take = self.current.len().min(buffer.len());
        buffer[..take].copy_from_slice(&self.current.split_to(take));
        Ok(take)
    }
}

/// Arguments of a build stay in the history of the stage that used them. In an image that is about to leave this machine
/// they do not belong.
fn warn_of_leaks(config: &[u8], progress: &Progress) {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        history: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        created_by: String,
    }
    let Ok(config) = serde_json::from_slice::<Config>(config) else {
        return;
    };
    let names = crate::PASSED_THROUGH.into_iter().chain([ca_bundle::ARGUMENT]);
    for name in names {
        let kept = config.history.iter().any(|entry| {
            entry.created_by.match_indices(name).any(|(at, _)| {
                // `|1 NAME=value /bin/sh -c …`
                let value = entry.created_by[at + name.len()..].strip_prefix('=');
                value.is_some_and(|value| !value.starts_with(['"', ' ']) && !value.is_empty())
                    && entry.created_by.starts_with(['|', 'R'])
            })
        });
        if kept {
            progress.warning(format!(
                "the image's history holds the value of `ARG {name}`; use it in an earlier stage, and copy the files from there"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuages_model::Note;
    use std::sync::{Arc, Mutex};

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn config(layers: &[&[u8]]) -> Vec<u8> {
        let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
        serde_json::to_vec(&serde_json::json!({"rootfs": {"type": "layers", "diff_ids": ids}})).unwrap()
    }

    fn read(archive: &[u8], wanted: &[&[u8]]) -> (Result<Saved, ImageError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let wanted = wanted.iter().map(|layer| Digest::of(layer)).collect();
        (read_save(tar::Archive::new(archive), "x", &store, &wanted), folder)
    }

    #[test]
    fn both_layouts_give_the_same_layers() {
        let (base, code) = (b"base layer".as_slice(), b"code layer".as_slice());
        let config = config(&[base, code]);
        let hex = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
        let legacy = archive(&[
            ("aaa/VERSION", b"1.0"),
            ("aaa/json", b"{}"),
            ("aaa/layer.tar", code),
            ("bbb/layer.tar", base),
            ("c.json", &config),
            (
                "manifest.json",
                br#"[{"Config":"c.json","RepoTags":null,"Layers":["bbb/layer.tar","aaa/layer.tar"]}]"#,
            ),
        ]);
        let list = format!(
            r#"[{{"Config":"{}","Layers":["{}","{}"]}}]"#,
            hex(&config),
            hex(base),
            hex(code)
        );
        let oci = archive(&[
            (&hex(base), base),
            (&hex(code), code),
            (&hex(&config), &config),
            ("index.json", b"{}"),
            ("manifest.json", list.as_bytes()),
        ]);
        let (legacy, _one) = read(&legacy, &[base, code]);
        let (oci, _two) = read(&oci, &[base, code]);
        let (legacy, oci) = (legacy.unwrap(), oci.unwrap());
        assert_eq!(legacy.config, config);
        assert_eq!(oci.config, config);
        let digests = |saved: &Saved| {
            saved
                .layers
                .values()
                .map(|layer| layer.descriptor.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(digests(&legacy).len(), 2);
        assert_eq!(digests(&legacy), digests(&oci));
    }

    #[test]
    fn a_known_layer_of_an_archive_is_passed_over() {
        let (known, new) = (b"known layer".as_slice(), b"new layer".as_slice());
        let config = config(&[known, new]);
        let list = br#"[{"Config":"c.json","Layers":["aaa/layer.tar","bbb/layer.tar"]}]"#;
        let archive = |first: &[u8]| {
            archive(&[
                ("aaa/layer.tar", first),
                ("bbb/layer.tar", new),
                ("c.json", &config),
                ("manifest.json", list),
            ])
        };
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let read = |content: &[u8], wanted: &[&[u8]]| {
            let wanted = wanted.iter().map(|layer| Digest::of(layer)).collect();
            read_save(tar::Archive::new(content), "x", &store, &wanted)
                .unwrap()
                .layers
                .into_keys()
                .collect::<Vec<_>>()
        };
        assert!(read(&archive(known), &[]).is_empty());
        let name = "aaa/layer.tar";
        assert_eq!(store.archived_layer(name, known.len() as u64), Some(Digest::of(known)));
        assert_eq!(store.archived_layer(name, 1), None, "another length is another layer");
        // It is known and not wanted, so its content is not looked at; what is wanted is read all the same.
        assert_eq!(read(&archive(&vec![b'?'; known.len()]), &[new]), [Digest::of(new)]);
        assert_eq!(read(&archive(known), &[known]), [Digest::of(known)]);
    }

    #[test]
    fn compressed_layers_are_kept_as_they_are() {
        let layer = b"layer".as_slice();
        let mut gz = Vec::new();
        crate::gzip::compress(layer, &mut gz).unwrap();
        let config = config(&[layer]);
        let name = format!("blobs/sha256/{}", Digest::of(&gz).hex());
        let list = format!(r#"[{{"Config":"c.json","Layers":["{name}"]}}]"#);
        let (saved, _folder) = read(
            &archive(&[(&name, &gz), ("c.json", &config), ("manifest.json", list.as_bytes())]),
            &[layer],
        );
        let saved = saved.unwrap();
        assert_eq!(saved.layers[&Digest::of(layer)].descriptor.digest, Digest::of(&gz));
    }

    #[test]
    fn broken_archives_are_refused() {
        let whole = archive(&[("a/layer.tar", &[7; 2000]), ("manifest.json", b"[]")]);
        for cut in [0, 100, 512, 700, 1500, 2600, whole.len()] {
            assert!(read(&whole[..cut], &[]).0.is_err(), "{cut}");
        }
        let lie = archive(&[
            (&format!("blobs/sha256/{}", Digest::of(b"a").hex()), b"b"),
            ("manifest.json", b"[]"),
        ]);
        assert!(read(&lie, &[b"a"]).0.is_err());
    }

    #[test]
    fn a_manifest_is_the_same_everywhere() {
        let digest = Digest::of(b"x");
        let config = Descriptor {
            media_type: CONFIG.into(),
            digest: digest.clone(),
            size: 1,
        };
        let layer = Descriptor {
            media_type: crate::store::LAYER.into(),
            digest,
            size: 2,
        };
        let text = String::from_utf8(manifest(&config, [&layer].into_iter()).to_vec()).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn arguments_in_the_history_are_told() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let progress = Progress::new(move |note| {
            if let Note::Warning { text } = note {
                notes.lock().unwrap().push(text);
            }
        });
        warn_of_leaks(
            br#"{"history":[{"created_by":"ARG NUAGES_CA_BUNDLE="},{"created_by":"RUN x"}]}"#,
            &progress,
        );
        warn_of_leaks(
            br#"{"history":[{"created_by":"|1 NUAGES_CA_BUNDLE= /bin/sh -c x"}]}"#,
            &progress,
        );
        assert!(seen.lock().unwrap().is_empty());
        warn_of_leaks(
            br#"{"history":[{"created_by":"|1 NUAGES_CA_BUNDLE=QUJD /bin/sh -c x"}]}"#,
            &progress,
        );
        warn_of_leaks(
            br#"{"history":[{"created_by":"RUN |1 PIP_INDEX_URL=https://u:p@h/ /bin/sh -c x # buildkit"}]}"#,
            &progress,
        );
        assert_eq!(seen.lock().unwrap().len(), 2);
        assert!(!seen.lock().unwrap().concat().contains("QUJD"));
    }
}
