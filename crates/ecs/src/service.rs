//! Making, changing, restoring and deleting a service.
//!
//! Invariant: a service that already is as asked for is not touched, so that no call is repeated and no deployment made
//! for nothing; and whatever is changed answers what was there before.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types as ecs;
use nuages_aws::error::Kind;
use nuages_aws::poll::{Pace, Verdict, Wait, WaitError, wait_for};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::{Cluster, Patience, TICK, told};
use crate::error::EcsError;
use crate::judge::CATCH_UP;
use crate::register::tag;
use crate::state::{Breaker, LoadBalancerTarget, ServiceSettings, ServiceState, ServiceStatus};

/// A service as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub settings: ServiceSettings,
    /// Tags, which its tasks get too. They are set when it is made.
    pub tags: BTreeMap<String, String>,
}

/// What [`Cluster::apply`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// The service was made.
    Created,
    /// It was changed.
    Updated,
    /// It was as asked for.
    Unchanged,
}

/// A change of a service, with what an undo needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChange {
    /// The service.
    pub service: String,
    /// What was done.
    pub applied: Applied,
    /// The deployment that brings the service to what was asked for: the one to follow.
    pub deployment_id: String,
    /// The task definition of that deployment.
    pub task_definition: String,
    /// How many tasks it is to have.
    pub desired: u32,
    /// What the service was before; none where there was none.
    pub previous: Option<PreviousService>,
}

impl ServiceChange {
    /// Whether a new deployment was made, as opposed to nothing, or a mere change of the count.
    pub fn new_deployment(&self) -> bool {
        self.previous
            .as_ref()
            .is_none_or(|p| p.deployment_id.as_deref() != Some(self.deployment_id.as_str()))
    }
}

/// A service as it was before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousService {
    /// What it was set to.
    pub settings: ServiceSettings,
    /// Its deployment then.
    pub deployment_id: Option<String>,
}

impl PreviousService {
    /// What an undo of a change to this service would need; none where there is no service.
    pub fn of(state: &ServiceState) -> Option<Self> {
        state.exists().then(|| Self {
            settings: state.settings.clone(),
            deployment_id: state.primary().map(|d| d.id.clone()),
        })
    }
}

/// How a service was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "restored", rename_all = "lowercase")]
pub enum Restored {
    /// ECS had put it back already, or nothing had been changed.
    Adopted {
        /// The deployment to follow.
        deployment_id: String,
    },
    /// It was set back.
    Updated {
        /// The deployment to follow.
        deployment_id: String,
    },
    /// There was no service before, and there is none again.
    Deleted,
}

impl Restored {
    /// The deployment that brings the old state back, where there is one to follow.
    pub fn deployment_id(&self) -> Option<&str> {
        match self {
            Self::Adopted { deployment_id } | Self::Updated { deployment_id } => Some(deployment_id),
            Self::Deleted => None,
        }
    }
}

impl ServiceSettings {
    fn configuration(&self) -> ecs::DeploymentConfiguration {
        let breaker = ecs::DeploymentCircuitBreaker::builder()
            .enable(self.breaker.is_some())
            .rollback(self.breaker.is_some_and(|b| b.rollback))
            .set_threshold_configuration(self.breaker.and_then(|b| b.failures).and_then(threshold));
        ecs::DeploymentConfiguration::builder()
            .minimum_healthy_percent(number(self.min_percent))
            .maximum_percent(number(self.max_percent))
            .deployment_circuit_breaker(breaker.build())
            .build()
    }

    fn targets(&self) -> Vec<ecs::LoadBalancer> {
        self.load_balancers.iter().map(target).collect()
    }

    /// The same in the form that compares: lists sorted, and what means the default left out.
    fn normal(&self) -> Self {
        let mut normal = self.clone();
        normal.load_balancers.sort();
        normal.platform_version = normal.platform_version.filter(|v| v != "LATEST");
        if normal.load_balancers.is_empty() {
            normal.health_grace = None;
        }
        normal
    }

