//! Names and shapes: what the configuration means in ECS's terms.
//!
//! Invariant: everything here is a pure function of configuration, stack outputs and image, so that a plan made twice
//! from the same inputs is the same plan.

use std::collections::BTreeMap;
use std::time::Duration;

use nuages_config::{Config, Platform as ConfigPlatform, Service};
use nuages_ecs::{
    Breaker, ContainerSpec, LoadBalancerTarget, LogTarget, PinnedImage, Placement, Platform, ServiceSettings,
    ServiceSpec, TaskDefinitionSpec,
};
use nuages_infra::StackOutputs;
use nuages_model::{ReleaseId, SecretVersion, ServiceName};

use crate::error::PipelineError;

/// The container of the one-off task definition.
pub(crate) const RUN: &str = "run";

/// ECS's own failure count; three tells a crash loop from bad luck.
const BREAKER_FAILURES: u32 = 3;

/// How long a rollout may take before it is given up: long enough for a slow pull and a slow boot, three times over.
const ROLLOUT_FLOOR: Duration = Duration::from_mins(10);

/// All that is the same for every service of a release.
pub(crate) struct Layout<'a> {
    pub(crate) config: &'a Config,
    pub(crate) outputs: &'a StackOutputs,
    pub(crate) image: PinnedImage,
    /// Environment variable → where its value stands.
    pub(crate) secrets: BTreeMap<String, SecretVersion>,
    /// The host that people type, where there is a load balancer.
    pub(crate) public_host: Option<String>,
    /// Whether people reach it by plain HTTP.
    pub(crate) plain_http: bool,
}

