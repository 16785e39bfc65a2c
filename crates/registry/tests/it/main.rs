//! The client beside registries that behave in every way: the in-process fakes of `testkit`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod copy;
mod ecr;
mod enumerated;
mod faults;
mod fuzz;
mod logins;
mod pull;
mod push;
mod real;
mod referrers;

use std::time::Duration;

use bytes::Bytes;
use nuages_model::{Blob, Descriptor, Digest, Progress, PutOutcome};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Options, Registry, RegistryError, Repository};
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry};

/// Waits as short as can be: what is tested is what is asked, not how long it takes.
fn quick() -> Options {
    Options {
        first_pause: Duration::from_millis(1),
        stall: Duration::from_secs(20),
        ..Options::default()
    }
}

async fn fake(behaviour: Behaviour) -> (FakeRegistry, Repository) {
    let registry = FakeRegistry::start(behaviour).await;
    let repository = open(&registry, Credentials::Anonymous, quick());
    (registry, repository)
}

fn open(registry: &FakeRegistry, credentials: Credentials, options: Options) -> Repository {
    Registry::new(&registry.host(), credentials, options)
        .unwrap()
        .repository("blog")
}

fn describe(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/octet-stream".into(),
        digest: Digest::of(content),
        size: content.len() as u64,
    }
}

fn bytes(content: &[u8]) -> Blob {
    Blob::Bytes(Bytes::copy_from_slice(content))
}

/// A blob in a file, larger than a few chunks.
fn file(length: usize) -> (tempfile::TempPath, Vec<u8>) {
    let content: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &content).unwrap();
    (file.into_temp_path(), content)
}

async fn send(repository: &Repository, content: &[u8]) -> Result<PutOutcome, RegistryError> {
    repository
        .push_blob(&describe(content), bytes(content), &Progress::none())
        .await
}

/// A manifest that names these blobs.
fn manifest(config: &[u8], layers: &[&[u8]]) -> Bytes {
    let one = |media_type: &str, content: &[u8]| serde_json::json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()});
    let layers: Vec<_> = layers
        .iter()
        .map(|l| one("application/vnd.oci.image.layer.v1.tar+gzip", l))
        .collect();
    let whole = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": one("application/vnd.oci.image.config.v1+json", config), "layers": layers,
    });
    whole.to_string().into()
}
