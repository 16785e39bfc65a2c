//! The image that another one is built on.
//!
//! Invariant: configuration and layers are those of one manifest of one platform, and each layer has its name
//! uncompressed, too. Nothing is read of a layer.

use std::fmt;
use std::sync::Arc;

use nuages_model::{BlobSource, Descriptor, Digest, Progress};
use oci_spec::image::{ImageIndex, ImageManifest};
use serde::Deserialize;
use serde_json::Value;

use crate::export::{Exported, Layer};
use crate::store::LAYER;
use crate::{BlobStore, Engine, ImageError, export};

/// A longer configuration is not read.
const LONGEST_CONFIG: u64 = 8 << 20;

/// An image to build on.
#[derive(Clone)]
pub struct Base {
    name: String,
    digest: Option<Digest>,
    index: Option<Digest>,
    config: Value,
    layers: Vec<Layer>,
    source: Option<Arc<dyn BlobSource>>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl Base {
    /// Nothing: the image has the layers that are put on it, and no others.
    pub fn scratch(platform: &str) -> Self {
        let (os, architecture, variant) = split(platform);
        let mut config = serde_json::json!({ "architecture": architecture, "os": os });
        if let Some(variant) = variant {
            config["variant"] = variant.into();
        }
        Self {
            name: "scratch".into(),
            digest: None,
            index: None,
            config,
            layers: Vec::new(),
            source: None,
        }
    }

    /// Reads manifest and configuration of an image, by tag or digest; of an index, those for this platform, such as
    /// `linux/amd64`. Layers stay where they are until somebody needs them.
    pub async fn read(
        source: Arc<dyn BlobSource>,
        reference: &str,
        platform: &str,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        let refuse = |why: String| ImageError::Base {
            image: reference.to_owned(),
            why,
        };
        let not_there = || refuse("there is no such image".into());
        let (mut descriptor, mut content) = source.find_manifest(reference).await?.ok_or_else(not_there)?;
        let mut of_index = None;
        if is_index(&descriptor.media_type) {
            of_index = Some(descriptor.digest.clone());
            let index: ImageIndex = read(&content, "index").map_err(refuse)?;
            let chosen = choose(&index, platform).map_err(refuse)?;
            let child = source.find_manifest(chosen.as_str()).await?;
            (descriptor, content) = child.ok_or_else(|| refuse(format!("its manifest for {platform} is missing")))?;
        }
        let manifest: ImageManifest = read(&content, "manifest").map_err(refuse)?;
        let named = own(manifest.config()).map_err(refuse)?;
        let config = config(&*source, &named, store, progress).await?;
        let config: Value = read(&config, "configuration").map_err(refuse)?;
        let diff_ids = diff_ids(&config).map_err(refuse)?;
        let layers = manifest.layers().iter().map(own).collect::<Result<Vec<_>, _>>();
        let layers = layers.map_err(refuse)?;
        if layers.len() != diff_ids.len() {
            return Err(refuse(format!(
                "its manifest lists {} layers, and its configuration {}",
                layers.len(),
                diff_ids.len()
            )));
        }
        let layers = layers.into_iter().zip(diff_ids).map(|(descriptor, diff_id)| {
            let descriptor = oci(descriptor)?;
            Ok(Layer {
                descriptor,
                diff_id,
                file: None,
            })
        });
        let base = Self {
            name: reference.to_owned(),
            digest: Some(descriptor.digest),
            index: of_index,
            config,
            layers: layers.collect::<Result<_, _>>().map_err(refuse)?,
            source: Some(source),
        };
        // What has no platform is for any.
        let found = base.platform();
        if found != "/" && !fits(&found, platform) {
            return Err(ImageError::Base {
                image: reference.to_owned(),
                why: format!("it is for {found}, and {platform} is wanted"),
            });
        }
        Ok(base)
    }

    /// An image of the engine, the last resort: the engine keeps layers uncompressed, and gives out all or none of them.
    pub async fn of_engine(
        engine: &Engine,
        image: &str,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        let Exported {
            digest,
            config_content,
            layers,
            ..
        } = export(engine, image, store, None, progress).await?;
        let config = serde_json::from_slice(&config_content).map_err(|error| ImageError::Base {
            image: image.to_owned(),
            why: error.to_string(),
        })?;
        Ok(Self {
            name: image.to_owned(),
            digest: Some(digest),
            index: None,
            config,
            layers,
            source: None,
        })
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its manifest's digest; scratch has none.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The digest of the index that its manifest was chosen from, if it was.
    pub fn index(&self) -> Option<&Digest> {
        self.index.as_ref()
    }

    /// Its platform, such as `linux/amd64`.
    pub fn platform(&self) -> String {
        let said = |name: &str| self.config[name].as_str().unwrap_or_default().to_owned();
        let platform = format!("{}/{}", said("os"), said("architecture"));
        match self.config["variant"].as_str() {
            Some(variant) => format!("{platform}/{variant}"),
            None => platform,
        }
    }

    /// Its variables, in its order.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let listed = self.config["config"]["Env"].as_array().into_iter().flatten();
        let pairs = listed.filter_map(|entry| entry.as_str()?.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    pub(crate) fn config(&self) -> &Value {
        &self.config
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// A layer's file, read from where the base is unless it is here.
    pub(crate) async fn fetch(
        &self,
        layer: &Descriptor,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<std::path::PathBuf, ImageError> {
        let path = store.path(&layer.digest);
        if !store.has(&layer.digest) {
            let source = self.source.as_ref().ok_or_else(|| ImageError::Base {
                image: self.name.clone(),
                why: format!("its layer {} is gone from this machine", layer.digest.short()),
            })?;
            source.fetch_blob(layer, &path, progress).await?;
        }
        Ok(path)
    }
}

fn read<T: serde::de::DeserializeOwned>(content: &[u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(content).map_err(|error| format!("its {what} cannot be read: {error}"))
}

/// The configuration; what was read once is known.
pub(crate) async fn config(
    source: &dyn BlobSource,
    named: &Descriptor,
    store: &BlobStore,
    progress: &Progress,
) -> Result<Vec<u8>, ImageError> {
    if let Some(known) = store.get(&named.digest)? {
        return Ok(known);
    }
    if named.size > LONGEST_CONFIG {
        return Err(ImageError::Base {
            image: named.digest.to_string(),
            why: format!("its configuration has {} bytes", named.size),
        });
    }
    source.fetch_blob(named, &store.path(&named.digest), progress).await?;
    Ok(store.get(&named.digest)?.unwrap_or_default())
}

pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

pub(crate) fn own(from: &oci_spec::image::Descriptor) -> Result<Descriptor, String> {
    let digest = from.digest().to_string();
    Ok(Descriptor {
        media_type: from.media_type().to_string(),
        digest: digest.parse().map_err(|_| format!("`{digest}` is no sha256 digest"))?,
        size: from.size(),
    })
}

/// Docker's names of layers are other names for the same bytes.
fn oci(layer: Descriptor) -> Result<Descriptor, String> {
    let media_type = match layer.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER,
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        known @ (LAYER | "application/vnd.oci.image.layer.v1.tar" | "application/vnd.oci.image.layer.v1.tar+zstd") => {
            known
        }
        other => return Err(format!("it has a layer of the type `{other}`")),
    };
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        ..layer
    })
}

pub(crate) fn diff_ids(config: &Value) -> Result<Vec<Digest>, String> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Vec<String>,
    }
    let config = Config::deserialize(config).map_err(|error| format!("its configuration: {error}"))?;
    let parse = |text: &String| text.parse().map_err(|_| format!("`{text}` is no sha256 digest"));
    config.rootfs.diff_ids.iter().map(parse).collect()
}

fn split(platform: &str) -> (&str, &str, Option<&str>) {
    let mut parts = platform.splitn(3, '/');
    let os = parts.next().unwrap_or_default();
    (os, parts.next().unwrap_or_default(), parts.next())
}

/// Whether an image runs there. `linux/arm64` and `linux/arm64/v8` are one; every ARM of 64 bits is at least that.
fn fits(image: &str, wanted: &str) -> bool {
    let ((os, architecture, variant), (on, of, version)) = (split(image), split(wanted));
    let usual = |variant: Option<&str>| variant.filter(|variant| *variant != "v8").map(str::to_owned);
    os == on && architecture == of && (usual(variant) == usual(version) || version.is_none())
}

/// The manifest for a platform. Attestations, which BuildKit lists beside them, are for `unknown/unknown`.
fn choose(index: &ImageIndex, platform: &str) -> Result<Digest, String> {
    let mut there = Vec::new();
    for listed in index.manifests() {
        let Some(at) = listed.platform().as_ref() else { continue };
        let name = match at.variant() {
            Some(variant) => format!("{}/{}/{variant}", at.os(), at.architecture()),
            None => format!("{}/{}", at.os(), at.architecture()),
        };
        if fits(&name, platform) {
            return own(listed).map(|descriptor| descriptor.digest);
        }
        if name != "unknown/unknown" {
            there.push(name);
        }
    }
    Err(format!("it is for {}, and {platform} is wanted", there.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_chosen_as_it_is_named() {
        for (image, wanted, fit) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/amd64", "linux/arm64", false),
            ("windows/amd64", "linux/amd64", false),
        ] {
            assert_eq!(fits(image, wanted), fit, "{image} {wanted}");
        }
        assert_eq!(Base::scratch("linux/arm64/v8").platform(), "linux/arm64/v8");
        assert_eq!(Base::scratch("linux/amd64").platform(), "linux/amd64");
    }

    #[test]
    fn dockers_layers_are_the_same_layers() {
        let layer = |media_type: &str| {
            oci(Descriptor {
                media_type: media_type.into(),
                digest: Digest::of(b"x"),
                size: 1,
            })
        };
        assert_eq!(
            layer("application/vnd.docker.image.rootfs.diff.tar.gzip")
                .unwrap()
                .media_type,
            LAYER
        );
        assert_eq!(layer(LAYER).unwrap().media_type, LAYER);
        layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").unwrap_err();
    }
}
