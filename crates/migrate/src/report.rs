//! What the driver reports, and how the task that ran it ended.
//!
//! Invariant: a report is what the application's own Django said inside the task; nothing in it is derived here.

use std::collections::{BTreeMap, BTreeSet};

use nuages_model::TaskOutcome;
use serde::{Deserialize, Serialize};

use crate::assemble::MARKER;
use crate::{AppliedSet, DatabaseSet};

/// The driver's report, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) verb: String,
    pub(crate) python: String,
    pub(crate) django: Option<String>,
    pub(crate) databases: BTreeMap<String, DatabaseReport>,
    pub(crate) failure: Option<DriverFailure>,
}

/// What the driver saw in one database, and did to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// `postgresql`, `mysql`, `sqlite`, …
    #[serde(default)]
    pub vendor: Option<String>,
    /// The server's version.
    #[serde(default)]
    pub version: Option<String>,
    /// What was pending when it was looked at first, `app.name`, in the order of application.
    #[serde(default)]
    pub plan: Vec<String>,
    /// What is applied and not in this code: another, newer release's, or deleted files.
    #[serde(default)]
    pub unknown: Vec<String>,
    /// Apps with several last migrations, which `migrate` refuses.
    #[serde(default)]
    pub conflicts: BTreeMap<String, Vec<String>>,
    /// Why the recorded history contradicts this code's order, if it does.
    #[serde(default)]
    pub inconsistent: Option<String>,
    /// What this run applied, in order.
    #[serde(default)]
    pub ran: Vec<String>,
    /// What was pending when it was looked at last.
    #[serde(default)]
    pub pending: Vec<String>,
    /// What is applied, by app; none where the database could not be read (any more).
    #[serde(default)]
    pub applied: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The last migrations of each app in this code.
    #[serde(default)]
    pub leaves: BTreeMap<String, BTreeSet<String>>,
    /// Squashed migrations in this code and what they stand for.
    #[serde(default)]
    pub replaces: BTreeMap<String, Vec<String>>,
}

/// What the driver says of its own failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverFailure {
    /// `setup`, `connect`, `migration`, `migrate`, `probe`, `locked`, `lock-lost`, `stopped`, `exit`, `incomplete`,
    /// `no-django`, `no-manage`, `no-database`, `not-read-only`.
    pub kind: String,
    /// The Python exception's class.
    pub error: String,
    /// Its message, on one line, without the secrets of the environment.
    pub message: String,
    /// The database's own code, such as `55P03`.
    #[serde(default)]
    pub sqlstate: Option<String>,
    /// The database it happened in.
    #[serde(default)]
    pub alias: Option<String>,
    /// What that database is: `postgresql`, `mysql`, `sqlite`, …
    #[serde(default)]
    pub vendor: Option<String>,
    /// The migration it happened in, `app.name`.
    #[serde(default)]
    pub migration: Option<String>,
    /// The Python module that was not found, where that was it.
    #[serde(default)]
    pub missing: Option<MissingModule>,
}

/// A Python module that is not in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingModule {
    /// Its whole name.
    pub module: String,
    /// What `DJANGO_SETTINGS_MODULE` says.
    #[serde(default)]
    pub settings: Option<String>,
    /// What is called most like it where it should be, if anything is.
    #[serde(default)]
    pub near: Vec<String>,
}

impl MissingModule {
    /// Whether it is the settings' module, or a package around it.
    pub fn is_settings(&self) -> bool {
        let rest = self
            .settings
            .as_deref()
            .and_then(|settings| settings.strip_prefix(&self.module));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// The whole name of what was probably meant.
    pub fn nearest(&self) -> Option<String> {
        let near = self.near.first()?;
        Some(match self.module.rsplit_once('.') {
            Some((package, _)) => format!("{package}.{near}"),
            None => near.clone(),
        })
    }
}

/// How the task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The exit code of the container that matters: the first that failed, or else the first.
    pub exit_code: Option<i32>,
    /// What the platform says of that container.
    pub reason: Option<String>,
    /// The platform's code for the task.
    pub stop_code: Option<String>,
    /// The platform's sentence for the task.
    pub stopped_reason: Option<String>,
    /// The last lines of the log, the driver's own left out.
    pub log_tail: Vec<String>,
}

impl From<&TaskOutcome> for Outcome {
    fn from(task: &TaskOutcome) -> Self {
        let decisive = task
            .containers
            .iter()
            .find(|c| c.exit_code != Some(0))
            .or_else(|| task.containers.first());
        Self {
            exit_code: decisive.and_then(|c| c.exit_code),
            reason: decisive.and_then(|c| c.reason.clone()),
            stop_code: task.stop_code.clone(),
            stopped_reason: task.stopped_reason.clone(),
            log_tail: task
                .log_tail
                .iter()
                .filter(|line| !line.contains(MARKER))
                .cloned()
                .collect(),
        }
    }
}

fn set_of(databases: &BTreeMap<String, DatabaseReport>) -> AppliedSet {
    let read = |(alias, report): (&String, &DatabaseReport)| {
        let applied = report.applied.clone()?;
        let set = DatabaseSet {
            applied,
            leaves: report.leaves.clone(),
            replaces: report.replaces.clone(),
        };
        Some((alias.clone(), set))
    };
    AppliedSet {
        databases: databases.iter().filter_map(read).collect(),
    }
}

/// What a probe read. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Python's version in the image.
    pub python: String,
    /// Django's version in the image.
    pub django: Option<String>,
    /// By alias.
    pub databases: BTreeMap<String, DatabaseReport>,
}

impl ProbeReport {
    /// What is applied.
    pub fn applied_set(&self) -> AppliedSet {
        set_of(&self.databases)
    }

    /// What `apply` would run: alias and `app.name`, in order.
    pub fn pending(&self) -> Vec<(&str, &str)> {
        self.databases
            .iter()
            .flat_map(|(alias, report)| report.plan.iter().map(|name| (alias.as_str(), name.as_str())))
            .collect()
    }

    /// Why `apply` would be refused by Django itself, one sentence each; none where it would not.
    pub fn blockers(&self) -> Vec<String> {
        let mut blockers = Vec::new();
        for (alias, report) in &self.databases {
            for (app, names) in &report.conflicts {
                blockers.push(format!(
                    "{app} has several last migrations ({}); `makemigrations --merge` joins them",
                    names.join(", ")
                ));
            }
            blockers.extend(report.inconsistent.iter().map(|why| format!("{alias}: {why}")));
        }
        blockers.sort();
        blockers.dedup();
        blockers
    }
}

/// What a migration did, in all databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyReport {
    /// How the task ended.
    pub outcome: Outcome,
    /// Python's version in the image.
    pub python: String,
    /// Django's version in the image.
    pub django: Option<String>,
    /// By alias.
    pub databases: BTreeMap<String, DatabaseReport>,
}

impl ApplyReport {
    /// What is applied now: what a release records.
    pub fn applied_set(&self) -> AppliedSet {
        set_of(&self.databases)
    }

    /// What this run applied: alias and `app.name`, in order.
    pub fn ran(&self) -> Vec<(&str, &str)> {
        self.databases
            .iter()
            .flat_map(|(alias, report)| report.ran.iter().map(|name| (alias.as_str(), name.as_str())))
            .collect()
    }
}
