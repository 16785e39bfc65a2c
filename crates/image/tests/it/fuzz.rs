//! Manifests, configurations and locks that nobody wrote: real ones, changed at random, are read or refused.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use nuages_image::{Base, BlobStore, Pinning, Pins, Previous, Recipe, Tree};
use nuages_model::{BlobSource, Descriptor, Digest, Progress, SourceError};
use nuages_testkit::fuzz::{cases, config, seed, spoil};
use proptest::prelude::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Has one image, or what became of it.
struct One {
    manifest: Bytes,
    config: Bytes,
}

#[async_trait]
impl BlobSource for One {
    async fn find_manifest(&self, _: &str) -> Result<Option<(Descriptor, Bytes)>, SourceError> {
        let descriptor = Descriptor {
            media_type: MANIFEST.into(),
            digest: Digest::of(&self.manifest),
            size: self.manifest.len() as u64,
        };
        Ok(Some((descriptor, self.manifest.clone())))
    }

    async fn fetch_blob(&self, asked: &Descriptor, path: &Path, _: &Progress) -> Result<(), SourceError> {
        // A source compares the digest, so what it gives out is what was asked for.
        if asked.digest != Digest::of(&self.config) {
            let source = "there is no such blob".into();
            return Err(SourceError {
                what: "a blob".into(),
                source,
            });
        }
        std::fs::write(path, &self.config).map_err(|error| SourceError {
            what: "a blob".into(),
            source: error.into(),
        })
    }
}

#[test]
fn images_that_nobody_made_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    let quiet = Progress::none();
    let input = Digest::of(b"input");
    let layer = |name: &str| {
        let mut tree = Tree::new();
        tree.bytes(name, name.to_owned(), false).unwrap();
        (name.to_owned(), tree)
    };
    let layers = ["one", "two"].map(layer);
    let image = Recipe::on(Base::scratch("linux/amd64"))
        .made_from(&input, layers)
        .make(&store, &quiet)
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seed = seed();
    println!("NUAGES_SEED={seed}");
    let both = |manifest: Bytes, content: Bytes| {
        // Each in a store of its own: what was read once is known.
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let source: Arc<dyn BlobSource> = Arc::new(One {
            manifest,
            config: content,
        });
        runtime.block_on(async {
            let base = Base::read(Arc::clone(&source), "latest", "linux/amd64", &store, &quiet).await;
            let previous = Previous::read(source, "latest", &store, &quiet).await;
            let found = previous.ok().flatten().and_then(|image| image.find(&input));
            if let Some(layers) = &found {
                let again = Recipe::on(Base::scratch("linux/amd64")).reuse(layers.clone());
                let _ = again.make(&store, &quiet);
            }
            (base.is_ok(), found.map(|layers| layers.len()))
        })
    };
    assert_eq!(
        both(image.manifest.clone(), image.config_content.clone()),
        (true, Some(2))
    );
    proptest!(config(cases(96), seed), |(damage: u64, of_config: bool)| {
        if of_config {
            // The manifest names the spoiled one, or it would not be read at all.
            let content = spoil(damage, &image.config_content);
            let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
            manifest["config"]["digest"] = Digest::of(&content).to_string().into();
            manifest["config"]["size"] = content.len().into();
            both(serde_json::to_vec(&manifest).unwrap().into(), content.into());
        } else {
            both(spoil(damage, &image.manifest).into(), image.config_content.clone());
        }
    });
}

#[test]
fn a_lock_that_nobody_wrote_is_read_or_refused_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nuages.lock");
    let mut pins = Pins::read(&file, Pinning::Missing).unwrap();
    pins.pin_base("python:3.13", &Base::scratch("linux/amd64"), false)
        .unwrap();
    pins.write().unwrap();
    let whole = std::fs::read(&file).unwrap();
    let seed = seed();
    println!("NUAGES_SEED={seed}");
    proptest!(config(cases(128), seed), |(damage: u64)| {
        let spoiled = spoil(damage, &whole);
        std::fs::write(&file, &spoiled).unwrap();
        if let Ok(pins) = Pins::read(&file, Pinning::Frozen) {
            let _ = pins.base("python:3.13");
            prop_assert!(!pins.write().unwrap(), "what was read is what is there");
        }
        prop_assert_eq!(std::fs::read(&file).unwrap(), spoiled);
    });
}
