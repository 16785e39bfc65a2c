//! Looking for the cause while a deployment is not up.
//!
//! Invariant: only tasks and targets of the followed deployment are evidence, and what is read once is not read again.

use std::collections::BTreeMap;

use aws_sdk_ecs::types as ecs;
use nuages_aws::poll::MaybeThrottled as _;

use crate::cluster::{Cluster, Patience};
use crate::diagnosis::{Cause, Certainty, Diagnosis, Evidence, diagnose};
use crate::error::EcsError;
use crate::judge::Judge;
use crate::rollout::Watched;
use crate::state::ServiceState;
use crate::task::TaskState;

/// Lines of a log that are read to find a cause.
const LOG_LINES: u16 = 60;
/// How often an empty log is asked for again: lines arrive a moment after the task has stopped.
const LOG_PATIENCE: u32 = 3;
/// Targets' health is looked at each so many ticks.
const HEALTH_TICKS: u64 = 3;

/// One deployment with all that was seen of it.
pub(crate) struct Follow {
    pub(crate) watched: Watched,
    pub(crate) judge: Judge,
    pub(crate) tasks: BTreeMap<String, TaskState>,
    pub(crate) log: Vec<String>,
    pub(crate) log_reads: u32,
    pub(crate) settled: bool,
    pub(crate) last_event: Option<String>,
    pub(crate) state: ServiceState,
    since_ms: i64,
}

impl Follow {
    pub(crate) fn new(watched: &Watched) -> Self {
        Self {
            judge: Judge::new(watched),
            tasks: BTreeMap::new(),
            log: Vec::new(),
            log_reads: 0,
            settled: false,
            last_event: None,
            state: ServiceState::missing(&watched.service),
            since_ms: now_ms(),
            watched: watched.clone(),
        }
    }

    /// Failed tasks, oldest first.
    fn failed(&self) -> Vec<&TaskState> {
        let mut failed: Vec<&TaskState> = self.tasks.values().filter(|t| t.failed()).collect();
        failed.sort_by_key(|t| t.stopped_ms);
        failed
    }

