//! The Docker engine: missing, too old; and what `doctor` says of a machine.

use nuages_testkit::http::{FakeServer, json};
use serde_json::json;

use crate::support::{Place, Said};

const TOML: &str = "\
[app]
name = 'blog'

[services.worker]
command = ['true']

[environments.local]
emulator = 'ministack'
";

async fn run(args: &'static [&'static str], docker: String) -> Said {
    tokio::task::spawn_blocking(move || Place::with(TOML).run_with(args, &[("DOCKER_HOST", &docker)]))
        .await
        .unwrap()
}

#[tokio::test]
async fn without_an_engine_it_says_how_to_get_one() {
    let said = run(&["deploy", "--env", "local"], "unix:///nowhere/docker.sock".into())
        .await
        .ended(1);
    said.ends_telling("there is no socket at /nowhere/docker.sock")
        .ends_telling("hint: install Docker Engine 20.10");
}

async fn old_engine() -> FakeServer {
    FakeServer::start(|_| async {
        let version = json!({"Version": "19.03.15", "ApiVersion": "1.40", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"});
        json(200, &version)
    })
    .await
}

#[tokio::test]
async fn an_old_engine_is_refused_by_its_version() {
    let engine = old_engine().await;
    let host = engine.url().replace("http://", "tcp://");
    let said = run(&["deploy", "--env", "local"], host).await.ended(1);
    said.ends_telling("19.03.15")
        .ends_telling("hint: upgrade Docker Engine to 20.10 or newer");
}

#[tokio::test]
async fn doctor_tells_all_that_is_missing_at_once() {
    let said = run(&["doctor"], "unix:///nowhere/docker.sock".into()).await.ended(4);
    assert!(said.out.contains("FAIL  docker: "), "{}", said.out);
    assert!(
        said.out.contains("OK    environment local: runs on this machine"),
        "{}",
        said.out
    );
    assert!(said.out.contains("hint: "), "{}", said.out);

    let said = run(&["doctor", "--json"], "unix:///nowhere/docker.sock".into())
        .await
        .ended(4);
    let findings = said.json();
    let docker = findings.iter().find(|finding| finding["subject"] == "docker").unwrap();
    assert!(docker["hint"].is_string(), "{docker}");
}

#[test]
fn doctor_names_a_missing_project() {
    let said = Place::new().run(&["doctor"]).ended(4);
    assert!(
        said.out.contains("FAIL  project: failed to find nuages.toml"),
        "{}",
        said.out
    );
}
