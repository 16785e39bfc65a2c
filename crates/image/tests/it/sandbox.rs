//! Checks in containers, and what is left of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions};
use nuages_image::{Engine, ImageError, RunSpec, Sandbox, SandboxSpec, run_once, sweep};
use nuages_model::Progress;
use tokio_util::sync::CancellationToken;

use crate::{BASE, Said, engine};

fn python(code: &str) -> RunSpec {
    RunSpec {
        image: BASE.into(),
        command: ["python3", "-u", "-c", code].map(String::from).into(),
        source: "tests".into(),
        ..RunSpec::default()
    }
}

/// Containers and networks with this label.
async fn left(engine: &Engine, label: &str) -> usize {
    let filters = std::collections::HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let containers = ListContainersOptions {
        all: true,
        filters: Some(filters.clone()),
        ..Default::default()
    };
    let containers = engine.docker().list_containers(Some(containers)).await.unwrap();
    let networks = engine
        .docker()
        .list_networks(Some(ListNetworksOptions { filters: Some(filters) }))
        .await
        .unwrap();
    containers.len() + networks.len()
}

async fn nothing_left(engine: &Engine, label: &str) {
    // Removal on drop runs beside us.
    for _ in 0..100 {
        if left(engine, label).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("something with the label {label} was left");
}

fn labels(name: &str) -> (BTreeMap<String, String>, String) {
    let value = format!("{name}-{}", std::process::id());
    (
        BTreeMap::from([("dev.nuages.test".to_owned(), value.clone())]),
        format!("dev.nuages.test={value}"),
    )
}

#[tokio::test]
async fn a_command_gives_its_code_its_output_and_its_files() {
    let engine = engine().await;
    let said = Said::default();
    let (labels, label) = labels("run");
    let mut spec = python(
        "import os, sys\nprint('to out')\nprint('to err', file=sys.stderr)\nprint(os.environ['GREETING'])\n\
         os.makedirs('/tmp/reports/deep')\nopen('/tmp/reports/junit.xml', 'w').write('<testsuites/>')\n\
         open('/tmp/reports/deep/x', 'w').write('x' * 300000)\nsys.stdout.write('no end')\nsys.exit(7)",
    );
    spec.env = BTreeMap::from([("GREETING".into(), "héllo".into())]);
    spec.collect = vec!["/tmp/reports".into(), "/tmp/none".into()];
    spec.labels = labels;
    let outcome = run_once(&engine, &spec, &said.progress(), &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(outcome.exit_code, 7);
    assert!(!outcome.passed() && !outcome.out_of_memory);
    for line in ["to out", "to err", "héllo", "no end"] {
        assert!(outcome.tail.iter().any(|l| l == line), "{line}: {:?}", outcome.tail);
        assert!(said.lines().contains(line), "{line}");
    }
    assert_eq!(&outcome.files["/tmp/reports/junit.xml"][..], b"<testsuites/>");
    assert_eq!(outcome.files["/tmp/reports/deep/x"].len(), 300_000);
    assert_eq!(outcome.files.len(), 2);
    assert_eq!(left(&engine, &label).await, 0);
}

#[tokio::test]
async fn nothing_is_left_when_it_is_stopped() {
    let engine = engine().await;
    let (labels, label) = labels("stop");
    let mut spec = python("import time\nprint('begun')\ntime.sleep(600)");
    spec.labels = labels;

    spec.timeout = Some(Duration::from_millis(1));
    let error = run_once(&engine, &spec, &Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::TimedOut { .. }), "{error}");
    assert_eq!(left(&engine, &label).await, 0);

    spec.timeout = None;
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let progress = Progress::new(move |_| stop.cancel());
    let error = run_once(&engine, &spec, &progress, &cancel).await.unwrap_err();
    assert!(matches!(error, ImageError::Cancelled { .. }), "{error}");
    assert_eq!(left(&engine, &label).await, 0);

    // Its task is aborted.
    let begun = std::sync::Arc::new(tokio::sync::Notify::new());
    let tell = begun.clone();
    let task = tokio::spawn({
        let (engine, spec) = (engine.clone(), spec.clone());
        async move {
            let progress = Progress::new(move |_| tell.notify_one());
            run_once(&engine, &spec, &progress, &CancellationToken::new()).await
        }
    });
    begun.notified().await;
    task.abort();
    nothing_left(&engine, &label).await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let engine = engine().await;
    let (labels, label) = labels("why");
    let run = async |spec: RunSpec| {
        let spec = RunSpec {
            labels: labels.clone(),
            ..spec
        };
        run_once(&engine, &spec, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap_err()
    };
    let error = run(RunSpec {
        image: "nuages.invalid/none:1".into(),
        ..RunSpec::default()
    })
    .await;
    assert!(matches!(error, ImageError::NoImage { .. }), "{error}");
    let error = run(RunSpec {
        image: BASE.into(),
        command: vec!["no-such-program".into()],
        ..RunSpec::default()
    })
    .await;
    assert!(error.to_string().contains("no-such-program"), "{error}");
    assert_eq!(left(&engine, &label).await, 0);
}

#[tokio::test]
async fn every_check_gets_an_empty_database() {
    let engine = engine().await;
    let (labels, label) = labels("database");
    let spec = SandboxSpec {
        postgres: Some("postgres:17-alpine".into()),
        labels,
    };
    let cancel = CancellationToken::new();
    let sandbox = Sandbox::start(&engine, spec, &Progress::none(), &cancel).await.unwrap();
    let one = sandbox.new_database().await.unwrap().unwrap();
    let two = sandbox.new_database().await.unwrap().unwrap();
    assert_ne!(one, two);
    // psql of the database's own image, in another container of the network.
    let psql = async |url: &str, sql: &str| {
        let command = ["psql", url, "-v", "ON_ERROR_STOP=1", "-tAc", sql]
            .map(String::from)
            .into();
        let spec = RunSpec {
            image: "postgres:17-alpine".into(),
            entrypoint: Some(Vec::new()),
            command,
            ..RunSpec::default()
        };
        sandbox.run(spec, &Progress::none(), &cancel).await.unwrap()
    };
    let made = psql(&one, "CREATE TABLE post (id int)").await;
    assert!(made.passed(), "{:?}", made.tail);
    assert_eq!(psql(&one, "SELECT count(*) FROM post").await.tail, ["0"]);
    assert!(!psql(&two, "SELECT count(*) FROM post").await.passed());
    // Test runners make a database of their own.
    assert!(psql(&two, "CREATE DATABASE test_check").await.passed());
    sandbox.close().await.unwrap();
    assert_eq!(left(&engine, &label).await, 0);
}

#[tokio::test]
async fn a_dropped_sandbox_leaves_nothing() {
    let engine = engine().await;
    let (labels, label) = labels("dropped");
    let spec = SandboxSpec {
        postgres: Some("postgres:17-alpine".into()),
        labels: labels.clone(),
    };
    let sandbox = Sandbox::start(&engine, spec, &Progress::none(), &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(left(&engine, &label).await, 2);
    // Ours is alive, so a sweep leaves it alone.
    sweep(&engine).await.unwrap();
    assert_eq!(left(&engine, &label).await, 2);
    drop(sandbox);
    nothing_left(&engine, &label).await;

    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let spec = SandboxSpec {
        postgres: Some("postgres:17-alpine".into()),
        labels,
    };
    let error = Sandbox::start(&engine, spec, &Progress::none(), &cancelled)
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Cancelled { .. }), "{error}");
    nothing_left(&engine, &label).await;
}

/// Cancelled at many moments of the start: before, within and after each call that makes something.
#[tokio::test]
async fn a_start_that_is_cancelled_leaves_nothing_when_it_returns() {
    let engine = engine().await;
    let (labels, label) = labels("cancelled");
    for millis in [1, 5, 15, 30, 60, 90, 120, 160, 200, 250, 320, 400] {
        let cancel = CancellationToken::new();
        let spec = SandboxSpec {
            postgres: Some("postgres:17-alpine".into()),
            labels: labels.clone(),
        };
        let progress = Progress::none();
        let starting = Sandbox::start(&engine, spec, &progress, &cancel);
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            cancel.cancel();
        };
        let (started, ()) = tokio::join!(starting, cancelling);
        match started {
            Err(error) => assert!(matches!(error, ImageError::Cancelled { .. }), "{error}"),
            Ok(sandbox) => sandbox.close().await.unwrap(),
        }
        // At once: the process may end now.
        assert_eq!(left(&engine, &label).await, 0, "cancelled after {millis} ms");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_dead_process_left_is_swept() {
    use bollard::models::{ContainerCreateBody, NetworkCreateRequest};
    let engine = engine().await;
    let (mut labels, label) = labels("dead");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let owner = format!(
        r#"{{"machine":"{}","pid":4194304,"started":"1","since":1}}"#,
        boot.trim()
    );
    labels.insert("dev.nuages.check".into(), owner);
    let labels: std::collections::HashMap<_, _> = labels.into_iter().collect();
    let body = ContainerCreateBody {
        image: Some(BASE.into()),
        labels: Some(labels.clone()),
        ..Default::default()
    };
    engine
        .docker()
        .create_container(None::<bollard::query_parameters::CreateContainerOptions>, body)
        .await
        .unwrap();
    let name = format!("nuages-dead-{}", std::process::id());
    let network = NetworkCreateRequest {
        name,
        labels: Some(labels),
        ..Default::default()
    };
    engine.docker().create_network(network).await.unwrap();
    assert_eq!(left(&engine, &label).await, 2);
    let seen = nuages_image::left(&engine).await.unwrap();
    assert!(seen.containers >= 1 && seen.networks >= 1, "{seen:?}");
    let swept = sweep(&engine).await.unwrap();
    assert!(swept.containers >= 1 && swept.networks >= 1, "{swept:?}");
    assert_eq!(left(&engine, &label).await, 0);
}
