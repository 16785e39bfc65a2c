//! The Docker engine: missing, too old, full, gone in the middle; and what `doctor` says of a machine.

use std::time::Duration;

use nuages_testkit::http::{FakeServer, json};
use serde_json::{Value, json};

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
    FakeServer::start(|_| async { json(200, &version("19.03.15", "1.40")) }).await
}

fn version(engine: &str, api: &str) -> Value {
    json!({"Version": engine, "ApiVersion": api, "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"})
}

/// What an engine does with a build.
#[derive(Clone, Copy)]
enum Build {
    /// Says this, and ends it.
    Fails(&'static str),
    /// Never answers.
    Hangs,
}

/// An engine that is new enough, as far as its answers tell.
async fn engine(build: Build) -> FakeServer {
    FakeServer::start(move |request| async move {
        match (request.uri().path(), build) {
            (path, _) if path.ends_with("/version") => json(200, &version("24.0.7", "1.43")),
            (path, _) if path.ends_with("/info") => json(200, &json!({"Driver": "overlay2"})),
            (path, Build::Fails(why)) if path.ends_with("/build") => {
                json(200, &json!({"errorDetail": {"message": why}, "error": why}))
            }
            // A build's session stays open as long as the build.
            _ => std::future::pending().await,
        }
    })
    .await
}

/// A project that can be built, and the build.
async fn built(docker: String) -> Said {
    let build = move || {
        let place = Place::with(TOML);
        place.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        let mut said = place.run_with(&["build", "--env", "local"], &[("DOCKER_HOST", &docker)]);
        said.err = place.anonymous(&said.err);
        said
    };
    tokio::task::spawn_blocking(build).await.unwrap()
}

#[tokio::test]
async fn a_disk_that_fills_up_in_mid_build_is_told_with_what_frees_it() {
    let engine = engine(Build::Fails(
        "write /var/lib/docker/overlay2/x/diff/app/y: no space left on device",
    ))
    .await;
    let said = built(engine.url().replace("http://", "tcp://")).await.ended(1);
    insta::assert_snapshot!(said.last_words());
}

#[tokio::test]
async fn an_engine_that_goes_in_mid_build_is_told() {
    let engine = engine(Build::Hangs).await;
    let building = tokio::spawn(built(engine.url().replace("http://", "tcp://")));
    let begun = async {
        while !engine
            .requests()
            .iter()
            .any(|request| request.uri().path().ends_with("/build"))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), begun)
        .await
        .expect("the build begins");
    drop(engine);
    let said = building.await.unwrap().ended(1);
    said.ends_telling("failed to build [place]/app/Dockerfile")
        .ends_telling("hint: see whether the engine still runs (`docker info`)");
}

#[cfg(unix)]
#[tokio::test]
async fn an_engine_that_does_not_run_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    // What is left of an engine that was stopped: a socket at which nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    for verb in [&["deploy", "--env", "local"], &["build", "--env", "local"]] {
        let said = run(verb, format!("unix://{}", socket.display())).await.ended(1);
        said.ends_telling("the Docker engine at unix://")
            .ends_telling("Connection refused")
            .ends_telling("sudo systemctl start docker");
    }
}

#[test]
fn what_the_dockerfile_says_wrong_is_told_with_its_step() {
    let place = Place::with(TOML);
    place.write("Dockerfile", "FROM scratch\nCOPY missing.txt /\n");
    // Each version of the engine has words of its own for it.
    let said = place.run(&["build", "--env", "local"]).ended(1);
    said.ends_telling("COPY missing.txt /")
        .ends_telling("not found")
        .ends_telling("hint: COPY takes files of the project's folder");
    std::fs::remove_file(place.project().join("Dockerfile")).unwrap();
    let said = place.run(&["build", "--env", "local"]).ended(4);
    insta::assert_snapshot!(place.anonymous(&said.last_words()));
}

/// Nobody waits for an emulator, or finds a stack made, for what cannot be built.
#[test]
fn a_project_that_cannot_be_built_is_refused_before_anything_is_made() {
    for verb in ["build", "check", "plan", "deploy", "push"] {
        let place = Place::with(TOML);
        place.write("Dockerfile", "# to be written\n");
        let refused = || {
            place.run_with(
                &[verb, "--env", "local"],
                &[("DOCKER_HOST", "unix:///nowhere/docker.sock")],
            )
        };
        refused().ended(4).ends_telling("Dockerfile is empty");
        std::fs::remove_file(place.project().join("Dockerfile")).unwrap();
        std::fs::remove_file(place.project().join("manage.py")).unwrap();
        refused()
            .ended(4)
            .ends_telling("there is no Dockerfile at ")
            .ends_telling("there is no manage.py in ");
        assert!(!place.project().join(".nuages").exists(), "{verb} leaves nothing");
    }
}

