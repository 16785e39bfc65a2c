//! What belongs to an image.

use std::collections::BTreeMap;

use bytes::Bytes;
use nuages_model::{Descriptor, Digest};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Referring, Registry, RegistryError, Repository};
use nuages_testkit::emulators::{self, unique_name};
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry, Immutable};

use crate::{fake, manifest, open, quick, send};

const SBOM: &str = "application/vnd.cyclonedx+json";

fn sbom(text: &str) -> Referring {
    Referring {
        artifact_type: SBOM.into(),
        media_type: SBOM.into(),
        content: Bytes::from(text.to_owned()),
        annotations: BTreeMap::from([("org.opencontainers.image.title".to_owned(), text.to_owned())]),
    }
}

async fn image(repository: &Repository) -> Descriptor {
    for blob in [b"{}".as_slice(), b"layer"] {
        send(repository, blob).await.unwrap();
    }
    let content = manifest(b"{}", &[b"layer"]);
    repository.push_manifest(OCI_MANIFEST, content, "v1").await.unwrap();
    repository.head_manifest("v1").await.unwrap().unwrap()
}

/// Two things belong to an image; each once, however often it is said.
async fn both_are_found(repository: &Repository) -> Descriptor {
    let image = image(repository).await;
    assert_eq!(repository.referrers(&image.digest).await.unwrap(), []);
    let mut sent = Vec::new();
    for text in ["one", "two", "one"] {
        sent.push(repository.refer(&image, sbom(text)).await.unwrap());
    }
    assert_eq!(sent[0], sent[2]);
    let found = repository.referrers(&image.digest).await.unwrap();
    let mut digests: Vec<_> = found.iter().map(|one| &one.manifest.digest).collect();
    digests.sort();
    let mut expected = [&sent[0], &sent[1]];
    expected.sort();
    assert_eq!(digests, expected);
    assert!(
        found
            .iter()
            .all(|one| one.artifact_type == SBOM && one.annotations.len() == 1),
        "{found:?}"
    );
    let one = repository.manifest(sent[0].as_str()).await.unwrap();
    let blobs = one.blobs().unwrap();
    assert_eq!(blobs[1].digest, Digest::of(b"one"));
    // The image is what it was.
    assert_eq!(repository.head_manifest("v1").await.unwrap().unwrap(), image);
    image
}

#[tokio::test]
async fn a_registry_with_a_list_of_its_own() {
    let (registry, repository) = fake(Behaviour {
        referrers: true,
        page: 1,
        ..Behaviour::default()
    })
    .await;
    both_are_found(&repository).await;
    assert_eq!(registry.tags("blog"), ["v1"]);
    assert_eq!(registry.inconsistencies(), [""; 0]);
}

#[tokio::test]
async fn a_registry_without_one_gets_a_tag() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let image = both_are_found(&repository).await;
    let tag = image.digest.as_str().replace(':', "-");
    assert_eq!(registry.tags("blog"), [tag, "v1".into()]);
    assert_eq!(registry.inconsistencies(), [""; 0]);
}

/// Amazon ECR: every tag immutable, a password, and a list.
#[tokio::test]
async fn amazon_ecr() {
    let registry = FakeRegistry::start(Behaviour::ecr("AWS", "token")).await;
    both_are_found(&open(&registry, Credentials::password("AWS", "token"), quick())).await;
    assert_eq!(registry.tags("blog"), ["v1"]);
}

/// Where tags never move and there is no list, a second entry has no place: that is said, and the first stays.
#[tokio::test]
async fn a_list_that_may_not_grow_is_told() {
    let (_registry, repository) = fake(Behaviour {
        immutable: Immutable::All,
        ..Behaviour::default()
    })
    .await;
    let image = image(&repository).await;
    repository.refer(&image, sbom("one")).await.unwrap();
    let error = repository.refer(&image, sbom("two")).await.unwrap_err();
    assert!(matches!(error, RegistryError::TagTaken { .. }), "{error}");
    assert_eq!(repository.referrers(&image.digest).await.unwrap().len(), 1);
}

#[tokio::test]
async fn debians_docker_registry() {
    let host = emulators::registry().await.registry_host();
    let registry = Registry::new(&host, Credentials::Anonymous, quick()).unwrap();
    both_are_found(&registry.repository(&unique_name("referrers"))).await;
}
