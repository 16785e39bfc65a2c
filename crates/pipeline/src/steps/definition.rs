//! `ecs.task-definition`: a revision that says exactly this.

use std::sync::Arc;

use async_trait::async_trait;
use nuages_ecs::{Cluster, TaskDefinitionSpec};
use nuages_model::Arn;
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};

use super::{Tools, ecs_apply, ecs_error};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DefinitionParams {
    pub(crate) cluster: String,
    pub(crate) spec: TaskDefinitionSpec,
}

/// What it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DefinitionOutput {
    /// The revision.
    pub(crate) arn: Arn,
}

pub(crate) struct Definition(pub(crate) Arc<Tools>, pub(crate) DefinitionParams);

impl Definition {
    fn cluster(&self) -> Cluster {
        Cluster::new(&self.0.aws, &self.1.cluster)
    }

    /// The family's newest revision, if it says exactly this.
    async fn existing(&self) -> Result<Option<DefinitionOutput>, StepError> {
        let cluster = self.cluster();
        let Some(live) = cluster.definition(&self.1.spec.family).await.map_err(ecs_error)? else {
            return Ok(None);
        };
        if !nuages_ecs::diff(Some(&live), &self.1.spec).is_empty() {
            return Ok(None);
        }
        let arn = live.task_definition_arn().and_then(|arn| arn.parse().ok());
        Ok(arn.map(|arn| DefinitionOutput { arn }))
    }
}

#[async_trait]
impl TypedStep for Definition {
    type Before = ();
    type After = DefinitionOutput;

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<(), DefinitionOutput>, StepError> {
        let cluster = self.cluster();
        let live = cluster.definition(&self.1.spec.family).await.map_err(ecs_error)?;
        let diff = nuages_ecs::diff(live.as_ref(), &self.1.spec);
        let arn = live
            .as_ref()
            .and_then(|live| live.task_definition_arn())
            .and_then(|arn| arn.parse().ok());
        Ok(match arn {
            Some(arn) if diff.is_empty() => TypedCheck::Satisfied(DefinitionOutput { arn }),
            _ => TypedCheck::Change {
                before: (),
                diff: diff.changes.iter().map(ToString::to_string).collect(),
            },
        })
    }

    async fn apply(&self, _: &StepContext, (): ()) -> Result<DefinitionOutput, ApplyError> {
        // `check` or `observe` has just read the family and found something else.
        let registered = self.cluster().register_new(&self.1.spec).await.map_err(ecs_apply)?;
        Ok(DefinitionOutput { arn: registered.arn })
    }

    async fn observe(&self, _: &StepContext, (): ()) -> Result<TypedObservation<DefinitionOutput>, StepError> {
        Ok(match self.existing().await? {
            Some(output) => TypedObservation::Done(output),
            None => TypedObservation::NotDone,
        })
    }

    async fn undo(&self, _: &StepContext, (): (), _: Option<DefinitionOutput>) -> Result<(), StepError> {
        Ok(())
    }

    /// A revision that nobody uses costs nothing, and the same content finds it again.
    fn reversal(&self) -> Reversal {
        Reversal::Nothing
    }

    fn by_hand(&self, (): (), _: Option<DefinitionOutput>) -> Vec<String> {
        Vec::new()
    }
}
