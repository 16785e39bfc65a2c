//! Finishing or undoing what an earlier process left.
//!
//! Invariant: the steps come from the stored plan. Which environment it is, and how to reach it, is all that `nuages.toml`
//! may say; where there is none, the records do.

use nuages_infra::StackState;
use nuages_releases::{EnvironmentStore, ReleaseDraft, ReleaseOutcome, ReleaseRef, WorldChange};
use nuages_saga::{Fence, JournalStore as _, LeaseGuard, MessageLevel, Outcome, Plan, SagaError, Summary, UndoReason};

use crate::deploy::Deployed;
use crate::environment::Environment;
use crate::error::PipelineError;
use crate::run::{Run, conclude, ended};
use crate::stack;
use crate::steps::kind;
use crate::ui::Ui;

#[derive(Clone, Copy)]
enum Way {
    Forward,
    Back,
}

/// An interrupted run that has ended now.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What was run.
    pub run: Summary,
    /// What serves after it; none where nothing does.
    pub serves: Option<Deployed>,
}

/// Finishes an interrupted run: forward, or back where its undo has begun. Answers what was run, none where there was
/// nothing to finish.
pub async fn resume(environment: &Environment, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    finish(environment, Way::Forward, ui).await
}

/// Undoes an interrupted run.
pub async fn abort(environment: &Environment, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    finish(environment, Way::Back, ui).await
}

async fn finish(environment: &Environment, way: Way, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    let doing = match way {
        Way::Forward => "resume",
        Way::Back => "abort",
    };
    let lease = environment.lease(doing).await?;
    let finished = finish_in(environment, way, &lease, ui).await;
    lease.release().await;
    finished
}

async fn finish_in(
    environment: &Environment,
    way: Way,
    lease: &LeaseGuard,
    ui: &Ui,
) -> Result<Option<Ended>, PipelineError> {
    // What is on record may describe an environment that is gone: an emulator that lost its state.
    let state = stack::stack(environment).describe().await?.filter(StackState::stands);
    if let Some(world) = state.as_ref().and_then(|state| state.world)
        && let WorldChange::Changed { .. } = environment.store.enter_world(lease.fence(), world).await?
    {
        let text = "the environment is not the one that the interrupted run was in; its records were archived";
        ui.events.message(MessageLevel::Warning, text, None);
    }
    let Some(open) = environment.store.unfinished().await.map_err(SagaError::from)? else {
        environment.tell_others(ui).await;
        return Ok(None);
    };
    let runner = Run::new(environment, lease).runner;
    let (id, title) = match way {
        Way::Forward => ("resume", format!("Resume {} {}", open.operation, open.deployment)),
        Way::Back => ("abort", format!("Undo {} {}", open.operation, open.deployment)),
    };
    let scope = ui.events.task(id, title);
    let report = match way {
        Way::Forward => runner.resume(open.deployment, lease, &scope, &ui.cancel).await,
        Way::Back => runner.abort(open.deployment, lease, &scope, &ui.cancel).await,
    };
    let report = ended(report, scope)?;
    record_undone(&environment.store, lease.fence(), &report.plan, &report.outcome).await?;
    // An abort that restored did what it was asked for.
    let undone_as_asked = matches!((way, &report.outcome), (Way::Back, Outcome::Restored { .. }));
    if !undone_as_asked {
        conclude(&report, &format!("the interrupted {}", open.operation), environment, ui)?;
    }
    let release = environment.store.serving().await?;
    let url = match state {
        Some(state) => stack::public_url(environment, &state.outputs()?)?,
        None => None,
    };
    Ok(Some(Ended {
        run: open,
        serves: release.map(|release| Deployed {
            release,
            url,
            changed: true,
        }),
    }))
}

/// A deployment that was undone leaves its release behind, as one that failed or was interrupted, whoever undid it.
pub(crate) async fn record_undone(
    store: &EnvironmentStore,
    fence: Fence,
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), PipelineError> {
    let (Outcome::Restored { reason, .. }, Some(draft)) = (outcome, draft_of(plan)) else {
        return Ok(());
    };
    let outcome = match reason {
        UndoReason::Failed { .. } => ReleaseOutcome::Failed,
        UndoReason::Interrupted | UndoReason::Aborted => ReleaseOutcome::Interrupted,
    };
    // One that was recorded before the undo began knows more.
    if store.release(ReleaseRef::Id(draft.id)).await?.is_some() {
        store.mark(fence, draft.id, outcome).await?;
    } else {
        store.record(fence, ReleaseDraft { outcome, ..draft }).await?;
    }
    Ok(())
}

