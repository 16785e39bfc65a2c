//! `ecs.service`: a service as the release wants it.
//!
//! Invariant: an undo that ECS calls done also waits for the site, but never fails for it: what ECS runs by then is what
//! it ran before, and no command of a person's could change what the site answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_ecs::{Cluster, LogTarget, Patience, PreviousService, RolloutOutcome, ServiceChange, ServiceSpec, Watched};
use nuages_model::Progress;
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::site::{Bad, Site};
use super::{Tools, by_hand, ecs_apply, ecs_error, stop_token};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceParams {
    pub(crate) cluster: String,
    pub(crate) spec: ServiceSpec,
    /// The container that serves.
    pub(crate) container: String,
    /// Where it writes.
    pub(crate) log: LogTarget,
    /// How long a return to the old state may take.
    pub(crate) limit_seconds: u64,
    /// What the service serves; none where it is not reached from outside. Plans of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<Site>,
}

pub(crate) struct Service(pub(crate) Arc<Tools>, pub(crate) ServiceParams);

/// A service that still drains from an earlier deletion is waited for.
const DRAIN: Duration = Duration::from_mins(10);

/// A load balancer takes some seconds to send requests to other targets.
const SETTLE: Duration = Duration::from_mins(1);

impl Service {
    fn cluster(&self) -> Cluster {
        Cluster::new(&self.0.aws, &self.1.cluster)
    }

    /// Waits until the site answers well again. ECS is done by then; where it counts no health of targets, requests
    /// still go to tasks that end, or that do not listen yet.
    async fn settles(&self, progress: &Progress) {
        let Some(site) = &self.1.site else { return };
        progress.status("waiting until the site answers well again");
        let service = &self.1.spec.name;
        match site.settles(SETTLE).await {
            Ok(()) => {}
            Err(Bad::Silent(why)) => progress.warning(format!(
                "`{service}` is as it was before; whether the site serves cannot be seen from this machine ({why})"
            )),
            Err(Bad::Answer { why, .. }) => progress.warning(format!(
                "`{service}` is as it was before, and the site does not answer well: {why}"
            )),
        }
    }
}

#[async_trait]
impl TypedStep for Service {
    type Before = Option<PreviousService>;
    type After = ServiceChange;

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<Self::Before, ServiceChange>, StepError> {
        let spec = &self.1.spec;
        let state = self.cluster().observe(&spec.name).await.map_err(ecs_error)?;
        let before = PreviousService::of(&state);
        let Some(previous) = &before else {
            let diff = vec![format!("+ service {} with {} tasks", spec.name, spec.settings.desired)];
            return Ok(TypedCheck::Change { before, diff });
        };
        let changes = previous.settings.changes_to(&spec.settings);
        Ok(match (&previous.deployment_id, changes.is_empty()) {
            (Some(deployment), true) => TypedCheck::Satisfied(ServiceChange {
                service: spec.name.clone(),
                applied: nuages_ecs::Applied::Unchanged,
                deployment_id: deployment.clone(),
                task_definition: spec.settings.task_definition.clone(),
                desired: spec.settings.desired,
                previous: before,
            }),
            _ => TypedCheck::Change {
                diff: changes
                    .iter()
                    .map(|change| format!("~ {}: {change}", spec.name))
                    .collect(),
                before,
            },
        })
    }

    async fn apply(&self, cx: &StepContext, _: Self::Before) -> Result<ServiceChange, ApplyError> {
        let (cancel, _guard) = stop_token(cx);
        let patience = Patience {
            timeout: DRAIN,
            cancel: &cancel,
            progress: cx.progress(),
        };
        self.cluster()
            .apply(&self.1.spec, &cx.token(), patience)
            .await
            .map_err(ecs_apply)
    }

    async fn observe(
        &self,
        _: &StepContext,
        before: Self::Before,
    ) -> Result<TypedObservation<ServiceChange>, StepError> {
        let spec = &self.1.spec;
        let state = self.cluster().observe(&spec.name).await.map_err(ecs_error)?;
        let now = PreviousService::of(&state);
        let reached = now
            .as_ref()
            .is_some_and(|now| now.settings.changes_to(&spec.settings).is_empty());
        if let (true, Some(primary)) = (reached, state.primary()) {
            return Ok(TypedObservation::Done(ServiceChange {
                service: spec.name.clone(),
                applied: if before.is_some() {
                    nuages_ecs::Applied::Updated
                } else {
                    nuages_ecs::Applied::Created
                },
                deployment_id: primary.id.clone(),
                task_definition: primary.task_definition.clone(),
                desired: spec.settings.desired,
                previous: before,
            }));
        }
        let untouched = match (&before, &now) {
            (None, None) => true,
            (Some(before), Some(now)) => before.settings.changes_to(&now.settings).is_empty(),
            _ => false,
        };
        Ok(if untouched {
            TypedObservation::NotDone
        } else {
            TypedObservation::Indeterminate {
                why: format!("the service `{}` is neither as it was nor as it was to be", spec.name),
            }
        })
    }

    async fn undo(&self, cx: &StepContext, before: Self::Before, _: Option<ServiceChange>) -> Result<(), StepError> {
        let cluster = self.cluster();
        // An undo is not cut short: it ends with the old release serving, or it is stuck and says so.
        let cancel = CancellationToken::new();
        let patience = Patience {
            timeout: Duration::from_secs(self.1.limit_seconds),
            cancel: &cancel,
            progress: cx.progress(),
        };
        let name = &self.1.spec.name;
        let restored = cluster
            .restore(name, before.as_ref(), patience)
            .await
            .map_err(ecs_error)?;
        let (Some(deployment), Some(before)) = (restored.deployment_id(), &before) else {
            return Ok(());
        };
        let watched = Watched {
            service: name.clone(),
            deployment_id: deployment.to_owned(),
            task_definition: before.settings.task_definition.clone(),
            log: Some(self.1.log.clone()),
            container: self.1.container.clone(),
        };
        match cluster.follow(&[watched], patience).await.map_err(ecs_error)? {
            RolloutOutcome::Healthy { .. } => {
                self.settles(cx.progress()).await;
                Ok(())
            }
            other => Err(super::rollout::failure(&other)),
        }
    }

    fn reversal(&self) -> Reversal {
        Reversal::Undo
    }

    fn by_hand(&self, before: Self::Before, _: Option<ServiceChange>) -> Vec<String> {
        let aws = |verb: &[&str], more: &[&str]| {
            let place = ["--cluster", self.1.cluster.as_str()];
            by_hand::aws(&self.0.aws, &[&["ecs"], verb, &place, more].concat())
        };
        let service = self.1.spec.name.as_str();
        match before {
            Some(before) => {
                let desired = before.settings.desired.to_string();
                let update = [
                    "--service",
                    service,
                    "--task-definition",
                    before.settings.task_definition.as_str(),
                    "--desired-count",
                    &desired,
                ];
                vec![
                    aws(&["update-service"], &update),
                    aws(&["wait", "services-stable"], &["--services", service]),
                ]
            }
            None => vec![aws(&["delete-service", "--force"], &["--service", service])],
        }
    }

    fn deadline(&self) -> Duration {
        DRAIN + Duration::from_secs(self.1.limit_seconds) + SETTLE * 2
    }
}

#[cfg(test)]
mod tests;
