//! Everything that can end a verb, and the exit code that follows from it.
//!
//! What is written wrongly is bad input: arguments and `nuages.toml`, also where they name an environment, a release, a
//! deployment or a service that does not exist. What is written rightly and cannot be done as the account, the network
//! or the records stand is refused, before anything was changed. Everything else has failed.
//!
//! Invariant: every variant has one [`Ending`]; a new variant does not compile until somebody has decided on it.

use std::error::Error as StdError;
use std::path::PathBuf;

use nuages_aws::AwsError;
use nuages_config::{ConfigError, ConfigErrors};
use nuages_ecs::EcsError;
use nuages_emulator::EmulatorError;
use nuages_image::ImageError;
use nuages_infra::InfraError;
use nuages_migrate::MigrateError;
use nuages_model::Finding;
use nuages_registry::RegistryError;
use nuages_releases::{ReleaseNumber, ReleasesError};
use nuages_saga::{DeploymentId, ErrorReport, SagaError, StuckStep};
use nuages_secrets::SecretsError;

/// How a verb ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All is done.
    Done,
    /// It failed, and what was begun was undone.
    Failed,
    /// A plan has changes.
    Changes,
    /// The configuration or the arguments are wrong, or name what does not exist.
    BadInput,
    /// Nothing was changed: the preflight refused, or the account, a secret, the store or the plan will not do.
    Refused,
    /// A person must act.
    Stuck,
    /// Somebody else holds the environment.
    Held,
    /// It was left as it stands: `resume` or `abort`.
    Detached,
    /// It was interrupted, and undone.
    Interrupted,
}

impl Ending {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::BadInput => 3,
            Self::Refused => 4,
            Self::Stuck => 5,
            Self::Held => 6,
            Self::Detached => 7,
            Self::Interrupted => 130,
        }
    }
}

