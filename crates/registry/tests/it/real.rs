//! Beside real registries: Debian's docker-registry, and MiniStack's ECR.

use nuages_model::{Blob, Digest, Progress, PutOutcome};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Ecr, Options, Registry, RegistryError, Repository};
use nuages_testkit::emulators::{self, sdk_config, unique_name};

use crate::{describe, file, manifest, quick, send};

/// Pushes an image of a large and a small layer, and reads it back.
async fn there_and_back(repository: &Repository, tag: &str) -> Digest {
    let (path, large) = file(12 * 1024 * 1024);
    let progress = Progress::none();
    let sent = repository
        .push_blob(&describe(&large), Blob::File(path.to_path_buf()), &progress)
        .await
        .unwrap();
    assert_eq!(sent, PutOutcome::Sent);
    for blob in [b"{}".as_slice(), b"small layer"] {
        send(repository, blob).await.unwrap();
        assert_eq!(send(repository, blob).await.unwrap(), PutOutcome::Present);
    }
    let manifest = manifest(b"{}", &[&large, b"small layer"]);
    let digest = repository
        .push_manifest(OCI_MANIFEST, manifest.clone(), tag)
        .await
        .unwrap();
    for reference in [tag, digest.as_str()] {
        assert_eq!(
            repository.head_manifest(reference).await.unwrap().unwrap().digest,
            digest
        );
        assert_eq!(repository.manifest(reference).await.unwrap().content, manifest);
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("layer");
    repository.pull_blob(&describe(&large), &copy, &progress).await.unwrap();
    assert!(std::fs::read(copy).unwrap() == large);
    assert_eq!(repository.tags().await.unwrap(), [tag]);
    assert_eq!(repository.head_manifest("none").await.unwrap(), None);
    digest
}

#[tokio::test]
async fn docker_registry() {
    let host = emulators::registry().await.registry_host();
    let registry = Registry::new(&host, Credentials::Anonymous, quick()).unwrap();
    registry.check().await.unwrap();
    let repository = registry.repository(&unique_name("blog"));
    there_and_back(&repository, "v1").await;

    // Another repository mounts what this one has.
    let other = registry
        .repository(&unique_name("other"))
        .mounting_from([repository.name().to_owned()]);
    assert_eq!(send(&other, b"small layer").await.unwrap(), PutOutcome::Mounted);

    // A wrong digest is refused by the registry itself.
    let error = repository
        .push_blob(&describe(b"other"), crate::bytes(b"wrong"), &Progress::none())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RegistryError::Refused { code: Some(code), .. } if code == "DIGEST_INVALID"),
        "{error}"
    );
}

#[tokio::test]
async fn docker_registry_in_parts() {
    use nuages_testkit::http::{FakeServer, text};
    // The client below is built before any of ours, which would choose the provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Something in front of it that takes no large bodies.
    let host = emulators::registry().await.registry_host();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let proxy = FakeServer::start(move |request| {
        let (client, host) = (client.clone(), host.clone());
        async move {
            if request.method() == "PUT" && request.body().len() > 1_000_000 {
                return text(413, "too large");
            }
            let (parts, body) = request.into_parts();
            let path = parts.uri.path_and_query().unwrap().as_str();
            let mut headers = parts.headers;
            // Its `Location` then leads back to us.
            headers.remove("content-length");
            let answer = client
                .request(parts.method, format!("http://{host}{path}"))
                .headers(headers)
                .body(body);
            let answer = answer.send().await.unwrap();
            let mut response = text(answer.status().as_u16(), "");
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes().await.unwrap();
            response
        }
    })
    .await;
    let options = Options {
        part_size: 5 * 1024 * 1024,
        ..quick()
    };
    let registry = Registry::new(&proxy.address().to_string(), Credentials::Anonymous, options).unwrap();
    let repository = registry.repository(&unique_name("parts"));
    there_and_back(&repository, "v1").await;
    assert_eq!(
        proxy
            .requests()
            .iter()
            .filter(|request| request.method() == "PATCH")
            .count(),
        3
    );
}

#[tokio::test]
async fn ministack_ecr() {
    let emulator = emulators::ministack().await;
    let aws = nuages_testkit::aws::ministack(&emulator.url, &emulator.account);
    let name = unique_name("blog");
    let client = aws_sdk_ecr::Client::new(&sdk_config(&emulator, &emulator.account));
    client.create_repository().repository_name(&name).send().await.unwrap();

    let ecr = Ecr::new(&aws);
    let found = ecr.describe_repository(&name).await.unwrap().unwrap();
    assert_eq!(found.image.host(), emulator.registry_host());
    assert_eq!(ecr.describe_repository(&unique_name("none")).await.unwrap(), None);
    let repository = ecr.open(&name).await.unwrap();
    let digest = there_and_back(&repository, "build-1").await;

    ecr.tag(&name, &digest, "r-1").await.unwrap();
    ecr.tag(&name, &digest, "r-1").await.unwrap();
    let described = ecr.describe_image(&name, "r-1").await.unwrap().unwrap();
    assert_eq!(described.digest, digest);
    assert!(described.tags.contains(&"build-1".to_owned()), "{:?}", described.tags);
    assert_eq!(ecr.describe_image(&name, "none").await.unwrap(), None);
}
