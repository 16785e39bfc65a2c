//! The logins that a machine has already.

use std::path::PathBuf;

use nuages_registry::{Credentials, Logins, RegistryError};
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry};

use crate::{open, quick, send};

/// A folder with a `config.json`.
fn configured(config: &serde_json::Value) -> (tempfile::TempDir, Logins) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let nowhere = PathBuf::from("/nonexistent/auth.json");
    (folder, Logins::of_files([nowhere, file]))
}

/// As `USER:PASSWORD`, for comparing.
fn shown(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Anonymous => "nobody".into(),
        Credentials::Password { username, password } => format!("{username}:{}", password.expose()),
        Credentials::Identity(token) => format!("identity {}", token.expose()),
        Credentials::Bearer(token) => format!("bearer {}", token.expose()),
    }
}

async fn found(logins: &Logins, host: &str, repository: &str) -> String {
    shown(&logins.credentials(host, repository).await.unwrap())
}

#[tokio::test]
async fn as_docker_and_podman_keep_them() {
    // `echo -n user:pass | base64`, with its padding and without; `docker login` of Docker Hub keeps an address.
    let (_folder, logins) = configured(&serde_json::json!({
        "auths": {
            "https://index.docker.io/v1/": { "auth": "aHViOnBhc3M=" },
            "registry.example:5000": { "auth": "dXNlcjpwYTpzcw" },
            "https://old.example/v2/": { "username": "old", "password": "pass" },
            "quay.io": { "auth": "YWxsOnBhc3M=" },
            "quay.io/team": { "auth": "dGVhbTpwYXNz" },
            "token.example": { "auth": "MDAwOg==", "identitytoken": "refresh" },
            "direct.example": { "registrytoken": "jwt" },
            "empty.example": {},
        },
        "HttpHeaders": { "User-Agent": "Docker-Client" },
    }));
    for (host, repository, credentials) in [
        ("docker.io", "library/python", "hub:pass"),
        ("registry.example:5000", "blog", "user:pa:ss"),
        ("old.example", "blog", "old:pass"),
        ("quay.io", "blog", "all:pass"),
        ("quay.io", "team/blog", "team:pass"),
        ("quay.io", "teammates/blog", "all:pass"),
        ("token.example", "blog", "identity refresh"),
        ("direct.example", "blog", "bearer jwt"),
        ("empty.example", "blog", "nobody"),
        ("registry.example", "blog", "nobody"),
    ] {
        assert_eq!(
            found(&logins, host, repository).await,
            credentials,
            "{host}/{repository}"
        );
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_understood_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    for content in [
        r#"{"auths": {"a.example": {"auth": "hunter2"}"#,
        r#"{"auths": {"a.example": {"auth": "%%hunter2"}}}"#,
        r#"{"auths": "hunter2"}"#,
    ] {
        std::fs::write(&file, content).unwrap();
        let error = Logins::of_files([file.clone()])
            .credentials("a.example", "blog")
            .await
            .unwrap_err();
        assert!(matches!(error, RegistryError::Logins { .. }), "{error}");
        assert!(error.to_string().contains("config.json"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(error.hint().is_some());
    }
    std::fs::write(&file, "").unwrap();
    assert_eq!(found(&Logins::of_files([file]), "a.example", "blog").await, "nobody");
}

/// A helper is a program in PATH: these are run by a child of the test with a PATH of its own.
#[cfg(unix)]
mod helpers {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CHILD: &str = "NUAGES_TEST_LOGIN_HELPERS";

    /// What the helper of this name does, as a shell script.
    const SCRIPTS: [(&str, &str); 6] = [
        (
            "good",
            r#"read -r server; echo "{\"ServerURL\":\"$server\",\"Username\":\"helped\",\"Secret\":\"for $server\"}""#,
        ),
        (
            "token",
            r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"refresh"}'"#,
        ),
        ("unknown", "echo 'credentials not found in native keychain'; exit 1"),
        ("angry", "echo 'the keychain is locked'; echo hunter2 >&2; exit 3"),
        ("mute", "exit 0"),
        ("nobody", r#"echo '{"ServerURL":"x","Username":"","Secret":""}'"#),
    ];

    #[test]
    fn are_asked() {
        let bin = tempfile::tempdir().unwrap();
        for (name, script) in SCRIPTS {
            let path = bin.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n[ \"$*\" = get ] || exit 9\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(bin.path().to_owned()).chain(std::env::split_paths(&path)));
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "logins::helpers::in_the_child", "--ignored", "--nocapture"])
            .env("PATH", path.unwrap())
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&child.stderr)
        );
    }

    #[tokio::test]
    #[ignore = "the child of `are_asked`"]
    async fn in_the_child() {
        assert!(std::env::var_os(CHILD).is_some(), "this is no test of its own");
        let (_folder, logins) = configured(&serde_json::json!({
            "auths": { "stored.example": {}, "plain.example": { "auth": "dXNlcjpwYXNz" } },
            "credsStore": "good",
            "credHelpers": {
                "token.example": "token", "unknown.example": "unknown", "angry.example": "angry", "mute.example": "mute",
                "nobody.example": "nobody", "missing.example": "missing", "evil.example": "../../evil",
            },
        }));
        for (host, credentials) in [
            ("stored.example", "helped:for stored.example"),
            ("docker.io", "helped:for https://index.docker.io/v1/"),
            ("plain.example", "user:pass"),
            ("token.example", "identity refresh"),
            ("unknown.example", "nobody"),
            ("nobody.example", "nobody"),
        ] {
            assert_eq!(found(&logins, host, "blog").await, credentials, "{host}");
        }
        for (host, why) in [
            ("angry.example", "the keychain is locked"),
            ("mute.example", "its answer is not that of a credential helper"),
            ("missing.example", "there is no such program in PATH"),
            ("evil.example", "is not the name of a credential helper"),
        ] {
            let error = logins.credentials(host, "blog").await.unwrap_err();
            assert!(error.to_string().contains(why), "{host}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            assert!(error.hint().is_some(), "{error}");
        }
    }
}

#[tokio::test]
async fn an_identity_token_becomes_a_token_for_each_scope() {
    let registry = FakeRegistry::start(Behaviour {
        bearer: Some(("user".into(), "refresh".into())),
        ..Behaviour::default()
    })
    .await;
    send(&open(&registry, Credentials::identity("refresh"), quick()), b"x")
        .await
        .unwrap();
    let asked: Vec<_> = registry
        .log()
        .into_iter()
        .filter(|line| line.contains("/token"))
        .collect();
    assert_eq!(asked, ["POST /token 200", "POST /token 200"]);
    // It stands in the body, where no log of a server or proxy has it.
    assert!(
        registry
            .seen()
            .iter()
            .all(|seen| !seen.uri.to_string().contains("refresh_token"))
    );

    let error = send(&open(&registry, Credentials::identity("other"), quick()), b"y")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
}

#[tokio::test]
async fn a_token_for_the_registry_itself_is_sent_as_it_is() {
    let registry = FakeRegistry::start(Behaviour {
        bearer: Some(("user".into(), "refresh".into())),
        ..Behaviour::default()
    })
    .await;
    let error = send(&open(&registry, Credentials::bearer("forged"), quick()), b"x")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    let first = &registry.seen()[0];
    assert_eq!(first.headers.get("authorization").unwrap(), "Bearer forged");
}
