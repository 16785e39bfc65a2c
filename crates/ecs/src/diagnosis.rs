//! Why a task failed, as one answer.
//!
//! Invariant: a diagnosis is made from evidence alone ([`Evidence`]), by a pure function: the same evidence gives the
//! same answer, and every part of it that was used is shown.

use std::fmt;

use nuages_model::ContainerExit;
use serde::{Deserialize, Serialize};

use crate::clues::{self, Clue};
use crate::health::{TargetState, codes_in};
use crate::task::TaskState;

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The registry does not have the image.
    ImageMissing,
    /// The execution role may not pull the image.
    ImageDenied,
    /// The task does not reach the registry.
    NoRouteToRegistry,
    /// The image is for another processor.
    WrongPlatform,
    /// The image could not be pulled, for another reason.
    ImagePull,
    /// A secret does not exist, or has no current version.
    SecretMissing,
    /// A secret has no such key.
    SecretKeyMissing,
    /// The execution role may not read a secret.
    SecretDenied,
    /// The task does not reach Secrets Manager or another service that it needs to start.
    NoRouteToServices,
    /// The log group is missing, or may not be written.
    LogGroup,
    /// The program of the command is not in the image.
    CommandNotFound,
    /// The memory was not enough.
    OutOfMemory,
    /// A setting or variable is missing or wrong.
    Setting,
    /// A Python module is missing.
    Module,
    /// The code cannot be read by Python.
    Syntax,
    /// The database does not answer.
    DatabaseUnreachable,
    /// The database refuses.
    DatabaseRefused,
    /// The port is taken, or may not be bound.
    Bind,
    /// The program ended by itself with an error.
    ExitedWithError,
    /// The program ended by itself as if all were done.
    ExitedCleanly,
    /// Django refuses the health check's host.
    AllowedHosts,
    /// The health check is redirected.
    HealthRedirected,
    /// The health check's page does not exist.
    HealthPathMissing,
    /// The health check gets another wrong code.
    HealthStatus,
    /// The program listens on another port.
    WrongPort,
    /// The program listens on 127.0.0.1 only.
    LoopbackOnly,
    /// The program was not ready when the grace period ended.
    SlowBoot,
    /// The health check gets no answer.
    HealthTimeout,
    /// The container's own health check fails.
    ContainerHealth,
    /// AWS has no room, or the account's limit is reached.
    Capacity,
    /// ECS rolled back.
    RolledBack,
    /// Another deployment took this one's place.
    Superseded,
    /// The service was deleted.
    ServiceGone,
    /// None of these.
    Unknown,
}

/// Whether once is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// The next task will fail in the same way.
    Once,
    /// It may be chance; a second one is not.
    Twice,
}

impl Cause {
    pub(crate) const fn certainty(self) -> Certainty {
        match self {
            Self::NoRouteToRegistry
            | Self::ImagePull
            | Self::NoRouteToServices
            | Self::DatabaseUnreachable
            | Self::ExitedWithError
            | Self::ExitedCleanly
            | Self::Unknown => Certainty::Twice,
            _ => Certainty::Once,
        }
    }
}

/// All that is known of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The service.
    pub service: String,
    /// The container that serves, and its port.
    pub port: Option<u16>,
    /// Seconds in which failing health checks do not count.
    pub health_grace: Option<u32>,
    /// A task that stopped, or that the load balancer calls unhealthy.
    pub task: Option<TaskState>,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// What the load balancer says of it.
    pub target: Option<TargetState>,
    /// ECS's sentences about the service, newest first.
    pub events: Vec<String>,
    /// How many tasks failed.
    pub failures: u32,
}

