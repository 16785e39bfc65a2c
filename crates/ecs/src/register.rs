//! Registering a task definition once.
//!
//! Invariant: `RegisterTaskDefinition` has no idempotency token, so the family's newest revision is read first, and a
//! definition that says the same is used instead of registered again. One read and at most one write.

use aws_sdk_ecs::types as ecs;
use nuages_aws::error::Kind;
use nuages_model::{Arn, Digest};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, told};
use crate::definition::{CONTENT_TAG, TaskDefinitionSpec};
use crate::diff::{DefinitionDiff, diff};
use crate::error::EcsError;

/// A registered definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The revision's ARN.
    pub arn: Arn,
    /// Whether this call made it; else it was there.
    pub new: bool,
    /// The digest of what it says.
    pub content: Digest,
}

impl Cluster {
    /// The newest active revision of a family, if there is one.
    pub async fn definition(&self, family_or_arn: &str) -> Result<Option<ecs::TaskDefinition>, EcsError> {
        let answer = self
            .ecs
            .describe_task_definition()
            .task_definition(family_or_arn)
            .send()
            .await;
        match answer.map_err(told("ecs:DescribeTaskDefinition")) {
            Ok(answer) => Ok(answer.task_definition),
            // ECS says "ClientException: Unable to describe task definition." of a family that it does not know.
            Err(e) if e.is_code("ClientException") || e.kind == Kind::NotFound => Ok(None),
            Err(e) => Err(EcsError::call(format!("read the task definition `{family_or_arn}`"))(e)),
        }
    }

    /// What differs between the family's newest revision and this definition.
    pub async fn diff(&self, spec: &TaskDefinitionSpec) -> Result<DefinitionDiff, EcsError> {
        let live = self.definition(&spec.family).await?;
        Ok(diff(live.as_ref(), spec))
    }

    /// The revision that says exactly this: the family's newest one, or a new one.
    ///
    /// ```no_run
    /// # async fn example(cluster: nuages_ecs::Cluster, spec: nuages_ecs::TaskDefinitionSpec) -> Result<(), nuages_ecs::EcsError> {
    /// let first = cluster.register(&spec).await?;
    /// let again = cluster.register(&spec).await?;
    /// assert_eq!(first.arn, again.arn);
    /// assert!(!again.new);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register(&self, spec: &TaskDefinitionSpec) -> Result<Registered, EcsError> {
        spec.check().map_err(|source| EcsError::Definition {
            family: spec.family.clone(),
            source,
        })?;
        if let Some(live) = self.definition(&spec.family).await?
            && diff(Some(&live), spec).is_empty()
            && let Some(arn) = live.task_definition_arn()
        {
            let arn = arn
                .parse()
                .map_err(|e| EcsError::refused(doing(spec), format!("{e}")))?;
            return Ok(Registered {
                arn,
                new: false,
                content: spec.content(),
            });
        }
        self.register_new(spec).await
    }

    /// A new revision, for whoever has just seen that the newest one says something else. Called twice it makes two.
    pub async fn register_new(&self, spec: &TaskDefinitionSpec) -> Result<Registered, EcsError> {
        spec.check().map_err(|source| EcsError::Definition {
            family: spec.family.clone(),
            source,
        })?;
        let content = spec.content();
        let what = || doing(spec);
        let mut call = self
            .ecs
            .register_task_definition()
            .family(&spec.family)
            .requires_compatibilities(ecs::Compatibility::Fargate)
            .network_mode(ecs::NetworkMode::Awsvpc)
            .cpu(spec.cpu.to_string())
            .memory(spec.memory.to_string())
            .execution_role_arn(spec.execution_role.as_str())
            .set_task_role_arn(spec.task_role.as_ref().map(ToString::to_string))
            .runtime_platform(
                ecs::RuntimePlatform::builder()
                    .cpu_architecture(spec.platform.to_ecs())
                    .operating_system_family(ecs::OsFamily::Linux)
                    .build(),
            )
            .set_container_definitions(Some(spec.to_ecs()))
            .tags(tag(CONTENT_TAG, content.short()));
        if let Some(gib) = spec.ephemeral_storage {
            call = call.set_ephemeral_storage(Some(ecs::EphemeralStorage::builder().size_in_gib(gib.into()).build()));
        }
        for (key, value) in &spec.tags {
            call = call.tags(tag(key, value));
        }
        let answer = call
            .send()
            .await
            .map_err(told("ecs:RegisterTaskDefinition"))
            .map_err(EcsError::call(what()))?;
        let arn = answer
            .task_definition()
            .and_then(|d| d.task_definition_arn())
            .unwrap_or_default();
        let arn = arn
            .parse()
            .map_err(|e| EcsError::refused(what(), format!("the answer is unusable: {e}")))?;
        Ok(Registered {
            arn,
            new: true,
            content,
        })
    }

    /// Deregisters a revision. Services that use it keep running it; nothing new can start from it.
    pub async fn deregister(&self, arn: &str) -> Result<(), EcsError> {
        let answer = self.ecs.deregister_task_definition().task_definition(arn).send().await;
        match answer.map_err(told("ecs:DeregisterTaskDefinition")) {
            Ok(_) => Ok(()),
            Err(e) if e.is_code("ClientException") || e.kind == Kind::NotFound => Ok(()),
            Err(e) => Err(EcsError::call(format!("deregister the task definition `{arn}`"))(e)),
        }
    }
}

pub(crate) fn tag(key: &str, value: &str) -> ecs::Tag {
    ecs::Tag::builder().key(key).value(value).build()
}

fn doing(spec: &TaskDefinitionSpec) -> String {
    format!("register the task definition `{}`", spec.family)
}
