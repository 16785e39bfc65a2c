//! Images from one place to another.

use bytes::Bytes;
use nuages_model::{Digest, Progress};
use nuages_registry::manifest::{OCI_INDEX, OCI_MANIFEST};
use nuages_registry::{Credentials, RegistryError, Repository, copy};
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry, Fault, What};

use crate::{fake, manifest, open, quick, send};

/// An index of two platforms, which share a layer, under the tag `v1`.
async fn two_platforms(repository: &Repository) -> Digest {
    let mut children = Vec::new();
    for platform in ["amd64", "arm64"] {
        let layers: [&[u8]; 2] = [b"shared", platform.as_bytes()];
        let config = format!("{{\"architecture\":\"{platform}\"}}");
        for blob in layers.into_iter().chain([config.as_bytes()]) {
            send(repository, blob).await.unwrap();
        }
        let content = manifest(config.as_bytes(), &layers);
        let digest = Digest::of(&content);
        repository
            .push_manifest(OCI_MANIFEST, content.clone(), digest.as_str())
            .await
            .unwrap();
        children.push(serde_json::json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": content.len(),
            "platform": { "architecture": platform, "os": "linux" },
        }));
    }
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children });
    repository
        .push_manifest(OCI_INDEX, Bytes::from(index.to_string()), "v1")
        .await
        .unwrap()
}

#[tokio::test]
async fn an_index_arrives_whole_and_as_it_was() {
    let (source, from) = fake(Behaviour::default()).await;
    let digest = two_platforms(&from).await;
    let (target, to) = fake(Behaviour::default()).await;
    let tags = ["live".to_owned(), "v1".to_owned()];
    let copied = copy(&from, "v1", &to, &tags, &Progress::none()).await.unwrap();
    assert_eq!((copied.digest, copied.skipped), (digest.clone(), 0));
    assert_eq!(target.tags("blog"), tags);
    assert_eq!(target.manifest("blog", "v1"), source.manifest("blog", "v1"));
    assert_eq!(target.inconsistencies(), [""; 0]);
    // The shared layer moved once.
    let read = source
        .log()
        .iter()
        .filter(|line| line.starts_with("GET /v2/blog/blobs"))
        .count();
    assert_eq!(read, 5, "{:?}", source.log());

    source.clear_log();
    let again = copy(&from, digest.as_str(), &to, &tags, &Progress::none())
        .await
        .unwrap();
    assert_eq!((again.sent_bytes, again.skipped), (0, 5));
    assert!(
        !source.log().iter().any(|line| line.contains("/blobs/")),
        "{:?}",
        source.log()
    );
}

#[tokio::test]
async fn within_a_registry_nothing_moves() {
    let (registry, from) = fake(Behaviour::default()).await;
    let digest = two_platforms(&from).await;
    registry.clear_log();
    let to = from
        .registry()
        .repository("live/blog")
        .mounting_from(["blog".to_owned()]);
    let copied = copy(&from, "v1", &to, &[], &Progress::none()).await.unwrap();
    assert_eq!((copied.digest, copied.sent_bytes), (digest.clone(), 0));
    assert!(registry.manifest("live/blog", digest.as_str()).is_some());
    assert!(registry.tags("live/blog").is_empty(), "by its digest alone");
    let moved = registry.log();
    assert!(
        !moved
            .iter()
            .any(|line| line.starts_with("GET /v2/blog/blobs") || line.starts_with("PUT /v2/live/blog/blobs")),
        "{moved:?}"
    );
}

/// Amazon ECR opens an upload where it does not mount: that one is used.
#[tokio::test]
async fn an_upload_that_a_mount_opened_is_used() {
    let (registry, from) = fake(Behaviour {
        mount: nuages_testkit::fake_registry::Mount::Never,
        ..Behaviour::default()
    })
    .await;
    two_platforms(&from).await;
    registry.clear_log();
    let to = from.registry().repository("live").mounting_from(["blog".to_owned()]);
    let copied = copy(&from, "v1", &to, &["v1".to_owned()], &Progress::none())
        .await
        .unwrap();
    assert!(copied.sent_bytes > 0);
    let opened = registry.log().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(opened, 5, "one for each blob: {:?}", registry.log());
    assert_eq!(registry.inconsistencies(), [""; 0]);
}

#[tokio::test]
async fn what_is_not_there_or_breaks_leaves_no_tag() {
    let (source, from) = fake(Behaviour::default()).await;
    two_platforms(&from).await;
    let (target, to) = fake(Behaviour::default()).await;
    let tags = ["v1".to_owned()];
    let error = copy(&from, "v2", &to, &tags, &Progress::none()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoImage { .. }), "{error}");
    assert!(error.hint().is_some());

    // The source lost a layer; the far side takes none; the far side takes no index.
    source.lose_blob("blog", &Digest::of(b"arm64"));
    let error = copy(&from, "v1", &to, &tags, &Progress::none()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    assert!(error.hint().is_some());
    source.add_blob("blog", b"arm64");
    for (method, path) in [("PUT", "/blobs/uploads/"), ("PUT", "/manifests/v1")] {
        target.inject(Fault {
            method: method.parse().unwrap(),
            path: path.into(),
            after: 0,
            what: What::Answer(403, Vec::new(), String::new()),
        });
        let error = copy(&from, "v1", &to, &tags, &Progress::none()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
        assert!(target.tags("blog").is_empty());
        assert_eq!(target.inconsistencies(), [""; 0]);
    }
    copy(&from, "v1", &to, &tags, &Progress::none()).await.unwrap();
    assert_eq!(target.tags("blog"), tags);
}

#[tokio::test]
async fn indexes_without_an_end_are_refused() {
    let registry = FakeRegistry::start(Behaviour::default()).await;
    let mut inner = Digest::of(b"nothing");
    for depth in 0..8 {
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests":
            [{ "mediaType": OCI_INDEX, "digest": inner, "size": 1 }] });
        inner = registry.add_manifest("blog", OCI_INDEX, index.to_string().as_bytes(), &format!("v{depth}"));
    }
    let from = open(&registry, Credentials::Anonymous, quick());
    let (_target, to) = fake(Behaviour::default()).await;
    let error = copy(&from, "v7", &to, &[], &Progress::none()).await.unwrap_err();
    assert!(error.to_string().contains("without an end"), "{error}");
}
