//! `release.record` and `release.return`: which release serves, by the record.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use nuages_migrate::AppliedSet;
use nuages_model::{Arn, ReleaseId, ServiceName};
use nuages_releases::{MigrationState, ReleaseDraft, ReleaseRef, ReleasesError};
use nuages_saga::{ApplyError, Fence, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};

use super::Tools;

/// Parameters of `release.record`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordParams {
    pub(crate) draft: ReleaseDraft,
    /// The revision of each service, from the steps that registered them.
    pub(crate) task_definitions: BTreeMap<ServiceName, Arn>,
    /// What is applied, from the migration or from the probe.
    pub(crate) applied: Option<AppliedSet>,
}

/// What the record said before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) serving: Option<ReleaseId>,
}

/// What it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordOutput {
    /// The release as people call it, `v7`.
    pub(crate) number: String,
}

pub(crate) struct Record(pub(crate) Arc<Tools>, pub(crate) RecordParams);

fn step_error(error: ReleasesError) -> StepError {
    let hint = error.hint();
    let error = StepError::new(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn fence(tools: &Tools) -> Result<Fence, StepError> {
    tools
        .fence
        .ok_or_else(|| StepError::message("the record is written only under the environment's lease"))
}

async fn serving(tools: &Tools) -> Result<Recorded, StepError> {
    let serving = tools.store.serving().await.map_err(step_error)?;
    Ok(Recorded {
        serving: serving.map(|release| release.id),
    })
}

/// The applied migrations in the record's form.
pub(crate) fn migration_states(applied: &AppliedSet) -> BTreeMap<String, MigrationState> {
    let flat = |apps: &BTreeMap<String, std::collections::BTreeSet<String>>| {
        apps.iter()
            .flat_map(|(app, names)| names.iter().map(move |name| format!("{app}.{name}")))
            .collect()
    };
    let state = |set: &nuages_migrate::DatabaseSet| MigrationState {
        applied: flat(&set.applied),
        leaves: set
            .leaves
            .iter()
            .map(|(app, names)| (app.clone(), names.iter().cloned().collect()))
            .collect(),
    };
    applied
        .databases
        .iter()
        .map(|(alias, set)| (alias.clone(), state(set)))
        .collect()
}

#[async_trait]
impl TypedStep for Record {
    type Before = Recorded;
    type After = RecordOutput;

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<Recorded, RecordOutput>, StepError> {
        Ok(TypedCheck::Change {
            before: serving(&self.0).await?,
            diff: vec![format!("+ release {} recorded as serving", self.1.draft.id)],
        })
    }

    async fn apply(&self, _: &StepContext, _: Recorded) -> Result<RecordOutput, ApplyError> {
        let mut draft = self.1.draft.clone();
        draft.task_definitions.clone_from(&self.1.task_definitions);
        if let Some(applied) = &self.1.applied {
            draft.migrations = migration_states(applied);
        }
        let fence = fence(&self.0).map_err(ApplyError::clean)?;
        let release = self.0.store.record_serving(fence, draft).await.map_err(step_error)?;
        Ok(RecordOutput {
            number: release.number.to_string(),
        })
    }

    async fn observe(&self, _: &StepContext, _: Recorded) -> Result<TypedObservation<RecordOutput>, StepError> {
        let id = self.1.draft.id;
        let release = self.0.store.release(ReleaseRef::Id(id)).await.map_err(step_error)?;
        Ok(match release {
            Some(release) => TypedObservation::Done(RecordOutput {
                number: release.number.to_string(),
            }),
            None => TypedObservation::NotDone,
        })
    }

    async fn undo(&self, _: &StepContext, before: Recorded, _: Option<RecordOutput>) -> Result<(), StepError> {
        let fence = fence(&self.0)?;
        let id = self.1.draft.id;
        if self
            .0
            .store
            .release(ReleaseRef::Id(id))
            .await
            .map_err(step_error)?
            .is_some()
        {
            let failed = nuages_releases::ReleaseOutcome::Failed;
            self.0.store.mark(fence, id, failed).await.map_err(step_error)?;
        }
        self.0
            .store
            .set_serving(fence, before.serving)
            .await
            .map_err(step_error)
    }

    fn reversal(&self) -> Reversal {
        Reversal::Undo
    }

    fn by_hand(&self, before: Recorded, _: Option<RecordOutput>) -> Vec<String> {
        let serving = before.serving.map_or_else(|| "none".to_owned(), |id| id.to_string());
        vec![format!(
            "# the store could not be written; make it writable (the serving release is {serving})"
        )]
    }
}

/// Parameters of `release.return`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReturnParams {
    /// The release that is gone back from.
    pub(crate) from: ReleaseId,
    /// The release that serves again.
    pub(crate) to: ReleaseId,
}

pub(crate) struct Return(pub(crate) Arc<Tools>, pub(crate) ReturnParams);

impl Return {
    /// As people call a release.
    async fn called(&self, id: ReleaseId) -> Result<String, StepError> {
        let release = self.0.store.release(ReleaseRef::Id(id)).await.map_err(step_error)?;
        Ok(release.map_or_else(|| id.to_string(), |release| release.number.to_string()))
    }
}

#[async_trait]
impl TypedStep for Return {
    type Before = Recorded;
    type After = ();

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<Recorded, ()>, StepError> {
        let (from, to) = (self.called(self.1.from).await?, self.called(self.1.to).await?);
        Ok(TypedCheck::Change {
            before: serving(&self.0).await?,
            diff: vec![format!("~ serving release: {from} → {to}")],
        })
    }

    async fn apply(&self, _: &StepContext, _: Recorded) -> Result<(), ApplyError> {
        let fence = fence(&self.0).map_err(ApplyError::clean)?;
        Ok(self
            .0
            .store
            .rolled_back(fence, self.1.from, self.1.to)
            .await
            .map_err(step_error)?)
    }

    async fn observe(&self, _: &StepContext, _: Recorded) -> Result<TypedObservation<()>, StepError> {
        Ok(match serving(&self.0).await?.serving {
            Some(id) if id == self.1.to => TypedObservation::Done(()),
            _ => TypedObservation::NotDone,
        })
    }

    async fn undo(&self, _: &StepContext, before: Recorded, _: Option<()>) -> Result<(), StepError> {
        let fence = fence(&self.0)?;
        let healthy = nuages_releases::ReleaseOutcome::Healthy;
        self.0
            .store
            .mark(fence, self.1.from, healthy)
            .await
            .map_err(step_error)?;
        self.0
            .store
            .set_serving(fence, before.serving)
            .await
            .map_err(step_error)
    }

    fn reversal(&self) -> Reversal {
        Reversal::Undo
    }

    fn by_hand(&self, _: Recorded, _: Option<()>) -> Vec<String> {
        vec!["# the store could not be written; make it writable".to_owned()]
    }
}
