//! What a task definition is made from.
//!
//! Invariant: a [`TaskDefinitionSpec`] that passed [`check`](TaskDefinitionSpec::check) breaks no documented limit of
//! `RegisterTaskDefinition`, and each of its images is pinned by digest: what was tested is what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_sdk_ecs::types as ecs;
use nuages_model::{Arn, Digest, ImageRef, Region, SecretVersion};
use serde::{Deserialize, Serialize};

use crate::fargate;

/// What is wrong with a task definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DefinitionError {
    what: String,
    hint: Option<String>,
}

impl DefinitionError {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    /// How to put it right.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// An image that is named by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "ImageRef", into = "ImageRef")]
pub struct PinnedImage(ImageRef);

impl TryFrom<ImageRef> for PinnedImage {
    type Error = DefinitionError;
    fn try_from(image: ImageRef) -> Result<Self, DefinitionError> {
        match image.digest().cloned() {
            // Registries refuse a reference that has both, and the digest says all.
            Some(digest) => Ok(Self(image.with_digest(digest))),
            None => Err(DefinitionError::new(format!(
                "the image `{image}` is not pinned by a digest"
            ))),
        }
    }
}

impl From<PinnedImage> for ImageRef {
    fn from(image: PinnedImage) -> ImageRef {
        image.0
    }
}

impl PinnedImage {
    /// The reference.
    pub const fn image(&self) -> &ImageRef {
        &self.0
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The processor that the image is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// `linux/amd64`.
    Amd64,
    /// `linux/arm64`.
    Arm64,
}

impl Platform {
    pub(crate) const fn to_ecs(self) -> ecs::CpuArchitecture {
        match self {
            Self::Amd64 => ecs::CpuArchitecture::X8664,
            Self::Arm64 => ecs::CpuArchitecture::Arm64,
        }
    }
}

/// Where a container's output goes: one stream per task in a `CloudWatch` log group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogTarget {
    /// The log group's name.
    pub group: String,
    /// What the streams' names begin with.
    pub prefix: String,
    /// The group's region.
    pub region: Region,
}

impl LogTarget {
    /// The stream of one container of one task, named as the `awslogs` driver names it.
    pub fn stream(&self, container: &str, task_id: &str) -> String {
        format!("{}/{container}/{task_id}", self.prefix)
    }
}

/// A health check that ECS itself runs in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerHealth {
    /// `CMD` and its arguments, or `CMD-SHELL` and one string.
    pub command: Vec<String>,
    /// Seconds between checks: 5 to 300.
    pub interval: u16,
    /// Seconds that a check may take: 2 to 60.
    pub timeout: u16,
    /// Failures in a row that make it unhealthy: 1 to 10.
    pub retries: u8,
    /// Seconds after the start in which failures do not count: 0 to 300.
    pub start_period: u16,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: PinnedImage,
    /// Program and arguments; empty for the image's own.
    pub command: Vec<String>,
    /// Plain variables.
    pub env: BTreeMap<String, String>,
    /// Variables that ECS fills from Secrets Manager at start.
    pub secrets: BTreeMap<String, SecretVersion>,
    /// The port it listens on, if it does.
    pub port: Option<u16>,
    /// Where its output goes.
    pub log: LogTarget,
    /// Seconds between SIGTERM and SIGKILL: at most 120 on Fargate.
    pub stop_timeout: u16,
    /// A health check in the container, beside the load balancer's.
    pub health: Option<ContainerHealth>,
    /// Whether it cannot write to its own file system.
    pub read_only_root: bool,
    /// `USER` or `UID:GID`, where it is not the image's own.
    pub user: Option<String>,
    /// Whether the task ends with it.
    pub essential: bool,
    /// Whether a small init reaps processes; needed for `exec`.
    pub init: bool,
}

/// A task definition for Fargate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinitionSpec {
    /// The family that its revisions count in.
    pub family: String,
    /// CPU units.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The processor.
    pub platform: Platform,
    /// The role that pulls the image, reads the secrets and writes the log.
    pub execution_role: Arn,
    /// The role that the application has.
    pub task_role: Option<Arn>,
    /// The containers.
    pub containers: Vec<ContainerSpec>,
    /// Disk in GiB, 21 to 200; 20 without.
    pub ephemeral_storage: Option<u16>,
    /// Tags for people; they are no part of [`content`](Self::content).
    pub tags: BTreeMap<String, String>,
}

/// The docker label that makes a new version of a secret a new definition, and so a rollout: ECS reads secrets only
/// when a task starts, and a running task would keep the old value unseen.
pub(crate) const SECRETS_LABEL: &str = "nuages.secret-versions";

