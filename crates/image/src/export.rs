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

use crate::archive::{Saved, read_save};
use crate::ca_bundle;
use crate::error::engine_error;
use crate::{BlobStore, Engine, ImageError, inspect};

/// The media type of the manifests that are made here.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of their configurations.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

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
    let manifest = manifest(&config, layers.iter().map(|layer| (&layer.descriptor, None)));
    Ok(Exported {
        digest: Digest::of(&manifest),
        manifest,
        config,
        config_content,
        layers,
    })
}

/// What a manifest tells of a layer.
pub(crate) type Annotations = BTreeMap<&'static str, String>;

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

/// The manifest, byte for byte the same for the same descriptors and what is told of each layer.
pub(crate) fn manifest<'a>(
    config: &Descriptor,
    layers: impl Iterator<Item = (&'a Descriptor, Option<Annotations>)>,
) -> Bytes {
    #[derive(serde::Serialize)]
    struct Listed<'a> {
        #[serde(flatten)]
        descriptor: &'a Descriptor,
        #[serde(skip_serializing_if = "Option::is_none")]
        annotations: Option<Annotations>,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Manifest<'a> {
        schema_version: u8,
        media_type: &'static str,
        config: &'a Descriptor,
        layers: Vec<Listed<'a>>,
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config,
        layers: layers
            .map(|(descriptor, annotations)| Listed {
                descriptor,
                annotations,
            })
            .collect(),
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&manifest).unwrap_or_default().into()
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

#[cfg(test)]
mod tests {
    use super::*;
    use nuages_model::Note;
    use std::sync::{Arc, Mutex};

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
        let text = String::from_utf8(manifest(&config, [(&layer, None)].into_iter()).to_vec()).unwrap();
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
