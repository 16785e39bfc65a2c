//! What a service is, as ECS tells it.
//!
//! Invariant: everything here can be stored and read again, and [`ServiceSettings`] holds all that an undo needs to put
//! a service back as it was.

use std::collections::BTreeMap;

use aws_sdk_ecs::types as ecs;
use nuages_aws::error::Kind;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, told};
use crate::error::EcsError;
use crate::placement::Placement;

/// Whether a service is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// It never was, or was purged.
    Missing,
    /// It runs.
    Active,
    /// It was deleted and its tasks are ending.
    Draining,
    /// It was deleted.
    Inactive,
}

/// Which container's port the load balancer sends requests to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoadBalancerTarget {
    /// The target group's ARN.
    pub target_group: String,
    /// The container.
    pub container: String,
    /// Its port.
    pub port: u16,
}

/// When ECS gives a rollout up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Whether it then goes back to the last completed deployment.
    pub rollback: bool,
    /// How many failed tasks it takes; none for ECS's own formula (at least 3, half of the desired count).
    pub failures: Option<u32>,
}

/// All of a service that a deployment sets, and that an undo puts back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// The task definition's ARN.
    pub task_definition: String,
    /// How many tasks.
    pub desired: u32,
    /// Where they run.
    pub placement: Placement,
    /// What sends them requests.
    pub load_balancers: Vec<LoadBalancerTarget>,
    /// Seconds in which a new task's failing health checks do not count; none without a load balancer.
    pub health_grace: Option<u32>,
    /// So many percent of the desired tasks keep running during a rollout.
    pub min_percent: u32,
    /// At most so many percent run during a rollout.
    pub max_percent: u32,
    /// The circuit breaker; none where it is off.
    pub breaker: Option<Breaker>,
    /// Whether `exec` works.
    pub exec: bool,
    /// The Fargate platform version; none for the latest.
    pub platform_version: Option<String>,
}

