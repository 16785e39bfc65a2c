//! What a service is doing, for people.
//!
//! Invariant: read-only, and one answer for any number of services.

use serde::{Deserialize, Serialize};

use aws_sdk_ecs::types as ecs;

use crate::cluster::Cluster;
use crate::error::EcsError;
use crate::health::TargetState;
use crate::state::ServiceState;
use crate::task::TaskState;

/// One service with its tasks and targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// The service.
    pub state: ServiceState,
    /// Its tasks that run or start.
    pub tasks: Vec<TaskState>,
    /// The load balancer's targets.
    pub targets: Vec<TargetState>,
}

impl ServiceSummary {
    /// In a word: `steady`, `rolling out`, `degraded`, `stopped`, `missing`.
    pub fn word(&self) -> &'static str {
        if !self.state.exists() {
            "missing"
        } else if self.state.settings.desired == 0 && self.state.running == 0 {
            "stopped"
        } else if self.state.in_flight() {
            "rolling out"
        } else if self.state.running < self.state.settings.desired
            || (!self.targets.is_empty() && !self.targets.iter().any(TargetState::is_healthy))
        {
            "degraded"
        } else {
            "steady"
        }
    }
}

impl Cluster {
    /// Services with their tasks and targets.
    ///
    /// ```no_run
    /// # async fn example(cluster: nuages_ecs::Cluster) -> Result<(), nuages_ecs::EcsError> {
    /// for service in cluster.status(&["web", "worker"]).await? {
    ///     println!("{} {}", service.state.name, service.word());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self, services: &[&str]) -> Result<Vec<ServiceSummary>, EcsError> {
        let states = self.observe_all(services).await?;
        futures_util::future::try_join_all(states.into_iter().map(|state| self.summary(state))).await
    }

    async fn summary(&self, state: ServiceState) -> Result<ServiceSummary, EcsError> {
        if !state.exists() {
            return Ok(ServiceSummary {
                state,
                tasks: Vec::new(),
                targets: Vec::new(),
            });
        }
        let tasks = async {
            let arns = self.tasks(Some(&state.name), None, ecs::DesiredStatus::Running).await?;
            self.describe_tasks(&arns).await
        };
        let targets = async {
            match state.settings.load_balancers.first() {
                Some(balancer) => self.target_health(&balancer.target_group).await,
                None => Ok(Vec::new()),
            }
        };
        let (tasks, targets) = futures_util::future::try_join(tasks, targets).await?;
        Ok(ServiceSummary { state, tasks, targets })
    }
}
