//! What can go wrong, for steps and for those who run them.
//!
//! Invariant: every [`SagaError`] leaves the journal readable, and says by its variant what was done: `exit` codes are
//! chosen by variant, never by text.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{DAMAGED, DecodeError};
use crate::journal::Illegal;
use crate::lease::Lease;
use crate::moment;
use crate::output::RefError;
use crate::plan::PlanError;
use crate::store::StoreError;
use crate::version;
use crate::{DeploymentId, StepId};

/// An error of a step: any error, with a hint beside it.
#[derive(Debug)]
pub struct StepError {
    cause: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl StepError {
    /// From any error.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            hint: None,
        }
    }

    /// From a sentence.
    pub fn message(text: impl Into<String>) -> Self {
        Self::new(text.into())
    }

    /// With the next command, or what to change.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a sentence above it.
    #[must_use]
    pub fn context(self, text: impl Into<String>) -> Self {
        Self {
            hint: self.hint,
            cause: Box::new(Context {
                text: text.into(),
                source: self.cause,
            }),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the outermost error is of this type.
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.cause.is::<E>()
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Context {
    text: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// Why a step was not applied.
#[derive(Debug)]
pub enum ApplyError {
    /// Certainly nothing happened.
    Clean(StepError),
    /// Something may have happened.
    Unknown(StepError),
}

impl ApplyError {
    /// Certainly nothing happened.
    pub fn clean(cause: impl Into<StepError>) -> Self {
        Self::Clean(cause.into())
    }

    /// Something may have happened.
    pub fn unknown(cause: impl Into<StepError>) -> Self {
        Self::Unknown(cause.into())
    }

    /// The error itself.
    pub fn error(&self) -> &StepError {
        match self {
            Self::Clean(error) | Self::Unknown(error) => error,
        }
    }
}

impl From<StepError> for ApplyError {
    fn from(error: StepError) -> Self {
        Self::Unknown(error)
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl Error for ApplyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error().source()
    }
}

/// An error as data: what the journal and the events hold of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The sentence.
    pub message: String,
    /// The causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorReport {
    /// What is to be kept of an error. A cause that repeats the sentence above it, or its end, is left out: "failed to
    /// find x" says all that "find x" does. So is one that only [wraps another](nuages_model::is_wrapper).
    ///
    /// ```
    /// let error = nuages_saga::StepError::message("the service is gone").context("failed to update `web`");
    /// let report = nuages_saga::ErrorReport::of(&error);
    /// assert_eq!((report.message.as_str(), report.causes.len()), ("failed to update `web`", 1));
    /// ```
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let message = error.to_string();
        let mut causes = Vec::new();
        let mut hint = error.downcast_ref::<StepError>().and_then(|error| error.hint.clone());
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            let says = !causes.last().unwrap_or(&message).ends_with(&text);
            if says && !nuages_model::is_wrapper(cause) {
                causes.push(text);
            }
            hint = hint.or_else(|| cause.downcast_ref::<StepError>().and_then(|error| error.hint.clone()));
            next = cause.source();
        }
        Self { message, causes, hint }
    }

    /// With the next command, or what to change.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

/// One check that no longer says what the plan says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The step.
    pub step: StepId,
    /// What the plan says.
    pub planned: crate::PlannedCheck,
    /// What is so now.
    pub now: crate::PlannedCheck,
}

