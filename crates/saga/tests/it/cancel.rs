//! Asking a run to end.

use std::time::Duration;

use nuages_saga::{Level, Outcome, StepState, UndoReason};
use serde_json::json;

use crate::sim::{Fails, Kind, acts, acts_with, id, place, plan};

fn long_plan() -> nuages_saga::Plan {
    plan()
        .stage("one", [acts("a", Kind::Set, Fails::Never)])
        .stage(
            "migrate",
            [acts_with("m", Kind::Job, Fails::Never, &json!({"millis": 60_000}))],
        )
        .stage("two", [acts("b", Kind::Set, Fails::Never)])
}

#[tokio::test(start_paused = true)]
async fn gracefully_the_migration_is_waited_for_and_the_rest_undone() {
    let (world, _, process) = place();
    let cancel = process.cancel.clone();
    let began = tokio::time::Instant::now();
    let asks = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        cancel.request(Level::Graceful);
    };
    let (report, ()) = tokio::join!(process.deploy(long_plan()), asks);
    let Outcome::Restored { kept, reason, failure } = report.unwrap().outcome else {
        panic!()
    };
    assert_eq!((kept, reason, failure), (vec![id("m")], UndoReason::Interrupted, None));
    assert!(
        began.elapsed() >= Duration::from_mins(1),
        "the migration was not waited for"
    );
    assert!(world.is_undone(&id("a"), Kind::Set) && world.is_done(&id("m"), Kind::Job));
    assert!(!world.applied().contains(&id("b")));
}

#[tokio::test(start_paused = true)]
async fn before_anything_was_applied_nothing_is_undone() {
    let (world, _, process) = place();
    process.cancel.request(Level::Graceful);
    let report = process.deploy(long_plan()).await.unwrap();
    assert!(matches!(
        report.outcome,
        Outcome::Restored {
            reason: UndoReason::Interrupted,
            ..
        }
    ));
    assert!(world.applied().is_empty());
}

#[tokio::test(start_paused = true)]
async fn detached_it_stops_at_once_and_leaves_the_journal_as_it_is() {
    let (world, _, process) = place();
    let cancel = process.cancel.clone();
    let wanted = long_plan();
    let began = tokio::time::Instant::now();
    let asks = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        cancel.request(Level::Detach);
    };
    let (report, ()) = tokio::join!(process.deploy(wanted.clone()), asks);
    let report = report.unwrap();
    assert_eq!(report.outcome, Outcome::Detached);
    assert_eq!(report.outputs[&id("a")], json!({"value": 7}));
    assert_eq!(began.elapsed().as_secs(), 20);
    let journal = process.runner.journal(wanted.deployment).await.unwrap();
    assert_eq!(journal.step(&id("m")).unwrap().state, StepState::Intended);
    assert!(
        process.store.inspect().await.unwrap().is_none(),
        "the lease is free for whoever resumes"
    );

    let fresh = crate::sim::Process::over(&world, process.store.clone(), &process.life);
    assert_eq!(
        fresh.resume(wanted.deployment).await.unwrap().outcome,
        Outcome::Finished
    );
    assert_eq!(world.starts(&id("m")), 1);
}

#[tokio::test(start_paused = true)]
async fn detaching_in_the_middle_of_an_undo_leaves_it_to_resume() {
    let (world, _, process) = place();
    let wanted = plan().stage("one", [acts("a", Kind::Set, Fails::Never)]).stage(
        "two",
        [acts_with(
            "m",
            Kind::Job,
            Fails::Never,
            &json!({"millis": 60_000, "deadline": 10}),
        )],
    );
    let cancel = process.cancel.clone();
    let asks = async {
        // The job's deadline is over by then, and its end is waited for.
        tokio::time::sleep(Duration::from_secs(15)).await;
        cancel.request(Level::Detach);
    };
    let (report, ()) = tokio::join!(process.deploy(wanted.clone()), asks);
    assert_eq!(report.unwrap().outcome, Outcome::Detached);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let fresh = crate::sim::Process::over(&world, process.store.clone(), &process.life);
    let report = fresh.resume(wanted.deployment).await.unwrap();
    let Outcome::Restored { kept, .. } = report.outcome else {
        panic!("{:?}", report.outcome)
    };
    assert_eq!(kept, [id("m")]);
    assert!(world.is_undone(&id("a"), Kind::Set));
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_failed_keeps_the_next_stage_from_beginning() {
    let (world, _, process) = place();
    let wanted = plan()
        .stage(
            "one",
            [acts("a", Kind::Set, Fails::Clean), acts("b", Kind::Make, Fails::Never)],
        )
        .stage("two", [acts("c", Kind::Set, Fails::Never)]);
    process.deploy(wanted).await.unwrap();
    assert!(!world.applied().contains(&id("c")));
    assert!(world.is_undone(&id("b"), Kind::Make));
}