    /// What would change, in words for people; empty where nothing would.
    pub fn changes_to(&self, wanted: &Self) -> Vec<String> {
        let (now, wanted) = (self.normal(), wanted.normal());
        let mut changes = Vec::new();
        let mut note = |what: &str, from: String, to: String| {
            if from != to {
                changes.push(format!("{what}: {from} → {to}"));
            }
        };
        note(
            "task definition",
            short_arn(&now.task_definition),
            short_arn(&wanted.task_definition),
        );
        note("count", now.desired.to_string(), wanted.desired.to_string());
        let network = |s: &Self| {
            let list = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
            let public = if s.placement.public_ip {
                "public address"
            } else {
                "no public address"
            };
            format!(
                "{}; {}; {public}",
                list(&s.placement.subnets),
                list(&s.placement.security_groups)
            )
        };
        note("network", network(&now), network(&wanted));
        let targets = |s: &Self| {
            let each = s
                .load_balancers
                .iter()
                .map(|t| format!("{}:{} in {}", t.container, t.port, t.target_group));
            each.collect::<Vec<_>>().join(", ")
        };
        note("load balancer", targets(&now), targets(&wanted));
        let grace = |s: &Self| s.health_grace.map_or("none".into(), |g| format!("{g} s"));
        note("health grace", grace(&now), grace(&wanted));
        let percents = |s: &Self| format!("{} to {}", s.min_percent, s.max_percent);
        note("percent running", percents(&now), percents(&wanted));
        let breaker = |s: &Self| match s.breaker {
            None => "off".to_owned(),
            Some(Breaker { rollback, failures }) => {
                let failures = failures.map_or("ECS's number of".into(), |n| n.to_string());
                format!(
                    "after {failures} failures{}",
                    if rollback { ", with rollback" } else { "" }
                )
            }
        };
        note("circuit breaker", breaker(&now), breaker(&wanted));
        note("exec", now.exec.to_string(), wanted.exec.to_string());
        let version = |s: &Self| s.platform_version.clone().unwrap_or_else(|| "latest".into());
        note("platform version", version(&now), version(&wanted));
        changes
    }
}

fn short_arn(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or(arn).to_owned()
}

fn threshold(failures: u32) -> Option<ecs::ThresholdConfiguration> {
    ecs::ThresholdConfiguration::builder()
        .r#type(ecs::ThresholdType::Count)
        .value(number(failures))
        .build()
        .ok()
}

fn target(target: &LoadBalancerTarget) -> ecs::LoadBalancer {
    ecs::LoadBalancer::builder()
        .target_group_arn(&target.target_group)
        .container_name(&target.container)
        .container_port(target.port.into())
        .build()
}

