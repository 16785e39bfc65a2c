//! Layers of an earlier image, found again by what they were made from.
//!
//! A fresh clone, as in CI, has nothing in its cache. The registry has the image that was made last, whose manifest tells
//! of each layer from which input it was made: so dependencies that did not change are neither fetched nor compressed.
//!
//! Invariant: layers of one input are found all or not at all, in the order in which they were made. An image that was
//! made by others, or is damaged, has none.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use nuages_model::{BlobSource, Descriptor, Digest, Progress};
use oci_spec::image::ImageManifest;
use serde_json::Value;

use crate::base::{config, diff_ids, is_index, own};
use crate::export::Layer;
use crate::recipe::CREATED_BY;
use crate::store::LAYER;
use crate::{BlobStore, ImageError};

/// The annotation that tells from which input a layer was made.
pub(crate) const INPUT: &str = "dev.nuages.layer.input";
/// The annotation that tells which of the layers of that input it is, such as `1/3`.
pub(crate) const PART: &str = "dev.nuages.layer.part";

/// An image that was made earlier.
///
/// Its layers are taken for what it says that they are. So name it by a digest that a release recorded, and not by a tag,
/// which anybody who may push can move.
///
/// ```no_run
/// use nuages_image::{Base, BlobStore, Contents, Packages, Previous, Recipe, Requirements};
/// use nuages_model::Progress;
///
/// # async fn example(
/// #     source: std::sync::Arc<dyn nuages_model::BlobSource>, base: Base, contents: Contents, released: &str,
/// # ) -> Result<(), nuages_image::ImageError> {
/// let (store, quiet) = (BlobStore::open("cache/blobs")?, Progress::none());
/// let requirements = Requirements::of_file("requirements.txt".as_ref(), "linux/amd64")?;
/// let key = requirements.key(&contents)?;
/// let recipe = match Previous::read(source, released, &store, &quiet).await?.and_then(|image| image.find(&key)) {
///     Some(layers) => Recipe::on(base).reuse(layers),
///     None => {
///         let packages = Packages::install(&requirements, &contents, &store, &quiet).await?;
///         Recipe::on(base).made_from(&key, packages.layers()?)
///     }
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Previous {
    layers: Vec<Reused>,
}

/// A layer of it.
#[derive(Clone)]
pub struct Reused {
    pub(crate) title: String,
    pub(crate) input: Digest,
    pub(crate) part: String,
    descriptor: Descriptor,
    diff_id: Digest,
    source: Arc<dyn BlobSource>,
}

impl fmt::Debug for Reused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reused")
            .field("title", &self.title)
            .field("input", &self.input)
            .field("part", &self.part)
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl Previous {
    /// Reads manifest and configuration of an image. `None` if there is no such image, or it is none of one platform.
    pub async fn read(
        source: Arc<dyn BlobSource>,
        reference: &str,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Option<Self>, ImageError> {
        let Some((descriptor, content)) = source.find_manifest(reference).await? else {
            return Ok(None);
        };
        if is_index(&descriptor.media_type) {
            return Ok(None);
        }
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&content) else {
            return Ok(None);
        };
        // What was not made here has nothing to tell, and nothing more is read of it.
        let told = |layer: &oci_spec::image::Descriptor, name: &str| layer.annotations().as_ref()?.get(name).cloned();
        if !manifest.layers().iter().any(|layer| told(layer, INPUT).is_some()) {
            return Ok(None);
        }
        let Ok(named) = own(manifest.config()) else {
            return Ok(None);
        };
        let config = config(&*source, &named, store, progress).await?;
        let Ok(config) = serde_json::from_slice::<Value>(&config) else {
            return Ok(None);
        };
        let diff_ids = diff_ids(&config).unwrap_or_default();
        if diff_ids.len() != manifest.layers().len() {
            return Ok(None);
        }
        // Each layer of ours has a line in the history, and these are the last.
        let history = config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let titles = history
            .iter()
            .rev()
            .map_while(|line| line["created_by"].as_str()?.strip_prefix(CREATED_BY));
        let layers = manifest.layers().iter().zip(diff_ids).rev().zip(titles);
        let known = layers.filter_map(|((layer, diff_id), title)| {
            let descriptor = own(layer).ok().filter(|descriptor| descriptor.media_type == LAYER)?;
            Some(Reused {
                title: title.to_owned(),
                input: told(layer, INPUT)?.parse().ok()?,
                part: told(layer, PART)?,
                descriptor,
                diff_id,
                source: Arc::clone(&source),
            })
        });
        let mut layers: Vec<Reused> = known.collect();
        layers.reverse();
        Ok(Some(Self { layers }))
    }

    /// All layers that were made from this input, in their order.
    pub fn find(&self, input: &Digest) -> Option<Vec<Reused>> {
        let found: Vec<Reused> = self
            .layers
            .iter()
            .filter(|layer| layer.input == *input)
            .cloned()
            .collect();
        let count = found.len();
        let whole = found
            .iter()
            .enumerate()
            .all(|(number, layer)| layer.part == format!("{}/{count}", number + 1));
        (whole && count > 0).then_some(found)
    }
}

impl Reused {
    /// As it stands in the earlier image.
    pub(crate) fn layer(&self, store: &BlobStore) -> Layer {
        let here = store.has(&self.descriptor.digest);
        Layer {
            descriptor: self.descriptor.clone(),
            diff_id: self.diff_id.clone(),
            file: here.then(|| store.path(&self.descriptor.digest)),
        }
    }

    /// Its file, read from where the earlier image is.
    pub(crate) async fn fetch(&self, store: &BlobStore, progress: &Progress) -> Result<PathBuf, ImageError> {
        let path = store.path(&self.descriptor.digest);
        self.source.fetch_blob(&self.descriptor, &path, progress).await?;
        Ok(path)
    }
}