/// One deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentState {
    /// Its id: the identity of a rollout.
    pub id: String,
    /// `PRIMARY`, `ACTIVE` or `INACTIVE`.
    pub status: String,
    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`.
    pub rollout_state: Option<String>,
    /// ECS's sentence about it.
    pub rollout_reason: Option<String>,
    /// Its task definition's ARN.
    pub task_definition: String,
    /// Tasks wanted.
    pub desired: u32,
    /// Tasks running.
    pub running: u32,
    /// Tasks starting.
    pub pending: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: Option<i64>,
}

impl DeploymentState {
    /// Whether it is the one that the service is to have.
    pub fn is_primary(&self) -> bool {
        self.status == "PRIMARY"
    }

    /// Whether it is still being rolled out.
    pub fn in_progress(&self) -> bool {
        self.rollout_state.as_deref() == Some("IN_PROGRESS")
    }
}

/// One line of a service's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Its id.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The sentence.
    pub message: String,
}

/// A service as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: Option<String>,
    /// Whether it is there.
    pub status: ServiceStatus,
    /// What it is set to. Meaningless where it is missing.
    pub settings: ServiceSettings,
    /// Tasks running, of all deployments.
    pub running: u32,
    /// Tasks starting.
    pub pending: u32,
    /// Its deployments, newest first.
    pub deployments: Vec<DeploymentState>,
    /// Its latest events, newest first.
    pub events: Vec<EventLine>,
    /// The ARN of the service deployment, where ECS tells one.
    pub service_deployment: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Events kept of a service.
const EVENTS: usize = 20;

impl ServiceState {
    /// A service that is not there.
    pub fn missing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            arn: None,
            status: ServiceStatus::Missing,
            settings: ServiceSettings {
                task_definition: String::new(),
                desired: 0,
                placement: Placement::default(),
                load_balancers: Vec::new(),
                health_grace: None,
                min_percent: 100,
                max_percent: 200,
                breaker: None,
                exec: false,
                platform_version: None,
            },
            running: 0,
            pending: 0,
            deployments: Vec::new(),
            events: Vec::new(),
            service_deployment: None,
            tags: BTreeMap::new(),
        }
    }

    /// Whether it serves, or could: it exists and is not being deleted.
    pub fn exists(&self) -> bool {
        self.status == ServiceStatus::Active
    }

    /// The deployment that it is to have.
    pub fn primary(&self) -> Option<&DeploymentState> {
        self.deployments.iter().find(|d| d.is_primary())
    }

    /// The deployment of this id.
    pub fn deployment(&self, id: &str) -> Option<&DeploymentState> {
        self.deployments.iter().find(|d| d.id == id)
    }

    /// Whether a rollout is under way: a new deployment is not complete, or an old one's tasks are still ending.
    pub fn in_flight(&self) -> bool {
        self.exists()
            && self.deployments.iter().any(|d| {
                d.in_progress() || (!d.is_primary() && d.rollout_state.as_deref() != Some("FAILED") && d.running > 0)
            })
    }

    pub(crate) fn from_ecs(service: &ecs::Service) -> Self {
        let config = service.deployment_configuration();
        let some = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
        Self {
            name: service.service_name().unwrap_or_default().to_owned(),
            arn: some(service.service_arn()),
            status: match service.status() {
                Some("ACTIVE") => ServiceStatus::Active,
                Some("DRAINING") => ServiceStatus::Draining,
                _ => ServiceStatus::Inactive,
            },
            settings: ServiceSettings {
                task_definition: service.task_definition().unwrap_or_default().to_owned(),
                desired: count(service.desired_count()),
                placement: Placement::from_ecs(service.network_configuration()),
                load_balancers: load_balancers(service),
                // Without a load balancer ECS may answer 0, which means nothing then.
                health_grace: service
                    .health_check_grace_period_seconds()
                    .map(count)
                    .filter(|seconds| *seconds > 0 || !service.load_balancers().is_empty()),
                min_percent: config
                    .and_then(aws_sdk_ecs::types::DeploymentConfiguration::minimum_healthy_percent)
                    .map_or(100, count),
                max_percent: config
                    .and_then(aws_sdk_ecs::types::DeploymentConfiguration::maximum_percent)
                    .map_or(200, count),
                breaker: config
                    .and_then(|c| c.deployment_circuit_breaker())
                    .filter(|b| b.enable())
                    .map(breaker),
                exec: service.enable_execute_command(),
                platform_version: some(service.platform_version()).filter(|v| v != "LATEST"),
            },
            running: count(service.running_count()),
            pending: count(service.pending_count()),
            deployments: service.deployments().iter().map(deployment).collect(),
            events: service.events().iter().take(EVENTS).map(event).collect(),
            service_deployment: some(service.current_service_deployment()),
            tags: service
                .tags()
                .iter()
                .filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned())))
                .collect(),
        }
    }
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

fn breaker(breaker: &ecs::DeploymentCircuitBreaker) -> Breaker {
    let threshold = breaker
        .threshold_configuration()
        .filter(|t| t.r#type() == &ecs::ThresholdType::Count);
    Breaker {
        rollback: breaker.rollback(),
        failures: threshold.map(|t| count(t.value())),
    }
}

fn load_balancers(service: &ecs::Service) -> Vec<LoadBalancerTarget> {
    let mut targets: Vec<_> = service
        .load_balancers()
        .iter()
        .filter_map(|lb| {
            Some(LoadBalancerTarget {
                target_group: lb.target_group_arn()?.to_owned(),
                container: lb.container_name().unwrap_or_default().to_owned(),
                port: lb
                    .container_port()
                    .and_then(|p| u16::try_from(p).ok())
                    .unwrap_or_default(),
            })
        })
        .collect();
    targets.sort();
    targets
}

fn deployment(d: &ecs::Deployment) -> DeploymentState {
    DeploymentState {
        id: d.id().unwrap_or_default().to_owned(),
        status: d.status().unwrap_or_default().to_owned(),
        rollout_state: d.rollout_state().map(|s| s.as_str().to_owned()),
        rollout_reason: d.rollout_state_reason().filter(|r| !r.is_empty()).map(str::to_owned),
        task_definition: d.task_definition().unwrap_or_default().to_owned(),
        desired: count(d.desired_count()),
        running: count(d.running_count()),
        pending: count(d.pending_count()),
        failed: count(d.failed_tasks()),
        created_ms: d.created_at().and_then(|t| t.to_millis().ok()),
    }
}

fn event(e: &ecs::ServiceEvent) -> EventLine {
    EventLine {
        id: e.id().unwrap_or_default().to_owned(),
        at_ms: e.created_at().and_then(|t| t.to_millis().ok()).unwrap_or_default(),
        message: e.message().unwrap_or_default().to_owned(),
    }
}

/// As many services as `DescribeServices` takes.
const BATCH: usize = 10;

impl Cluster {
    /// One service as it is now. A service or cluster that is not there is an answer, not an error.
    pub async fn observe(&self, service: &str) -> Result<ServiceState, EcsError> {
        let mut states = self.observe_all(&[service]).await?;
        Ok(states.pop().unwrap_or_else(|| ServiceState::missing(service)))
    }

    /// Several services as they are now, in the order asked for; one call for up to ten of them.
    pub async fn observe_all(&self, services: &[&str]) -> Result<Vec<ServiceState>, EcsError> {
        let mut found = BTreeMap::new();
        for batch in services.chunks(BATCH) {
            let call = self
                .ecs
                .describe_services()
                .cluster(&self.name)
                .include(ecs::ServiceField::Tags)
                .set_services(Some(batch.iter().map(|s| (*s).to_owned()).collect()));
            match call.send().await.map_err(told("ecs:DescribeServices")) {
                Ok(answer) => {
                    found.extend(
                        answer
                            .services()
                            .iter()
                            .map(ServiceState::from_ecs)
                            .map(|s| (s.name.clone(), s)),
                    );
                }
                Err(e) if e.kind == Kind::NotFound => {}
                Err(e) => {
                    let names = batch.join("`, `");
                    return Err(EcsError::call(format!(
                        "read the service `{names}` of cluster `{}`",
                        self.name
                    ))(e));
                }
            }
        }
        Ok(services
            .iter()
            .map(|name| {
                found
                    .get(short(name))
                    .cloned()
                    .unwrap_or_else(|| ServiceState::missing(short(name)))
            })
            .collect())
    }
}

/// A service's name, from its name or ARN.
pub(crate) fn short(service: &str) -> &str {
    service.rsplit('/').next().unwrap_or(service)
}