/// Why a plan could not be made, run, resumed or aborted. A step that fails is no error: the saga is undone, and the
/// [`Outcome`](crate::Outcome) says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// The plan contradicts itself.
    #[error("failed to read the plan")]
    BadPlan(#[from] PlanError),
    /// This build has no such kind of step.
    #[error("this version cannot run step `{step}`: it knows no `{kind}` of version {version}")]
    UnknownKind {
        /// The step.
        step: StepId,
        /// Its kind.
        kind: String,
        /// Its kind's version.
        version: u32,
        /// The version of the tool that made the plan.
        tool: String,
    },
    /// A step could not be built from its parameters.
    #[error("failed to read the parameters of step `{step}`")]
    Params {
        /// The step.
        step: StepId,
        /// What is wrong with them.
        #[source]
        source: StepError,
    },
    /// A reference could not be followed.
    #[error("failed to fill in the parameters of step `{step}`")]
    Reference {
        /// The step.
        step: StepId,
        /// Why not.
        #[source]
        source: RefError,
    },
    /// A check failed before anything was applied.
    #[error("failed to check step `{step}`")]
    Check {
        /// The step.
        step: StepId,
        /// Why.
        #[source]
        source: StepError,
    },
    /// The world is no longer as it was when the plan was made. Nothing was applied.
    #[error("the plan no longer fits: {} changed since it was made", list(.0))]
    Stale(Vec<Difference>),
    /// It cannot be found out how far a step came. The journal is left as it is.
    #[error("failed to find out how far step `{step}` came")]
    Observe {
        /// The step.
        step: StepId,
        /// Why.
        #[source]
        source: StepError,
    },
    /// An earlier deployment has not ended.
    #[error("deployment {0} has not ended")]
    Unfinished(DeploymentId),
    /// There is no such deployment.
    #[error("there is no deployment {0} in this store")]
    NoSuchDeployment(DeploymentId),
    /// It ended already.
    #[error("deployment {0} has ended already")]
    AlreadyEnded(DeploymentId),
    /// Somebody else holds the environment.
    #[error("{} holds the environment", .0.holder)]
    Held(Box<Lease>),
    /// Somebody else took the environment over, or the lease could not be renewed in time. Nothing more was done.
    #[error("the lease on the environment was lost")]
    LeaseLost,
    /// The journal says what cannot have happened, or would.
    #[error("the journal of deployment {deployment} does not fit its plan")]
    Journal {
        /// The deployment.
        deployment: DeploymentId,
        /// What is wrong.
        #[source]
        source: Illegal,
    },
    /// A plan or an entry could not be read.
    #[error("failed to read the records of deployment {deployment}")]
    Decode {
        /// The deployment.
        deployment: DeploymentId,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The stored plan is not the one that the journal began with.
    #[error("the stored plan of deployment {0} is not the one that its journal began with")]
    PlanChanged(DeploymentId),
    /// The store failed.
    #[error("failed to use the store")]
    Store(#[source] StoreError),
}

fn list(differences: &[Difference]) -> String {
    let names: Vec<_> = differences
        .iter()
        .map(|difference| format!("`{}`", difference.step))
        .collect();
    names.join(", ")
}

impl From<StoreError> for SagaError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Held(lease) => Self::Held(lease),
            StoreError::LeaseLost => Self::LeaseLost,
            other => Self::Store(other),
        }
    }
}

impl SagaError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKind { tool, .. } => Some(version::install(tool, "made this plan")),
            Self::Decode { source, .. } => source.hint(),
            Self::Journal { .. } | Self::PlanChanged(_) | Self::BadPlan(_) => Some(DAMAGED.into()),
            Self::Reference { .. } => Some("undo what was done with `nuages abort`".into()),
            Self::NoSuchDeployment(_) => Some("`nuages history` lists those there are".into()),
            Self::AlreadyEnded(_) => Some("nothing is left to do; `nuages history` tells how it ended".into()),
            Self::Stale(_) => Some("look at a new plan with `nuages plan`".into()),
            Self::Unfinished(_) => Some("finish it with `nuages resume`, or undo it with `nuages abort`".into()),
            Self::Held(lease) => Some(format!(
                "wait for it to end; if it is gone, the environment is free at {} (`nuages lease show` tells)",
                moment(lease.expires)
            )),
            Self::LeaseLost | Self::Observe { .. } => Some("continue with `nuages resume`".into()),
            Self::Params { source, .. } | Self::Check { source, .. } => source.hint().map(str::to_owned),
            Self::Store(error) => error.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_of_the_client_is_no_cause_unless_nothing_else_is_known() {
        let chain = |links: &[&str]| {
            let mut links = links.iter().rev();
            let first = StepError::message(*links.next().unwrap());
            let whole = links.fold(first, |error, link| error.context(*link));
            ErrorReport::of(&whole).causes
        };
        let outer = "failed to ask the Docker engine";
        let legacy = "Error in the hyper legacy client: client error (Connect)";
        let client = "client error (Connect)";
        let refused = "tcp connect error: Connection refused (os error 111)";
        assert_eq!(chain(&[outer, legacy, client, refused]), [refused]);
        assert_eq!(chain(&[outer, legacy]), [legacy]);
    }
}
