//! What a journal tells afterwards.

use nuages_saga::{ActOutcome, End, History, JournalStore as _, Mode};

use crate::sim::{Fails, Kind, Life, Process, acts, id, place, plan};

async fn told(process: &Process, deployment: nuages_saga::DeploymentId) -> History {
    let (stored, entries) = process.store.load(deployment).await.unwrap().unwrap();
    History::of(&stored.plan().unwrap(), &entries)
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_failed_and_was_undone() {
    let (_, _, process) = place();
    let wanted = plan()
        .stage(
            "one",
            [acts("a", Kind::Set, Fails::Never), acts("m", Kind::Job, Fails::Never)],
        )
        .stage("two", [acts("b", Kind::Make, Fails::Half)]);
    process.deploy(wanted.clone()).await.unwrap();
    let history = told(&process, wanted.deployment).await;
    assert!(matches!(history.end, Some(End::Restored { .. })));
    assert_eq!(history.turns.len(), 1);
    let words: Vec<(String, Option<u32>, &str)> = history
        .acts
        .iter()
        .map(|act| (act.step.to_string(), act.attempt, act.outcome.word()))
        .collect();
    let act = |step: &str, attempt, word| (step.to_owned(), attempt, word);
    assert_eq!(
        words,
        [
            act("a", Some(1), "applied"),
            act("m", Some(1), "applied"),
            act("b", Some(1), "failed"),
            act("b", None, "undone"),
            act("a", None, "undone"),
            act("m", None, "kept"),
        ]
    );
    assert!(history.acts[2].outcome.error().is_some());
    assert!(
        history
            .acts
            .iter()
            .all(|act| act.ended.is_some_and(|end| end >= act.began))
    );
}

#[tokio::test(start_paused = true)]
async fn a_death_leaves_its_step_open_and_the_next_process_is_named() {
    let (world, store, process) = place();
    let wanted = plan().stage("one", [acts("a", Kind::Make, Fails::Never)]);
    let points = {
        let life = Life::long();
        let (world, store, _) = place();
        let other = Process::new(&world, &store, &life);
        other
            .deploy(plan().stage("one", [acts("a", Kind::Make, Fails::Never)]))
            .await
            .unwrap();
        life.points()
    };
    let mut open = 0;
    for point in 0..points {
        let wanted = plan().stage(
            format!("at {point}"),
            [acts(&format!("a{point}"), Kind::Make, Fails::Never)],
        );
        let life = Life::until(point);
        let dying = Process::new(&world, &store, &life);
        assert!(life.live(dying.deploy(wanted.clone())).await.is_none());
        if store.load(wanted.deployment).await.unwrap().is_none() {
            continue;
        }
        let history = told(&process, wanted.deployment).await;
        open += usize::from(history.acts.iter().any(|act| act.outcome == ActOutcome::Open));
        if history.end.is_none() {
            process.resume(wanted.deployment).await.unwrap();
            let history = told(&process, wanted.deployment).await;
            assert_eq!(history.end, Some(End::Finished));
            assert_eq!(history.turns.last().unwrap().mode, Mode::Resume);
            assert!(history.acts.iter().all(|act| act.outcome != ActOutcome::Open));
        }
    }
    assert!(open > 0, "no death fell between an intent and its outcome");
    process.deploy(wanted.clone()).await.unwrap();
    assert_eq!(told(&process, wanted.deployment).await.acts[0].step, id("a"));
}