#[test]
fn a_machine_without_python_is_told_and_goes_on() {
    let said = Place::with(TOML)
        .run_with(&["doctor"], &[("PATH", "/nowhere")])
        .ended(0);
    assert!(
        said.out.contains("WARN  python: there is no python3 on PATH"),
        "{}",
        said.out
    );
    assert!(said.out.contains("hint: install Python 3"), "{}", said.out);
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
    assert!(findings.iter().all(|finding| finding["v"] == 1), "{findings:?}");
}

#[test]
fn doctor_fails_for_credentials_only_where_they_were_asked_for() {
    let place = Place::with(&format!(
        "{TOML}\n[environments.staging]\nregion = 'eu-west-1'\naccount = '123456789012'\ninsecure_http = true\n"
    ));
    let told = "environment staging: found no AWS credentials";
    let said = place.run(&["doctor"]).ended(0).prints(&format!("WARN  {told}"));
    assert!(said.out.contains("hint: set AWS_PROFILE"), "{}", said.out);
    let said = place.run(&["doctor", "--env", "staging"]).ended(4);
    let said = said.prints(&format!("FAIL  {told}"));
    assert!(
        !said.out.contains("environment local"),
        "one was asked for:\n{}",
        said.out
    );
    place.run(&["doctor", "--env", "local"]).ended(0);
    place
        .run(&["doctor", "--env", "stagin"])
        .ended(3)
        .tells("the environment `stagin` is not in the file");
}

/// Where every verb refuses, nobody is told that all is well.
#[test]
fn doctor_refuses_what_the_verbs_refuse() {
    let place = Place::with(TOML);
    let env = ["--env", "local"];
    place
        .run(&["doctor"])
        .ended(0)
        .prints("OK    working tree: ")
        .prints("nuages.db will be made by the first deployment");
    place.write("notes", "remember the milk");
    place.write("newer/nuages.db", "no database");
    let notes = place.project().join("notes");
    let newer = place.project().join("newer");
    for (store, told) in [
        ("s3://bucket/x", "s3://bucket/x is no path on this machine"),
        (
            notes.to_str().unwrap(),
            "notes is a file, and a store's folder is needed there",
        ),
        (newer.to_str().unwrap(), "newer/nuages.db is damaged"),
    ] {
        let store = ["--store", store];
        place
            .run(&[&["doctor"][..], &store].concat())
            .ended(4)
            .prints("FAIL  store: ")
            .prints(told);
        let said = place.run(&[&["deploy"][..], &env, &store].concat());
        said.ends_telling(told);
    }
    assert!(
        !place.project().join(".nuages").exists(),
        "who only looks leaves nothing"
    );

    for file in ["Dockerfile", "manage.py"] {
        std::fs::remove_file(place.project().join(file)).unwrap();
    }
    let told = "there is no Dockerfile at ";
    let said = place.run(&[&["doctor"][..], &env].concat()).ended(4);
    said.prints(&format!("FAIL  working tree: {told}"))
        .prints("there is no manage.py in ");
    place.run(&["deploy", "--env", "local"]).ended(4).ends_telling(told);
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

#[test]
fn doctor_does_not_send_people_to_init_for_a_file_that_is_wrong() {
    let said = Place::with(&TOML.replace("name = 'blog'", "name = 'My Blog'"))
        .run(&["doctor"])
        .ended(4);
    let project = said.out.split("FAIL  project: ").nth(1).unwrap();
    assert!(
        project.starts_with("nuages.toml: `My Blog` is not a valid application name"),
        "{project}"
    );
    assert!(project.contains("hint: did you mean \"my-blog\"?"), "{project}");
}

#[test]
fn an_environment_that_is_not_there_is_not_made_for_going_back() {
    let place = Place::with(TOML);
    for verb in ["rollback", "resume", "abort"] {
        let said = place.run(&[verb, "--env", "local"]).ended(4);
        said.ends_telling("there is no local environment")
            .ends_telling("hint: make one: `nuages deploy --env local`");
    }
}
