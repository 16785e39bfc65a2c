//! One environment's stack as it stands.
//!
//! Invariant: nothing is done to a stack that does not carry this application's and environment's tags.

use std::time::Duration;

use aws_sdk_cloudformation::types::StackStatus;
use nuages_aws::error::describe;
use nuages_aws::poll::{Pace, Verdict, Wait, wait_for};
use nuages_aws::{AwsContext, ServiceError};
use nuages_model::{AppName, Arn, EnvName, Progress, World};
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::spec::stack_name;
use crate::template::{StackOutputs, TAG_APP, TAG_ENV, TAG_WORLD};

/// How often CloudFormation is looked at: soon at first, since much is done in a second.
const PACE: Pace = Pace {
    first: Duration::from_millis(150),
    max: Duration::from_secs(2),
    factor: 1.5,
};

/// The longest that an operation on a stack may take: a database of some size takes half an hour.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_mins(90);

/// CloudFormation's reads are eventually consistent: what was just made may not be seen for so long.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(10);

/// The handle of one environment's stack.
///
/// ```no_run
/// use nuages_infra::Stack;
///
/// # async fn example(aws: nuages_aws::AwsContext) -> Result<(), Box<dyn std::error::Error>> {
/// let stack = Stack::new(&aws, &"blog".parse()?, &"staging".parse()?);
/// if let Some(state) = stack.describe().await? {
///     println!("{} is in {}", state.arn, state.status.as_str());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Stack {
    pub(crate) aws: AwsContext,
    pub(crate) cloudformation: aws_sdk_cloudformation::Client,
    pub(crate) app: AppName,
    pub(crate) env: EnvName,
    pub(crate) name: String,
    pub(crate) service_role: Option<Arn>,
    pub(crate) pace: Pace,
}

/// A stack as CloudFormation describes it.
#[derive(Debug, Clone)]
pub struct StackState {
    /// Its ARN, which stays valid after its deletion.
    pub arn: Arn,
    /// Its status.
    pub status: StackStatus,
    /// What CloudFormation adds to the status.
    pub reason: Option<String>,
    /// The environment's identity.
    pub world: Option<World>,
    raw_outputs: Vec<(String, String)>,
}

impl StackState {
    /// What the stack tells the deployer.
    pub fn outputs(&self) -> Result<StackOutputs, InfraError> {
        StackOutputs::parse(self.raw_outputs.iter().map(|(k, v)| (k.as_str(), v.as_str()))).map_err(|source| {
            InfraError::Outputs {
                stack: self.arn.to_string(),
                source,
            }
        })
    }

    /// What the template hashed to that the stack was made from.
    pub(crate) fn template_hash(&self) -> Option<&str> {
        self.raw_outputs
            .iter()
            .find(|(k, _)| k == crate::template::HASH_OUTPUT)
            .map(|(_, v)| v.as_str())
    }

    /// Whether the stack stands: made at least once, and not on its way out.
    pub fn stands(&self) -> bool {
        !matches!(
            self.status,
            StackStatus::ReviewInProgress
                | StackStatus::CreateInProgress
                | StackStatus::CreateFailed
                | StackStatus::RollbackInProgress
                | StackStatus::RollbackComplete
                | StackStatus::RollbackFailed
                | StackStatus::DeleteInProgress
                | StackStatus::DeleteFailed
                | StackStatus::DeleteComplete
        )
    }
}

/// What there is to build on.
pub(crate) enum Standing {
    /// Nothing.
    Absent,
    /// A creation that failed; it must be deleted first.
    Remains(StackState),
    /// A stack.
    Stands(StackState),
}

impl Stack {
    /// The stack of an application's environment. No call is made.
    pub fn new(aws: &AwsContext, app: &AppName, env: &EnvName) -> Self {
        Self {
            aws: aws.clone(),
            cloudformation: aws_sdk_cloudformation::Client::new(aws.sdk()),
            app: app.clone(),
            env: env.clone(),
            name: stack_name(app, env),
            service_role: None,
            pace: PACE,
        }
    }

    /// Lets CloudFormation work as this role rather than as the caller.
    #[must_use]
    pub fn with_service_role(mut self, role: Option<Arn>) -> Self {
        self.service_role = role;
        self
    }

    /// Looks at CloudFormation more or less often than it does by itself.
    #[must_use]
    pub const fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The stack's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stack as it stands; none where there is none. One call.
    pub async fn describe(&self) -> Result<Option<StackState>, InfraError> {
        match self.describe_by(&self.name).await? {
            // A deleted stack is still found by its ARN, never by its name; not every emulator knows that.
            Some(state) if state.status == StackStatus::DeleteComplete => Ok(None),
            state => Ok(state),
        }
    }

