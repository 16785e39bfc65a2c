//! `ecs.rollout`: waits until these deployments, by their ids, have completed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_ecs::{Cluster, LogTarget, Patience, RolloutOutcome, Watched};
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};

use super::{Tools, ecs_apply, stop_token};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolloutParams {
    pub(crate) cluster: String,
    pub(crate) services: Vec<RolloutService>,
    pub(crate) limit_seconds: u64,
}

/// One service to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolloutService {
    pub(crate) service: String,
    pub(crate) deployment_id: String,
    pub(crate) task_definition: String,
    pub(crate) container: String,
    pub(crate) log: LogTarget,
}

impl RolloutParams {
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let watched = |s: &RolloutService| Watched {
            service: s.service.clone(),
            deployment_id: s.deployment_id.clone(),
            task_definition: s.task_definition.clone(),
            log: Some(s.log.clone()),
            container: s.container.clone(),
        };
        self.services.iter().map(watched).collect()
    }
}

pub(crate) struct Rollout(pub(crate) Arc<Tools>, pub(crate) RolloutParams);

/// What an outcome that is not healthy says.
pub(crate) fn failure(outcome: &RolloutOutcome) -> StepError {
    match outcome {
        RolloutOutcome::Failed { diagnoses } | RolloutOutcome::TimedOut { diagnoses, .. } => {
            let text: Vec<String> = diagnoses.iter().map(ToString::to_string).collect();
            let late = match outcome {
                RolloutOutcome::TimedOut { last, .. } => format!("the rollout took too long; last seen: {last}"),
                _ => String::new(),
            };
            let all: Vec<String> = [late].into_iter().filter(|l| !l.is_empty()).chain(text).collect();
            let error = StepError::message(all.join("\n"));
            match diagnoses.iter().find_map(|diagnosis| diagnosis.hint.clone()) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
        RolloutOutcome::Cancelled { last } => StepError::message(format!("interrupted; last seen: {last}")),
        RolloutOutcome::Healthy { .. } => StepError::message("the rollout is healthy"),
    }
}

#[async_trait]
impl TypedStep for Rollout {
    type Before = ();
    type After = ();

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<(), ()>, StepError> {
        let names: Vec<&str> = self.1.services.iter().map(|s| s.service.as_str()).collect();
        Ok(TypedCheck::Change {
            before: (),
            diff: vec![format!("wait until {} serves", names.join(", "))],
        })
    }

    async fn apply(&self, cx: &StepContext, (): ()) -> Result<(), ApplyError> {
        let watched = self.1.watched();
        let (cancel, _guard) = stop_token(cx);
        let patience = Patience {
            timeout: Duration::from_secs(self.1.limit_seconds),
            cancel: &cancel,
            progress: cx.progress(),
        };
        let cluster = Cluster::new(&self.0.aws, &self.1.cluster);
        match cluster.follow(&watched, patience).await.map_err(ecs_apply)? {
            RolloutOutcome::Healthy { .. } => Ok(()),
            other => Err(ApplyError::clean(failure(&other))),
        }
    }

    /// It changes nothing, so it can always be done again.
    async fn observe(&self, _: &StepContext, (): ()) -> Result<TypedObservation<()>, StepError> {
        Ok(TypedObservation::NotDone)
    }

    async fn undo(&self, _: &StepContext, (): (), _: Option<()>) -> Result<(), StepError> {
        Ok(())
    }

    fn reversal(&self) -> Reversal {
        Reversal::Nothing
    }

    fn by_hand(&self, (): (), _: Option<()>) -> Vec<String> {
        Vec::new()
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.1.limit_seconds) + Duration::from_mins(1)
    }
}
