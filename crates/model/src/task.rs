//! The port between whoever needs a command run next to the database and whoever can run one.
//!
//! Invariant: a task is found again by its [`TaskKey`]. Starting a key that was started before attaches to the task
//! that runs or ran; it never starts a second one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Progress;

/// What a task is found again by: at most 36 letters, digits, `-` and `_`, which fits ECS's `startedBy`
/// (`RunTask`: 128 characters) and its idempotency token (64).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskKey(String);

impl TaskKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskKey {
    type Err = TaskError;
    fn from_str(value: &str) -> Result<Self, TaskError> {
        let valid = (1..=36).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            Err(TaskError::Refused {
                why: format!("`{value}` is not a task key: 1 to 36 letters, digits, `-`, `_`"),
            })
        }
    }
}

impl TryFrom<String> for TaskKey {
    type Error = TaskError;
    fn try_from(value: String) -> Result<Self, TaskError> {
        value.parse()
    }
}

impl From<TaskKey> for String {
    fn from(key: TaskKey) -> String {
        key.0
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command to run once, in the release's own image, with the release's own environment and secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRequest {
    /// What it is found again by.
    pub key: TaskKey,
    /// Program and arguments. Never a secret: overrides are visible to whoever may describe tasks.
    pub command: Vec<String>,
    /// Plain variables added to the release's environment.
    pub env: BTreeMap<String, String>,
}

/// A task that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHandle {
    /// What the runner knows it by: an ECS task's ARN, an SSM command's id, a container's id.
    pub id: String,
}

/// How one container of a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// The container's name.
    pub name: String,
    /// Its exit code; none when it never ran.
    pub exit_code: Option<i32>,
    /// What the platform says of it, such as `OutOfMemoryError` or `CannotPullContainerError: …`.
    pub reason: Option<String>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Every container's own end. A task's stop code alone says nothing.
    pub containers: Vec<ContainerExit>,
    /// The platform's stop code, such as `EssentialContainerExited` or `TaskFailedToStart`.
    pub stop_code: Option<String>,
    /// The platform's sentence.
    pub stopped_reason: Option<String>,
    /// The last lines of the log.
    pub log_tail: Vec<String>,
}

impl TaskOutcome {
    /// Whether there is a container and every one ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        !self.containers.is_empty() && self.containers.iter().all(|c| c.exit_code == Some(0))
    }
}

/// Why a task could not be run or followed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It certainly was not started, and a repetition will not help.
    #[error("the task was refused: {why}")]
    Refused {
        /// What the platform said.
        why: String,
    },
    /// It may have been started or not; look for its key before starting again.
    #[error("failed to {what}")]
    Unknown {
        /// What was tried.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It did not end in time. It may still run.
    #[error("the task did not end within {seconds} s; last seen: {last}")]
    TimedOut {
        /// How long it was waited for.
        seconds: u64,
        /// Its last known state.
        last: String,
    },
}

/// A place that runs one-off tasks.
#[async_trait]
pub trait TaskRunner: Send + Sync {
    /// Starts the task, or attaches to the one that was started with the same key.
    async fn start(&self, request: &TaskRequest) -> Result<TaskHandle, TaskError>;

    /// The task of this key, running or ended, if there is one.
    async fn find(&self, key: &TaskKey) -> Result<Option<TaskHandle>, TaskError>;

    /// Follows the task to its end; its log goes to `progress`, line by line.
    async fn wait(&self, handle: &TaskHandle, progress: &Progress) -> Result<TaskOutcome, TaskError>;

    /// Asks the task to stop and waits until it has. Stopping an ended task is no error.
    async fn stop(&self, handle: &TaskHandle, reason: &str) -> Result<(), TaskError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_needs_every_container() {
        let exit = |code| ContainerExit {
            name: "web".into(),
            exit_code: code,
            reason: None,
        };
        let outcome = |containers| TaskOutcome {
            containers,
            stop_code: None,
            stopped_reason: None,
            log_tail: vec![],
        };
        assert!(outcome(vec![exit(Some(0))]).succeeded());
        assert!(!outcome(vec![exit(Some(0)), exit(Some(1))]).succeeded());
        assert!(!outcome(vec![exit(None)]).succeeded());
        assert!(!outcome(vec![]).succeeded());
    }

    #[test]
    fn keys_fit_the_shortest_limit() {
        assert!("01hzx-migrate-1".parse::<TaskKey>().is_ok());
        assert!("x".repeat(37).parse::<TaskKey>().is_err());
        assert!("a b".parse::<TaskKey>().is_err());
    }
}
