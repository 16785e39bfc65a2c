//! The way forward: order, references, comparison with the plan, kinds, refusals.

use std::collections::BTreeSet;
use std::time::Duration;

use nuages_model::{Progress, ReleaseId, TaskKey};
use nuages_saga::{
    DeploymentId, End, EventKind, Events, Journal, JournalEvent, JournalStore, Outcome, Phase, Plan, PlannedCheck,
    Registry, Runner, SagaError, StepContext, StepSpec, StepState, StoredPlan, TaskState, output,
};
use serde_json::json;

use crate::sim::{Fails, Kind, Life, Process, acts, acts_with, id, place, plan};

#[tokio::test(start_paused = true)]
async fn applies_stage_after_stage_and_then_nothing_is_left_to_do() {
    let (world, _, process) = place();
    let wanted = || {
        plan()
            .stage(
                "one",
                [acts("a", Kind::Make, Fails::Never), acts("b", Kind::Set, Fails::Never)],
            )
            .stage(
                "two",
                [acts_with(
                    "c",
                    Kind::Job,
                    Fails::Never,
                    &json!({"given": output(&id("a"), "/value")}),
                )],
            )
    };
    let report = process.deploy(wanted()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Finished);
    assert_eq!(report.outputs[&id("c")], json!({"value": 7}));
    assert_eq!(world.applied(), [id("a"), id("b"), id("c")]);

    let scope = process.events.task("plan", "Plan");
    let again = process.runner.plan(wanted(), &scope).await.unwrap();
    assert!(!again.has_changes());
    assert_eq!(process.run(&again).await.unwrap().outcome, Outcome::Finished);
    assert_eq!(world.applied().len(), 3, "nothing was applied again");
    assert!(process.store.inspect().await.unwrap().is_none(), "the lease is free");
}