    pub(crate) async fn describe_by(&self, name_or_arn: &str) -> Result<Option<StackState>, InfraError> {
        let answer = match self
            .cloudformation
            .describe_stacks()
            .stack_name(name_or_arn)
            .send()
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                let source = describe("cloudformation:DescribeStacks", &error);
                return if says_missing(&source) {
                    Ok(None)
                } else {
                    Err(InfraError::Call {
                        what: "look at the stack",
                        source,
                    })
                };
            }
        };
        let Some(stack) = answer.stacks().first() else {
            return Ok(None);
        };
        let tag = |key: &str| {
            stack
                .tags()
                .iter()
                .find(|t| t.key() == Some(key))
                .and_then(|t| t.value())
        };
        let status = stack.stack_status().cloned().unwrap_or(StackStatus::CreateInProgress);
        let ours = tag(TAG_APP) == Some(self.app.as_str()) && tag(TAG_ENV) == Some(self.env.as_str());
        if !ours && status != StackStatus::DeleteComplete {
            return Err(InfraError::NotOurs {
                stack: self.name.clone(),
            });
        }
        let arn = stack.stack_id().and_then(|id| id.parse().ok());
        Ok(arn.map(|arn| StackState {
            arn,
            status,
            reason: stack.stack_status_reason().filter(|r| !r.is_empty()).map(str::to_owned),
            world: tag(TAG_WORLD).and_then(|w| w.parse().ok()),
            raw_outputs: stack
                .outputs()
                .iter()
                .filter_map(|o| Some((o.output_key()?.to_owned(), o.output_value()?.to_owned())))
                .collect(),
        }))
    }

    /// Waits for whatever CloudFormation is doing with the stack, and says what there is to build on.
    pub(crate) async fn settle(
        &self,
        mend: bool,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Standing, InfraError> {
        let mut continued = false;
        loop {
            let Some(state) = self.wait_while_busy(progress, cancel).await? else {
                return Ok(Standing::Absent);
            };
            match state.status {
                // Only a change set is there; the next one takes its place.
                StackStatus::ReviewInProgress => return Ok(Standing::Absent),
                StackStatus::CreateFailed | StackStatus::RollbackComplete | StackStatus::RollbackFailed => {
                    return Ok(Standing::Remains(state));
                }
                StackStatus::DeleteFailed => {
                    let reason = state
                        .reason
                        .unwrap_or_else(|| "CloudFormation gives no reason".to_owned());
                    return Err(InfraError::HalfDeleted {
                        stack: self.name.clone(),
                        reason,
                    });
                }
                StackStatus::UpdateRollbackFailed if mend && !continued => {
                    progress.status("continuing a rollback that had failed");
                    self.continue_rollback(&state).await?;
                    continued = true;
                }
                StackStatus::UpdateRollbackFailed => {
                    return Err(InfraError::Unplannable {
                        stack: self.name.clone(),
                        status: state.status.to_string(),
                    });
                }
                _ => return Ok(Standing::Stands(state)),
            }
        }
    }

    /// Waits for a stack that is busy, whatever it ends in.
    pub(crate) async fn wait_while_busy(
        &self,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Option<StackState>, InfraError> {
        let what = format!("the stack {}", self.name);
        let wait = Wait {
            what: &what,
            pace: self.pace,
            timeout: OPERATION_TIMEOUT,
            cancel,
            progress,
        };
        let settled = wait_for(
            wait,
            || self.describe(),
            |state| match state {
                Some(state) if is_busy(&state.status) => {
                    Verdict::NotYet(format!("{} is in {}", self.name, state.status))
                }
                state => Verdict::Ready(state.clone()),
            },
        );
        Ok(settled.await?)
    }

    async fn continue_rollback(&self, state: &StackState) -> Result<(), InfraError> {
        self.cloudformation
            .continue_update_rollback()
            .stack_name(state.arn.as_str())
            .set_role_arn(self.service_role.as_ref().map(ToString::to_string))
            .client_request_token(format!("nuages-{}", crate::changes::unique()))
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "continue the rollback",
                source: describe("cloudformation:ContinueUpdateRollback", &e),
            })?;
        Ok(())
    }

    /// Asks CloudFormation to delete a stack; the answer's token marks the deletion's events.
    pub(crate) async fn request_deletion(&self, arn: &str) -> Result<String, InfraError> {
        let token = format!("nuages-{}", crate::changes::unique());
        self.cloudformation
            .delete_stack()
            .stack_name(arn)
            .client_request_token(&token)
            .set_role_arn(self.service_role.as_ref().map(ToString::to_string))
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "delete the stack",
                source: describe("cloudformation:DeleteStack", &e),
            })?;
        Ok(token)
    }
}

/// CloudFormation answers a missing stack with `ValidationError`, the code of every bad request; `DescribeStacks` with a
/// well-formed name has no other way of getting it.
pub(crate) fn says_missing(error: &ServiceError) -> bool {
    error.is_code("ValidationError") || error.is_code("StackNotFoundException")
}

fn is_busy(status: &StackStatus) -> bool {
    *status != StackStatus::ReviewInProgress && status.as_str().ends_with("_IN_PROGRESS")
}
