//! What containers do, and what goes wrong with calls.
//!
//! Invariant: plain data; the scheduler alone acts on it.

use std::time::Duration;

/// What a container does once it was started.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// It comes up and stays.
    Healthy {
        /// How long until the load balancer calls it healthy.
        boot: Duration,
    },
    /// It writes, and ends.
    Exits {
        /// How long it runs.
        after: Duration,
        /// Its exit code.
        code: i32,
        /// What it writes.
        log: Vec<String>,
    },
    /// The task never starts.
    NeverStarts {
        /// ECS's sentence, such as `CannotPullContainerError: …`.
        reason: String,
    },
    /// The kernel kills it.
    OutOfMemory {
        /// How long it runs.
        after: Duration,
    },
    /// It runs, and the load balancer calls it unhealthy until ECS stops it at the end of the grace period.
    Unhealthy {
        /// The reason code, such as `Target.ResponseCodeMismatch`.
        reason: String,
        /// The sentence, such as `Health checks failed with these codes: [400]`.
        description: String,
        /// What it writes.
        log: Vec<String>,
    },
    /// It stays pending.
    Stuck,
    /// It does what nuages' migration driver does, at its end, to the database of
    /// [`FakeEcs::project`](super::FakeEcs::project).
    Migrates {
        /// How long it runs.
        after: Duration,
    },
}

impl Behaviour {
    /// Ends at start with an error.
    pub fn crash(code: i32, log: &[&str]) -> Self {
        Self::Exits {
            after: Duration::from_millis(500),
            code,
            log: log.iter().map(ToString::to_string).collect(),
        }
    }

    /// Ends well after a while.
    pub fn ends_well(after: Duration, log: &[&str]) -> Self {
        Self::Exits {
            after,
            code: 0,
            log: log.iter().map(ToString::to_string).collect(),
        }
    }

    /// Never starts, for this reason.
    pub fn never_starts(reason: &str) -> Self {
        Self::NeverStarts {
            reason: reason.to_owned(),
        }
    }

    /// Answers its health checks with this code.
    pub fn answers(code: u16, log: &[&str]) -> Self {
        Self::Unhealthy {
            reason: "Target.ResponseCodeMismatch".into(),
            description: format!("Health checks failed with these codes: [{code}]"),
            log: log.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is refused with this status, code and message, without an effect.
    Refused(u16, String, String),
    /// It takes effect, and the answer is an error 500.
    LostAnswer,
    /// `RunTask` answers 200 with this reason and detail in `failures[]`.
    Failures(String, String),
    /// A describe answers that it does not know what is asked for.
    Missing,
    /// `DescribeServices` answers as it was before the last write: reads are eventually consistent.
    Stale,
    /// Nothing: the one after it meets the call after this one.
    Nothing,
}

impl Fault {
    /// Too many requests.
    pub fn throttled() -> Self {
        Self::Refused(400, "ThrottlingException".into(), "Rate exceeded".into())
    }

    /// Not allowed.
    pub fn denied(action: &str) -> Self {
        let message = format!("User: tester is not authorized to perform: {action} on resource: *");
        Self::Refused(400, "AccessDeniedException".into(), message)
    }

    /// The service fails.
    pub fn broken() -> Self {
        Self::Refused(500, "ServerException".into(), "Service Unavailable".into())
    }
}
