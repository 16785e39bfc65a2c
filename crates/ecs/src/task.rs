//! Tasks as ECS tells them: those that run and those that stopped within the hour.
//!
//! Invariant: a task is attributed to a deployment by what ECS says of both, never because it is the newest.

use aws_sdk_ecs::operation::list_tasks::builders::ListTasksFluentBuilder;
use aws_sdk_ecs::types as ecs;
use nuages_aws::error::Kind;
use nuages_model::ContainerExit;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, told};
use crate::error::EcsError;
use crate::state::DeploymentState;

/// A task as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its ARN.
    pub arn: String,
    /// Its task definition's ARN.
    pub task_definition: String,
    /// `PROVISIONING`, `PENDING`, `ACTIVATING`, `RUNNING`, …, `STOPPED`.
    pub status: String,
    /// What started it: a service's deployment id, or a one-off task's key.
    pub started_by: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: Option<i64>,
    /// When its containers ran.
    pub started_ms: Option<i64>,
    /// When it had stopped.
    pub stopped_ms: Option<i64>,
    /// Why it stopped, in a word.
    pub stop_code: Option<String>,
    /// Why it stopped, in a sentence.
    pub stopped_reason: Option<String>,
    /// `HEALTHY`, `UNHEALTHY` or `UNKNOWN`, by the containers' own checks.
    pub health: Option<String>,
    /// Its private address.
    pub address: Option<String>,
    /// Its containers.
    pub containers: Vec<ContainerExit>,
}

impl TaskState {
    /// The last part of its ARN, which also ends its log streams' names.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// Whether it has stopped.
    pub fn is_stopped(&self) -> bool {
        self.status == "STOPPED"
    }

    /// Whether this deployment of a service started it.
    pub fn belongs_to(&self, deployment: &DeploymentState) -> bool {
        match self.started_by.as_deref() {
            Some(id) if id.starts_with("ecs-svc/") => id == deployment.id,
            // Not every implementation of the API names the deployment: then the definition and the time tell.
            _ => {
                self.task_definition == deployment.task_definition
                    && match (self.created_ms, deployment.created_ms) {
                        (Some(task), Some(deployment)) => task >= deployment - 1000,
                        _ => true,
                    }
            }
        }
    }

    pub(crate) fn from_ecs(task: &ecs::Task) -> Self {
        let some = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
        let millis = |t: Option<&aws_sdk_ecs::primitives::DateTime>| t.and_then(|t| t.to_millis().ok());
        let address = task
            .attachments()
            .iter()
            .flat_map(ecs::Attachment::details)
            .find(|d| d.name() == Some("privateIPv4Address"))
            .and_then(|d| d.value());
        Self {
            arn: task.task_arn().unwrap_or_default().to_owned(),
            task_definition: task.task_definition_arn().unwrap_or_default().to_owned(),
            status: task.last_status().unwrap_or_default().to_owned(),
            started_by: some(task.started_by()),
            created_ms: millis(task.created_at()),
            started_ms: millis(task.started_at()),
            stopped_ms: millis(task.stopped_at()),
            stop_code: some(task.stop_code().map(ecs::TaskStopCode::as_str)),
            stopped_reason: some(task.stopped_reason()),
            health: some(task.health_status().map(ecs::HealthStatus::as_str)),
            address: some(address),
            containers: task
                .containers()
                .iter()
                .map(|c| ContainerExit {
                    name: c.name().unwrap_or_default().to_owned(),
                    exit_code: c.exit_code(),
                    reason: some(c.reason()),
                })
                .collect(),
        }
    }
}

/// As many tasks as `DescribeTasks` takes.
const BATCH: usize = 100;

impl Cluster {
    /// The ARNs of tasks, of a service or of whoever started them.
    pub(crate) async fn tasks(
        &self,
        service: Option<&str>,
        started_by: Option<&str>,
        desired: ecs::DesiredStatus,
    ) -> Result<Vec<String>, EcsError> {
        let (service, started_by) = (service.map(str::to_owned), started_by.map(str::to_owned));
        self.list_tasks(|call| {
            call.set_service_name(service.clone())
                .set_started_by(started_by.clone())
                .desired_status(desired.clone())
        })
        .await
    }

    /// The ARNs of the tasks of a family.
    pub(crate) async fn tasks_of_family(
        &self,
        family: &str,
        desired: ecs::DesiredStatus,
    ) -> Result<Vec<String>, EcsError> {
        self.list_tasks(|call| call.family(family).desired_status(desired.clone()))
            .await
    }

