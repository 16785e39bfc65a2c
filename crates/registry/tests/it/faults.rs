//! What breaks, and what is sent again because of it.

use nuages_model::{Blob, Digest, Progress, PutOutcome};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Options, Registry, RegistryError};
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry, Fault, Immutable, What};
use reqwest::Method;

use crate::{bytes, describe, fake, file, manifest, open, quick, send};

#[tokio::test]
async fn passing_failures_are_passed_over() {
    for status in [408, 429, 500, 502, 503, 504] {
        for method in [Method::HEAD, Method::POST, Method::PUT] {
            let (registry, repository) = fake(Behaviour::default()).await;
            registry.inject(Fault::status(method.clone(), "/blobs/", status));
            let outcome = send(&repository, b"content").await;
            assert_eq!(outcome.unwrap(), PutOutcome::Sent, "{method} {status}");
            assert_eq!(registry.pending_faults(), 0);
        }
        let (registry, repository) = fake(Behaviour::default()).await;
        registry.add_blob("blog", b"config");
        registry.inject(Fault::status(Method::PUT, "/manifests/", status));
        repository
            .push_manifest(OCI_MANIFEST, manifest(b"config", &[]), "v1")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn lasting_failures_are_told_with_the_registrys_words() {
    let (registry, _) = fake(Behaviour::default()).await;
    let repository = open(&registry, Credentials::Anonymous, Options { attempts: 3, ..quick() });
    let text = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    for _ in 0..3 {
        registry.inject(Fault::next(
            Method::HEAD,
            "/blobs/",
            What::Answer(429, Vec::new(), String::new()),
        ));
    }
    for _ in 0..3 {
        registry.inject(Fault::next(
            Method::POST,
            "/blobs/",
            What::Answer(429, Vec::new(), text.into()),
        ));
    }
    let error = send(&repository, b"content").await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 429, .. }), "{error}");
    assert_eq!(registry.seen().len(), 3);
    let error = send(&repository, b"content").await.unwrap_err();
    assert!(
        error.to_string().ends_with("answered 429: TOOMANYREQUESTS: slow down"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("wait"));

    // What will not pass is not tried again.
    registry.clear_log();
    registry.inject(Fault::status(Method::POST, "/blobs/", 403));
    let error = send(&repository, b"content").await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn a_connection_may_break_at_any_byte() {
    let content = b"some content of a blob".as_slice();
    for at in 1..content.len() {
        let (registry, repository) = fake(Behaviour::default()).await;
        registry.inject(Fault::next(Method::PUT, "/uploads/", What::BreakRequest(at)));
        assert_eq!(
            send(&repository, content).await.unwrap(),
            PutOutcome::Sent,
            "after {at} bytes"
        );
        assert_eq!(registry.blob("blog", &Digest::of(content)).unwrap(), content);
    }
    for method in [Method::HEAD, Method::POST, Method::PUT] {
        let (registry, repository) = fake(Behaviour::default()).await;
        registry.inject(Fault::next(method.clone(), "/blobs/", What::BreakAnswer));
        let outcome = send(&repository, content).await.unwrap();
        // A blob whose answer was lost is found by the next attempt.
        assert_eq!(
            outcome,
            if method == Method::PUT {
                PutOutcome::Present
            } else {
                PutOutcome::Sent
            }
        );
    }
    let (registry, repository) = fake(Behaviour::default()).await;
    registry.add_blob("blog", b"config");
    registry.inject(Fault::next(Method::PUT, "/manifests/", What::BreakAnswer));
    repository
        .push_manifest(OCI_MANIFEST, manifest(b"config", &[]), "v1")
        .await
        .unwrap();
    assert!(registry.tag("blog", "v1").is_some());
}

#[tokio::test]
async fn a_part_that_broke_goes_on_where_the_registry_is() {
    for at in [1, 300_000, 999_999] {
        let registry = FakeRegistry::start(Behaviour {
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
        let mut fault = Fault::next(Method::PATCH, "/uploads/", What::BreakRequest(at));
        fault.after = 1;
        registry.inject(fault);
        let sent = repository
            .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
            .await;
        assert_eq!(sent.unwrap(), PutOutcome::Sent);
        assert_eq!(registry.blob("blog", &Digest::of(&content)).unwrap(), content);
        // One upload was open: nothing was begun again.
        let log = registry.log();
        assert_eq!(log.iter().filter(|line| line.starts_with("GET")).count(), 1, "{log:?}");
        let patched: usize = registry
            .seen()
            .iter()
            .filter(|s| s.method == Method::PATCH)
            .map(|s| s.body)
            .sum();
        assert_eq!(patched, content.len(), "no byte was sent twice: {log:?}");
    }
}

#[tokio::test]
async fn a_large_blob_that_broke_is_sent_in_parts_next() {
    let registry = FakeRegistry::start(Behaviour::default()).await;
    let repository = open(&registry, Credentials::Anonymous, quick());
    let (path, content) = file(17 * 1024 * 1024);
    registry.inject(Fault::next(Method::PUT, "/uploads/", What::BreakRequest(5_000_000)));
    repository
        .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
        .await
        .unwrap();
    assert_eq!(registry.blob("blog", &Digest::of(&content)).unwrap(), content);
    assert_eq!(
        registry
            .seen()
            .iter()
            .filter(|seen| seen.method == Method::PATCH)
            .count(),
        2
    );
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told() {
    let host = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let registry = Registry::new(&host, Credentials::Anonymous, Options { attempts: 2, ..quick() }).unwrap();
    let error = registry.check().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&host) && error.hint().is_some(), "{error}");
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up() {
    // It takes connections and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let options = Options {
        attempts: 1,
        stall: std::time::Duration::from_millis(200),
        ..quick()
    };
    let repository = Registry::new(&host, Credentials::Anonymous, options)
        .unwrap()
        .repository("blog");
    let error = repository
        .push_blob(&describe(b"x"), bytes(b"x"), &Progress::none())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
    held.abort();
}

/// What a network's login page answers to anything.
fn page() -> What {
    let kind = vec![("content-type", "text/html; charset=utf-8".to_owned())];
    What::Answer(200, kind, "<html><title>Log in</title></html>".into())
}

#[tokio::test]
async fn a_login_page_is_no_registry() {
    for (method, path) in [
        (Method::HEAD, "/blobs/"),
        (Method::POST, "/uploads/"),
        (Method::PUT, "/uploads/"),
    ] {
        let (registry, repository) = fake(Behaviour::default()).await;
        registry.inject(Fault::next(method.clone(), path, page()));
        let error = send(&repository, b"content").await.unwrap_err();
        assert!(error.to_string().ends_with("it is a web page"), "{method}: {error}");
        assert!(error.hint().unwrap().contains("HTTPS_PROXY"), "{method}");
    }
    let (registry, repository) = fake(Behaviour::default()).await;
    registry.add_blob("blog", b"config");
    let push = async || {
        let whole = manifest(b"config", &[]);
        repository.push_manifest(OCI_MANIFEST, whole, "v1").await
    };
    registry.inject(Fault::next(Method::PUT, "/manifests/", page()));
    assert!(matches!(push().await, Err(RegistryError::Protocol { .. })));
    // Nor is who says yes to everything, and nothing else.
    registry.inject(Fault::status(Method::PUT, "/manifests/", 201));
    let error = push().await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it took the manifest, and does not have it"),
        "{error}"
    );
    assert_eq!(registry.tag("blog", "v1"), None);
    assert_eq!(push().await.unwrap(), registry.tag("blog", "v1").unwrap());
}

#[tokio::test]
async fn a_registry_that_does_not_say_what_it_stored_is_asked() {
    let (registry, repository) = fake(Behaviour {
        says_digest: false,
        ..Behaviour::default()
    })
    .await;
    registry.add_blob("blog", b"config");
    let whole = manifest(b"config", &[]);
    let digest = repository.push_manifest(OCI_MANIFEST, whole, "v1").await.unwrap();
    assert_eq!(registry.tag("blog", "v1"), Some(digest));
    let log = registry.log();
    assert_eq!(log.last().unwrap(), "GET /v2/blog/manifests/v1 200", "{log:?}");
}

#[tokio::test]
async fn an_upload_that_went_on_without_us_is_begun_anew() {
    // Its `Range` stands still, so that a part whose answer was lost is sent again, and refused.
    let registry = FakeRegistry::start(Behaviour {
        whole_put: false,
        range_sticks: true,
        ..Behaviour::default()
    })
    .await;
    let options = Options {
        part_size: 1_000_000,
        ..quick()
    };
    let repository = open(&registry, Credentials::Anonymous, options);
    let (path, content) = file(2_500_000);
    registry.inject(Fault {
        after: 1,
        ..Fault::next(Method::PATCH, "/uploads/", What::BreakAnswer)
    });
    let sent = repository
        .push_blob(&describe(&content), Blob::File(path.to_path_buf()), &Progress::none())
        .await;
    assert_eq!(sent.unwrap(), PutOutcome::Sent);
    assert_eq!(registry.blob("blog", &Digest::of(&content)).unwrap(), content);
    assert!(
        registry
            .log()
            .contains(&"PATCH /v2/blog/blobs/uploads/ID 416".to_owned())
    );
}

#[tokio::test]
async fn what_a_tag_names_is_told_or_why_that_is_not_known() {
    let registry = FakeRegistry::start(Behaviour {
        immutable: Immutable::All,
        ..Behaviour::default()
    })
    .await;
    let repository = open(&registry, Credentials::Anonymous, Options { attempts: 1, ..quick() });
    registry.add_blob("blog", b"config");
    let push = async || {
        let whole = manifest(b"config", &[]);
        repository.push_manifest(OCI_MANIFEST, whole, "v1").await
    };
    push().await.unwrap();
    registry.inject(Fault::status(Method::HEAD, "/manifests/", 503));
    let error = push().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to look up blog:v1: the registry answered 503"
    );
    assert!(error.hint().is_some());
    push().await.unwrap();
}