fn number(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Cluster {
    /// Brings a service to what is asked for, in at most two calls: one read, and one write where something differs.
    ///
    /// `token` makes a repeated creation the same one: at most 36 visible ASCII characters. A service of that name that
    /// is still being deleted is waited for.
    ///
    /// ```no_run
    /// # async fn example(cluster: nuages_ecs::Cluster, spec: nuages_ecs::ServiceSpec, patience: nuages_ecs::Patience<'_>)
    /// # -> Result<(), nuages_ecs::EcsError> {
    /// let change = cluster.apply(&spec, "01k6h2-web-1", patience).await?;
    /// println!("follow {}", change.deployment_id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply(
        &self,
        spec: &ServiceSpec,
        token: &str,
        patience: Patience<'_>,
    ) -> Result<ServiceChange, EcsError> {
        if token.is_empty() || token.len() > 36 || !token.bytes().all(|b| (33..=126).contains(&b)) {
            return Err(EcsError::refused(
                format!("create the service `{}`", spec.name),
                format!("the token `{token}` is not 1 to 36 visible ASCII characters"),
            ));
        }
        let mut state = self.observe(&spec.name).await?;
        if state.status == ServiceStatus::Draining {
            state = self.gone(&spec.name, patience).await?;
        }
        match state.status {
            ServiceStatus::Active => self.change(&state, &spec.settings).await,
            _ => self.create(spec, token).await,
        }
    }

    async fn create(&self, spec: &ServiceSpec, token: &str) -> Result<ServiceChange, EcsError> {
        let settings = &spec.settings;
        let mut call = self
            .ecs
            .create_service()
            .cluster(&self.name)
            .service_name(&spec.name)
            .client_token(token)
            .task_definition(&settings.task_definition)
            .desired_count(number(settings.desired))
            .launch_type(ecs::LaunchType::Fargate)
            .set_platform_version(settings.platform_version.clone())
            .network_configuration(settings.placement.to_ecs())
            .deployment_configuration(settings.configuration())
            .propagate_tags(ecs::PropagateTags::Service)
            .enable_ecs_managed_tags(true)
            .enable_execute_command(settings.exec);
        if !settings.load_balancers.is_empty() {
            call = call
                .set_load_balancers(Some(settings.targets()))
                .set_health_check_grace_period_seconds(settings.health_grace.map(number));
        }
        for (key, value) in &spec.tags {
            call = call.tags(tag(key, value));
        }
        let what = || format!("create the service `{}`", spec.name);
        let service = match call.send().await.map_err(told("ecs:CreateService")) {
            Ok(answer) => answer.service,
            Err(error) => {
                // A creation whose answer was lost shows here as a service that is there already.
                let state = self.observe(&spec.name).await?;
                if error.kind != Kind::AccessDenied && state.exists() && state.settings.changes_to(settings).is_empty()
                {
                    return followed(&state, Applied::Created, None, &what());
                }
                return Err(EcsError::call(what())(error));
            }
        };
        let state = service
            .as_ref()
            .map_or_else(|| ServiceState::missing(&spec.name), ServiceState::from_ecs);
        followed(&state, Applied::Created, None, &what())
    }

    async fn change(&self, state: &ServiceState, wanted: &ServiceSettings) -> Result<ServiceChange, EcsError> {
        let what = || format!("update the service `{}`", state.name);
        let previous = PreviousService::of(state);
        if state.settings.changes_to(wanted).is_empty() {
            return followed(state, Applied::Unchanged, previous, &what());
        }
        let call = self.ecs.update_service().cluster(&self.name).service(&state.name);
        let call = only_changes(call, &state.settings.normal(), &wanted.normal());
        let answer = call
            .send()
            .await
            .map_err(told("ecs:UpdateService"))
            .map_err(EcsError::call(what()))?;
        let after = answer
            .service()
            .map_or_else(|| ServiceState::missing(&state.name), ServiceState::from_ecs);
        followed(&after, Applied::Updated, previous, &what())
    }

    /// Puts a service back as it was, or deletes it where there was none.
    ///
    /// Where ECS is rolling back by itself, its rollback is adopted instead of raced.
    pub async fn restore(
        &self,
        service: &str,
        previous: Option<&PreviousService>,
        patience: Patience<'_>,
    ) -> Result<Restored, EcsError> {
        let Some(previous) = previous else {
            self.delete(service, patience).await?;
            return Ok(Restored::Deleted);
        };
        let state = self.observe_after(service, previous, patience).await?;
        if !state.exists() {
            return Err(EcsError::refused(
                format!("restore the service `{service}`"),
                "it is not there any more",
            ));
        }
        let change = self.change(&state, &previous.settings).await?;
        Ok(match change.applied {
            Applied::Unchanged => Restored::Adopted {
                deployment_id: change.deployment_id,
            },
            _ => Restored::Updated {
                deployment_id: change.deployment_id,
            },
        })
    }

    /// Reads a service that was changed since `previous`. An answer may be from before the change, and would say that
    /// there is nothing to put back: it is believed only when it stays.
    async fn observe_after(
        &self,
        service: &str,
        previous: &PreviousService,
        patience: Patience<'_>,
    ) -> Result<ServiceState, EcsError> {
        let until = Instant::now() + CATCH_UP;
        loop {
            let state = self.observe(service).await?;
            let same = state.exists() && state.primary().map(|d| &d.id) == previous.deployment_id.as_ref();
            if !same || Instant::now() >= until || patience.cancel.is_cancelled() {
                return Ok(state);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Sets how many tasks a service has; the settings apart from that stay. Answers the deployment to follow.
    pub async fn scale(&self, service: &str, desired: u32) -> Result<ServiceChange, EcsError> {
        let state = self.observe(service).await?;
        if !state.exists() {
            return Err(EcsError::Refused {
                what: format!("scale the service `{service}`"),
                why: format!("cluster `{}` has no such service", self.name),
                hint: Some("deploy it first".into()),
            });
        }
        let what = format!("scale the service `{service}`");
        let previous = PreviousService::of(&state);
        if state.settings.desired == desired {
            return followed(&state, Applied::Unchanged, previous, &what);
        }
        let call = self
            .ecs
            .update_service()
            .cluster(&self.name)
            .service(service)
            .desired_count(number(desired));
        let answer = call
            .send()
            .await
            .map_err(told("ecs:UpdateService"))
            .map_err(EcsError::call(&what))?;
        let after = answer
            .service()
            .map_or_else(|| ServiceState::missing(service), ServiceState::from_ecs);
        followed(&after, Applied::Updated, previous, &what)
    }

    /// Deletes a service with its tasks and waits until it is gone. A service that is not there is no error.
    pub async fn delete(&self, service: &str, patience: Patience<'_>) -> Result<(), EcsError> {
        match self.observe(service).await?.status {
            ServiceStatus::Inactive => return Ok(()),
            ServiceStatus::Draining => {}
            // A read may be from before the service was made, so one that is missing is deleted too.
            ServiceStatus::Active | ServiceStatus::Missing => {
                let call = self
                    .ecs
                    .delete_service()
                    .cluster(&self.name)
                    .service(service)
                    .force(true);
                match call.send().await.map_err(told("ecs:DeleteService")) {
                    Ok(_) => {}
                    Err(e) if e.is_code("ServiceNotActiveException") || e.kind == Kind::NotFound => {}
                    Err(e) => return Err(EcsError::call(format!("delete the service `{service}`"))(e)),
                }
            }
        }
        self.gone(service, patience).await?;
        Ok(())
    }

    /// Waits until a deleted service is gone.
    async fn gone(&self, service: &str, patience: Patience<'_>) -> Result<ServiceState, EcsError> {
        let what = format!("see the service `{service}` gone");
        let wait = Wait {
            what: &what,
            pace: Pace::every(TICK),
            timeout: patience.timeout,
            cancel: patience.cancel,
            progress: patience.progress,
        };
        let condition = |state: &ServiceState| match state.status {
            ServiceStatus::Missing | ServiceStatus::Inactive => Verdict::Ready(state.clone()),
            _ => Verdict::NotYet(format!("{service}: {} tasks still end", state.running + state.pending)),
        };
        wait_for(wait, || self.observe(service), condition)
            .await
            .map_err(waited)
    }
}

/// Sets what differs and nothing else: a load balancer or a network that is named again may count as changed.
fn only_changes(
    mut call: UpdateServiceFluentBuilder,
    now: &ServiceSettings,
    wanted: &ServiceSettings,
) -> UpdateServiceFluentBuilder {
    if now.task_definition != wanted.task_definition {
        call = call.task_definition(&wanted.task_definition);
    }
    if now.desired != wanted.desired {
        call = call.desired_count(number(wanted.desired));
    }
    if now.placement != wanted.placement {
        call = call.network_configuration(wanted.placement.to_ecs());
    }
    if now.load_balancers != wanted.load_balancers {
        call = call.set_load_balancers(Some(wanted.targets()));
    }
    if now.health_grace != wanted.health_grace {
        call = call.set_health_check_grace_period_seconds(wanted.health_grace.map(number));
    }
    if (now.min_percent, now.max_percent, now.breaker) != (wanted.min_percent, wanted.max_percent, wanted.breaker) {
        call = call.deployment_configuration(wanted.configuration());
    }
    if now.platform_version != wanted.platform_version {
        call = call.platform_version(wanted.platform_version.as_deref().unwrap_or("LATEST"));
    }
    if now.exec != wanted.exec {
        call = call.enable_execute_command(wanted.exec);
    }
    call
}

/// A failed wait as an error of this crate.
pub(crate) fn waited(error: WaitError<EcsError>) -> EcsError {
    match error {
        WaitError::Fetch(error) => error,
        WaitError::Failed { what, why } => EcsError::refused(what, why),
        WaitError::TimedOut { what, last, timeout } => EcsError::TimedOut {
            what,
            seconds: timeout.as_secs(),
            last,
        },
        WaitError::Cancelled { what, last } => EcsError::Cancelled { what, last },
    }
}

fn followed(
    state: &ServiceState,
    applied: Applied,
    previous: Option<PreviousService>,
    what: &str,
) -> Result<ServiceChange, EcsError> {
    let Some(primary) = state.primary() else {
        return Err(EcsError::refused(what, "ECS's answer names no deployment"));
    };
    Ok(ServiceChange {
        service: state.name.clone(),
        applied,
        deployment_id: primary.id.clone(),
        task_definition: primary.task_definition.clone(),
        desired: state.settings.desired,
        previous,
    })
}
