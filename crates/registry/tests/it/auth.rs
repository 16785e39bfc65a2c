//! Who we say we are, to whom.

use nuages_model::PutOutcome;
use nuages_registry::{Credentials, Options, RegistryError};
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry, Fault, What};
use nuages_testkit::http::FakeServer;

use crate::{fake, open, quick, send};

fn password() -> Credentials {
    Credentials::password("user", "secret")
}

fn pair() -> (String, String) {
    ("user".into(), "secret".into())
}

#[tokio::test]
async fn a_password_is_given_when_asked_for_and_kept() {
    let registry = FakeRegistry::start(Behaviour {
        basic: Some(pair()),
        ..Behaviour::default()
    })
    .await;
    let repository = open(&registry, password(), quick());
    assert_eq!(send(&repository, b"x").await.unwrap(), PutOutcome::Sent);
    let refused = registry.log().iter().filter(|line| line.ends_with("401")).count();
    assert_eq!(refused, 1, "{:?}", registry.log());

    let first = open(
        &registry,
        password(),
        Options {
            password_first: true,
            ..quick()
        },
    );
    registry.clear_log();
    first.registry().check().await.unwrap();
    assert_eq!(registry.log(), ["GET /v2/ 200"]);
}

#[tokio::test]
async fn a_wrong_password_is_an_error_at_once() {
    for behaviour in [
        Behaviour {
            basic: Some(pair()),
            ..Behaviour::default()
        },
        Behaviour {
            bearer: Some(pair()),
            ..Behaviour::default()
        },
    ] {
        let registry = FakeRegistry::start(behaviour).await;
        for credentials in [Credentials::Anonymous, Credentials::password("user", "hunter2")] {
            registry.clear_log();
            let error = send(&open(&registry, credentials, quick()), b"x").await.unwrap_err();
            assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
            assert!(error.hint().unwrap().contains("credentials"));
            assert!(!format!("{error:?}").contains("hunter2"));
            assert!(registry.seen().len() <= 3, "it was tried again: {:?}", registry.log());
        }
    }
}

#[tokio::test]
async fn a_token_is_asked_for_once_for_each_scope() {
    let registry = FakeRegistry::start(Behaviour {
        bearer: Some(pair()),
        ..Behaviour::default()
    })
    .await;
    registry.add_blob("base", b"three");
    let repository = open(&registry, password(), quick());
    for content in [b"one".as_slice(), b"two"] {
        send(&repository, content).await.unwrap();
    }
    let tokens = |registry: &FakeRegistry| registry.log().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens(&registry), 2, "to read and to write: {:?}", registry.log());

    // A mount needs to read the other repository, too.
    let outcome = send(&repository.mounting_from(["base".into()]), b"three")
        .await
        .unwrap();
    assert_eq!(outcome, PutOutcome::Mounted);
    let asked = registry.seen();
    let asked = asked.iter().rfind(|seen| seen.uri.path() == "/token").unwrap();
    let query = asked.uri.query().unwrap();
    assert!(
        query.contains("service=fake") && query.contains("repository%3Abase%3Apull"),
        "{query}"
    );
}

#[tokio::test]
async fn a_token_that_ended_in_mid_push_is_renewed() {
    let registry = FakeRegistry::start(Behaviour {
        bearer: Some(pair()),
        ..Behaviour::default()
    })
    .await;
    let repository = open(&registry, password(), quick());
    send(&repository, b"one").await.unwrap();
    registry.revoke_tokens();
    // The upload is open when the registry forgets us.
    registry.inject(Fault::next(
        reqwest::Method::PUT,
        "/uploads/",
        What::Answer(
            401,
            vec![(
                "www-authenticate",
                format!("Bearer realm=\"http://{}/token\",service=\"fake\"", registry.host()),
            )],
            String::new(),
        ),
    ));
    assert_eq!(send(&repository, b"two").await.unwrap(), PutOutcome::Sent);
    assert_eq!(registry.pending_faults(), 0);
}

#[tokio::test]
async fn parallel_requests_share_one_question_for_a_token() {
    let registry = FakeRegistry::start(Behaviour {
        bearer: Some(pair()),
        ..Behaviour::default()
    })
    .await;
    let repository = open(&registry, password(), quick());
    let many = (0..8).map(|n| {
        let repository = repository.clone();
        async move { send(&repository, format!("blob {n}").as_bytes()).await.unwrap() }
    });
    futures_util::future::join_all(many).await;
    let tokens = registry.log().iter().filter(|line| line.contains("/token")).count();
    assert_eq!(tokens, 2, "{:?}", registry.log());
}

#[tokio::test]
async fn authorization_stays_at_home() {
    // Blobs are read from another origin, which refuses a second signature.
    let behaviour = Behaviour {
        basic: Some(pair()),
        redirect_blobs: true,
        ..Behaviour::default()
    };
    let registry = FakeRegistry::start(behaviour).await;
    let digest = registry.add_blob("blog", b"content");
    let repository = open(&registry, password(), quick());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    repository
        .pull_blob(&crate::describe(b"content"), &path, &nuages_model::Progress::none())
        .await
        .unwrap();
    assert_eq!(nuages_model::Digest::of(&std::fs::read(&path).unwrap()), digest);
    assert!(registry.seen().iter().any(|seen| seen.elsewhere));
    assert!(
        registry
            .seen()
            .iter()
            .filter(|seen| seen.elsewhere)
            .all(|seen| !seen.headers.contains_key("authorization"))
    );
}

#[tokio::test]
async fn an_upload_that_is_sent_elsewhere_goes_without_authorization() {
    let storage = FakeServer::start(|_| async { nuages_testkit::http::text(201, "") }).await;
    let registry = FakeRegistry::start(Behaviour {
        basic: Some(pair()),
        ..Behaviour::default()
    })
    .await;
    let location = format!("{}/bucket/upload?signature=abc", storage.url());
    registry.inject(Fault::next(
        reqwest::Method::POST,
        "/uploads/",
        What::Answer(202, vec![("location", location)], String::new()),
    ));
    // The first request learns that a password is wanted; the fault waits for the second.
    let repository = open(
        &registry,
        password(),
        Options {
            password_first: true,
            ..quick()
        },
    );
    send(&repository, b"content").await.unwrap();
    let put = storage.requests().pop().unwrap();
    assert_eq!(put.method(), "PUT");
    assert_eq!(put.body(), "content");
    assert!(!put.headers().contains_key("authorization"));
    assert!(
        put.uri().query().unwrap().starts_with("signature=abc&digest="),
        "{}",
        put.uri()
    );
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let (registry, repository) = fake(Behaviour::default()).await;
    for _ in 0..20 {
        registry.inject(Fault::next(
            reqwest::Method::GET,
            "/manifests/",
            What::Answer(307, vec![("location", "/v2/blog/manifests/v1".into())], String::new()),
        ));
    }
    let error = repository.manifest("v1").await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    for location in ["file:///etc/passwd", "gopher://x/", "http://"] {
        let (registry, repository) = fake(Behaviour::default()).await;
        registry.inject(Fault::next(
            reqwest::Method::GET,
            "/manifests/",
            What::Answer(302, vec![("location", location.into())], String::new()),
        ));
        assert!(repository.manifest("v1").await.is_err(), "{location}");
    }
}