/// The release that a plan records as serving; none in a plan that makes none, such as a rollback's.
pub(crate) fn draft_of(plan: &Plan) -> Option<ReleaseDraft> {
    let record = plan.steps().find(|step| step.kind == kind::RECORD)?;
    serde_json::from_value(record.params.get("draft")?.clone()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use nuages_model::{Digest, ReleaseId};
    use nuages_releases::{EnvironmentKey, Store};
    use nuages_saga::{Holder, StepSpec};
    use serde_json::json;

    use super::*;

    /// A release of nothing in particular.
    pub(crate) fn draft() -> ReleaseDraft {
        let digest = Digest::of(b"image");
        ReleaseDraft {
            id: ReleaseId::generate(),
            created_by: "ana@laptop".into(),
            deployment: None,
            parent: None,
            world: None,
            outcome: ReleaseOutcome::Healthy,
            git: None,
            image_reference: format!("localhost:4566/blog@{digest}").parse().unwrap(),
            image_digest: digest,
            task_definitions: BTreeMap::new(),
            fingerprint: "f".into(),
            config_hash: "c".into(),
            config: json!({}),
            secrets: Vec::new(),
            migrations: BTreeMap::new(),
            checks: Vec::new(),
            builder: "docker 27".into(),
            url: None,
        }
    }

    fn plan(operation: &str, step: Option<(&str, serde_json::Value)>) -> Plan {
        let steps = step.map(|(kind, params)| StepSpec::new("record".parse().unwrap(), kind, 1, "Record", params));
        Plan::new(operation, "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0").stage("Record", steps)
    }

    #[tokio::test]
    async fn an_undone_deployment_leaves_its_release_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let key = EnvironmentKey {
            account: "123456789012".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            app: "blog".parse().unwrap(),
            env: "staging".parse().unwrap(),
        };
        let store = Store::open(&folder.path().join("nuages.db")).await.unwrap();
        let store = store.environment(key).await.unwrap();
        let lease = store
            .acquire(&Holder::here("abort"), std::time::Duration::from_mins(1))
            .await
            .unwrap();
        let undone = Outcome::Restored {
            kept: Vec::new(),
            reason: UndoReason::Aborted,
            failure: None,
        };

        let draft = draft();
        // As a plan says it: what the steps before it give stands beside the draft.
        let deploy = plan(
            "deploy",
            Some((kind::RECORD, json!({"draft": draft, "task_definitions": {}}))),
        );
        let back = plan(
            "rollback",
            Some((kind::RETURN, json!({"from": draft.id, "to": draft.id}))),
        );
        for (plan, outcome) in [
            (&deploy, &Outcome::Finished),
            (&back, &undone),
            (&plan("x", None), &undone),
        ] {
            record_undone(&store, lease.fence, plan, outcome).await.unwrap();
        }
        assert_eq!(store.releases(10).await.unwrap(), []);

        record_undone(&store, lease.fence, &deploy, &undone).await.unwrap();
        let [release] = &store.releases(10).await.unwrap()[..] else {
            panic!("one release")
        };
        assert_eq!((release.id, release.outcome), (draft.id, ReleaseOutcome::Interrupted));
        assert!(store.serving().await.unwrap().is_none());

        // Recorded with all that the steps gave, and marked by the undo: it stays as it is.
        let mut whole = ReleaseDraft {
            builder: "known".into(),
            ..draft
        };
        whole.outcome = ReleaseOutcome::Failed;
        store.record(lease.fence, whole).await.unwrap();
        let failed = Outcome::Restored {
            kept: Vec::new(),
            reason: UndoReason::Failed {
                step: "record".parse().unwrap(),
            },
            failure: None,
        };
        for (outcome, told) in [
            (&undone, ReleaseOutcome::Interrupted),
            (&failed, ReleaseOutcome::Failed),
        ] {
            record_undone(&store, lease.fence, &deploy, outcome).await.unwrap();
            let release = &store.releases(10).await.unwrap()[0];
            assert_eq!((release.builder.as_str(), release.outcome), ("known", told));
        }
    }
}
