//! The way back.

use nuages_saga::{Outcome, StepState, UndoReason};

use crate::sim::{Fails, Kind, Life, Process, acts, acts_with, id, place, plan};

#[tokio::test(start_paused = true)]
async fn undoes_in_reverse_and_keeps_what_goes_forward_only() {
    let (world, _, process) = place();
    let wanted = plan()
        .stage("one", [acts("a", Kind::Make, Fails::Never)])
        .stage("migrate", [acts("migrate", Kind::Job, Fails::Never)])
        .stage(
            "two",
            [acts("b", Kind::Set, Fails::Never), acts("c", Kind::Set, Fails::Half)],
        );
    let report = process.deploy(wanted.clone()).await.unwrap();
    let Outcome::Restored {
        kept,
        reason,
        failure: Some(failure),
    } = report.outcome
    else {
        panic!("{:?}", report.outcome)
    };
    assert_eq!(
        (kept, reason),
        (vec![id("migrate")], UndoReason::Failed { step: id("c") })
    );
    assert_eq!(failure.error.message, "the connection was reset");
    assert_eq!(failure.error.hint.as_deref(), Some("try again"));
    assert!(world.is_done(&id("migrate"), Kind::Job));
    for (step, kind) in [("a", Kind::Make), ("b", Kind::Set), ("c", Kind::Set)] {
        assert!(world.is_undone(&id(step), kind), "{step}");
    }
    let journal = process.runner.journal(wanted.deployment).await.unwrap();
    assert!(matches!(
        journal.step(&id("migrate")).unwrap().state,
        StepState::Kept(_)
    ));
    assert_eq!(journal.step(&id("a")).unwrap().state, StepState::Undone);
}

#[tokio::test(start_paused = true)]
async fn what_failed_cleanly_is_not_undone() {
    let (world, _, process) = place();
    world.break_undo(true);
    let report = process
        .deploy(plan().stage("one", [acts("a", Kind::Set, Fails::Clean)]))
        .await
        .unwrap();
    assert!(
        matches!(report.outcome, Outcome::Restored { .. }),
        "{:?}",
        report.outcome
    );
}

#[tokio::test(start_paused = true)]
async fn stuck_stops_and_says_how_to_finish_and_resume_goes_on() {
    let (world, _, process) = place();
    world.break_undo(true);
    let wanted = plan()
        .stage("one", [acts("a", Kind::Set, Fails::Never)])
        .stage("two", [acts("b", Kind::Set, Fails::Half)]);
    for attempt in 0..2 {
        let report = match attempt {
            0 => process.deploy(wanted.clone()).await.unwrap(),
            _ => process.resume(wanted.deployment).await.unwrap(),
        };
        let Outcome::Stuck { steps, failure, .. } = report.outcome else {
            panic!("{:?}", report.outcome)
        };
        assert_eq!(steps.len(), 1, "it stops at the stage that is stuck");
        assert_eq!(
            (steps[0].step.as_str(), steps[0].by_hand.as_slice()),
            ("b", &["set-back --to '[0,0]'".into()][..])
        );
        assert_eq!(steps[0].error.causes, ["access denied"]);
        assert_eq!(failure.unwrap().step, id("b"));
        assert!(world.is_done(&id("a"), Kind::Set));
    }
    world.break_undo(false);
    let report = process.abort(wanted.deployment).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Restored { .. }));
    assert!(world.is_undone(&id("a"), Kind::Set) && world.is_undone(&id("b"), Kind::Set));
}

#[tokio::test(start_paused = true)]
async fn resume_and_abort_attach_to_what_still_runs_and_never_start_a_second() {
    let wanted = || {
        let long = serde_json::json!({"millis": 120_000});
        plan().stage("migrate", [acts_with("m", Kind::Job, Fails::Never, &long)])
    };
    let mut running = 0;
    for point in 0..20 {
        for abort in [false, true] {
            let (world, store, process) = place();
            let (plan, life) = (wanted(), Life::until(point));
            life.live(Process::new(&world, &store, &life).deploy(plan.clone()))
                .await;
            if world.starts(&id("m")) == 0 || world.is_done(&id("m"), Kind::Job) {
                continue;
            }
            running += 1;
            let report = if abort {
                process.abort(plan.deployment).await.unwrap()
            } else {
                process.resume(plan.deployment).await.unwrap()
            };
            match report.outcome {
                Outcome::Finished => assert!(!abort),
                Outcome::Restored { kept, .. } => assert!(abort && kept == [id("m")]),
                other => panic!("{other:?}"),
            }
            assert!(world.is_done(&id("m"), Kind::Job), "it was waited for");
            assert_eq!((world.starts(&id("m")), world.violations()), (1, vec![]));
        }
    }
    assert!(running > 2, "no process died while it ran");
}
