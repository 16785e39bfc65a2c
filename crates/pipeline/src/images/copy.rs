//! An image from one place to another.
//!
//! Invariant: what arrives has the digest that it had.

use nuages_image::{BlobStore, Engine, OciLayout};
use nuages_model::{BlobSink, Digest};
use nuages_registry::{Copied, Repository};

use super::place::{self, Place};
use crate::build::{blob_folder, bytes};
use crate::error::PipelineError;
use crate::ui::{Ui, count};

/// Copies an image, with all its platforms, and answers its digest.
pub async fn copy_image(from: &Place, to: &Place, ui: &Ui) -> Result<Digest, PipelineError> {
    let (sink, tags) = sink(from, to).await?;
    let task = ui.events.task("copy", format!("Copy {from} to {to}"));
    let copied = match copy(from, &*sink, tags, &task.progress(), ui).await {
        Ok(copied) => copied,
        Err(error) => {
            task.failed_with(error.report());
            return Err(error);
        }
    };
    let digest = format!("sha256:{}", copied.digest.short());
    match (copied.sent_bytes, copied.skipped) {
        (0, _) => task.unchanged(format!("{digest}, all there already")),
        (sent, 0) => task.done(format!("{digest}, {} sent", bytes(sent))),
        (sent, there) => task.done(format!(
            "{digest}, {} sent, {} there already",
            bytes(sent),
            count(there, "blob")
        )),
    }
    Ok(copied.digest)
}

async fn copy(
    from: &Place,
    sink: &dyn BlobSink,
    tags: Vec<String>,
    progress: &nuages_model::Progress,
    ui: &Ui,
) -> Result<Copied, PipelineError> {
    let Place::Engine(name) = from else {
        let (source, name) = place::source(from).await?;
        return Ok(nuages_registry::copy(&*source, &name, sink, &tags, progress).await?);
    };
    let store = BlobStore::open(blob_folder(None))?;
    let (engine, stop) = (Engine::connect().await?, ui.stop_token());
    let named = |digest: &Digest| {
        if tags.is_empty() {
            vec![digest.to_string()]
        } else {
            tags.clone()
        }
    };
    let pushed = nuages_image::push(&engine, name, &store, sink, named, progress, &stop).await?;
    Ok(Copied {
        digest: pushed.digest,
        sent_bytes: pushed.sent_bytes,
        skipped: 0,
    })
}

/// Where it goes, and what it is called there.
async fn sink(from: &Place, to: &Place) -> Result<(Box<dyn BlobSink>, Vec<String>), PipelineError> {
    let refused = |what: String, hint: &str| PipelineError::Arguments {
        what,
        hint: Some(hint.to_owned()),
    };
    match to {
        Place::Registry(image) => {
            if image.digest().is_some() {
                let what = format!("`{to}` names a digest, which an image has by what it holds");
                return Err(refused(what, "leave the digest out, or name a tag"));
            }
            let tags = image.tag().map(str::to_owned).into_iter().collect();
            Ok((Box::new(mounting(place::repository(image).await?, from)), tags))
        }
        Place::Layout { folder, name } => {
            if name.as_ref().is_some_and(|name| name.parse::<Digest>().is_ok()) {
                let what = format!("`{to}` names a digest, which an image has by what it holds");
                return Err(refused(what, "leave the digest out, or name a tag"));
            }
            let layout = OciLayout::create(folder)?;
            Ok((Box::new(layout), name.clone().into_iter().collect()))
        }
        Place::Engine(_) => Err(refused(
            "images are not copied into the Docker engine".to_owned(),
            "copy it to a registry and `docker pull` it from there",
        )),
    }
}

/// Within one registry nothing has to move.
fn mounting(to: Repository, from: &Place) -> Repository {
    match from {
        Place::Registry(image) if image.host() == to.registry().host() => {
            to.mounting_from([image.repository().to_owned()])
        }
        _ => to,
    }
}
