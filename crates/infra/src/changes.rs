//! Change sets: what an update would do, before it does it.
//!
//! Invariant: a change set that is not executed is deleted, and so is a stack that exists for its sake only.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use aws_sdk_cloudformation::types::{
    Capability, ChangeAction, ChangeSetStatus, ChangeSetType, Replacement as SdkReplacement, StackStatus,
};
use nuages_aws::error::describe;
use nuages_aws::poll::{Verdict, Wait, wait_for};
use nuages_model::Progress;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::stack::{CATCH_UP, Stack};
use crate::template::Template;

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is made.
    Add,
    /// It is changed.
    Modify,
    /// It is removed.
    Remove,
    /// Something that exists is taken into the stack.
    Import,
    /// CloudFormation cannot say before it does it.
    Dynamic,
}

/// Whether a changed resource is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replacement {
    /// It stays.
    Never,
    /// It depends on values that are not known yet.
    Conditional,
    /// It is replaced by a new one.
    Always,
}

/// One resource's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceChange {
    /// What happens.
    pub action: Action,
    /// Its name within the template.
    pub logical_id: String,
    /// Its type, such as `AWS::RDS::DBInstance`.
    pub resource_type: String,
    /// Whether it is made anew.
    pub replacement: Replacement,
    /// What of it changes: `Properties`, `Tags`, `Metadata`, policies.
    pub scope: Vec<String>,
}

impl fmt::Display for ResourceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Add => "+",
            Action::Modify | Action::Dynamic => "~",
            Action::Remove => "-",
            Action::Import => "<",
        };
        write!(f, "{sign} {} {}", self.resource_type, self.logical_id)?;
        if self.action == Action::Modify && !self.scope.is_empty() {
            write!(f, " ({})", self.scope.join(", ").to_lowercase())?;
        }
        match self.replacement {
            Replacement::Never => Ok(()),
            Replacement::Conditional => f.write_str(", perhaps replaced"),
            Replacement::Always => f.write_str(", replaced"),
        }
    }
}

impl ResourceChange {
    /// Whether tasks run and start the same before and after it: it is about what stands between people and tasks.
    ///
    /// ```
    /// use nuages_infra::{Action, Replacement, ResourceChange};
    ///
    /// let change = |resource_type: &str| ResourceChange {
    ///     action: Action::Modify,
    ///     logical_id: "It".to_owned(),
    ///     resource_type: resource_type.to_owned(),
    ///     replacement: Replacement::Never,
    ///     scope: Vec::new(),
    /// };
    /// assert!(change("AWS::ElasticLoadBalancingV2::TargetGroup").is_before_tasks());
    /// assert!(!change("AWS::IAM::Role").is_before_tasks(), "a task may need the new rights");
    /// ```
    pub fn is_before_tasks(&self) -> bool {
        BEFORE_TASKS.contains(&self.resource_type.as_str())
    }
}

/// What stands between people and tasks.
const BEFORE_TASKS: [&str; 6] = [
    "AWS::CertificateManager::Certificate",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::ListenerRule",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::Route53::RecordSet",
];

/// What `up` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeSetPlan {
    /// Every resource's change.
    pub changes: Vec<ResourceChange>,
    /// Whether the stack is made by it.
    pub created: bool,
    /// Whether nothing changes.
    pub none: bool,
}

impl ChangeSetPlan {
    pub(crate) const fn nothing() -> Self {
        Self {
            changes: Vec::new(),
            created: false,
            none: true,
        }
    }

    /// A stack that is not there yet, by its template alone.
    pub(crate) fn all_new(template: &Template) -> Self {
        let changes = template
            .resource_types()
            .map(|(logical_id, resource_type)| ResourceChange {
                action: Action::Add,
                logical_id: logical_id.to_owned(),
                resource_type: resource_type.to_owned(),
                replacement: Replacement::Never,
                scope: Vec::new(),
            });
        Self {
            changes: changes.collect(),
            created: true,
            none: false,
        }
    }

    /// What of it would destroy data, apart from what the person named.
    pub fn destroys(&self, allow: &BTreeSet<String>) -> Vec<ResourceChange> {
        let destroys = |change: &&ResourceChange| {
            PRECIOUS.contains(&change.resource_type.as_str())
                && (change.action == Action::Remove || change.replacement != Replacement::Never)
                && !allow.contains(&change.logical_id)
        };
        self.changes.iter().filter(destroys).cloned().collect()
    }
}

/// What holds data, or holds what holds data.
const PRECIOUS: [&str; 6] = [
    "AWS::DynamoDB::Table",
    "AWS::EC2::VPC",
    "AWS::ECR::Repository",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBSubnetGroup",
    "AWS::SecretsManager::Secret",
];

/// A change set that CloudFormation has computed.
#[derive(Debug)]
pub(crate) struct ChangeSet {
    pub(crate) arn: String,
    pub(crate) stack_arn: String,
    pub(crate) name: String,
    /// What its template hashes to.
    pub(crate) hash: String,
    /// `None`: it contains no changes, and CloudFormation will not execute it.
    pub(crate) changes: Option<Vec<ResourceChange>>,
}

const CHANGE_SET_TIMEOUT: Duration = Duration::from_mins(5);

