//! What can go wrong, as sentences.
//!
//! Invariant: a variant's text completes "failed to …", and what to do about it stands in [`MigrateError::hint`] alone.

use nuages_model::TaskError;

use crate::report::{ApplyReport, DriverFailure, Outcome};
use crate::{COMMAND_LIMIT, Missing};

/// Why migrations were not probed or applied.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The command is not one that the driver can stand in for.
    #[error("start management commands with `{command}`: it is not an interpreter and a script")]
    Manage {
        /// As it was written.
        command: String,
    },
    /// The request does not fit.
    #[error("start the migration's task: its command has {size} characters, and {COMMAND_LIMIT} are allowed")]
    TooLong {
        /// As it would be.
        size: usize,
    },
    /// The platform did not run or follow the task.
    #[error("{what}")]
    Task {
        /// What was tried.
        what: &'static str,
        /// The platform's answer.
        #[source]
        source: TaskError,
    },
    /// The task ended badly.
    #[error("{} the migrations: {}", if .0.probe { "probe" } else { "apply" }, .0.cause)]
    Failed(Box<Failure>),
    /// The task ended well, as far as its exit code tells, its report did not arrive, and the database could not be asked
    /// either. What is applied is not known.
    #[error("learn what the migrations did")]
    NoReport {
        /// How the task ended.
        outcome: Box<Outcome>,
        /// What is wrong with the report.
        #[source]
        source: Missing,
    },
    /// The task ended well, its report did not arrive, and the database says that not everything is applied.
    #[error("apply the migrations: the database still lacks {}", .pending.join(", "))]
    Pending {
        /// How the task ended.
        outcome: Box<Outcome>,
        /// What is not applied: alias and `app.name`.
        pending: Vec<String>,
    },
}

/// A migration (or probe) that ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether it was a probe, which changes nothing.
    pub probe: bool,
    /// The first cause that explains the rest, in one sentence.
    pub cause: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// What the driver says, if it came so far.
    pub driver: Option<DriverFailure>,
    /// How the task ended.
    pub outcome: Outcome,
    /// What was applied before the failure, and what stands in the databases after it, if the driver could still say.
    pub report: Option<ApplyReport>,
}

impl MigrateError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Manage { .. } => {
                Some("write an interpreter and a script, such as `python manage.py` or `python -m django`".into())
            }
            Self::TooLong { .. } => Some("name fewer databases in [migrations] databases".into()),
            Self::Task {
                source: TaskError::TimedOut { .. },
                ..
            } => Some("the migration may still run; `nuages resume` attaches to it and starts no second one".into()),
            Self::Task { .. } => None,
            Self::Failed(failure) => failure.hint.clone(),
            Self::Pending { .. } => Some(
                "the task's log may tell why (`nuages logs --one-off`); what is applied stays, and deploying again goes on \
                 from there"
                    .into(),
            ),
            Self::NoReport { .. } => Some(
                "the task's log tells what ran (`nuages logs --one-off`), and the next deployment asks the database \
                 before it does anything; migrating again is safe: what is applied is not applied twice"
                    .into(),
            ),
        }
    }

    /// How the task ended, if it ran.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Failed(failure) => Some(&failure.outcome),
            Self::NoReport { outcome, .. } | Self::Pending { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}
