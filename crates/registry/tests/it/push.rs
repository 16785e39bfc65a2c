//! The upload ladder, rung by rung.

use std::sync::{Arc, Mutex};

use nuages_model::{Blob, BlobSink as _, Digest, Note, Progress, PutOutcome};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Options, RegistryError};
use nuages_testkit::fake_registry::{Behaviour, Mount};

use crate::{bytes, describe, fake, file, manifest, open, quick, send};

#[tokio::test]
async fn a_blob_is_asked_for_and_then_sent_whole() {
    let (registry, repository) = fake(Behaviour::default()).await;
    assert_eq!(send(&repository, b"content").await.unwrap(), PutOutcome::Sent);
    assert_eq!(
        registry.log(),
        [
            "HEAD /v2/blog/blobs/DIGEST 404",
            "POST /v2/blog/blobs/uploads/ 202",
            "PUT /v2/blog/blobs/uploads/ID 201"
        ]
    );
    let put = registry.seen().pop().unwrap();
    assert!(
        put.uri.query().unwrap().starts_with("state=0&digest=sha256"),
        "{}",
        put.uri
    );
    assert_eq!(put.headers["content-length"], "7");
    assert!(!put.headers.contains_key("content-range"));
    assert_eq!(registry.blob("blog", &Digest::of(b"content")).unwrap(), "content");

    registry.clear_log();
    assert_eq!(send(&repository, b"content").await.unwrap(), PutOutcome::Present);
    assert_eq!(registry.log(), ["HEAD /v2/blog/blobs/DIGEST 200"]);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let (registry, repository) = fake(Behaviour::default()).await;
    assert_eq!(send(&repository, b"").await.unwrap(), PutOutcome::Sent);
    assert_eq!(registry.blob("blog", &Digest::of(b"")).unwrap(), "");
}

#[tokio::test]
async fn a_file_is_streamed_with_its_length_and_its_progress() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let (path, content) = file(3_000_000);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notes);
    let progress = Progress::new(move |note| {
        if let Note::Bytes { done, total, .. } = note {
            heard.lock().unwrap().push((done, total));
        }
    });
    repository
        .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &progress)
        .await
        .unwrap();
    assert_eq!(registry.seen().pop().unwrap().headers["content-length"], "3000000");
    assert_eq!(registry.blob("blog", &Digest::of(&content)).unwrap(), content);
    let notes = notes.lock().unwrap();
    assert!(notes.len() > 5 && notes.is_sorted(), "{notes:?}");
    assert_eq!(notes.last(), Some(&(3_000_000, Some(3_000_000))));
}

#[tokio::test]
async fn looking_first_does_not_ask_twice() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let blob = describe(b"content");
    assert!(!repository.has(&blob.digest).await.unwrap());
    repository
        .put_blob(&blob, bytes(b"content"), &Progress::none())
        .await
        .unwrap();
    assert_eq!(registry.log().iter().filter(|line| line.starts_with("HEAD")).count(), 1);
}

#[tokio::test]
async fn a_blob_is_mounted_where_that_is_possible() {
    for (mount, expected) in [
        (Mount::Always, PutOutcome::Mounted),
        (Mount::Referenced, PutOutcome::Sent),
        (Mount::Never, PutOutcome::Sent),
        (Mount::Refused, PutOutcome::Sent),
    ] {
        let (registry, repository) = fake(Behaviour {
            mount,
            ..Behaviour::default()
        })
        .await;
        registry.add_blob("base", b"layer");
        let repository = repository.mounting_from(["base".into(), "blog".into()]);
        assert_eq!(send(&repository, b"layer").await.unwrap(), expected, "{mount:?}");
        assert!(registry.blob("blog", &Digest::of(b"layer")).is_some(), "{mount:?}");
        // Where the mount opened an upload instead, that one is used.
        let posts = registry.log().iter().filter(|line| line.starts_with("POST")).count();
        assert_eq!(
            posts,
            if mount == Mount::Refused { 2 } else { 1 },
            "{mount:?}: {:?}",
            registry.log()
        );
    }
}

#[tokio::test]
async fn what_is_refused_whole_is_sent_in_parts() {
    let (registry, _) = fake(Behaviour {
        whole_put: false,
        ..Behaviour::default()
    })
    .await;
    let repository = open(
        &registry,
        Credentials::Anonymous,
        Options {
            part_size: 1_000_000,
            ..quick()
        },
    );
    let (path, content) = file(2_500_000);
    let outcome = repository
        .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
        .await;
    assert_eq!(outcome.unwrap(), PutOutcome::Sent);
    let ranges: Vec<_> = registry
        .seen()
        .iter()
        .filter_map(|seen| Some(seen.headers.get("content-range")?.to_str().unwrap().to_owned()))
        .collect();
    assert_eq!(ranges, ["0-999999", "1000000-1999999", "2000000-2499999"]);
    assert_eq!(registry.blob("blog", &Digest::of(&content)).unwrap(), content);
}

#[tokio::test]
async fn a_manifest_comes_after_all_that_it_names() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let manifest = manifest(b"config", &[b"layer"]);
    let error = repository
        .push_manifest(OCI_MANIFEST, manifest.clone(), "v1")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RegistryError::Refused { code: Some(code), .. } if code == "MANIFEST_BLOB_UNKNOWN"),
        "{error}"
    );
    assert_eq!(registry.tag("blog", "v1"), None);
    for blob in [b"config".as_slice(), b"layer"] {
        send(&repository, blob).await.unwrap();
    }
    let digest = repository
        .push_manifest(OCI_MANIFEST, manifest.clone(), "v1")
        .await
        .unwrap();
    assert_eq!(digest, Digest::of(&manifest));
    assert_eq!(registry.tag("blog", "v1"), Some(digest));
}

#[tokio::test]
async fn content_that_is_not_as_described_is_not_sent() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let error = repository
        .push_blob(&describe(b"longer"), bytes(b"short"), &Progress::none())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("5 bytes instead of 6"), "{error}");
    assert!(registry.seen().is_empty());

    let error = repository
        .push_blob(&describe(b"other"), bytes(b"wrong"), &Progress::none())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RegistryError::Refused { code: Some(code), .. } if code == "DIGEST_INVALID"),
        "{error}"
    );
    let gone = Blob::File("/nowhere/layer".into());
    let error = repository
        .push_blob(&describe(b"x"), gone, &Progress::none())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::File { .. }), "{error}");
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    let (registry, repository) = fake(Behaviour::default()).await;
    for bad in ["../../x", "a?b", "a#b", "a/b", "", "%2e%2e"] {
        assert!(repository.head_manifest(bad).await.is_err(), "{bad}");
    }
    for bad in ["../x", "a?b", "A", ""] {
        assert!(repository.registry().repository(bad).tags().await.is_err(), "{bad}");
    }
    assert!(registry.seen().is_empty());
}

#[tokio::test]
async fn two_pushes_of_one_image_at_once_both_succeed() {
    let (registry, repository) = fake(Behaviour::default()).await;
    let manifest = manifest(b"config", &[b"layer"]);
    let push = async || {
        for blob in [b"config".as_slice(), b"layer"] {
            send(&repository, blob).await.unwrap();
        }
        repository
            .push_manifest(OCI_MANIFEST, manifest.clone(), "v1")
            .await
            .unwrap()
    };
    let (one, two) = tokio::join!(push(), push());
    assert_eq!(one, two);
    assert_eq!(registry.tag("blog", "v1"), Some(one));
}