#[tokio::test(start_paused = true)]
async fn a_stage_runs_at_once() {
    let (_, _, process) = place();
    let jobs = ["a", "b", "c"].map(|name| acts_with(name, Kind::Job, Fails::Never, &json!({"millis": 60_000})));
    let began = tokio::time::Instant::now();
    process.deploy(plan().stage("all", jobs)).await.unwrap();
    assert!(
        began.elapsed().as_secs() < 120,
        "three minutes of work took {:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn says_what_cannot_be_known_yet() {
    let (_, _, process) = place();
    let scope = process.events.task("plan", "Plan");
    let plan = plan().stage("one", [acts("a", Kind::Set, Fails::Never)]).stage(
        "two",
        [acts_with(
            "b",
            Kind::Set,
            Fails::Never,
            &json!({"given": output(&id("a"), "/value")}),
        )],
    );
    let plan = process.runner.plan(plan, &scope).await.unwrap();
    assert!(matches!(&plan.checks[&id("a")], PlannedCheck::Change { diff, .. } if diff == &["+ a"]));
    assert_eq!(
        plan.checks[&id("b")],
        PlannedCheck::KnownAfter {
            steps: [id("a")].into()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_no_longer_fits_is_refused_before_anything_is_applied() {
    let (world, _, process) = place();
    let scope = process.events.task("plan", "Plan");
    let two = plan().stage(
        "one",
        [acts("a", Kind::Set, Fails::Never), acts("b", Kind::Set, Fails::Never)],
    );
    let plan = process.runner.plan(two, &scope).await.unwrap();
    world.meddle(&id("b"));
    let error = process.run(&plan).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the plan no longer fits: `b` changed since it was made"
    );
    assert!(matches!(&error, SagaError::Stale(all) if all.len() == 1));
    assert!(world.applied().is_empty());
    let journal = process.runner.journal(plan.deployment).await.unwrap();
    assert!(matches!(journal.phase(), Phase::Ended(End::Refused { .. })));
    assert!(
        process.store.unfinished().await.unwrap().is_none(),
        "it does not stand in the way"
    );
}

#[tokio::test(start_paused = true)]
async fn a_resumed_plan_is_compared_too_if_nothing_was_applied() {
    let (world, store, process) = place();
    let one = plan().stage("one", [acts("a", Kind::Set, Fails::Never)]);
    let scope = process.events.task("plan", "Plan");
    let plan = process.runner.plan(one, &scope).await.unwrap();
    // Two writes: the plan and the start. It dies before the look that compares.
    let life = Life::until(4);
    assert!(
        life.live(Process::new(&world, &store, &life).run(&plan))
            .await
            .is_none()
    );
    world.meddle(&id("a"));
    assert!(matches!(
        process.resume(plan.deployment).await.unwrap_err(),
        SagaError::Stale(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kind_names_the_version_to_install() {
    let (_, store, process) = place();
    let mut newer = plan().stage("one", [StepSpec::new(id("a"), "acts", 2, "A", json!({}))]);
    newer.tool = "9.4.1".into();
    let scope = process.events.task("plan", "Plan");
    let error = process.runner.plan(newer, &scope).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "this version cannot run step `a`: it knows no `acts` of version 2"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with("install nuages 9.4.1, which made this plan: `cargo install "),
        "{hint}"
    );
    assert!(hint.contains(" --tag v9.4.1 nuages`"), "{hint}");

    // Also when it stands in the store already.
    let (world, _, _) = place();
    let life = Life::until(10);
    let ours = plan().stage("one", [acts("a", Kind::Job, Fails::Never)]);
    life.live(Process::new(&world, &store, &life).deploy(ours.clone()))
        .await;
    let old = Runner::new(Registry::new(), store.clone(), "0.0.1");
    let lease = process.lease().await;
    for error in [
        old.resume(ours.deployment, &lease, &scope, &process.cancel)
            .await
            .unwrap_err(),
        old.abort(ours.deployment, &lease, &scope, &process.cancel)
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(&error, SagaError::UnknownKind { tool, .. } if tool == "0.1.0"),
            "{error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_deployment_waits_for_the_first_to_end() {
    let (world, store, process) = place();
    let life = Life::until(15);
    let first = plan().stage("one", [acts("a", Kind::Job, Fails::Never)]);
    assert!(
        life.live(Process::new(&world, &store, &life).deploy(first.clone()))
            .await
            .is_none()
    );
    let error = process
        .deploy(plan().stage("one", [acts("b", Kind::Set, Fails::Never)]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SagaError::Unfinished(open) if *open == first.deployment),
        "{error:?}"
    );
    process.resume(first.deployment).await.unwrap();
    assert!(matches!(
        process.resume(first.deployment).await.unwrap_err(),
        SagaError::AlreadyEnded(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_not_a_failure() {
    let (world, _, process) = place();
    let lost = ["a", "b", "c"].iter().zip([Kind::Set, Kind::Make, Kind::Job]);
    let plan = plan().stage("all", lost.map(|(name, kind)| acts(name, kind, Fails::Lost)));
    assert_eq!(process.deploy(plan).await.unwrap().outcome, Outcome::Finished);
    assert_eq!(world.violations(), Vec::<String>::new());
    assert_eq!(world.starts(&id("c")), 1);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_fails_and_tells_what_was_seen_last() {
    let (_, _, process) = place();
    // The job goes on after the deadline; the undo waits for it.
    let slow = acts_with("a", Kind::Job, Fails::Never, &json!({"millis": 9_000, "deadline": 5}));
    let report = process.deploy(plan().stage("one", [slow])).await.unwrap();
    let Outcome::Restored {
        kept,
        failure: Some(failure),
        ..
    } = report.outcome
    else {
        panic!("{:?}", report.outcome)
    };
    assert_eq!(failure.error.message, "it did not end within 5 s; last seen: running");
    assert_eq!(kept, [id("a")]);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_is_not_there_fails_the_step_that_wants_it() {
    let (world, _, process) = place();
    let plan = plan().stage("one", [acts("a", Kind::Set, Fails::Never)]).stage(
        "two",
        [acts_with(
            "b",
            Kind::Set,
            Fails::Never,
            &json!({"given": output(&id("a"), "/nothing")}),
        )],
    );
    let report = process.deploy(plan).await.unwrap();
    let Outcome::Restored {
        failure: Some(failure), ..
    } = report.outcome
    else {
        panic!("{:?}", report.outcome)
    };
    assert_eq!(failure.error.causes, ["the output of `a` has nothing at `/nothing`"]);
    assert!(world.is_undone(&id("a"), Kind::Set));
}

#[tokio::test(start_paused = true)]
async fn every_task_ends() {
    let (_, _, mut process) = place();
    let (events, mut received) = Events::channel();
    process.events = events;
    let plan = plan()
        .stage(
            "one",
            [acts("a", Kind::Set, Fails::Never), acts("j", Kind::Job, Fails::Never)],
        )
        .stage("two", [acts("b", Kind::Set, Fails::Clean)]);
    process.deploy(plan).await.unwrap();
    let (mut open, mut ends) = (Vec::new(), Vec::new());
    while let Ok(event) = received.try_recv() {
        match event.kind {
            EventKind::TaskStarted { parent, id, .. } => {
                assert!(
                    parent.is_none_or(|parent| open.iter().any(|(task, _)| *task == parent)),
                    "{id} has no parent"
                );
                open.push((event.task, id));
            }
            EventKind::TaskEnded { state, .. } => {
                let place = open
                    .iter()
                    .position(|(task, _)| *task == event.task)
                    .expect("it had begun, and once");
                ends.push((open.remove(place).1, state));
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let end = |id: &str| ends.iter().find(|(of, _)| of == id).map(|(_, state)| *state);
    assert_eq!(end("b"), Some(TaskState::Failed));
    assert_eq!(end("undo/a"), Some(TaskState::Undone));
    assert_eq!(end("undo/j"), Some(TaskState::Kept));
}

#[tokio::test(start_paused = true)]
async fn a_run_shows_a_task_for_each_step_and_no_other() {
    let (_, _, mut process) = place();
    let (events, mut received) = Events::channel();
    process.events = events;
    let plan = plan()
        .stage(
            "one",
            [acts("a", Kind::Set, Fails::Never), acts("b", Kind::Job, Fails::Never)],
        )
        .stage("two", [acts("c", Kind::Set, Fails::Never)]);
    process.deploy(plan).await.unwrap();
    let (mut run, mut shown) = (None, Vec::new());
    while let Ok(event) = received.try_recv() {
        if let EventKind::TaskStarted { parent, id, .. } = event.kind {
            match parent {
                None => run = Some(event.task),
                Some(_) if parent == run && !id.starts_with("check/") => shown.push(id),
                Some(_) => {}
            }
        }
    }
    shown.sort_unstable();
    assert_eq!(shown, ["a", "b", "c"], "as many as the plan counts");
}

#[tokio::test(start_paused = true)]
async fn a_stored_plan_that_was_changed_is_refused() {
    let (_, store, process) = place();
    let mut other = plan().stage("one", [acts("a", Kind::Set, Fails::Never)]);
    let first = Journal::new(other.clone())
        .next(JournalEvent::Planned {
            plan: StoredPlan::of(&other).digest(),
        })
        .unwrap();
    other.stages[0].steps[0].title = "Act on b".into();
    let lease = process.lease().await;
    store
        .create(lease.fence(), Duration::from_secs(30), &StoredPlan::of(&other), &first)
        .await
        .unwrap();
    lease.release().await;
    let error = process.resume(other.deployment).await.unwrap_err();
    assert!(matches!(error, SagaError::PlanChanged(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_goes_from_the_recorded_state_and_not_from_what_is_there_now() {
    let (world, store, process) = place();
    let wanted = plan().stage("one", [acts("a", Kind::Make, Fails::Never)]);
    let mut seconds = 0;
    for point in 0..12 {
        let (plan, life) = (
            Plan {
                deployment: DeploymentId::generate(),
                ..wanted.clone()
            },
            Life::until(point),
        );
        life.live(Process::new(&world, &store, &life).deploy(plan.clone()))
            .await;
        let Ok(journal) = process.runner.journal(plan.deployment).await else {
            continue;
        };
        let intended = journal.step(&id("a")).unwrap().state == StepState::Intended;
        if !intended || world.is_done(&id("a"), Kind::Make) {
            process.abort(plan.deployment).await.unwrap();
            continue;
        }
        // What the check would read now is not what the first attempt found.
        world.meddle(&id("a"));
        process.resume(plan.deployment).await.unwrap();
        let journal = process.runner.journal(plan.deployment).await.unwrap();
        let record = journal.step(&id("a")).unwrap();
        assert_eq!((record.attempt, record.before.clone()), (2, Some(json!([0, 0]))));
        seconds += 1;
        break;
    }
    assert_eq!(seconds, 1, "no process died between an intent and its effect");
}

#[test]
fn a_token_is_of_one_call_of_one_attempt() {
    let plan = plan().stage(
        "one",
        [acts("a", Kind::Make, Fails::Never), acts("b", Kind::Make, Fails::Never)],
    );
    let context = |step: &str, attempt| StepContext::new(&plan, &id(step), attempt, Progress::none());
    assert_eq!(context("a", 1).token(), context("a", 1).token());
    let released = plan.clone().release(ReleaseId::generate());
    let tokens = [
        context("a", 1).token(),
        context("a", 2).token(),
        context("b", 1).token(),
        context("a", 1).token_for("second call"),
        StepContext::new(&released, &id("a"), 1, Progress::none()).token(),
    ];
    assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), tokens.len(), "{tokens:?}");
    assert!(tokens.iter().all(|token| token.parse::<TaskKey>().is_ok()));
}
