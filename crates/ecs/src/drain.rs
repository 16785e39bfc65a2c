//! Emptying a cluster, before its stack is deleted.
//!
//! Invariant: what is already gone is no error, so that a second run finishes what a first one began.

use aws_sdk_ecs::types as ecs;
use nuages_aws::error::Kind;
use nuages_aws::poll::{Pace, Verdict, Wait, wait_for};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::{Cluster, Patience, TICK, told};
use crate::error::EcsError;
use crate::service::waited;
use crate::state::short;

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drained {
    /// The services deleted, by name.
    pub services: Vec<String>,
    /// The one-off tasks stopped, by ARN.
    pub tasks: Vec<String>,
    /// The task definitions deregistered, by ARN.
    pub definitions: Vec<String>,
}

impl Cluster {
    /// Scales every service to zero, deletes it, stops the tasks that are left, and waits until all are gone, so that
    /// the cluster and its network can be deleted. `families` names the definitions to deregister, none to keep them.
    pub async fn drain_and_delete(&self, families: &[String], patience: Patience<'_>) -> Result<Drained, EcsError> {
        let mut drained = Drained::default();
        let services = self.services().await?;
        for (done, service) in services.iter().enumerate() {
            patience
                .progress
                .count("services deleted", done as u64, services.len() as u64);
            // Scaled to zero first: a deployment under way starts no more tasks, and targets leave the load balancer.
            match self.scale(service, 0).await {
                Ok(_) | Err(EcsError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
            self.delete(service, patience).await?;
            drained.services.push(service.clone());
        }
        patience
            .progress
            .count("services deleted", services.len() as u64, services.len() as u64);
        drained.tasks = self.tasks(None, None, ecs::DesiredStatus::Running).await?;
        for task in &drained.tasks {
            let call = self
                .ecs
                .stop_task()
                .cluster(&self.name)
                .task(task)
                .reason("the environment is taken down");
            match call.send().await.map_err(told("ecs:StopTask")) {
                Ok(_) => {}
                // "The referenced task was not found": it ended in between.
                Err(e) if e.kind == Kind::NotFound || e.is_code("InvalidParameterException") => {}
                Err(e) => return Err(EcsError::call(format!("stop the task `{}`", short(task)))(e)),
            }
        }
        self.empty(patience).await?;
        for family in families {
            self.forget(family, &mut drained.definitions, patience).await?;
        }
        Ok(drained)
    }

    /// Deregisters every active revision of a family.
    async fn forget(&self, family: &str, gone: &mut Vec<String>, patience: Patience<'_>) -> Result<(), EcsError> {
        let deadline = Instant::now() + patience.timeout;
        while let Some(definition) = self.definition(family).await? {
            let Some(arn) = definition.task_definition_arn() else {
                break;
            };
            if definition.status() != Some(&ecs::TaskDefinitionStatus::Active) {
                break;
            }
            if gone.iter().any(|gone| gone == arn) {
                // The answer is from before it was deregistered. To go by it would be to ask on and on without a pause.
                let what = format!("see the task definition `{}` deregistered", short(arn));
                let last = "it is still said to be active".to_owned();
                if Instant::now() >= deadline {
                    let seconds = patience.timeout.as_secs();
                    return Err(EcsError::TimedOut { what, seconds, last });
                }
                tokio::select! {
                    biased;
                    () = patience.cancel.cancelled() => return Err(EcsError::Cancelled { what, last }),
                    () = tokio::time::sleep(TICK) => continue,
                }
            }
            self.deregister(arn).await?;
            gone.push(arn.to_owned());
        }
        Ok(())
    }

    /// Waits until no task is left: their network interfaces would keep the subnets from being deleted.
    async fn empty(&self, patience: Patience<'_>) -> Result<(), EcsError> {
        let what = format!("see cluster `{}` empty", self.name);
        let wait = Wait {
            what: &what,
            pace: Pace::every(TICK),
            timeout: patience.timeout,
            cancel: patience.cancel,
            progress: patience.progress,
        };
        let look = || async {
            let answer = self.ecs.describe_clusters().clusters(&self.name).send().await;
            answer
                .map_err(told("ecs:DescribeClusters"))
                .map_err(EcsError::call(format!("read cluster `{}`", self.name)))
        };
        wait_for(wait, look, |answer| {
            let left = answer
                .clusters()
                .first()
                .map_or(0, |c| c.running_tasks_count() + c.pending_tasks_count());
            if left > 0 {
                Verdict::NotYet(format!("{left} tasks still end"))
            } else {
                Verdict::Ready(())
            }
        })
        .await
        .map_err(waited)
    }

    /// The names of the cluster's services.
    pub async fn services(&self) -> Result<Vec<String>, EcsError> {
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let call = self
                .ecs
                .list_services()
                .cluster(&self.name)
                .max_results(100)
                .set_next_token(token);
            let page = match call.send().await.map_err(told("ecs:ListServices")) {
                Ok(page) => page,
                Err(e) if e.kind == Kind::NotFound => return Ok(names),
                Err(e) => {
                    return Err(EcsError::call(format!("list the services of cluster `{}`", self.name))(
                        e,
                    ));
                }
            };
            names.extend(page.service_arns().iter().map(|arn| short(arn).to_owned()));
            token = page.next_token;
            if token.is_none() {
                names.sort();
                return Ok(names);
            }
        }
    }
}
