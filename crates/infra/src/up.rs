//! Bringing an environment's stack to what its spec says.
//!
//! Invariant: nothing that holds data is removed or replaced unless the person named it, and a stack that is as the spec
//! says costs one call.

use std::collections::BTreeSet;

use aws_sdk_cloudformation::types::{Capability, ChangeSetType};
use nuages_aws::error::describe;
use nuages_model::Progress;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::changes::{ChangeSet, ChangeSetPlan, ResourceChange, unique};
use crate::error::InfraError;
use crate::events::Operation;
use crate::spec::StackSpec;
use crate::stack::{CATCH_UP, Stack, StackState, Standing};
use crate::template::{StackOutputs, Template};

/// What an `up` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpKind {
    /// Nothing: the stack was as the spec says.
    Unchanged,
    /// The stack was made.
    Created,
    /// The stack was changed.
    Updated,
    /// Nothing yet: the stack stands as it was, and differs from the spec.
    Pending,
}

/// What is done about a stack that stands already, and is not as the spec says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Changed,
    Left,
}

/// How an `up` ended.
#[derive(Debug, Clone)]
pub struct UpOutcome {
    /// What it did.
    pub kind: UpKind,
    /// What the stack tells the deployer.
    pub outputs: StackOutputs,
    /// What changed, or what is still to be changed.
    pub changes: Vec<ResourceChange>,
    /// Whether `DATABASE_URL` has another value than before although the stack did not change: an emulator's database
    /// came back at another address. Running tasks still have the old one.
    pub database_moved: bool,
    /// Where an emulator says that its database is; none where the stack has it.
    pub database_address: Option<String>,
}

impl Stack {
    /// What [`up`](Self::up) would do. Leaves nothing behind: neither a change set nor a stack.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack, spec: nuages_infra::StackSpec) -> Result<(), nuages_infra::InfraError> {
    /// let plan = stack.plan(&spec, &Default::default(), &Default::default()).await?;
    /// for change in &plan.changes {
    ///     println!("{change}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan(
        &self,
        spec: &StackSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<ChangeSetPlan, InfraError> {
        let (kind, template) = match self.settle(false, progress, cancel).await? {
            Standing::Absent => (ChangeSetType::Create, Template::render(spec)?),
            // CloudFormation makes no change set for it before it is deleted, which is not a plan's business.
            Standing::Remains(_) => return Ok(ChangeSetPlan::all_new(&Template::render(spec)?)),
            Standing::Stands(state) => {
                let template = Template::render(&adopt(spec, &state))?;
                if state.template_hash() == Some(template.hash()) {
                    return Ok(ChangeSetPlan::nothing());
                }
                (ChangeSetType::Update, template)
            }
        };
        let created = kind == ChangeSetType::Create;
        let change_set = self.create_change_set(&template, kind, progress, cancel).await?;
        self.discard(&change_set).await?;
        Ok(match change_set.changes {
            Some(changes) => ChangeSetPlan {
                changes,
                created,
                none: false,
            },
            None => ChangeSetPlan::nothing(),
        })
    }

    /// Makes or changes the stack, and on an emulator the database beside it. `allow` names what may be destroyed
    /// although it holds data, by logical id.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack, spec: nuages_infra::StackSpec) -> Result<(), nuages_infra::InfraError> {
    /// let up = stack.up(&spec, &Default::default(), &Default::default(), &Default::default()).await?;
    /// println!("tasks run in {}", up.outputs.task_subnets.join(", "));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn up(
        &self,
        spec: &StackSpec,
        allow: &BTreeSet<String>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<UpOutcome, InfraError> {
        self.bring_up(spec, Existing::Changed, allow, progress, cancel).await
    }

    /// Makes the stack where there is none, and leaves one that stands as it is: what [`up`](Self::up) would change of
    /// it is told ([`UpKind::Pending`]), and refused where `up` would refuse it. No change set is left.
    ///
    /// For whoever has something to do before what serves may change: build, test, push.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack, spec: nuages_infra::StackSpec) -> Result<(), nuages_infra::InfraError> {
    /// let stood = stack.stand(&spec, &Default::default(), &Default::default(), &Default::default()).await?;
    /// for change in &stood.changes {
    ///     println!("{change}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stand(
        &self,
        spec: &StackSpec,
        allow: &BTreeSet<String>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<UpOutcome, InfraError> {
        self.bring_up(spec, Existing::Left, allow, progress, cancel).await
    }

