//! Following deployments to their end.
//!
//! Invariant: success means that the deployment of *this id* is the service's primary one, completed, with every task
//! that it wants running and this task definition. Nothing else is success: not the newest definition, not the word
//! `COMPLETED` alone, not a rollback that is stable.

use std::time::Duration;

use aws_sdk_ecs::types::ServiceDeploymentStatus as Status;
use nuages_aws::error::Kind;
use nuages_aws::poll::MaybeThrottled as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::{Cluster, Patience, TICK, told};
use crate::definition::LogTarget;
use crate::diagnosis::{Cause, Diagnosis, diagnose};
use crate::error::EcsError;
use crate::explain::{Follow, over};
use crate::judge::Ruling;
use crate::service::ServiceChange;
use crate::state::{DeploymentState, ServiceState};

/// A deployment to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The service.
    pub service: String,
    /// The deployment's id.
    pub deployment_id: String,
    /// The task definition that it brings.
    pub task_definition: String,
    /// Where its containers write, for explaining failures.
    pub log: Option<LogTarget>,
    /// The container that serves.
    pub container: String,
}

impl Watched {
    /// The deployment that a change made or found.
    pub fn new(change: &ServiceChange, container: impl Into<String>, log: Option<LogTarget>) -> Self {
        Self {
            service: change.service.clone(),
            deployment_id: change.deployment_id.clone(),
            task_definition: change.task_definition.clone(),
            log,
            container: container.into(),
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RolloutOutcome {
    /// Every deployment completed.
    Healthy {
        /// The services as they are now.
        services: Vec<ServiceState>,
    },
    /// At least one failed, or certainly will.
    Failed {
        /// Why, one for each failed service.
        diagnoses: Vec<Diagnosis>,
    },
    /// Time is up.
    TimedOut {
        /// The last status.
        last: String,
        /// What is known of those that did not complete.
        diagnoses: Vec<Diagnosis>,
    },
    /// It was cancelled. The deployments go on.
    Cancelled {
        /// The last status.
        last: String,
    },
}

impl Cluster {
    /// Follows several deployments at once until all completed, one failed, time is up, or it is cancelled.
    ///
    /// One `DescribeServices` a second serves up to ten services; tasks, health and logs are read only where a
    /// deployment is not yet up. It slows down only while ECS throttles.
    ///
    /// ```no_run
    /// # async fn example(cluster: nuages_ecs::Cluster, change: nuages_ecs::ServiceChange, patience: nuages_ecs::Patience<'_>)
    /// # -> Result<(), nuages_ecs::EcsError> {
    /// use nuages_ecs::{RolloutOutcome, Watched};
    ///
    /// match cluster.follow(&[Watched::new(&change, "web", None)], patience).await? {
    ///     RolloutOutcome::Healthy { .. } => println!("steady"),
    ///     RolloutOutcome::Failed { diagnoses } => diagnoses.iter().for_each(|d| println!("{d}")),
    ///     other => println!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn follow(&self, watched: &[Watched], patience: Patience<'_>) -> Result<RolloutOutcome, EcsError> {
        let deadline = Instant::now() + patience.timeout;
        let mut follows: Vec<Follow> = watched.iter().map(Follow::new).collect();
        let mut pause = TICK;
        let mut last = String::from("nothing yet");
        let mut told = String::new();
        for tick in 0_u64.. {
            let looked = tokio::select! {
                biased;
                () = patience.cancel.cancelled() => return Ok(RolloutOutcome::Cancelled { last }),
                looked = tokio::time::timeout_at(deadline, self.look(&mut follows, tick, patience)) => looked,
            };
            match looked {
                Ok(Ok(diagnoses)) if !diagnoses.is_empty() => return Ok(RolloutOutcome::Failed { diagnoses }),
                Ok(Ok(_)) => {
                    if follows.iter().all(|f| f.settled) {
                        let services = follows.into_iter().map(|f| f.state).collect();
                        return Ok(RolloutOutcome::Healthy { services });
                    }
                    let now = status(&follows);
                    if now != last {
                        // How many run is told as a count; in words, only what a count cannot say.
                        let words = beside_counts(&follows);
                        if words != told {
                            patience.progress.status(words.clone());
                            told = words;
                        }
                        last = now;
                    }
                    pause = TICK;
                }
                Ok(Err(error)) if error.is_throttled() => pause = (pause * 2).min(TICK * 20),
                // An answer that did not come says nothing of the deployment; the deadline bounds how often.
                Ok(Err(error)) if matches!(error.kind(), Some(Kind::Unreachable | Kind::Server)) => {
                    patience
                        .progress
                        .warning(format!("asking ECS again: {}", describe_chain(&error)));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Ok(self.timed_out(follows, last).await);
            }
            let until = deadline.min(Instant::now() + pause);
            tokio::select! {
                biased;
                () = patience.cancel.cancelled() => return Ok(RolloutOutcome::Cancelled { last }),
                () = tokio::time::sleep_until(until) => {}
            }
        }
        Ok(RolloutOutcome::Cancelled { last })
    }

    /// One look at all that are not settled. Answers the diagnoses of those that failed.
    async fn look(
        &self,
        follows: &mut [Follow],
        tick: u64,
        patience: Patience<'_>,
    ) -> Result<Vec<Diagnosis>, EcsError> {
        let names: Vec<&str> = follows.iter().map(|f| f.watched.service.as_str()).collect();
        let states = self.observe_all(&names).await?;
        let mut diagnoses = Vec::new();
        for (follow, state) in follows.iter_mut().zip(states) {
            tell(follow, &state, patience);
            follow.state = state;
            match follow.judge.rule(&follow.state, Instant::now()) {
                // Asked once for each completion, however long the others take.
                Ruling::Completed if follow.settled => {}
                Ruling::Completed => follow.settled = self.confirmed(follow, &mut diagnoses).await?,
                Ruling::Waiting { look_at_tasks } => {
                    follow.settled = false;
                    if look_at_tasks {
                        self.read_failures(follow).await?;
                        diagnoses.extend(self.explain(follow, tick, patience).await?);
                    }
                }
                Ruling::Over { cause, why } => {
                    self.read_failures(follow).await?;
                    self.read_log(follow).await?;
                    diagnoses.push(over(follow, cause, why));
                }
            }
        }
        Ok(diagnoses)
    }

    /// Asks, once it is completed, whether ECS calls the service deployment successful too, where it keeps one.
    async fn confirmed(&self, follow: &Follow, diagnoses: &mut Vec<Diagnosis>) -> Result<bool, EcsError> {
        let Some(arn) = &follow.state.service_deployment else {
            return Ok(true);
        };
        let answer = self
            .ecs
            .describe_service_deployments()
            .service_deployment_arns(arn)
            .send()
            .await;
        let answer = match answer.map_err(told("ecs:DescribeServiceDeployments")) {
            Ok(answer) => answer,
            // An extra proof that an older policy does not allow: the deployment's own state stands.
            Err(e) if matches!(e.kind, Kind::AccessDenied | Kind::Invalid | Kind::NotFound) => return Ok(true),
            Err(e) => return Err(EcsError::call("read the service deployment")(e)),
        };
        let Some(deployment) = answer.service_deployments().first() else {
            return Ok(true);
        };
        // One that is older than the deployment is not about it.
        let made = deployment.created_at().and_then(|t| t.to_millis().ok());
        if let (Some(made), Some(ours)) = (made, follow.judge.deployment().and_then(|d| d.created_ms))
            && made < ours - 5000
        {
            return Ok(true);
        }
        Ok(match deployment.status() {
            None | Some(Status::Successful) => true,
            Some(Status::InProgress | Status::Pending) => false,
            Some(status) => {
                let why = deployment
                    .status_reason()
                    .map_or_else(|| status.to_string(), str::to_owned);
                diagnoses.push(over(follow, Cause::RolledBack, why));
                false
            }
        })
    }

    async fn timed_out(&self, mut follows: Vec<Follow>, last: String) -> RolloutOutcome {
        let mut diagnoses = Vec::new();
        for follow in follows.iter_mut().filter(|f| !f.settled) {
            // Best effort: the deadline has passed, and what is known already is shown in any case.
            let more = tokio::time::timeout(Duration::from_secs(5), async {
                self.read_failures(follow).await?;
                self.read_log(follow).await
            });
            if let Ok(Err(error)) = more.await {
                tracing::debug!(%error, "less is known of the failure");
            }
            diagnoses.push(diagnose(&follow.evidence()));
        }
        RolloutOutcome::TimedOut { last, diagnoses }
    }
}

/// All that is known, for whoever is told after a wait that did not end well.
fn status(follows: &[Follow]) -> String {
    let each = follows.iter().map(|f| match f.judge.deployment() {
        _ if f.settled => format!("{} steady", f.watched.service),
        Some(d) => {
            let more = beside(d);
            format!("{} {} of {} running{more}", f.watched.service, d.running, d.desired)
        }
        None => format!("{} not seen yet", f.watched.service),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// The same without the counts of running tasks; empty where there is nothing else to say.
fn beside_counts(follows: &[Follow]) -> String {
    let each = follows.iter().filter_map(|f| match f.judge.deployment() {
        _ if f.settled => Some(format!("{} steady", f.watched.service)),
        Some(d) => {
            let more = beside(d);
            let more = more.trim_start_matches(", ");
            (!more.is_empty()).then(|| format!("{} {more}", f.watched.service))
        }
        None => Some(format!("{} not seen yet", f.watched.service)),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// `, 1 starting, 2 failed`.
fn beside(d: &DeploymentState) -> String {
    let part = |n: u32, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
    part(d.pending, "starting") + &part(d.failed, "failed")
}

/// Tells counts and new events as they come.
fn tell(follow: &mut Follow, state: &ServiceState, patience: Patience<'_>) {
    if let Some(d) = state.deployment(&follow.watched.deployment_id) {
        patience
            .progress
            .count(format!("{} tasks", state.name), d.running.into(), d.desired.into());
    }
    // The first look shows what happened before this deployment.
    let known = follow.last_event.clone();
    follow.last_event = state
        .events
        .first()
        .map(|e| e.id.clone())
        .or_else(|| known.clone())
        .or(Some(String::new()));
    let Some(known) = known else { return };
    let new: Vec<_> = state.events.iter().take_while(|e| e.id != known).collect();
    for event in new.into_iter().rev() {
        patience.progress.line(&state.name, &event.message);
    }
}

pub(crate) fn describe_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
