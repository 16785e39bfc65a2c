//! Each way in which Amazon ECR is special, against a fake that is so.

use nuages_model::{Blob, BlobSink as _, Digest, Progress, PutOutcome};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Ecr, RegistryError};
use nuages_testkit::fake_ecr::FakeEcr;
use nuages_testkit::fake_registry::{Fault, Immutable, What};
use reqwest::Method;

use crate::{describe, file, manifest, send};

/// Pushes a small image.
async fn push(ecr: &Ecr, layer: &[u8], tag: &str) -> Result<Digest, RegistryError> {
    let repository = ecr.open("blog").await?;
    for blob in [b"config".as_slice(), layer] {
        send(&repository, blob).await?;
    }
    repository
        .push_manifest(OCI_MANIFEST, manifest(b"config", &[layer]), tag)
        .await
}

#[tokio::test]
async fn one_login_serves_all() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let digest = push(&ecr, b"layer", "build-1").await.unwrap();
    push(&ecr, b"layer", "build-1").await.unwrap();
    ecr.tag("blog", &digest, "r-1").await.unwrap();
    assert_eq!(fake.logins(), 1);
    let login = ecr.login().await.unwrap();
    assert_eq!(login.host, fake.registry().host());
    assert!(matches!(login.credentials, Credentials::Password { ref username, .. } if username == "AWS"));
    assert!(!format!("{login:?} {ecr:?}").contains("fake-ecr-password"));
    // The password goes along from the first request on.
    assert!(
        fake.registry().log().iter().all(|line| !line.ends_with("401")),
        "{:?}",
        fake.registry().log()
    );
}

#[tokio::test]
async fn a_blob_goes_whole_and_without_a_range() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let (path, content) = file(6 * 1024 * 1024);
    let repository = ecr.open("blog").await.unwrap();
    repository
        .put_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
        .await
        .unwrap();
    let seen = fake.registry().seen();
    assert!(
        seen.iter()
            .all(|seen| seen.method != Method::PATCH && !seen.headers.contains_key("content-range"))
    );
}

#[tokio::test]
async fn parts_answer_201_and_their_range_stands_still() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let (path, content) = file(23 * 1024 * 1024);
    let repository = ecr.open("blog").await.unwrap();
    // The connection broke once, so the second attempt goes in parts: 10, 10 and 3 MiB.
    fake.registry()
        .inject(Fault::next(Method::PUT, "/uploads/", What::BreakRequest(1_000_000)));
    let sent = repository
        .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
        .await;
    assert_eq!(sent.unwrap(), PutOutcome::Sent);
    let patches: Vec<_> = fake
        .registry()
        .seen()
        .into_iter()
        .filter(|seen| seen.method == Method::PATCH)
        .map(|s| (s.status, s.body))
        .collect();
    let mebi = 1024 * 1024;
    assert_eq!(patches, [(201, 10 * mebi), (201, 10 * mebi), (201, 3 * mebi)]);
    assert_eq!(fake.registry().blob("blog", &Digest::of(&content)).unwrap(), content);
}

#[tokio::test]
async fn a_broken_part_with_a_range_that_stands_still_begins_again() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let (path, content) = file(31 * 1024 * 1024);
    let repository = ecr.open("blog").await.unwrap();
    fake.registry()
        .inject(Fault::next(Method::PUT, "/uploads/", What::BreakRequest(1_000_000)));
    // In the third part; ECR then says that it holds the first, and going on there would corrupt the blob.
    fake.registry().inject(Fault {
        after: 2,
        ..Fault::next(Method::PATCH, "/uploads/", What::BreakRequest(1_000_000))
    });
    let sent = repository
        .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
        .await;
    assert_eq!(sent.unwrap(), PutOutcome::Sent);
    assert_eq!(fake.registry().pending_faults(), 0);
    assert_eq!(fake.registry().blob("blog", &Digest::of(&content)).unwrap(), content);
}

#[tokio::test]
async fn a_blob_can_be_mounted_once_a_manifest_names_it() {
    let fake = FakeEcr::start("blog").await;
    fake.add_repository("base");
    fake.registry().add_blob("base", b"layer");
    let ecr = Ecr::new(&fake.context());
    let repository = ecr.open("blog").await.unwrap().mounting_from(["base".into()]);
    assert_eq!(send(&repository, b"layer").await.unwrap(), PutOutcome::Sent);
    fake.registry().add_blob("base", b"other");
    fake.registry()
        .add_manifest("base", OCI_MANIFEST, &manifest(b"config", &[b"other"]), "v1");
    assert_eq!(send(&repository, b"other").await.unwrap(), PutOutcome::Mounted);
}