    async fn bring_up(
        &self,
        spec: &StackSpec,
        existing: Existing,
        allow: &BTreeSet<String>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<UpOutcome, InfraError> {
        let standing = self.settle(true, progress, cancel).await?;
        let (kind, outputs, changes) = match standing {
            Standing::Stands(state) => {
                self.update(&adopt(spec, &state), &state, existing, allow, progress, cancel)
                    .await?
            }
            Standing::Absent => self.create(spec, progress, cancel).await?,
            Standing::Remains(state) => {
                progress.status(format!("clearing away a creation that failed ({})", state.status));
                self.clear_remains(&state, progress, cancel).await?;
                self.create(spec, progress, cancel).await?
            }
        };
        let (mut database_moved, mut database_address) = (false, None);
        if let (Some(database), Some(made), true) = (&spec.database, &outputs.database, spec.emulation.database_by_api)
        {
            let ensured = Box::pin(self.ensure_database(database, made, &outputs.world, progress, cancel)).await?;
            database_moved = ensured.rewritten && kind != UpKind::Created;
            database_address = Some(ensured.address);
        }
        Ok(UpOutcome {
            kind,
            outputs,
            changes,
            database_moved,
            database_address,
        })
    }

    async fn create(
        &self,
        spec: &StackSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(UpKind, StackOutputs, Vec<ResourceChange>), InfraError> {
        let template = Template::render(spec)?;
        if self.aws.quirks().needs_service_linked_roles() {
            self.make_service_linked_roles(progress).await?;
        }
        let change_set = self
            .create_change_set(&template, ChangeSetType::Create, progress, cancel)
            .await?;
        let (outputs, changes) = self
            .execute(
                change_set,
                &BTreeSet::new(),
                template.resource_count(),
                progress,
                cancel,
            )
            .await?;
        Ok((UpKind::Created, outputs, changes))
    }

    async fn update(
        &self,
        spec: &StackSpec,
        state: &StackState,
        existing: Existing,
        allow: &BTreeSet<String>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(UpKind, StackOutputs, Vec<ResourceChange>), InfraError> {
        let template = Template::render(spec)?;
        if state.template_hash() == Some(template.hash()) {
            return Ok((UpKind::Unchanged, state.outputs()?, Vec::new()));
        }
        let change_set = self
            .create_change_set(&template, ChangeSetType::Update, progress, cancel)
            .await?;
        let Some(changes) = &change_set.changes else {
            self.discard(&change_set).await?;
            // The template differs, if only in what the stack tells: that is a change set in AWS.
            if self.aws.quirks().change_sets_see_outputs() {
                return Ok((UpKind::Unchanged, state.outputs()?, Vec::new()));
            }
            let outputs = self.update_outputs(&template, progress, cancel).await?;
            return Ok((UpKind::Updated, outputs, Vec::new()));
        };
        if existing == Existing::Left {
            let changes = changes.clone();
            // Kept, it would be left over by whoever dies before it is executed.
            self.discard(&change_set).await?;
            let changes = tell_and_allow(changes, allow, progress)?;
            return Ok((UpKind::Pending, state.outputs()?, changes));
        }
        let count = changes.len();
        let (outputs, changes) = self.execute(change_set, allow, count, progress, cancel).await?;
        Ok((UpKind::Updated, outputs, changes))
    }

    async fn execute(
        &self,
        mut change_set: ChangeSet,
        allow: &BTreeSet<String>,
        resources: usize,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(StackOutputs, Vec<ResourceChange>), InfraError> {
        let changes = change_set.changes.take().unwrap_or_default();
        let changes = match tell_and_allow(changes, allow, progress) {
            Ok(changes) => changes,
            Err(refused) => {
                self.discard(&change_set).await?;
                return Err(refused);
            }
        };
        if cancel.is_cancelled() {
            self.discard(&change_set).await?;
            return Err(InfraError::Cancelled {
                what: "the change set".to_owned(),
                last: "nothing was changed".to_owned(),
            });
        }
        let after = self.newest_event(&change_set.stack_arn).await?;
        self.cloudformation
            .execute_change_set()
            .change_set_name(&change_set.arn)
            .stack_name(&self.name)
            .client_request_token(&change_set.name)
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "execute the change set",
                source: describe("cloudformation:ExecuteChangeSet", &e),
            })?;
        let what = format!("the stack {}", self.name);
        let operation = Operation {
            stack_arn: &change_set.stack_arn,
            token: &change_set.name,
            after,
            what: &what,
            resources: Some(resources),
            hash: Some(&change_set.hash),
        };
        Ok((self.conclude(&operation, progress, cancel).await?, changes))
    }

    /// Updates the stack without a change set, where that shows resources alone.
    async fn update_outputs(
        &self,
        template: &Template,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<StackOutputs, InfraError> {
        let stack_arn = self
            .describe()
            .await?
            .map_or_else(|| self.name.clone(), |state| state.arn.to_string());
        let after = self.newest_event(&stack_arn).await?;
        let token = format!("nuages-{}", unique());
        self.cloudformation
            .update_stack()
            .stack_name(&self.name)
            .template_body(template.body())
            .capabilities(Capability::CapabilityNamedIam)
            .client_request_token(&token)
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "update the stack",
                source: describe("cloudformation:UpdateStack", &e),
            })?;
        let what = format!("the stack {}", self.name);
        let operation = Operation {
            stack_arn: &stack_arn,
            token: &token,
            after,
            what: &what,
            resources: None,
            hash: Some(template.hash()),
        };
        self.conclude(&operation, progress, cancel).await
    }

    /// Waits for an operation to end well, and reads what the stack tells then.
    async fn conclude(
        &self,
        operation: &Operation<'_>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<StackOutputs, InfraError> {
        let ended = self.follow(operation, progress, cancel).await?;
        if !ended.succeeded() {
            let status = ended.status.to_string();
            return Err(InfraError::Failed {
                stack: self.name.clone(),
                status,
                cause: ended.cause,
            });
        }
        // What is described may be from before: the template that the stack was made from tells.
        let began = Instant::now();
        let state = loop {
            let state = self.describe().await?;
            let hash = state.as_ref().and_then(StackState::template_hash);
            if hash == operation.hash || began.elapsed() >= CATCH_UP {
                break state;
            }
            tokio::time::sleep(self.pace.max).await;
        };
        let state = state.ok_or_else(|| InfraError::Missing {
            stack: self.name.clone(),
        })?;
        state.outputs()
    }

    /// ECS, load balancing, RDS and auto scaling work as roles that a fresh account does not have; a stack that needs
    /// one before it exists fails.
    async fn make_service_linked_roles(&self, progress: &Progress) -> Result<(), InfraError> {
        let iam = aws_sdk_iam::Client::new(self.aws.sdk());
        for (service, _) in crate::bootstrap::LINKED {
            if let Err(error) = iam.create_service_linked_role().aws_service_name(service).send().await {
                let source = describe("iam:CreateServiceLinkedRole", &error);
                match source.kind {
                    // `InvalidInput` is how IAM says that it is there already.
                    nuages_aws::Kind::Invalid | nuages_aws::Kind::Conflict => {}
                    // Who deploys writes nothing in IAM; the person who made CloudFormation's role made these as well.
                    nuages_aws::Kind::AccessDenied if self.service_role.is_some() => {}
                    // The service may make it itself, as CloudFormation's role may.
                    nuages_aws::Kind::AccessDenied => progress.warning(format!(
                        "may not make the service-linked role of {service}; if this account has never used it, the \
                         stack may fail"
                    )),
                    _ => {
                        return Err(InfraError::Call {
                            what: "make a service-linked role",
                            source,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Shows the changes, and refuses those that would destroy what holds data.
fn tell_and_allow(
    changes: Vec<ResourceChange>,
    allow: &BTreeSet<String>,
    progress: &Progress,
) -> Result<Vec<ResourceChange>, InfraError> {
    for change in &changes {
        progress.line("changes", change.to_string());
    }
    let plan = ChangeSetPlan {
        changes,
        created: false,
        none: false,
    };
    let destroyed = plan.destroys(allow);
    if destroyed.is_empty() {
        Ok(plan.changes)
    } else {
        Err(InfraError::Refused { changes: destroyed })
    }
}

/// The same spec with the identity that the stack already has.
fn adopt(spec: &StackSpec, state: &StackState) -> StackSpec {
    StackSpec {
        world: state.world.unwrap_or(spec.world),
        ..spec.clone()
    }
}
