//! What must hold of the world, whatever befell a verb.
//!
//! Invariant: looking asks the account nothing that counts as a call.

use std::collections::BTreeSet;
use std::time::Duration;

use nuages_releases::ReleaseOutcome;
use nuages_saga::{JournalEvent, JournalStore as _};

use super::town::{Image, REPOSITORY, SERVICES, Town};
use crate::{PipelineError, Session};

/// What still ends, ends in this time: tasks, deployments, ECS's own rollbacks.
const SETTLED: Duration = Duration::from_mins(10);

/// Waits until nothing moves by itself any more.
pub(super) async fn settle() {
    tokio::time::sleep(SETTLED).await;
}

/// An error with its causes.
pub(super) fn told(error: &PipelineError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether a release of this image is recorded as healthy and serving, and ECS runs it and nothing else.
pub(super) async fn serves(town: &Town, session: &Session, image: Image) -> Result<(), String> {
    let Some(serving) = session.store.serving().await.unwrap() else {
        return Err("no release is recorded as serving".to_owned());
    };
    if serving.image_digest != image.digest() {
        return Err(format!("{} is recorded as serving", serving.image_reference));
    }
    if serving.outcome != ReleaseOutcome::Healthy {
        return Err(format!("{} is recorded as {:?}", serving.number, serving.outcome));
    }
    let tags = town.account.tags(REPOSITORY, image.digest().as_str());
    if !tags.contains(&format!("r-{}", serving.id)) {
        return Err(format!(
            "its image has the tags {tags:?}, and not that of {}",
            serving.id
        ));
    }
    for (name, count) in SERVICES {
        let Some(service) = town.account.ecs().service(name).filter(|s| s.status == "ACTIVE") else {
            return Err(format!("there is no service {name}"));
        };
        let recorded = serving.task_definitions.get(&name.parse().unwrap());
        if recorded.map(nuages_model::Arn::as_str) != Some(service.task_definition.as_str()) {
            return Err(format!(
                "{name} runs {}, and {recorded:?} is recorded",
                service.task_definition
            ));
        }
        let runs = town
            .account
            .ecs()
            .image_of(&service.task_definition)
            .unwrap_or_default();
        if !runs.ends_with(image.digest().as_str()) {
            return Err(format!("{name} runs {runs}"));
        }
        if !service.steady || service.serving != count {
            return Err(format!("{name} is not steady: {service:?}"));
        }
    }
    Ok(())
}

/// Whether nothing serves, and nothing is recorded as serving.
pub(super) async fn nothing_serves(town: &Town, session: &Session) -> Result<(), String> {
    let left = town.account.ecs().services();
    if !left.is_empty() {
        return Err(format!("{} are left", left.join(", ")));
    }
    match session.store.serving().await.unwrap() {
        Some(serving) => Err(format!("{} is recorded as serving", serving.number)),
        None => Ok(()),
    }
}

/// What nobody must leave behind, and what must never have happened.
///
/// # Panics
/// When it did.
pub(super) async fn nothing_is_left(town: &Town, session: &Session) {
    assert_eq!(session.store.inspect().await.unwrap(), None, "the lease is held");
    assert_eq!(session.store.unfinished().await.unwrap(), None, "a run is unfinished");
    assert_eq!(town.account.cloud().change_sets(), 0, "a change set is left");
    assert_eq!(town.account.ecs().one_off_tasks(), 0, "a one-off task still runs");
    let known: BTreeSet<String> = SERVICES.map(|(name, _)| name.to_owned()).into();
    let services: BTreeSet<String> = town.account.ecs().services().into_iter().collect();
    assert!(services.is_subset(&known), "services nobody asked for: {services:?}");
    let generated: Vec<String> = town.account.secrets();
    let keys = generated.iter().filter(|name| name.contains("DJANGO_SECRET_KEY"));
    assert!(keys.count() <= 1, "one secret was made twice: {generated:?}");
    let runs = town
        .account
        .ecs()
        .migrated()
        .into_iter()
        .filter(|run| run.verb == "apply");
    // `RELEASE-m1`
    let releases: Vec<String> = runs.map(|run| run.run.split('-').next().unwrap().to_owned()).collect();
    let distinct: BTreeSet<&String> = releases.iter().collect();
    assert_eq!(distinct.len(), releases.len(), "two tasks migrated for one release");
    let mut applied: Vec<String> = town
        .account
        .ecs()
        .migrated()
        .into_iter()
        .flat_map(|run| run.applied)
        .collect();
    let all = applied.len();
    applied.sort();
    applied.dedup();
    assert_eq!(applied.len(), all, "a migration ran twice");
}

/// Whether the old release went on serving, with as many tasks as it had.
///
/// # Panics
/// When it did not.
pub(super) fn it_served_all_the_time(town: &Town) {
    for (name, count) in SERVICES {
        if let Some(least) = town.account.ecs().least_serving(name) {
            assert!(
                least >= count,
                "{name}: only {least} of {count} tasks served for a while"
            );
        }
    }
}

/// Whether any call was befallen after the undo of the last run had begun.
pub(super) async fn undo_was_befallen(town: &Town, session: &Session) -> bool {
    let runs = session.store.deployments(1).await.unwrap();
    let Some(run) = runs.first() else { return false };
    let (_, entries) = session.store.load(run.deployment).await.unwrap().unwrap();
    let began = entries
        .iter()
        .find(|entry| matches!(entry.event, JournalEvent::UndoBegan { .. }));
    let Some(began) = began else { return false };
    let now = town.account.ecs().now_ms();
    town.account.rules().hits().iter().any(|hit| {
        let ago = i64::try_from(hit.at.elapsed().as_millis()).unwrap();
        now - ago >= began.at.as_millisecond()
    })
}