impl Layout<'_> {
    /// What the tasks see of the environment, apart from secrets.
    fn env(&self, release: Option<ReleaseId>) -> BTreeMap<String, String> {
        let mut env = self.config.variables.clone();
        let mut add = |name: &str, value: String| {
            env.entry(name.to_owned()).or_insert(value);
        };
        add("NUAGES_ENV", self.config.env.name.to_string());
        if let Some(digest) = self.image.image().digest() {
            add("NUAGES_IMAGE_DIGEST", digest.to_string());
        }
        if let Some(release) = release {
            add("NUAGES_RELEASE", release.to_string());
        }
        if let Some(host) = &self.public_host {
            add("NUAGES_PUBLIC_HOST", host.clone());
        }
        if self.plain_http {
            add("NUAGES_INSECURE_HTTP", "1".to_owned());
        }
        env
    }

    fn log(&self, service: &ServiceName, prefix: &str) -> Result<LogTarget, PipelineError> {
        let group = self.outputs.log_groups.get(service).ok_or_else(|| {
            PipelineError::refused(
                format!("the environment's stack has no log group for the service `{service}`"),
                format!("make it with `nuages infra up --env {}`", self.config.env.name),
            )
        })?;
        Ok(LogTarget {
            group: group.clone(),
            prefix: prefix.to_owned(),
            region: self.config.region.clone(),
        })
    }

    fn tags(&self, release: Option<ReleaseId>) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::from([
            ("nuages:app".to_owned(), self.config.app.name.to_string()),
            ("nuages:env".to_owned(), self.config.env.name.to_string()),
        ]);
        if let Some(release) = release {
            tags.insert("nuages:release".to_owned(), release.to_string());
        }
        tags
    }

    fn family(&self, what: &str) -> String {
        format!("{}-{}-{what}", self.config.app.name, self.config.env.name)
    }

    fn platform(&self) -> Platform {
        match self.config.build.platform {
            ConfigPlatform::Amd64 => Platform::Amd64,
            ConfigPlatform::Arm64 => Platform::Arm64,
        }
    }

    fn container(
        &self,
        name: &str,
        command: Vec<String>,
        port: Option<u16>,
        log: LogTarget,
        stop: Duration,
        release: Option<ReleaseId>,
    ) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: self.image.clone(),
            command,
            env: self.env(release),
            secrets: self.secrets.clone(),
            port,
            log,
            stop_timeout: u16::try_from(stop.as_secs()).unwrap_or(u16::MAX),
            health: None,
            read_only_root: false,
            user: None,
            essential: true,
            init: true,
        }
    }

    /// A service's task definition.
    pub(crate) fn definition(
        &self,
        name: &ServiceName,
        service: &Service,
        release: ReleaseId,
    ) -> Result<TaskDefinitionSpec, PipelineError> {
        let log = self.log(name, "app")?;
        let container = self.container(
            name.as_str(),
            service.effective_command(),
            service.port,
            log,
            service.stop_timeout,
            Some(release),
        );
        Ok(TaskDefinitionSpec {
            family: self.family(name.as_str()),
            cpu: service.cpu,
            memory: service.memory,
            platform: self.platform(),
            execution_role: self.outputs.execution_role.clone(),
            task_role: Some(self.outputs.task_role.clone()),
            containers: vec![container],
            ephemeral_storage: None,
            tags: self.tags(Some(release)),
        })
    }

    /// The definition of one-off tasks: migrations, probes, `run`. It names no release, so that an image that was
    /// probed once is not registered again.
    pub(crate) fn run_definition(&self) -> Result<TaskDefinitionSpec, PipelineError> {
        let (name, service) = self.largest()?;
        let log = self.log(name, RUN)?;
        // The command is always overridden; this one says so to whoever starts the definition by hand.
        let command = vec!["python".to_owned(), "manage.py".to_owned(), "check".to_owned()];
        let container = self.container(RUN, command, None, log, Duration::from_mins(2), None);
        Ok(TaskDefinitionSpec {
            family: self.family(RUN),
            cpu: service.cpu,
            memory: service.memory,
            platform: self.platform(),
            execution_role: self.outputs.execution_role.clone(),
            task_role: Some(self.outputs.task_role.clone()),
            containers: vec![container],
            ephemeral_storage: None,
            tags: self.tags(None),
        })
    }

    /// Where one-off tasks write.
    pub(crate) fn run_log(&self) -> Result<LogTarget, PipelineError> {
        let (name, _) = self.largest()?;
        self.log(name, RUN)
    }

    /// The service whose size one-off tasks get: the web service, or the largest where there is none.
    fn largest(&self) -> Result<(&ServiceName, &Service), PipelineError> {
        self.config
            .web()
            .or_else(|| {
                self.config
                    .services
                    .iter()
                    .max_by_key(|(_, service)| (service.memory, service.cpu))
            })
            .ok_or_else(|| PipelineError::refused("there is no service to deploy", "add [services.web] to nuages.toml"))
    }

    /// Where tasks run.
    pub(crate) fn placement(&self) -> Placement {
        placement(self.outputs)
    }

    /// A service, but for its task definition's ARN, which a plan fills in.
    pub(crate) fn service(&self, name: &ServiceName, service: &Service) -> ServiceSpec {
        let target = service.port.and_then(|port| {
            self.outputs.web.as_ref().map(|web| LoadBalancerTarget {
                target_group: web.target_group.to_string(),
                container: name.to_string(),
                port,
            })
        });
        let grace = service
            .health
            .as_ref()
            .map(|health| u32::try_from(health.grace.as_secs()).unwrap_or(u32::MAX));
        ServiceSpec {
            name: name.to_string(),
            settings: ServiceSettings {
                task_definition: String::new(),
                desired: service.count,
                placement: self.placement(),
                health_grace: target.as_ref().and(grace),
                load_balancers: target.into_iter().collect(),
                min_percent: 100,
                max_percent: 200,
                breaker: Some(Breaker {
                    rollback: true,
                    failures: Some(BREAKER_FAILURES),
                }),
                exec: false,
                platform_version: None,
            },
            tags: self.tags(None),
        }
    }

    /// Where a service writes, for explaining failures.
    pub(crate) fn service_log(&self, name: &ServiceName) -> Result<LogTarget, PipelineError> {
        self.log(name, "app")
    }
}

/// Where tasks run, by the stack's outputs.
pub(crate) fn placement(outputs: &StackOutputs) -> Placement {
    Placement {
        subnets: outputs.task_subnets.iter().cloned().collect(),
        security_groups: [outputs.task_security_group.clone()].into(),
        public_ip: outputs.assign_public_ip,
    }
}

/// How long a rollout of these services may take.
pub(crate) fn rollout_limit(config: &Config) -> Duration {
    let graces = config
        .services
        .values()
        .filter_map(|service| service.health.as_ref())
        .map(|health| health.grace);
    ROLLOUT_FLOOR + graces.max().unwrap_or_default() * 3
}
