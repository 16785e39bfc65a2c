//! When a deployment is over, and how.
//!
//! Invariant: pure. A ruling follows from what was seen so far and nothing else, and only one thing is `Completed`.

use std::time::Duration;

use tokio::time::Instant;

use crate::diagnosis::Cause;
use crate::rollout::Watched;
use crate::state::{DeploymentState, ServiceState};

/// What a look at a service means for its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It is as it should be.
    Completed,
    /// Not yet.
    Waiting {
        /// Whether its tasks should be looked at: some are missing.
        look_at_tasks: bool,
    },
    /// It will never be.
    Over {
        /// What ended it.
        cause: Cause,
        /// In ECS's words, or ours where it has none.
        why: String,
    },
}

/// Where `COMPLETED` was said of tasks that were not there, they must have stayed this long to be believed.
const STEADY: Duration = Duration::from_secs(3);

/// ECS's reads are eventually consistent: one from before the deployment shows another, or no service. So long must it
/// go on before it is believed.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(5);

/// What is remembered of one deployment.
#[derive(Debug)]
pub(crate) struct Judge {
    id: String,
    task_definition: String,
    seen: Option<DeploymentState>,
    hasty: bool,
    steady_since: Option<Instant>,
    absent_since: Option<Instant>,
}

impl Judge {
    pub(crate) fn new(watched: &Watched) -> Self {
        Self {
            id: watched.deployment_id.clone(),
            task_definition: watched.task_definition.clone(),
            seen: None,
            hasty: false,
            steady_since: None,
            absent_since: None,
        }
    }

    /// The deployment as it was seen last.
    pub(crate) const fn deployment(&self) -> Option<&DeploymentState> {
        self.seen.as_ref()
    }

    pub(crate) fn rule(&mut self, state: &ServiceState, now: Instant) -> Ruling {
        let over = |cause, why: String| Ruling::Over { cause, why };
        if self.may_be_old(state, now) {
            return Ruling::Waiting { look_at_tasks: false };
        }
        if !state.exists() {
            return over(
                Cause::ServiceGone,
                format!("the service `{}` is not there any more", state.name),
            );
        }
        let Some(deployment) = state.deployment(&self.id) else {
            // ECS drops a deployment whose tasks are all gone.
            return match state.primary() {
                Some(primary) if primary.task_definition == self.task_definition => over(
                    Cause::Superseded,
                    format!("another deployment ({}) took its place", primary.id),
                ),
                Some(primary) => over(
                    self.seen
                        .as_ref()
                        .filter(|d| d.failed > 0)
                        .map_or(Cause::Superseded, |_| Cause::RolledBack),
                    format!("the service went to {} instead", name(&primary.task_definition)),
                ),
                None => over(Cause::ServiceGone, "the service has no deployment".into()),
            };
        };
        self.seen = Some(deployment.clone());
        if deployment.rollout_state.as_deref() == Some("FAILED") {
            let why = deployment.rollout_reason.clone();
            return over(
                Cause::RolledBack,
                why.unwrap_or_else(|| "ECS gave the deployment up".into()),
            );
        }
        if !deployment.is_primary() {
            let now = state.primary().map_or("another one", |p| name(&p.task_definition));
            return over(Cause::Superseded, format!("the service is on its way to {now} instead"));
        }
        if deployment.task_definition != self.task_definition {
            return over(
                Cause::Superseded,
                format!("the deployment brings {}", name(&deployment.task_definition)),
            );
        }
        let complete = deployment.rollout_state.as_deref() == Some("COMPLETED");
        let all_run = deployment.running >= deployment.desired && deployment.pending == 0;
        if complete && !all_run {
            // The word came before the tasks: from here on only tasks count.
            self.hasty = true;
        }
        if !(complete && all_run) {
            self.steady_since = None;
            return Ruling::Waiting {
                look_at_tasks: deployment.desired > 0,
            };
        }
        if self.hasty {
            let since = *self.steady_since.get_or_insert(now);
            if now.duration_since(since) < STEADY {
                return Ruling::Waiting { look_at_tasks: true };
            }
        }
        Ruling::Completed
    }
}

impl Judge {
    /// Whether an answer without our deployment may be one from before it was made.
    fn may_be_old(&mut self, state: &ServiceState, now: Instant) -> bool {
        if state.exists() && state.deployment(&self.id).is_some() {
            self.absent_since = None;
            return false;
        }
        let created = |deployment: &DeploymentState| deployment.created_ms;
        let ours = self.seen.as_ref().and_then(created);
        let theirs = state.primary().and_then(created);
        if ours.zip(theirs).is_some_and(|(ours, theirs)| theirs > ours) {
            return false;
        }
        let since = *self.absent_since.get_or_insert(now);
        now.duration_since(since) < CATCH_UP
    }
}

fn name(task_definition: &str) -> &str {
    task_definition.rsplit('/').next().unwrap_or(task_definition)
}
