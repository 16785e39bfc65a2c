//! An image as one tar: what `docker load` takes, and an OCI image layout at once.
//!
//! Invariant: layers stand in it as they are pushed, so what is loaded has the layers of what a registry has.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use futures_util::StreamExt as _;
use nuages_model::{Digest, Progress};
use serde_json::json;

use crate::error::engine_error;
use crate::export::{Exported, MANIFEST};
use crate::tar_stream::TarStream;
use crate::tar_writer::TarWriter;
use crate::{Engine, ImageError};

/// Writes an image as a tar, under this name. Blocks. Every layer's file must be here.
pub(crate) fn write_archive(image: &Exported, name: &str, writer: &mut dyn Write) -> Result<(), ImageError> {
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let mut tar = TarWriter::new(writer, Path::new("archive"));
    let mut seen = BTreeSet::new();
    for layer in &image.layers {
        // The same layer may stand in an image twice.
        if !seen.insert(&layer.descriptor.digest) {
            continue;
        }
        let path = blob(&layer.descriptor.digest);
        let file = layer.file.as_ref().ok_or_else(|| ImageError::Export {
            image: name.to_owned(),
            why: format!("its layer {} is not here", layer.descriptor.digest.short()),
        })?;
        tar.file(Path::new(&path), file, layer.descriptor.size, false)?;
    }
    tar.bytes(Path::new(&blob(&image.config.digest)), &image.config_content, false)?;
    tar.bytes(Path::new(&blob(&image.digest)), &image.manifest, false)?;
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| blob(&layer.descriptor.digest))
        .collect();
    // Engines before 25 read this one alone.
    let docker = json!([{ "Config": blob(&image.config.digest), "RepoTags": [name], "Layers": layers }]);
    tar.bytes(Path::new("manifest.json"), docker.to_string().as_bytes(), false)?;
    let tag = name.rsplit(':').next().unwrap_or(name);
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": image.digest,
            "size": image.manifest.len(),
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag },
        }],
    });
    tar.bytes(Path::new("index.json"), index.to_string().as_bytes(), false)?;
    tar.bytes(Path::new("oci-layout"), crate::layout::MARKED.as_bytes(), false)?;
    tar.finish()
}

/// Loads an image into the engine, under this name. Every layer's file must be here.
pub(crate) async fn load(engine: &Engine, image: &Exported, name: &str, progress: &Progress) -> Result<(), ImageError> {
    let what = format!("load the image {name} into the Docker engine");
    progress.status(&what);
    let (archived, called) = (image.clone(), name.to_owned());
    let stream = TarStream::of(move |writer| write_archive(&archived, &called, writer));
    let failure = stream.failure();
    let options = bollard::query_parameters::ImportImageOptions {
        quiet: true,
        ..Default::default()
    };
    let docker = engine.patient();
    let mut answers = std::pin::pin!(docker.import_image(options, bollard::body_try_stream(stream), None));
    while let Some(answer) = answers.next().await {
        if let Err(error) = answer {
            return Err(failure.take().unwrap_or_else(|| engine_error(what)(error)));
        }
    }
    failure.take().map_or(Ok(()), Err)
}
