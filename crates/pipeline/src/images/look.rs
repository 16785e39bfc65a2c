//! What an image says of itself, and what belongs to it.
//!
//! Invariant: nothing is changed, and no layer is read, but of an engine, which gives out its images whole.

use nuages_image::{Base, BlobStore, Engine, Facts};
use nuages_model::{ImageRef, Progress};
use nuages_registry::RegistryError;

use super::place::{self, Place};
use crate::build::blob_folder;
use crate::error::PipelineError;
use crate::ui::Ui;

/// What an image says of itself; of several platforms, for this one.
pub async fn image_facts(place: &Place, platform: &str, ui: &Ui) -> Result<Facts, PipelineError> {
    let store = BlobStore::open(blob_folder(None))?;
    let quiet = Progress::none();
    let base = match place {
        Place::Engine(name) => {
            let task = ui.events.task("image", format!("Read {place}"));
            let base = Base::of_engine(&Engine::connect().await?, name, &store, &task.progress()).await?;
            task.done("");
            base
        }
        Place::Registry(_) | Place::Layout { .. } => {
            let (source, name) = place::source(place).await?;
            let there = source.find_manifest(&name).await.map_err(RegistryError::from)?;
            if there.is_none() {
                return Err(PipelineError::Arguments {
                    what: format!("there is no image {place}"),
                    hint: place::others(place),
                });
            }
            Base::read(source, &name, platform, &store, &quiet).await?
        }
    };
    Ok(base.facts())
}

/// The kinds of bills of materials, as media types.
const SBOMS: [&str; 3] = [
    "application/vnd.cyclonedx+json",
    "application/spdx+json",
    "text/spdx+json",
];

/// The bill of materials that belongs to an image of a registry.
pub async fn image_sbom(image: &ImageRef) -> Result<Vec<u8>, PipelineError> {
    let repository = place::repository(image).await?;
    let found = repository.head_manifest(&place::reference(image)).await?;
    let found = found.ok_or_else(|| PipelineError::Arguments {
        what: format!("there is no image {image}"),
        hint: None,
    })?;
    let referrers = repository.referrers(&found.digest).await?;
    let sbom = referrers.iter().find(|one| SBOMS.contains(&one.artifact_type.as_str()));
    let Some(sbom) = sbom else {
        return Err(PipelineError::Arguments {
            what: format!("no bill of materials belongs to {image}"),
            hint: Some("tools such as `syft` make one, and `oras attach` adds it to the image".into()),
        });
    };
    let manifest = repository.manifest(sbom.manifest.digest.as_str()).await?;
    let content = manifest.blobs()?.into_iter().nth(1);
    let content = content.ok_or_else(|| PipelineError::machine("read the bill of materials", "it has no content"))?;
    let store = BlobStore::open(blob_folder(None))?;
    if !store.has(&content.digest) {
        let quiet = Progress::none();
        repository
            .pull_blob(&content, &store.path(&content.digest), &quiet)
            .await?;
    }
    let sbom = store.get(&content.digest)?;
    sbom.ok_or_else(|| PipelineError::machine("read the bill of materials", "it is gone from this machine's cache"))
}
