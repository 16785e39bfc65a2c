//! What lies between a release's schema and the database's.
//!
//! Invariant: a migration that ran counts, also one of a deployment that was undone: it stays applied, and no release
//! says so.

use std::collections::{BTreeMap, BTreeSet};

use nuages_migrate::{AppliedSet, DatabaseSet, changed_between};
use nuages_model::World;
use nuages_releases::Release;
use nuages_saga::{Entry, JournalEvent, JournalStore as _, Plan, SagaError, StepEvent};

use crate::error::PipelineError;
use crate::session::Session;
use crate::steps::{MigrateOutput, kind};

/// More deployments than this are not looked through for the last one that migrated.
const LOOK_BACK: usize = 200;

/// What lies between a release and the database as it is, as sentences; empty where the release knows all of it.
pub(crate) async fn changes(
    session: &Session,
    world: World,
    target: &Release,
    serving: &Release,
) -> Result<Vec<String>, PipelineError> {
    let now = match last_applied(session, world).await? {
        Some(applied) => applied,
        None => set_of(serving),
    };
    let changes = changed_between(&set_of(target), &now);
    Ok(changes.iter().map(ToString::to_string).collect())
}

/// What the last run that migrated in this world left applied; none where none did.
async fn last_applied(session: &Session, world: World) -> Result<Option<AppliedSet>, PipelineError> {
    let known = session.store.deployments(LOOK_BACK).await.map_err(SagaError::from)?;
    for summary in known.into_iter().filter(|summary| summary.world == Some(world)) {
        let loaded = session.store.load(summary.deployment).await.map_err(SagaError::from)?;
        let Some((stored, entries)) = loaded else { continue };
        let plan = stored.plan().map_err(|e| PipelineError::machine("read a plan", e))?;
        if let Some(applied) = applied_by(&plan, &entries) {
            return Ok(Some(applied));
        }
    }
    Ok(None)
}

/// What a run's migration left applied, if it had one that ended.
fn applied_by(plan: &Plan, entries: &[Entry]) -> Option<AppliedSet> {
    let migrate = plan.steps().find(|spec| spec.kind == kind::MIGRATE)?;
    entries.iter().rev().find_map(|entry| match &entry.event {
        JournalEvent::Step {
            step,
            happened: StepEvent::Applied { after },
        } if *step == migrate.id => {
            let output: MigrateOutput = serde_json::from_value(after.clone()).ok()?;
            Some(output.applied)
        }
        _ => None,
    })
}

fn set_of(release: &Release) -> AppliedSet {
    let databases = release.migrations.iter().map(|(alias, state)| {
        let mut applied: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in &state.applied {
            if let Some((app, name)) = name.split_once('.') {
                applied.entry(app.to_owned()).or_default().insert(name.to_owned());
            }
        }
        (
            alias.clone(),
            DatabaseSet {
                applied,
                ..Default::default()
            },
        )
    });
    AppliedSet {
        databases: databases.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use nuages_saga::{End, StepSpec};
    use serde_json::json;

    fn entry(position: u64, event: JournalEvent) -> Entry {
        Entry {
            position,
            at: Timestamp::UNIX_EPOCH,
            event,
        }
    }

    #[test]
    fn a_migration_of_an_undone_run_counts() {
        let step: nuages_saga::StepId = "migrate".parse().unwrap();
        let plan = Plan::new("deploy", "blog".parse().unwrap(), "local".parse().unwrap(), "0.1.0").stage(
            "Migrate",
            [StepSpec::new(step.clone(), kind::MIGRATE, 1, "Migrate", json!({}))],
        );
        let mut applied = AppliedSet::default();
        let names = BTreeSet::from(["0001_initial".to_owned(), "0007_slow".to_owned()]);
        let of_posts = DatabaseSet {
            applied: BTreeMap::from([("posts".to_owned(), names)]),
            ..Default::default()
        };
        applied.databases.insert("default".to_owned(), of_posts);
        let output = MigrateOutput {
            applied: applied.clone(),
            ran: vec!["posts.0007_slow".to_owned()],
        };
        let after = serde_json::to_value(output).unwrap();
        let entries = [
            entry(
                0,
                JournalEvent::Step {
                    step: step.clone(),
                    happened: StepEvent::Applied { after },
                },
            ),
            entry(
                1,
                JournalEvent::Ended {
                    end: End::Restored { kept: vec![step] },
                },
            ),
        ];
        assert_eq!(applied_by(&plan, &entries), Some(applied));
        assert_eq!(applied_by(&plan, &entries[1..]), None, "it never ended");
    }
}