    async fn list_tasks(
        &self,
        filter: impl Fn(ListTasksFluentBuilder) -> ListTasksFluentBuilder,
    ) -> Result<Vec<String>, EcsError> {
        let mut arns = Vec::new();
        let mut token = None;
        loop {
            let call = filter(self.ecs.list_tasks().cluster(&self.name)).set_next_token(token);
            let page = match call.send().await.map_err(told("ecs:ListTasks")) {
                Ok(page) => page,
                Err(e) if e.kind == Kind::NotFound => return Ok(arns),
                Err(e) => return Err(EcsError::call(format!("list the tasks of cluster `{}`", self.name))(e)),
            };
            arns.extend(page.task_arns().iter().cloned());
            token = page.next_token;
            if token.is_none() {
                return Ok(arns);
            }
        }
    }

    /// A service's tasks that stopped within the last hour, oldest first.
    pub async fn stopped_tasks(&self, service: &str) -> Result<Vec<TaskState>, EcsError> {
        let arns = self.tasks(Some(service), None, ecs::DesiredStatus::Stopped).await?;
        let mut tasks = self.describe_tasks(&arns).await?;
        tasks.sort_by_key(|task| task.stopped_ms);
        Ok(tasks)
    }

    /// These tasks as they are now; those that ECS has forgotten are left out.
    pub async fn describe_tasks(&self, arns: &[String]) -> Result<Vec<TaskState>, EcsError> {
        let mut tasks = Vec::new();
        for batch in arns.chunks(BATCH) {
            let call = self
                .ecs
                .describe_tasks()
                .cluster(&self.name)
                .set_tasks(Some(batch.to_vec()));
            let answer = call
                .send()
                .await
                .map_err(told("ecs:DescribeTasks"))
                .map_err(EcsError::call(format!("read tasks of cluster `{}`", self.name)))?;
            tasks.extend(answer.tasks().iter().map(TaskState::from_ecs));
        }
        Ok(tasks)
    }
}

impl TaskState {
    /// Whether it had stopped before somebody began to look, at `since_ms`, at a deployment that is no new one: then it
    /// says nothing of what happens now. A minute and a quarter of an hour allow for clocks that differ.
    pub(crate) fn is_history(&self, deployment: &DeploymentState, since_ms: i64) -> bool {
        let old_deployment = deployment.created_ms.is_some_and(|at| at < since_ms - 15 * 60_000);
        old_deployment && self.stopped_ms.is_some_and(|at| at < since_ms - 60_000)
    }

    /// Whether it stopped because something is wrong with it, rather than because it was no longer wanted.
    pub fn failed(&self) -> bool {
        if !self.is_stopped() {
            return false;
        }
        let reason = self.stopped_reason.as_deref().unwrap_or_default();
        match self.stop_code.as_deref() {
            Some("EssentialContainerExited" | "TaskFailedToStart") => true,
            // The scheduler stops the ill and the superfluous alike; the sentence tells them apart.
            Some("ServiceSchedulerInitiated") => reason.contains("health checks"),
            None => !reason.is_empty() && !reason.contains("Scaling activity"),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_failures_of_an_old_deployment_are_history() {
        let hour = 3_600_000;
        let deployment = |created_ms| DeploymentState {
            id: "ecs-svc/1".into(),
            status: "PRIMARY".into(),
            rollout_state: None,
            rollout_reason: None,
            task_definition: "web:1".into(),
            desired: 1,
            running: 0,
            pending: 0,
            failed: 0,
            created_ms: Some(created_ms),
        };
        let task = |stopped_ms| TaskState {
            arn: "arn:aws:ecs:eu-west-1:123456789012:task/blog/1".into(),
            task_definition: "web:1".into(),
            status: "STOPPED".into(),
            started_by: None,
            created_ms: None,
            started_ms: None,
            stopped_ms: Some(stopped_ms),
            stop_code: None,
            stopped_reason: None,
            health: None,
            address: None,
            containers: Vec::new(),
        };
        let now = 10 * hour;
        assert!(task(now - hour / 2).is_history(&deployment(now - hour), now));
        assert!(
            !task(now + 5).is_history(&deployment(now - hour), now),
            "it failed while somebody looked"
        );
        assert!(
            !task(now - 120_000).is_history(&deployment(now - 180_000), now),
            "the deployment is new"
        );
    }
}
