//! Why something of ECS could not be done.
//!
//! Invariant: every message completes "failed to …", and the service's own sentence stands in the cause chain.

use nuages_aws::{Effect, Kind, ServiceError};

use crate::definition::DefinitionError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EcsError {
    /// The definition asked for is not one that Fargate can run.
    #[error("make the task definition `{family}`")]
    Definition {
        /// The family.
        family: String,
        /// What is wrong with it.
        #[source]
        source: DefinitionError,
    },
    /// A call failed.
    #[error("{what}")]
    Call {
        /// What was tried.
        what: String,
        /// What the service said.
        #[source]
        source: ServiceError,
    },
    /// The world is in a state in which it cannot be done.
    #[error("{what}: {why}")]
    Refused {
        /// What was tried.
        what: String,
        /// Why not.
        why: String,
        /// The next thing to do.
        hint: Option<String>,
    },
    /// It took too long.
    #[error("{what} within {seconds} s; last seen: {last}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// The last status.
        last: String,
    },
    /// The wait was cancelled.
    #[error("{what}: it was cancelled; last seen: {last}")]
    Cancelled {
        /// What was waited for.
        what: String,
        /// The last status.
        last: String,
    },
}

impl EcsError {
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(ServiceError) -> Self {
        let what = what.into();
        move |source| Self::Call { what, source }
    }

    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            why: why.into(),
            hint: None,
        }
    }

    /// Whether it certainly changed nothing.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Definition { .. } | Self::Refused { .. } => Effect::None,
            Self::Call { source, .. } => source.effect,
            Self::TimedOut { .. } | Self::Cancelled { .. } => Effect::Unknown,
        }
    }

    /// The service's sort of failure, where a call failed.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Call { source, .. } => Some(source.kind),
            _ => None,
        }
    }

    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Definition { source, .. } => source.hint(),
            Self::Call { source, .. } => source.hint(),
            Self::Refused { hint, .. } => hint.clone(),
            Self::TimedOut { .. } => {
                Some("look at it with `nuages status`, then `nuages resume` or `nuages abort`".into())
            }
            Self::Cancelled { .. } => None,
        }
    }
}

impl nuages_aws::poll::MaybeThrottled for EcsError {
    fn is_throttled(&self) -> bool {
        self.kind() == Some(Kind::Throttled)
    }
}
