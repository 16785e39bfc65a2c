//! What can go wrong with an environment's stack.

use std::fmt;
use std::time::Duration;

use nuages_aws::poll::WaitError;
use nuages_aws::{Kind, ServiceError};

use crate::changes::ResourceChange;
use crate::events::Cause;
use crate::spec::SpecError;
use crate::stack::says_missing;
use crate::template::OutputError;

/// Why something could not be done with a stack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfraError {
    /// The inputs make no stack.
    #[error("the environment cannot be described as a stack")]
    Spec(#[from] SpecError),
    /// A call failed.
    #[error("failed to {what}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// What the service said.
        #[source]
        source: ServiceError,
    },
    /// The stack is there and says something else than ours would.
    #[error("the stack `{stack}` cannot be read")]
    Outputs {
        /// Its name.
        stack: String,
        /// Which output.
        #[source]
        source: OutputError,
    },
    /// There is no stack.
    #[error("there is no stack `{stack}`")]
    Missing {
        /// The name that was looked for.
        stack: String,
    },
    /// A stack of this name belongs to somebody else.
    #[error("the stack `{stack}` was not made by nuages for this application and environment")]
    NotOurs {
        /// Its name.
        stack: String,
    },
    /// A deletion stopped half way, and nothing but another deletion can follow it.
    #[error("the stack `{stack}` is half deleted: {reason}")]
    HalfDeleted {
        /// Its name.
        stack: String,
        /// What CloudFormation says.
        reason: String,
    },
    /// The stack is in a state from which there is no plan.
    #[error("the stack `{stack}` is in {status}, from which nothing can be planned")]
    Unplannable {
        /// Its name.
        stack: String,
        /// Its status.
        status: String,
    },
    /// CloudFormation made no change set of the template.
    #[error("CloudFormation refused the template: {reason}")]
    ChangeSet {
        /// What it says.
        reason: String,
    },
    /// The change would destroy what holds data.
    #[error("the change would destroy {}", Listed(changes))]
    Refused {
        /// What would be destroyed.
        changes: Vec<ResourceChange>,
    },
    /// The stack's operation failed, and CloudFormation has undone it or tried to.
    #[error("the stack `{stack}` ended in {status}{}", Because(cause.as_deref()))]
    Failed {
        /// Its name.
        stack: String,
        /// The status that it ended in.
        status: String,
        /// The first real cause among its events.
        cause: Option<Box<Cause>>,
    },
    /// No zone of the account holds the domain.
    #[error("no public Route 53 zone of this account holds the domain `{domain}`")]
    NoZone {
        /// The domain.
        domain: String,
    },
    /// More than one zone could be meant.
    #[error("the account has {} public Route 53 zones `{name}`: {}", ids.len(), ids.join(", "))]
    SeveralZones {
        /// The zones' name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// The emulated database did not come up.
    #[error("the database `{instance}` did not come up: {why}")]
    Database {
        /// The instance.
        instance: String,
        /// What was seen.
        why: String,
    },
    /// Something took too long. It may still be going on.
    #[error("{what} took longer than {} s; last seen: {last}", timeout.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// What was seen last.
        last: String,
        /// How long it was waited.
        timeout: Duration,
    },
    /// The person cancelled. What CloudFormation has begun, it goes on with.
    #[error("cancelled while waiting for {what}; last seen: {last}")]
    Cancelled {
        /// What was waited for.
        what: String,
        /// What was seen last.
        last: String,
    },
}

impl InfraError {
    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Spec(_) => "correct it in nuages.toml".into(),
            Self::Call { source, .. } => return source.hint(),
            Self::Outputs { .. } => "bring the stack up to date with `nuages infra up`".into(),
            Self::Missing { .. } => "make it with `nuages infra up`".into(),
            Self::NotOurs { .. } => "choose another `[app] name` or environment, or delete that stack".into(),
            Self::HalfDeleted { .. } => "finish the deletion with `nuages infra down`, then repeat the command".into(),
            Self::Unplannable { .. } => "`nuages infra up` continues the broken rollback first".into(),
            Self::ChangeSet { .. } => return None,
            Self::Refused { changes } => {
                let names: Vec<String> = changes
                    .iter()
                    .map(|c| format!("--allow-destroy {}", c.logical_id))
                    .collect();
                format!(
                    "if that is really meant, after a backup: `nuages infra up {}`",
                    names.join(" ")
                )
            }
            Self::Failed { cause, .. } => return cause.as_deref().and_then(Cause::hint),
            Self::NoZone { .. } => "make a public zone of the domain, or of one above it, in Route 53 of this account \
                                    (`aws route53 create-hosted-zone`) and delegate the name to it"
                .into(),
            Self::SeveralZones { .. } => {
                "set `hosted_zone` of the environment to the id of the one that the name is delegated to".into()
            }
            Self::Database { .. } => "look at the emulator's log, then repeat the command".into(),
            Self::TimedOut { .. } | Self::Cancelled { .. } => {
                "CloudFormation goes on by itself; repeat the command, which waits for it".into()
            }
        })
    }

    /// Whether the person cancelled it.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }
}

impl From<WaitError<InfraError>> for InfraError {
    fn from(error: WaitError<InfraError>) -> Self {
        match error {
            WaitError::Failed { what, why } => Self::Database { instance: what, why },
            WaitError::TimedOut { what, last, timeout } => Self::TimedOut { what, last, timeout },
            WaitError::Cancelled { what, last } => Self::Cancelled { what, last },
            WaitError::Fetch(error) => error,
        }
    }
}

impl InfraError {
    /// Whether CloudFormation does not know what it was asked for.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.kind == Kind::NotFound || says_missing(source))
    }
}

impl nuages_aws::poll::MaybeThrottled for InfraError {
    fn is_throttled(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_throttled())
    }
}

struct Because<'a>(Option<&'a Cause>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

struct Listed<'a>(&'a [ResourceChange]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, change) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{} ({})", change.logical_id, change.resource_type)?;
        }
        Ok(())
    }
}