/// Why a rollout failed, or will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The service.
    pub service: String,
    /// What was wrong.
    pub cause: Cause,
    /// The same as a sentence.
    pub sentence: String,
    /// The task that showed it.
    pub task: Option<String>,
    /// The container that failed.
    pub container: Option<String>,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The task's stop code.
    pub stop_code: Option<String>,
    /// What ECS says: the container's reason, or else the task's.
    pub reason: Option<String>,
    /// What the load balancer says.
    pub target: Option<String>,
    /// ECS's event about it.
    pub event: Option<String>,
    /// The last lines of the log.
    pub log_tail: Vec<String>,
    /// How many tasks failed so far.
    pub failures: u32,
    /// The next thing to do.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service, self.sentence)?;
        let mut line = |label: &str, text: Option<&str>| match text {
            Some(text) => write!(f, "\n  {label:<9} {text}"),
            None => Ok(()),
        };
        let exit = self.exit_code.map(|code| match &self.container {
            Some(container) => format!("{code} ({container})"),
            None => code.to_string(),
        });
        line("exit code", exit.as_deref())?;
        line("reason", self.reason.as_deref())?;
        line("target", self.target.as_deref())?;
        line("event", self.event.as_deref())?;
        line("task", self.task.as_deref())?;
        for text in self.log_tail.iter().filter(|text| !text.trim().is_empty()) {
            write!(f, "\n  log       {text}")?;
        }
        Ok(())
    }
}

/// Log lines shown with a diagnosis.
const LOG_LINES: usize = 15;

impl Evidence {
    fn failed_container(&self) -> Option<&ContainerExit> {
        let containers = &self.task.as_ref()?.containers;
        let ended = |how: fn(i32) -> bool| containers.iter().find(|c| c.exit_code.is_some_and(how));
        // What ECS gives a reason for is the one. Where one ends, the others are stopped: 143 and 137 may be their end.
        containers
            .iter()
            .find(|c| c.reason.is_some())
            .or_else(|| ended(|code| !matches!(code, 0 | 137 | 143)))
            .or_else(|| ended(|code| code != 0))
            .or_else(|| ended(|_| true))
            .or_else(|| containers.first())
    }

    fn reason(&self) -> Option<&str> {
        let task = self.task.as_ref()?.stopped_reason.as_deref();
        let container = self.failed_container().and_then(|c| c.reason.as_deref());
        // A container's own reason says more than "Essential container in task exited".
        match (container, task) {
            (Some(container), Some(task)) if task.len() > container.len() && task.contains(container) => Some(task),
            (Some(container), _) => Some(container),
            (None, task) => task,
        }
    }

    fn event(&self) -> Option<&str> {
        let id = self.task.as_ref().map(TaskState::id);
        let about = |message: &&String| {
            id.is_some_and(|id| message.contains(id))
                || ["unhealthy", "failed", "unable", "rolling back"]
                    .iter()
                    .any(|word| message.contains(word))
        };
        self.events.iter().find(about).map(String::as_str)
    }
}

/// Joins the evidence into one answer.
///
/// ```
/// use nuages_ecs::{Cause, Evidence, diagnose};
///
/// let evidence = Evidence {
///     service: "web".into(),
///     log_tail: vec!["ModuleNotFoundError: No module named 'blog.wsgi'".into()],
///     ..Evidence::default()
/// };
/// let diagnosis = diagnose(&evidence);
/// assert_eq!(diagnosis.cause, Cause::Module);
/// assert_eq!(diagnosis.to_string().lines().next(), Some("web: Python finds no module `blog.wsgi`"));
/// ```
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let clue = find(evidence);
    let container = evidence.failed_container();
    let tail = evidence.log_tail.len().saturating_sub(LOG_LINES);
    let target = evidence.target.as_ref().filter(|t| !t.is_healthy()).map(|t| {
        let parts = [Some(t.state.as_str()), t.reason.as_deref(), t.description.as_deref()];
        format!(
            "{}:{} {}",
            t.address,
            t.port,
            parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
        )
    });
    Diagnosis {
        service: evidence.service.clone(),
        cause: clue.cause,
        sentence: clue.sentence,
        task: evidence.task.as_ref().map(|t| t.id().to_owned()),
        container: container.map(|c| c.name.clone()),
        exit_code: container.and_then(|c| c.exit_code),
        stop_code: evidence.task.as_ref().and_then(|t| t.stop_code.clone()),
        reason: evidence.reason().map(str::to_owned),
        target,
        event: evidence.event().map(str::to_owned),
        log_tail: evidence.log_tail[tail..].to_vec(),
        failures: evidence.failures,
        hint: clue.hint,
    }
}