/// The tag that holds [`TaskDefinitionSpec::content`].
pub const CONTENT_TAG: &str = "nuages:content";

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl TaskDefinitionSpec {
    /// Checks every documented limit, so that a wrong value is told before anything is changed.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let refuse = |what: String| Err(DefinitionError::new(what));
        if !is_name(&self.family) {
            return refuse(format!(
                "the family `{}` is not 1 to 255 letters, digits, `-` and `_`",
                self.family
            ));
        }
        if let Some(hint) = fargate::wrong_pair(self.cpu, self.memory) {
            return Err(DefinitionError {
                what: format!("Fargate has no size of cpu {} with memory {}", self.cpu, self.memory),
                hint: Some(hint),
            });
        }
        if let Some(disk) = self.ephemeral_storage
            && !(21..=200).contains(&disk)
        {
            return refuse(format!("a disk of {disk} GiB is not between 21 and 200"));
        }
        if !self.containers.iter().any(|c| c.essential) {
            return refuse("no container is essential".into());
        }
        let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for container in &self.containers {
            container.check()?;
            if !names.insert(&container.name) {
                return refuse(format!("two containers are called `{}`", container.name));
            }
            // Containers of a task share one network interface.
            if let Some(port) = container.port
                && !ports.insert(port)
            {
                return refuse(format!("two containers listen on port {port}"));
            }
        }
        if self.tags.len() > 49 {
            return refuse("there are more than 49 tags".into());
        }
        Ok(())
    }

    /// The digest of all that ECS acts upon: equal content, equal digest, in whatever order it was written.
    ///
    /// A secret counts with the version that is current, so that a rotated secret is new content.
    pub fn content(&self) -> Digest {
        Digest::of(crate::diff::view_of_spec(self).to_string().as_bytes())
    }

    /// The containers as the API takes them.
    pub(crate) fn to_ecs(&self) -> Vec<ecs::ContainerDefinition> {
        self.containers.iter().map(ContainerSpec::to_ecs).collect()
    }
}

impl ContainerSpec {
    fn check(&self) -> Result<(), DefinitionError> {
        let name = &self.name;
        let refuse = |what: String| Err(DefinitionError::new(what));
        if !is_name(name) {
            return refuse(format!(
                "the container name `{name}` is not 1 to 255 letters, digits, `-` and `_`"
            ));
        }
        if self.stop_timeout > 120 {
            return refuse(format!(
                "container `{name}`: a stop timeout of {} s is over Fargate's 120",
                self.stop_timeout
            ));
        }
        if self.port == Some(0) {
            return refuse(format!("container `{name}`: port 0 is no port"));
        }
        if let Some(both) = self.env.keys().find(|key| self.secrets.contains_key(*key)) {
            return refuse(format!(
                "container `{name}`: `{both}` is both a plain variable and a secret"
            ));
        }
        if let Some(health) = &self.health {
            let command_ok = matches!(health.command.first().map(String::as_str), Some("CMD" | "CMD-SHELL"))
                && health.command.len() > 1;
            let numbers_ok = (5..=300).contains(&health.interval)
                && (2..=60).contains(&health.timeout)
                && (1..=10).contains(&health.retries)
                && health.start_period <= 300;
            if !command_ok || !numbers_ok {
                return refuse(format!(
                    "container `{name}`: its health check needs `CMD` or `CMD-SHELL` with a command, an interval of 5 to \
                     300 s, a timeout of 2 to 60 s, 1 to 10 retries and a start period of at most 300 s"
                ));
            }
        }
        Ok(())
    }

    /// What stands in the label that pins the secrets' versions; none where no version is known.
    pub(crate) fn secrets_label(&self) -> Option<String> {
        if self.secrets.values().all(|s| s.version_id.is_none()) {
            return None;
        }
        let lines: Vec<String> = self
            .secrets
            .iter()
            .map(|(name, s)| {
                format!(
                    "{name}={}@{}",
                    s.value_from(),
                    s.version_id.as_deref().unwrap_or_default()
                )
            })
            .collect();
        Some(Digest::of(lines.join("\n").as_bytes()).short().to_owned())
    }

    fn to_ecs(&self) -> ecs::ContainerDefinition {
        use ecs::builders::{
            HealthCheckBuilder, KeyValuePairBuilder, LinuxParametersBuilder, LogConfigurationBuilder,
            PortMappingBuilder, SecretBuilder,
        };
        let log = LogConfigurationBuilder::default()
            .log_driver(ecs::LogDriver::Awslogs)
            .options("awslogs-group", &self.log.group)
            .options("awslogs-region", self.log.region.as_str())
            .options("awslogs-stream-prefix", &self.log.prefix)
            .build();
        let mut container = ecs::ContainerDefinition::builder()
            .name(&self.name)
            .image(self.image.to_string())
            .essential(self.essential)
            .stop_timeout(self.stop_timeout.into())
            .readonly_root_filesystem(self.read_only_root)
            .set_user(self.user.clone())
            // A builder fails only where a required field is missing, and the driver is set.
            .set_log_configuration(log.ok());
        for word in &self.command {
            container = container.command(word);
        }
        for (name, value) in &self.env {
            container = container.environment(KeyValuePairBuilder::default().name(name).value(value).build());
        }
        let secrets = self.secrets.iter();
        let secrets = secrets.filter_map(|(name, s)| {
            SecretBuilder::default()
                .name(name)
                .value_from(s.value_from())
                .build()
                .ok()
        });
        container = container.set_secrets(Some(secrets.collect()));
        if let Some(port) = self.port {
            container = container.port_mappings(
                PortMappingBuilder::default()
                    .container_port(port.into())
                    .host_port(port.into())
                    .protocol(ecs::TransportProtocol::Tcp)
                    .build(),
            );
        }
        if let Some(health) = &self.health {
            let check = HealthCheckBuilder::default()
                .set_command(Some(health.command.clone()))
                .interval(health.interval.into())
                .timeout(health.timeout.into())
                .retries(health.retries.into())
                .start_period(health.start_period.into())
                .build();
            container = container.set_health_check(check.ok());
        }
        if self.init {
            container =
                container.linux_parameters(LinuxParametersBuilder::default().init_process_enabled(true).build());
        }
        if let Some(label) = self.secrets_label() {
            container = container.docker_labels(SECRETS_LABEL, label);
        }
        container.build()
    }
}
