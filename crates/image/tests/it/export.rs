//! Out of the engine and into a sink, and back.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use nuages_image::{BlobStore, BuildRequest, Builder, build, export, push};
use nuages_model::{Blob, BlobSink, Descriptor, Digest, Progress, PutOutcome, SinkError};
use tokio_util::sync::CancellationToken;

use crate::{BASE, Said, engine, project, remove_image, write};

/// A registry in memory that checks what it gets.
#[derive(Default)]
struct Memory {
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    manifests: Mutex<HashMap<String, Bytes>>,
}

#[async_trait]
impl BlobSink for Memory {
    async fn has(&self, digest: &Digest) -> Result<bool, SinkError> {
        Ok(self.blobs.lock().unwrap().contains_key(digest))
    }

    async fn put_blob(&self, descriptor: &Descriptor, blob: Blob, _: &Progress) -> Result<PutOutcome, SinkError> {
        if self.has(&descriptor.digest).await? {
            return Ok(PutOutcome::Present);
        }
        let content = match blob {
            Blob::Bytes(bytes) => bytes.to_vec(),
            Blob::File(path) => std::fs::read(path).map_err(|error| SinkError {
                what: "a file".into(),
                source: Box::new(error),
            })?,
        };
        assert_eq!(Digest::of(&content), descriptor.digest);
        assert_eq!(content.len() as u64, descriptor.size);
        self.blobs.lock().unwrap().insert(descriptor.digest.clone(), content);
        Ok(PutOutcome::Sent)
    }

    async fn put_manifest(&self, _: &str, manifest: Bytes, tag: &str) -> Result<Digest, SinkError> {
        let parsed: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layers = parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]);
        for layer in layers {
            let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
            assert!(
                self.blobs.lock().unwrap().contains_key(&digest),
                "the manifest came before {digest}"
            );
        }
        let digest = Digest::of(&manifest);
        self.manifests.lock().unwrap().insert(tag.to_owned(), manifest);
        Ok(digest)
    }
}

fn tags(digest: &Digest) -> Vec<String> {
    vec![format!("build-{}", digest.hex()), "latest".into()]
}

#[tokio::test]
async fn each_layer_is_read_compressed_and_sent_once() {
    let engine = engine().await;
    let dockerfile = format!("FROM {BASE}\nCOPY code /code\nCMD [\"cat\", \"/code\"]\n");
    let folder = project(&[("Dockerfile", &dockerfile), ("code", "one")]);
    let (progress, cancel) = (Progress::none(), CancellationToken::new());
    let make = async |builder| {
        let request = BuildRequest {
            builder,
            ..BuildRequest::new(folder.path())
        };
        build(&engine, &request, &progress, &cancel)
            .await
            .unwrap()
            .image_id
            .to_string()
    };
    let cache = tempfile::tempdir().unwrap();
    let store = BlobStore::open(cache.path()).unwrap();
    let memory = Memory::default();
    let push_here = async |store: &BlobStore, image: &str, memory: &Memory, progress: &Progress| {
        push(&engine, image, store, memory, tags, progress, &cancel)
            .await
            .unwrap()
    };

    let one = make(Builder::Auto).await;
    let first = push_here(&store, &one, &memory, &progress).await;
    assert!(first.sent >= 3 && first.present == 0, "{first:?}");
    let said = Said::default();
    let again = push_here(&store, &one, &memory, &said.progress()).await;
    assert_eq!((again.sent, &again.digest), (0, &first.digest));
    assert!(
        !format!("{:?}", said.0.lock().unwrap()).contains("from the engine"),
        "nothing was to be read"
    );

    // The code alone changes: its layer and the configuration are sent.
    write(folder.path(), "code", "two");
    let two = make(Builder::Auto).await;
    let second = push_here(&store, &two, &memory, &progress).await;
    assert_eq!(second.sent, 2, "{second:?}");
    assert!(second.sent_bytes < 10_000, "{second:?}");

    // With its cache gone the far side's layers are still not compressed: what they became is remembered.
    store.prune(0).unwrap();
    let third = push_here(&store, &two, &memory, &progress).await;
    assert_eq!((third.sent, &third.digest), (0, &second.digest));
    assert_eq!(store.list().unwrap().len(), 1, "the configuration alone");

    // Another machine gives the same digest.
    let elsewhere = tempfile::tempdir().unwrap();
    let exported = export(
        &engine,
        &two,
        &BlobStore::open(elsewhere.path()).unwrap(),
        None,
        &progress,
    )
    .await
    .unwrap();
    assert_eq!(exported.digest, second.digest);

    // And a far side that forgot everything gets everything.
    let empty = Memory::default();
    let all = push_here(&store, &two, &empty, &progress).await;
    assert_eq!((&all.digest, all.present), (&second.digest, 0));
    assert_eq!(empty.manifests.lock().unwrap().len(), 2);

    // What was sent is what the engine has.
    let layer = exported.layers.last().unwrap();
    let mut content = Vec::new();
    let sent = memory.blobs.lock().unwrap()[&layer.descriptor.digest].clone();
    flate2::read::MultiGzDecoder::new(sent.as_slice())
        .read_to_end(&mut content)
        .unwrap();
    assert_eq!(Digest::of(&content), layer.diff_id);
    let names: Vec<_> = tar::Archive::new(content.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(names.contains(&"code".to_owned()), "{names:?}");
    for image in [one, two] {
        remove_image(&engine, &image).await;
    }
}
