//! What only a server can show: locks, sessions, error codes.

use std::sync::Arc;
use std::time::Duration;

use nuages_migrate::{Failure, MigrateError, MigrationRun, Verb, apply, probe};
use nuages_model::Progress;
use tempfile::TempDir;

use crate::local_runner::{LocalRunner, recording, run, signal};
use crate::postgres::Postgres;
use crate::python::DJANGO;

fn data() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn failure(error: MigrateError) -> Failure {
    match error {
        MigrateError::Failed(failure) => *failure,
        other => panic!("another failure: {other}"),
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen");
}

/// A run in the background whose migration waits for the file `go`.
fn slow(
    postgres: &Postgres,
    data: &TempDir,
) -> (
    Arc<LocalRunner>,
    MigrationRun,
    tokio::task::JoinHandle<Result<(), MigrateError>>,
) {
    let runner = Arc::new(postgres.runner(data.path()).with("APPS", "slow"));
    let run = run(DJANGO);
    let task = tokio::spawn({
        let (runner, run) = (runner.clone(), run.clone());
        async move { apply(runner.as_ref(), &run, &Progress::none()).await.map(drop) }
    });
    (runner, run, task)
}

#[tokio::test]
async fn applies_and_explains_with_the_servers_own_code() {
    let (postgres, data) = (Postgres::start().await, data());
    let runner = postgres.runner(data.path());
    let report = probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap();
    assert_eq!(report.databases["default"].vendor.as_deref(), Some("postgresql"));
    assert_eq!(report.pending().len(), 3);
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(postgres.execute(tables), ["0"], "a probe makes no table");
    assert_eq!(
        apply(&runner, &run(DJANGO), &Progress::none())
            .await
            .unwrap()
            .ran()
            .len(),
        3
    );

    let runner = postgres.runner(data.path()).with("APPS", "blog,broken");
    let failed = failure(apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(
        failed.cause,
        "broken.0002_not_null on default: IntegrityError 23505: duplicate key value violates unique constraint \
         \"broken_thing_pkey\"",
        "and no row is quoted"
    );
    assert_eq!(
        postgres.execute("SELECT count(*) FROM broken_thing"),
        ["0"],
        "it was rolled back"
    );
}

#[tokio::test]
async fn a_probes_session_is_read_only() {
    let (postgres, data) = (Postgres::start().await, data());
    let runner = postgres.runner(data.path()).with("APPS", "blog,writer");
    let failed = failure(probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(
        failed.driver.as_ref().unwrap().sqlstate.as_deref(),
        Some("25006"),
        "{}",
        failed.cause
    );
}

#[tokio::test]
async fn of_two_runners_one_waits_or_refuses() {
    let (postgres, data) = (Postgres::start().await, data());
    let (_runner, _run, first) = slow(&postgres, &data);
    until("the first migration", || data.path().join("waiting").exists()).await;

    let runner = postgres.runner(data.path());
    let mut impatient = run(DJANGO);
    impatient.lock_wait = Duration::ZERO;
    let failed = failure(apply(&runner, &impatient, &Progress::none()).await.unwrap_err());
    assert!(
        failed.cause.contains("another migration holds the lock"),
        "{}",
        failed.cause
    );
    assert!(
        failed.cause.contains("nuages-migrate:"),
        "it says who: {}",
        failed.cause
    );
    assert_eq!(failed.outcome.exit_code, Some(75));
    assert!(failed.hint.unwrap().contains("other migration"));

    let (progress, notes) = recording();
    let second = tokio::spawn({
        let run = run(DJANGO);
        async move { apply(&runner, &run, &progress).await }
    });
    until("the second runner's wait", || {
        postgres.sessions("query LIKE '%pg_locks l JOIN%'") != "0"
    })
    .await;
    std::fs::write(data.path().join("go"), "").unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(second.await.unwrap().unwrap().ran().len(), 3);
    assert!(format!("{:?}", notes.lock().unwrap()).contains("waiting up to 60 s for another migration"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_killed_runner_leaves_neither_lock_nor_session() {
    let (postgres, data) = (Postgres::start().await, data());
    let (runner, run_, task) = slow(&postgres, &data);
    until("the migration", || data.path().join("waiting").exists()).await;
    signal("-KILL", runner.pid(&run_.key(Verb::Apply).unwrap()));
    assert!(task.await.unwrap().is_err());
    let ended = || postgres.sessions("application_name LIKE 'nuages-migrate:%'") == "0";
    until("the end of the session", ended).await;
    std::fs::write(data.path().join("go"), "").unwrap();
    let mut again = run(DJANGO);
    again.lock_wait = Duration::ZERO;
    let runner = postgres.runner(data.path()).with("APPS", "slow");
    assert_eq!(apply(&runner, &again, &Progress::none()).await.unwrap().ran().len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_killed_runners_statement_does_not_go_on_alone() {
    let (postgres, data) = (Postgres::start().await, data());
    let runner = Arc::new(postgres.runner(data.path()).with("APPS", "sleeper"));
    let run = run(DJANGO);
    let task = tokio::spawn({
        let (runner, run) = (runner.clone(), run.clone());
        async move { apply(runner.as_ref(), &run, &Progress::none()).await.map(drop) }
    });
    let sleeping = || postgres.sessions("query LIKE '%pg_sleep(600)%'");
    until("the statement", || sleeping() == "1").await;
    signal("-KILL", runner.pid(&run.key(Verb::Apply).unwrap()));
    assert!(task.await.unwrap().is_err());
    until("the end of the orphan", || sleeping() == "0").await;
}

#[tokio::test]
async fn a_busy_table_is_not_waited_for_without_end() {
    let (postgres, data) = (Postgres::start().await, data());
    apply(&postgres.runner(data.path()), &run(DJANGO), &Progress::none())
        .await
        .unwrap();
    let holder = postgres.session("LOCK TABLE blog_post IN ACCESS SHARE MODE");
    let runner = postgres.runner(data.path()).with("APPS", "blog,locker");
    let mut hasty = run(DJANGO);
    hasty.lock_timeout = Duration::from_millis(100);
    let error = apply(&runner, &hasty, &Progress::none()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("lock_timeout"), "{:?}", error.hint());
    assert!(
        failure(error)
            .cause
            .starts_with("locker.0001_initial on default: OperationalError 55P03")
    );
    drop(holder);
    assert_eq!(
        apply(&runner, &run(DJANGO), &Progress::none())
            .await
            .unwrap()
            .ran()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_lost_lock_stops_before_the_next_migration() {
    let (postgres, data) = (Postgres::start().await, data());
    let runner = postgres.runner(data.path()).with("APPS", "closer");
    let failed = failure(apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(failed.driver.as_ref().unwrap().kind, "lock-lost", "{}", failed.cause);
    assert_eq!(
        failed.report.unwrap().databases["default"].pending,
        ["closer.0002_after"]
    );
}

#[tokio::test]
async fn an_unreachable_database_is_named_as_such() {
    let (postgres, data) = (Postgres::start().await, data());
    let runner = postgres.runner(data.path()).with("PGPASSWORD", "a-wrong-password");
    let failed = failure(apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(failed.driver.as_ref().unwrap().kind, "connect", "{failed:?}");
    assert!(
        failed.cause.contains("password authentication failed"),
        "{}",
        failed.cause
    );
    assert!(!format!("{failed:?}").contains("a-wrong-password"));
}