impl Stack {
    /// Creates a change set and waits until it is computed. One that fails is deleted.
    pub(crate) async fn create_change_set(
        &self,
        template: &Template,
        kind: ChangeSetType,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<ChangeSet, InfraError> {
        let name = format!("nuages-{}", unique());
        let tags = template.tags().map(|(key, value)| {
            aws_sdk_cloudformation::types::Tag::builder()
                .key(key)
                .value(value)
                .build()
        });
        let created = self
            .cloudformation
            .create_change_set()
            .stack_name(&self.name)
            .change_set_name(&name)
            .client_token(&name)
            .change_set_type(kind)
            .capabilities(Capability::CapabilityNamedIam)
            .template_body(template.body())
            .set_tags(Some(tags.collect()))
            .set_role_arn(self.service_role.as_ref().map(ToString::to_string))
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "create a change set",
                source: describe("cloudformation:CreateChangeSet", &e),
            })?;
        let arn = created.id().unwrap_or(&name).to_owned();
        let stack_arn = created.stack_id().unwrap_or(&self.name).to_owned();
        let wait = Wait {
            what: "the change set",
            pace: self.pace,
            timeout: CHANGE_SET_TIMEOUT,
            cancel,
            progress,
        };
        let change_set = ChangeSet {
            arn: arn.clone(),
            stack_arn,
            name,
            hash: template.hash().to_owned(),
            changes: None,
        };
        let asked = Instant::now();
        let fetch = || async {
            match self.fetch_change_set(&arn).await {
                // A read may be from before it was made.
                Err(error) if error.is_missing() && asked.elapsed() < CATCH_UP => Ok(Seen::pending()),
                seen => seen,
            }
        };
        let computed = wait_for(wait, fetch, |seen| match seen.status {
            ChangeSetStatus::CreateComplete => Verdict::Ready(Ok(Some(seen.changes.clone()))),
            ChangeSetStatus::Failed if means_no_change(&seen.reason) => Verdict::Ready(Ok(None)),
            ChangeSetStatus::Failed => Verdict::Ready(Err(InfraError::ChangeSet {
                reason: seen.reason.clone(),
            })),
            _ => Verdict::NotYet("computing what changes".to_owned()),
        })
        .await
        .map_err(InfraError::from)
        .flatten();
        match computed {
            Ok(changes) => Ok(ChangeSet { changes, ..change_set }),
            Err(error) => {
                // The first error is the one to show; what is left over is tidied again by the next plan or up.
                if let Err(error) = self.discard(&change_set).await {
                    tracing::warn!(%error, "a change set is left over");
                }
                Err(error)
            }
        }
    }

    async fn fetch_change_set(&self, arn: &str) -> Result<Seen, InfraError> {
        let mut seen = Seen::pending();
        let mut token = None;
        loop {
            let page = self
                .cloudformation
                .describe_change_set()
                .change_set_name(arn)
                .stack_name(&self.name)
                .set_next_token(token)
                .send()
                .await
                .map_err(|e| InfraError::Call {
                    what: "read the change set",
                    source: describe("cloudformation:DescribeChangeSet", &e),
                })?;
            seen.status = page.status().cloned().unwrap_or(ChangeSetStatus::CreatePending);
            page.status_reason().unwrap_or_default().clone_into(&mut seen.reason);
            seen.changes.extend(
                page.changes()
                    .iter()
                    .filter_map(|c| c.resource_change())
                    .map(read_change),
            );
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(seen);
            }
        }
    }

    /// Deletes a change set, and the stack if it exists for this change set's sake only.
    pub(crate) async fn discard(&self, change_set: &ChangeSet) -> Result<(), InfraError> {
        self.cloudformation
            .delete_change_set()
            .change_set_name(&change_set.arn)
            .stack_name(&self.name)
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "delete a change set",
                source: describe("cloudformation:DeleteChangeSet", &e),
            })?;
        let Some(state) = self.describe_by(&change_set.stack_arn).await? else {
            return Ok(());
        };
        if state.status != StackStatus::ReviewInProgress {
            return Ok(());
        }
        // Somebody else may be planning too; theirs is not ours to delete.
        let others = self
            .cloudformation
            .list_change_sets()
            .stack_name(&change_set.stack_arn)
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "list change sets",
                source: describe("cloudformation:ListChangeSets", &e),
            })?;
        if others
            .summaries()
            .iter()
            .all(|s| s.change_set_id() == Some(&change_set.arn))
        {
            self.request_deletion(&change_set.stack_arn).await?;
        }
        Ok(())
    }
}

struct Seen {
    status: ChangeSetStatus,
    reason: String,
    changes: Vec<ResourceChange>,
}

impl Seen {
    /// One of which nothing is known yet.
    const fn pending() -> Self {
        Self {
            status: ChangeSetStatus::CreatePending,
            reason: String::new(),
            changes: Vec::new(),
        }
    }
}

/// CloudFormation has no code for it: these two sentences are the answer, and every client reads them.
fn means_no_change(reason: &str) -> bool {
    reason.contains("didn't contain changes") || reason.contains("No updates are to be performed")
}

fn read_change(change: &aws_sdk_cloudformation::types::ResourceChange) -> ResourceChange {
    ResourceChange {
        action: match change.action() {
            Some(ChangeAction::Add) => Action::Add,
            Some(ChangeAction::Modify) => Action::Modify,
            Some(ChangeAction::Remove) => Action::Remove,
            Some(ChangeAction::Import) => Action::Import,
            _ => Action::Dynamic,
        },
        logical_id: change.logical_resource_id().unwrap_or_default().to_owned(),
        resource_type: change.resource_type().unwrap_or_default().to_owned(),
        replacement: match change.replacement() {
            Some(SdkReplacement::True) => Replacement::Always,
            Some(SdkReplacement::Conditional) => Replacement::Conditional,
            _ => Replacement::Never,
        },
        scope: change.scope().iter().map(|s| s.as_str().to_owned()).collect(),
    }
}

/// Sixteen hex digits that nobody else has.
pub(crate) fn unique() -> String {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0_u8; 8];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        // No randomness: the clock will do, since a name that is taken is refused and not overwritten.
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        bytes = now.as_micros().to_le_bytes()[..8].try_into().unwrap_or_default();
    }
    hex::encode(bytes)
}