    pub(crate) fn evidence(&self) -> Evidence {
        let failed = self.failed();
        let settings = &self.state.settings;
        Evidence {
            service: self.watched.service.clone(),
            port: settings
                .load_balancers
                .iter()
                .find(|l| l.container == self.watched.container)
                .map(|l| l.port),
            health_grace: settings.health_grace,
            task: failed.last().map(|t| (*t).clone()),
            log_tail: self.log.clone(),
            target: None,
            events: self.state.events.iter().map(|e| e.message.clone()).collect(),
            failures: u32::try_from(failed.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Cluster {
    /// Reads the tasks of the deployment that stopped since the last look.
    pub(crate) async fn read_failures(&self, follow: &mut Follow) -> Result<(), EcsError> {
        let service = &follow.watched.service;
        let arns = self.tasks(Some(service), None, ecs::DesiredStatus::Stopped).await?;
        let unknown: Vec<String> = arns
            .into_iter()
            .filter(|arn| !follow.tasks.get(arn).is_some_and(TaskState::is_stopped))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let Some(deployment) = follow.judge.deployment().cloned() else {
            return Ok(());
        };
        for task in self.describe_tasks(&unknown).await? {
            if task.belongs_to(&deployment) && !task.is_history(&deployment, follow.since_ms) {
                if task.failed() {
                    // A new failure may say more than the one before.
                    follow.log_reads = 0;
                    follow.log.clear();
                }
                follow.tasks.insert(task.arn.clone(), task);
            } else {
                // Remembered, so that it is not described again.
                follow.tasks.insert(
                    task.arn.clone(),
                    TaskState {
                        stop_code: Some("not of this rollout".into()),
                        ..task
                    },
                );
            }
        }
        Ok(())
    }

    /// Reads the log of the task that failed last.
    pub(crate) async fn read_log(&self, follow: &mut Follow) -> Result<(), EcsError> {
        let (Some(log), Some(task)) = (&follow.watched.log, follow.failed().last().map(|t| (*t).clone())) else {
            return Ok(());
        };
        // A task that never started has no log.
        if task.started_ms.is_none() && task.containers.iter().all(|c| c.exit_code.is_none()) {
            follow.log_reads = LOG_PATIENCE;
            return Ok(());
        }
        let failed = task
            .containers
            .iter()
            .find(|c| c.exit_code.is_some_and(|code| code != 0));
        let container = failed.map_or(follow.watched.container.as_str(), |c| c.name.as_str());
        match self.log_tail(log, container, task.id(), LOG_LINES).await {
            Ok(lines) => follow.log = lines,
            // The explanation is poorer without; the failure is the same.
            Err(error) => tracing::debug!(%error, "no log for the diagnosis"),
        }
        follow.log_reads += 1;
        Ok(())
    }

    /// Whether what is known already is enough to give up, and why.
    pub(crate) async fn explain(
        &self,
        follow: &mut Follow,
        tick: u64,
        patience: Patience<'_>,
    ) -> Result<Option<Diagnosis>, EcsError> {
        if follow.failed().is_empty() {
            if tick.is_multiple_of(HEALTH_TICKS) {
                return self.explain_health(follow).await;
            }
            return Ok(None);
        }
        if follow.log_reads < LOG_PATIENCE && follow.log.is_empty() {
            self.read_log(follow).await?;
        }
        let diagnosis = diagnose(&follow.evidence());
        let named_or_late = !follow.log.is_empty() || follow.log_reads >= LOG_PATIENCE || follow.watched.log.is_none();
        let enough = match diagnosis.cause.certainty() {
            Certainty::Once => true,
            Certainty::Twice => diagnosis.failures >= 2 && named_or_late,
        };
        if !enough {
            patience
                .progress
                .status(format!("{} ({} failed so far)", diagnosis.sentence, diagnosis.failures));
        }
        Ok(enough.then_some(diagnosis))
    }

    /// Looks at the load balancer's targets: an answer with a wrong code comes from a program that runs, and it will
    /// be the same until ECS gives up.
    async fn explain_health(&self, follow: &mut Follow) -> Result<Option<Diagnosis>, EcsError> {
        let Some(target_group) = follow
            .state
            .settings
            .load_balancers
            .first()
            .map(|l| l.target_group.clone())
        else {
            return Ok(None);
        };
        let Some(deployment) = follow.judge.deployment().filter(|d| d.running > 0).cloned() else {
            return Ok(None);
        };
        let targets = match self.target_health(&target_group).await {
            Ok(targets) => targets,
            Err(error) if error.is_throttled() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "no health for the diagnosis");
                return Ok(None);
            }
        };
        let refusing = |codes: &[u16]| {
            codes
                .iter()
                .any(|c| matches!(c, 301 | 302 | 307 | 308 | 400 | 401 | 403 | 404 | 405))
        };
        let suspects: Vec<_> = targets
            .iter()
            .filter(|t| t.state == "unhealthy" && refusing(&t.codes()))
            .collect();
        if suspects.is_empty() {
            return Ok(None);
        }
        // Only a target that is a task of this deployment counts; the old ones may be ill too.
        let running = self
            .tasks(Some(&follow.watched.service), None, ecs::DesiredStatus::Running)
            .await?;
        for task in self.describe_tasks(&running).await? {
            let Some(target) = suspects
                .iter()
                .find(|t| task.address.as_deref() == Some(t.address.as_str()))
            else {
                continue;
            };
            if !task.belongs_to(&deployment) {
                continue;
            }
            if let Some(log) = &follow.watched.log {
                follow.log = self
                    .log_tail(log, &follow.watched.container, task.id(), LOG_LINES)
                    .await
                    .unwrap_or_default();
            }
            let evidence = Evidence {
                task: Some(task),
                target: Some((*target).clone()),
                ..follow.evidence()
            };
            return Ok(Some(diagnose(&evidence)));
        }
        Ok(None)
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A deployment that ended in ECS's own words, explained by the tasks that failed before.
pub(crate) fn over(follow: &Follow, cause: Cause, why: String) -> Diagnosis {
    let mut diagnosis = diagnose(&follow.evidence());
    if diagnosis.cause == Cause::Unknown {
        diagnosis.cause = cause;
        diagnosis.sentence.clone_from(&why);
    }
    if diagnosis.event.is_none() {
        diagnosis.event = Some(why);
    }
    diagnosis
}