fn find(evidence: &Evidence) -> Clue {
    let reason = evidence.reason().unwrap_or_default();
    let log = &evidence.log_tail;
    let exit = evidence.failed_container().and_then(|c| c.exit_code);
    // From what is certain to what is guessed: before the start, the end, the health, the log.
    let certain = clues::cannot_execute(reason, log)
        .or_else(|| clues::before_start(reason))
        .or_else(|| clues::out_of_memory(reason, exit, log));
    if let Some(clue) = certain {
        return clue;
    }
    if let Some(clue) = unhealthy(evidence, reason) {
        return clue;
    }
    if let Some(clue) = clues::in_log(log) {
        return clue;
    }
    match exit {
        Some(0) => Clue::new(
            Cause::ExitedCleanly,
            "the program ended by itself with exit code 0",
            "a service's command must keep running in the foreground: check `command` in nuages.toml",
        ),
        Some(code) => Clue {
            cause: Cause::ExitedWithError,
            sentence: format!("the program ended with exit code {code}{}", meaning(code)),
            hint: Some(if log.is_empty() {
                "the log is empty: run the image locally with the same command and settings".into()
            } else {
                "the log's last lines say where, and `nuages logs` shows more of it".to_owned()
            }),
        },
        None => from_events(evidence, reason),
    }
}

const fn meaning(code: i32) -> &'static str {
    match code {
        126 => " (the command cannot be executed)",
        127 => " (the command was not found)",
        137 => " (killed: out of memory, or it did not stop in time)",
        139 => " (segmentation fault)",
        143 => " (SIGTERM)",
        _ => "",
    }
}

fn from_events(evidence: &Evidence, reason: &str) -> Clue {
    if let Some(clue) = evidence
        .events
        .iter()
        .find_map(|event| clues::capacity(event))
        .or_else(|| clues::capacity(reason))
    {
        return clue;
    }
    let sentence = if reason.is_empty() {
        "its tasks do not come up".to_owned()
    } else {
        format!("ECS says: {reason}")
    };
    Clue {
        cause: Cause::Unknown,
        sentence,
        hint: None,
    }
}

/// Whether it stopped because a health check failed, and why that failed.
fn unhealthy(evidence: &Evidence, reason: &str) -> Option<Clue> {
    let events = || {
        evidence
            .events
            .iter()
            .filter(|e| e.contains("unhealthy") || e.contains("health checks"))
    };
    let by_container = reason.contains("container health checks");
    let by_balancer = reason.contains("ELB health checks")
        || evidence.target.as_ref().is_some_and(|t| t.state == "unhealthy")
        || (evidence.task.is_none() && events().next().is_some());
    if by_container {
        return Some(Clue::new(
            Cause::ContainerHealth,
            "the health check inside the container failed",
            "the check's command must end with exit code 0; its program must exist in the image",
        ));
    }
    if !by_balancer {
        return None;
    }
    let mut codes = evidence.target.as_ref().map(TargetState::codes).unwrap_or_default();
    codes.extend(events().flat_map(|e| codes_in(e)));
    let said: Vec<&str> = evidence
        .target
        .iter()
        .flat_map(|t| [t.reason.as_deref(), t.description.as_deref()])
        .flatten()
        .chain(events().map(String::as_str))
        .collect();
    Some(clues::health(
        &codes,
        &said,
        &evidence.log_tail,
        evidence.port,
        evidence.health_grace,
    ))
}
