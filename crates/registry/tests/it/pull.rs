//! Reading, with the digest compared whatever the registry says.

use nuages_model::{Digest, Progress};
use nuages_registry::RegistryError;
use nuages_registry::manifest::{OCI_INDEX, OCI_MANIFEST};
use nuages_testkit::fake_registry::{Behaviour, Fault, What};
use proptest::prelude::*;
use reqwest::Method;

use crate::{describe, fake, manifest};

#[tokio::test]
async fn a_manifest_is_read_by_tag_and_by_digest() {
    let (registry, repository) = fake(Behaviour {
        strict_accept: true,
        ..Behaviour::default()
    })
    .await;
    let content = manifest(b"config", &[b"layer"]);
    let digest = registry.add_manifest("blog", OCI_MANIFEST, &content, "v1");
    for reference in ["v1", digest.as_str()] {
        let read = repository.manifest(reference).await.unwrap();
        assert_eq!(
            (&read.digest, read.media_type.as_str(), &read.content),
            (&digest, OCI_MANIFEST, &content)
        );
        let head = repository.head_manifest(reference).await.unwrap().unwrap();
        assert_eq!((head.digest, head.size), (digest.clone(), content.len() as u64));
    }
    // An index is no manifest, and is accepted all the same.
    let index = registry.add_manifest("blog", OCI_INDEX, br#"{"schemaVersion":2,"manifests":[]}"#, "all");
    assert_eq!(repository.head_manifest("all").await.unwrap().unwrap().digest, index);
    assert_eq!(repository.head_manifest("none").await.unwrap(), None);
    let error = repository.manifest("none").await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_says_no_digest_is_asked_for_the_whole() {
    let (registry, repository) = fake(Behaviour {
        says_digest: false,
        ..Behaviour::default()
    })
    .await;
    let content = manifest(b"config", &[]);
    let digest = registry.add_manifest("blog", OCI_MANIFEST, &content, "v1");
    assert_eq!(repository.head_manifest("v1").await.unwrap().unwrap().digest, digest);
}

#[tokio::test]
async fn a_lie_about_a_digest_is_an_error() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let content = manifest(b"config", &[]);
    registry.add_manifest("blog", OCI_MANIFEST, &content, "v1");
    let other = Digest::of(b"other");
    let lie = || What::Header("docker-content-digest", other.to_string());
    registry.inject(Fault::next(Method::GET, "/manifests/", lie()));
    let error = repository.manifest("v1").await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");

    registry.inject(Fault::next(
        Method::GET,
        "/manifests/",
        What::Answer(200, Vec::new(), "{}".into()),
    ));
    let error = repository.manifest(other.as_str()).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");

    registry.add_blob("blog", b"config");
    registry.inject(Fault::next(Method::PUT, "/manifests/", lie()));
    let error = repository.push_manifest(OCI_MANIFEST, content, "v2").await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");

    registry.inject(Fault::next(Method::PUT, "/blobs/", lie()));
    let error = crate::send(&repository, b"new").await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_that_is_another_leaves_no_file() {
    let (registry, repository) = fake(Behaviour::default()).await;
    registry.add_blob("blog", b"right");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    for lie in ["wrong", "rig", "right and more"] {
        registry.inject(Fault::next(
            Method::GET,
            "/blobs/",
            What::Answer(200, Vec::new(), lie.into()),
        ));
        let error = repository
            .pull_blob(&describe(b"right"), &path, &Progress::none())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                RegistryError::WrongDigest { .. } | RegistryError::Protocol { .. }
            ),
            "{lie}: {error}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{lie}");
    }
    let error = repository
        .pull_blob(&describe(b"missing"), &path, &Progress::none())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    repository
        .pull_blob(&describe(b"right"), &path, &Progress::none())
        .await
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"right");
}

#[tokio::test]
async fn a_download_that_broke_goes_on_where_it_was() {
    let content: Vec<u8> = (0..200_000u32).map(|n| u8::try_from(n % 253).unwrap()).collect();
    for ranges in [true, false] {
        let (registry, repository) = fake(Behaviour {
            ranges,
            ..Behaviour::default()
        })
        .await;
        registry.add_blob("blog", &content);
        registry.inject(Fault::next(Method::GET, "/blobs/", What::CutAnswer(120_000)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        repository
            .pull_blob(&describe(&content), &path, &Progress::none())
            .await
            .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content);
        let asked: Vec<_> = registry
            .seen()
            .iter()
            .map(|seen| seen.headers.contains_key("range"))
            .collect();
        assert_eq!(asked, [false, true], "ranges: {ranges}");
    }
}

#[tokio::test]
async fn all_pages_of_tags_are_read() {
    let (registry, repository) = fake(Behaviour {
        page: 3,
        ..Behaviour::default()
    })
    .await;
    let error = repository.registry().repository("none").tags().await;
    assert_eq!(error.unwrap(), Vec::<String>::new());
    let names: Vec<_> = (0..10).map(|n| format!("v{n}")).collect();
    for name in &names {
        registry.add_manifest("blog", OCI_MANIFEST, name.as_bytes(), name);
    }
    assert_eq!(repository.tags().await.unwrap(), names);
    // A link to another host is read at this one.
    registry.inject(Fault::next(
        Method::GET,
        "/tags/list",
        What::Header(
            "link",
            "<https://elsewhere.invalid/v2/blog/tags/list?last=v8>; rel=\"next\"".into(),
        ),
    ));
    assert_eq!(repository.tags().await.unwrap().last().unwrap(), "v9");
    // `null` for none.
    registry.inject(Fault::next(
        Method::GET,
        "/tags/list",
        What::Answer(200, Vec::new(), r#"{"tags":null}"#.into()),
    ));
    assert!(repository.tags().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let digest = registry.add_manifest("blog", OCI_MANIFEST, b"{}", "v1");
    repository.delete_manifest(&digest).await.unwrap();
    assert_eq!(repository.head_manifest("v1").await.unwrap(), None);
    repository.delete_manifest(&digest).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_answer_makes_it_panic(status in 200u16..600, body in "\\PC{0,60}", header in "[ -~]{0,40}", name in 0usize..6) {
        let name = ["location", "www-authenticate", "content-type", "docker-content-digest", "link", "retry-after"][name];
        // A server that asks for patience gets it; not here.
        prop_assume!(name != "retry-after" || header.trim().parse::<u64>().is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (registry, repository) = fake(Behaviour::default()).await;
            for (method, path) in [(Method::GET, "/manifests/"), (Method::HEAD, "/"), (Method::POST, "/"), (Method::PUT, "/"), (Method::GET, "/tags/")] {
                let answer = What::Answer(status, vec![(name, header.clone())], body.clone());
                registry.inject(Fault::next(method, path, answer));
            }
            let _ = repository.manifest("v1").await;
            let _ = repository.tags().await;
            let _ = crate::send(&repository, b"content").await;
            let _ = repository.push_manifest(OCI_MANIFEST, "{}".into(), "v1").await;
        });
    }
}