/// Why a verb did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// `nuages.toml` could not be read.
    #[error(transparent)]
    Project(#[from] ConfigError),
    /// `nuages.toml` is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The arguments do not fit the project.
    #[error("{what}")]
    Arguments {
        /// What is wrong.
        what: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// Somebody took the environment from this run, which had changed nothing that serves.
    #[error("somebody took the environment from this run")]
    Taken,
    /// The local environment failed.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// There is no connection to AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The environment's stack failed.
    #[error(transparent)]
    Infra(InfraError),
    /// The account's roles and policies could not be read or written.
    #[error("failed to prepare the account")]
    Bootstrap(#[source] InfraError),
    /// Secrets failed.
    #[error("failed to {0}")]
    Secrets(#[from] SecretsError),
    /// The image could not be built, read or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The registry failed.
    #[error("failed to use the image registry")]
    Registry(#[from] RegistryError),
    /// ECS failed.
    #[error("failed to {0}")]
    Ecs(#[from] EcsError),
    /// Migrations failed before the deployment began.
    #[error("failed to {0}")]
    Migrate(#[from] MigrateError),
    /// The store failed.
    #[error(transparent)]
    Releases(#[from] ReleasesError),
    /// A store in a file will not do here.
    #[error("the store is not safe here: {why}")]
    StoreRefused {
        /// Why.
        why: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The saga could not be run.
    #[error(transparent)]
    Saga(#[from] SagaError),
    /// The project's own gates did not pass.
    #[error("{} did not pass: nothing was pushed", list(.failed))]
    Checks {
        /// The names of those that failed.
        failed: Vec<String>,
        /// Of these, the names of those whose test runner found no test.
        without_tests: Vec<String>,
        /// The last lines of the first one.
        tail: Vec<String>,
        /// Their reports on this machine.
        reports: Vec<PathBuf>,
    },
    /// The preflight refused.
    #[error("the preflight found {} that would make the deployment fail", count(.findings.len(), "reason"))]
    Preflight {
        /// What would fail.
        findings: Vec<Finding>,
    },
    /// What was asked for is refused, for the person's own good.
    #[error("{what}")]
    Refused {
        /// What is refused and why.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The deployment failed and was undone.
    #[error("{operation} failed at step `{step}` and was undone{}", staying(.kept))]
    Undone {
        /// What was being done.
        operation: String,
        /// The step that failed.
        step: String,
        /// Why.
        #[source]
        cause: ReportedError,
        /// The forward-only steps that stay.
        kept: Vec<String>,
    },
    /// It was interrupted and undone.
    #[error("{operation} was interrupted and undone{}", staying(.kept))]
    Interrupted {
        /// What was being done.
        operation: String,
        /// The forward-only steps that stay.
        kept: Vec<String>,
    },
    /// The undo failed too.
    #[error("{operation} failed and could not be undone: {} a person", needs(.steps))]
    Stuck {
        /// What was being done.
        operation: String,
        /// Why it failed first.
        #[source]
        cause: Option<ReportedError>,
        /// What must be finished by hand, with the commands.
        steps: Vec<StuckStep>,
        /// A script of those commands.
        script: Option<PathBuf>,
        /// The environment, for the hint.
        env: String,
    },
    /// It was left as it stands.
    #[error("{operation} {deployment} was left as it stands")]
    Detached {
        /// What was being done.
        operation: String,
        /// Which.
        deployment: DeploymentId,
        /// The environment, for the hint.
        env: String,
    },
    /// It was interrupted before anything had to be undone.
    #[error("interrupted; {}", serving(*.serves, *.changed))]
    Cancelled {
        /// The release that serves, where one does.
        serves: Option<ReleaseNumber>,
        /// Whether the stack was changed before.
        changed: bool,
        /// What was cut off.
        #[source]
        cut_off: Option<Box<PipelineError>>,
    },
    /// Something of this machine failed.
    #[error("failed to {what}")]
    Machine {
        /// What was tried.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// An error that was recorded as data, in the form that prints as a chain.
#[derive(Debug, Clone)]
pub struct ReportedError {
    report: ErrorReport,
    next: Option<Box<ReportedError>>,
}

impl std::fmt::Display for ReportedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.report.message)
    }
}

impl StdError for ReportedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.next.as_deref().map(|next| next as _)
    }
}

impl From<ErrorReport> for ReportedError {
    fn from(report: ErrorReport) -> Self {
        let hint = report.hint.clone();
        let next = report.causes.iter().rev().fold(None, |next, message| {
            let report = ErrorReport {
                message: message.clone(),
                causes: Vec::new(),
                hint: None,
            };
            Some(Box::new(Self { report, next }))
        });
        Self {
            report: ErrorReport {
                message: report.message,
                causes: Vec::new(),
                hint,
            },
            next,
        }
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let noun = if names.len() == 1 { "the check" } else { "the checks" };
    format!("{noun} {}", quoted.join(", "))
}

fn serving(serves: Option<ReleaseNumber>, changed: bool) -> String {
    match (serves, changed) {
        (None, false) => "nothing that serves was changed".to_owned(),
        (Some(release), false) => format!("{release} serves as before"),
        (None, true) => "the stack was changed".to_owned(),
        (Some(release), true) => format!("{release} serves, in a stack that was changed"),
    }
}

fn mend_checks(without_tests: &[String], reports: &[PathBuf]) -> String {
    let empty = without_tests.iter();
    let mut parts: Vec<String> = empty
        .map(|name| format!("`{name}` ran no test: write one, or take the check out of nuages.toml"))
        .collect();
    if !reports.is_empty() {
        let files: Vec<String> = reports.iter().map(|file| file.display().to_string()).collect();
        parts.push(format!("the whole report is in {}", files.join(" and ")));
    }
    parts.push("mend what they report and deploy again".to_owned());
    parts.push("`--skip-checks REASON` deploys without them, and is recorded".to_owned());
    parts.join("; ")
}

fn staying(steps: &[String]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    format!(" ({} cannot be undone and stays applied)", quoted.join(", "))
}

fn needs(steps: &[StuckStep]) -> String {
    let quoted: Vec<String> = steps.iter().map(|stuck| format!("`{}`", stuck.step)).collect();
    format!("{} need{}", quoted.join(", "), if steps.len() == 1 { "s" } else { "" })
}

impl PipelineError {
    /// A failure of this machine.
    pub fn machine(what: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Machine {
            what: what.into(),
            source: source.into(),
        }
    }

    /// A refusal with its way out.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }

    /// Nothing is begun beside an interrupted run.
    pub(crate) fn unfinished(session: &crate::Session, open: &nuages_saga::Summary) -> Self {
        let env = &session.config.env.name;
        Self::refused(
            format!(
                "an earlier {} of `{env}` was interrupted and has not ended",
                open.operation
            ),
            format!("finish it with `nuages resume --env {env}`, or undo it with `nuages abort --env {env}`"),
        )
    }

    /// What this is where somebody asked for the end: work that was cut off fails in its own words, which tell nobody that
    /// all serves as before. What the saga has to say of itself stays.
    pub(crate) fn cut_off(self, serves: Option<ReleaseNumber>, changed: bool) -> Self {
        let cut_off = match self {
            Self::Cancelled { cut_off, .. } => cut_off,
            Self::Image(_)
            | Self::Registry(_)
            | Self::Ecs(_)
            | Self::Migrate(_)
            | Self::Aws(_)
            | Self::Secrets(_)
            | Self::Checks { .. }
            | Self::Machine { .. } => Some(Box::new(self)),
            other => return other,
        };
        Self::Cancelled {
            serves,
            changed,
            cut_off,
        }
    }

    /// How the verb ended.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Project(_)
            | Self::Config(_)
            | Self::Arguments { .. }
            | Self::Aws(AwsError::BadEndpoint { .. } | AwsError::CaBundle { .. })
            | Self::Infra(InfraError::Spec(_))
            | Self::Releases(ReleasesError::Shared(_))
            | Self::Secrets(SecretsError::Invalid { .. }) => Ending::BadInput,
            Self::Preflight { .. }
            | Self::Image(ImageError::NoDockerfile { .. })
            | Self::Refused { .. }
            | Self::StoreRefused { .. }
            | Self::Saga(SagaError::Stale(_) | SagaError::Unfinished(_) | SagaError::UnknownKind { .. })
            | Self::Secrets(
                SecretsError::NotFound { .. }
                | SecretsError::KeyMissing { .. }
                | SecretsError::NoKeys { .. }
                | SecretsError::Deleted { .. }
                | SecretsError::Taken { .. }
                | SecretsError::NotOurs { .. },
            )
            | Self::Infra(
                InfraError::Missing { .. }
                | InfraError::NotOurs { .. }
                | InfraError::HalfDeleted { .. }
                | InfraError::Unplannable { .. }
                | InfraError::Refused { .. }
                | InfraError::NoZone { .. }
                | InfraError::SeveralZones { .. },
            )
            | Self::Releases(
                ReleasesError::Create { .. }
                | ReleasesError::InTheWay { .. }
                | ReleasesError::Dangling { .. }
                | ReleasesError::Unreadable { .. }
                | ReleasesError::Newer { .. }
                | ReleasesError::Damaged { .. }
                | ReleasesError::Foreign(_),
            )
            | Self::Aws(
                AwsError::WrongAccount { .. }
                | AwsError::NoCredentials { .. }
                | AwsError::NoProfile { .. }
                | AwsError::BadProfiles { .. }
                | AwsError::NoRegion
                // Asked before anything else, and nothing is done without an answer.
                | AwsError::Identity(_),
            ) => Ending::Refused,
            Self::Saga(SagaError::Held(_)) | Self::Taken => Ending::Held,
            Self::Saga(SagaError::LeaseLost | SagaError::Observe { .. }) | Self::Detached { .. } => Ending::Detached,
            Self::Stuck { .. } => Ending::Stuck,
            Self::Interrupted { .. } | Self::Cancelled { .. } | Self::Infra(InfraError::Cancelled { .. }) => {
                Ending::Interrupted
            }
            Self::Emulator(_)
            | Self::Aws(_)
            | Self::Infra(_)
            | Self::Bootstrap(_)
            | Self::Secrets(_)
            | Self::Image(_)
            | Self::Registry(_)
            | Self::Ecs(_)
            | Self::Migrate(_)
            | Self::Releases(_)
            | Self::Saga(_)
            | Self::Checks { .. }
            | Self::Undone { .. }
            | Self::Machine { .. } => Ending::Failed,
        }
    }

    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Project(error) => error.hint(),
            Self::Config(errors) => errors.problems().first()?.hint().map(str::to_owned),
            Self::Machine { .. } => None,
            Self::Arguments { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Emulator(error) => error.hint(),
            Self::Aws(error) => error.hint(),
            Self::Infra(error) | Self::Bootstrap(error) => error.hint(),
            Self::Secrets(error) => error.hint(),
            Self::Image(error) => error.hint().or_else(|| match error {
                ImageError::Sink(error) => error.source.downcast_ref().and_then(RegistryError::hint),
                ImageError::Build { dockerfile, .. } => Some(format!(
                    "mend {dockerfile} or what it copies, and run this again; what serves was not touched"
                )),
                _ => None,
            }),
            Self::Registry(error) => error.hint(),
            Self::Ecs(error) => error.hint(),
            Self::Migrate(error) => error.hint(),
            Self::Releases(error) => error.hint(),
            Self::StoreRefused { hint, .. } => Some((*hint).to_owned()),
            Self::Saga(error) => error.hint(),
            Self::Checks {
                without_tests, reports, ..
            } => Some(mend_checks(without_tests, reports)),
            Self::Preflight { findings } => findings.iter().find_map(|finding| finding.hint.clone()),
            Self::Undone { cause, .. } => cause.report.hint.clone(),
            Self::Interrupted { .. } | Self::Cancelled { .. } => Some("run the command again when you like".into()),
            Self::Taken => {
                Some("`nuages lease show` says who acts now; run the command again when they are through".into())
            }
            Self::Stuck {
                env,
                script: Some(script),
                ..
            } => Some(format!(
                "run the commands above, or all of them with `sh {}`, then `nuages resume --env {env}`",
                script.display()
            )),
            Self::Stuck { env, .. } => Some(format!("run the commands above, then `nuages resume --env {env}`")),
            Self::Detached { env, .. } => Some(format!(
                "finish it with `nuages resume --env {env}`, or undo it with `nuages abort --env {env}`"
            )),
        }
    }
}

impl PipelineError {
    /// The error with its causes and its hint, as a task's end tells it.
    pub fn report(&self) -> ErrorReport {
        let report = ErrorReport::of(self);
        match self.hint() {
            Some(hint) => report.with_hint(hint),
            None => report,
        }
    }
}

impl From<InfraError> for PipelineError {
    fn from(error: InfraError) -> Self {
        Self::Infra(error)
    }
}

#[cfg(test)]
mod tests;