#[tokio::test]
async fn a_tag_never_moves_and_may_be_given_again() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let digest = push(&ecr, b"one", "build-1").await.unwrap();
    assert_eq!(
        push(&ecr, b"one", "build-1").await.unwrap(),
        digest,
        "the same again is no error"
    );
    let error = push(&ecr, b"two", "build-1").await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::TagTaken { theirs, .. } if *theirs == digest),
        "{error}"
    );
    assert!(error.hint().is_some());
    assert_eq!(fake.registry().tag("blog", "build-1"), Some(digest.clone()));

    for _ in 0..2 {
        ecr.tag("blog", &digest, "r-1").await.unwrap();
    }
    assert_eq!(fake.registry().tag("blog", "r-1"), Some(digest));
    let other = push(&ecr, b"two", "build-2").await.unwrap();
    assert!(matches!(
        ecr.tag("blog", &other, "r-1").await,
        Err(RegistryError::TagTaken { .. })
    ));
    let missing = Digest::of(b"missing");
    assert!(matches!(
        ecr.tag("blog", &missing, "r-2").await,
        Err(RegistryError::NotFound { .. })
    ));
}

#[tokio::test]
async fn rules_about_tags_have_exceptions() {
    let fake = FakeEcr::start_with("blog", Immutable::AllBut(vec!["dev-".into()])).await;
    let ecr = Ecr::new(&fake.context());
    let found = ecr.describe_repository("blog").await.unwrap().unwrap();
    assert!(found.mutability.is_immutable("build-1") && !found.mutability.is_immutable("dev-1"));
    assert_eq!(found.image.to_string(), format!("{}/blog", fake.registry().host()));
    assert_eq!(found.arn.service(), "ecr");
    assert_eq!(ecr.describe_repository("none").await.unwrap(), None);
    push(&ecr, b"one", "dev-1").await.unwrap();
    let second = push(&ecr, b"two", "dev-1").await.unwrap();
    assert_eq!(fake.registry().tag("blog", "dev-1"), Some(second));
}

#[tokio::test]
async fn an_image_is_described_by_tag_and_by_digest() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let digest = push(&ecr, b"one", "build-1").await.unwrap();
    ecr.tag("blog", &digest, "r-1").await.unwrap();
    for reference in ["r-1", digest.as_str()] {
        let found = ecr.describe_image("blog", reference).await.unwrap().unwrap();
        assert_eq!(
            (found.digest, found.tags),
            (digest.clone(), vec!["build-1".to_owned(), "r-1".to_owned()])
        );
    }
    assert_eq!(ecr.describe_image("blog", "none").await.unwrap(), None);
}

#[tokio::test]
async fn a_manifest_is_not_converted_for_us() {
    // By tag, ECR turns a manifest into what `Accept` names; with all types named it stays what it is.
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let digest = push(&ecr, b"one", "build-1").await.unwrap();
    let repository = ecr.open("blog").await.unwrap();
    assert_eq!(
        repository.head_manifest("build-1").await.unwrap().unwrap().digest,
        digest
    );
    assert_eq!(repository.manifest("build-1").await.unwrap().digest, digest);
}

#[tokio::test]
async fn blobs_are_read_from_storage_without_our_password() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    push(&ecr, b"one", "build-1").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    ecr.open("blog")
        .await
        .unwrap()
        .pull_blob(&describe(b"one"), &path, &Progress::none())
        .await
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"one");
}

#[tokio::test]
async fn quotas_are_waited_for() {
    let fake = FakeEcr::start("blog").await;
    let ecr = Ecr::new(&fake.context());
    let text = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}"#;
    for (method, path) in [
        (Method::HEAD, "/blobs/"),
        (Method::POST, "/blobs/"),
        (Method::PUT, "/manifests/"),
    ] {
        fake.registry()
            .inject(Fault::next(method, path, What::Answer(429, Vec::new(), text.into())));
    }
    push(&ecr, b"one", "build-1").await.unwrap();
    assert_eq!(fake.registry().pending_faults(), 0);
}
