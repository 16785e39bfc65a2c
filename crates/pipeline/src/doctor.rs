//! What is missing on this machine and in this account, with the command that mends it.
//!
//! Invariant: reads only, and one thing that is missing hides no other. What nobody asked for is no failure: who deploys to
//! this machine alone has credentials for no account.

use std::path::Path;

use nuages_aws::{AwsContext, AwsSettings};
use nuages_config::{Config, Project};
use nuages_image::Engine;
use nuages_model::{EnvName, Finding, Level};
use nuages_releases::{Circumstances, Store};
use nuages_saga::Events;

use crate::error::PipelineError;
use crate::left_behind::{self, LeftBehind};
use crate::{left_checks, records, session, tree};

/// One thing that was looked at.
pub type DoctorFinding = Finding;

/// What is to be looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct DoctorOptions<'a> {
    /// This environment; all of them without it.
    pub env: Option<&'a EnvName>,
    /// A store that the person named.
    pub store: Option<&'a Path>,
    /// Whether a CI system runs this.
    pub ci: bool,
}

/// Looks at everything that nuages needs. `project` may be missing or broken: that is a finding too. An account that cannot
/// be reached is a warning where its environment was not asked for.
pub async fn doctor(
    project: Result<&Project, &PipelineError>,
    options: DoctorOptions<'_>,
) -> Result<Vec<DoctorFinding>, PipelineError> {
    let mut findings = vec![engine().await, python().await, git().await];
    let folder = project.map_or(Path::new("."), |project| &project.dir);
    let place = nuages_releases::location(folder, options.store);
    match project {
        Err(error) => findings.push(failed("project", error.to_string(), error.hint())),
        Ok(project) => {
            findings.push(Finding::ok("project", format!("{}", project.file.path().display())));
            let (asked, unreached): (Vec<&EnvName>, _) = match options.env {
                Some(env) => (vec![env], Level::Fail),
                None => (project.file.environments().collect(), Level::Warn),
            };
            if let Some(env) = options.env
                && !asked_for_exists(project, env)
            {
                // It was misspelt, and nothing is missing.
                project.environment(env)?;
            }
            let configs: Vec<Config> = asked.iter().filter_map(|env| project.environment(env).ok()).collect();
            findings.extend(working_tree(&configs, &place).await);
            for env in asked {
                findings.push(environment(project, env, unreached).await);
            }
            findings.extend(configs.iter().filter_map(|config| unsafe_store(config, options)));
        }
    }
    findings.push(store(&place).await);
    findings.extend(emulators_left_behind().await);
    findings.extend(left_checks::finding().await);
    Ok(findings)
}

fn asked_for_exists(project: &Project, env: &EnvName) -> bool {
    project.file.environments().any(|known| known == env)
}

/// Whether an image can be made of the project, in the words of the verbs that would. Environments that build alike are
/// looked at once.
async fn working_tree(configs: &[Config], store: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "working tree";
    let mut findings: Vec<Finding> = Vec::new();
    let mut seen: Vec<&Config> = Vec::new();
    for config in configs {
        let alike = |other: &&Config| (&other.build, &other.checks) == (&config.build, &config.checks);
        if seen.iter().any(alike) {
            continue;
        }
        seen.push(config);
        if let Err(error) = tree::look(config, store).await {
            let finding = failed(SUBJECT, error.to_string(), error.hint());
            if !findings.iter().any(|known| known.message == finding.message) {
                findings.push(finding);
            }
        }
    }
    if findings.is_empty() && !configs.is_empty() {
        findings.push(Finding::ok(SUBJECT, "has what an image is built from"));
    }
    findings
}

/// Whether the records can be used, in the words of the verbs that would.
async fn store(place: &Path) -> Finding {
    const SUBJECT: &str = "store";
    let looked = async {
        if !nuages_releases::is_there(place)? {
            return Ok(format!("{} will be made by the first deployment", place.display()));
        }
        let known = Store::open(place).await?.environments().await?;
        let mut names: Vec<String> = known.iter().map(|one| format!("`{}`", one.key().env)).collect();
        names.sort();
        names.dedup();
        Ok::<_, PipelineError>(match names.as_slice() {
            [] => format!("{}, without records", place.display()),
            names => format!("{}, with records of {}", place.display(), names.join(", ")),
        })
    };
    match looked.await {
        Ok(message) => Finding::ok(SUBJECT, message),
        Err(error) => {
            let report = error.report();
            let message = std::iter::once(report.message).chain(report.causes).collect::<Vec<_>>();
            failed(SUBJECT, message.join(": "), report.hint)
        }
    }
}

/// Why a store in a file is refused for an environment, where it is.
fn unsafe_store(config: &Config, options: DoctorOptions<'_>) -> Option<Finding> {
    let circumstances = Circumstances {
        real_account: !session::quirks(config).is_emulator(),
        ci: options.ci,
        named: options.store.is_some(),
    };
    let error = records::judge(circumstances, &Events::none()).err()?;
    Some(failed(
        format!("store of {}", config.env.name),
        error.to_string(),
        error.hint(),
    ))
}

/// Containers, networks and volumes that somebody may have forgotten. Without an engine there are none.
async fn emulators_left_behind() -> Vec<Finding> {
    let all = left_behind::left_behind().await.unwrap_or_default();
    let finding = |left: LeftBehind| Finding::warn("left behind", format!("{left}, is still there")).hint(left.hint());
    all.into_iter().map(finding).collect()
}

fn failed(subject: impl Into<String>, message: String, hint: Option<String>) -> Finding {
    let finding = Finding::fail(subject, message);
    match hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

async fn engine() -> Finding {
    match Engine::connect().await {
        Ok(engine) => {
            let info = engine.info();
            let builder = if info.buildkit {
                "BuildKit"
            } else {
                "the classic builder"
            };
            Finding::ok(
                "docker",
                format!(
                    "engine {} with {builder}, storage driver {}",
                    info.version, info.storage_driver
                ),
            )
        }
        Err(error) => failed("docker", error.to_string(), error.hint()),
    }
}

async fn version(program: &str, args: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new(program).args(args).output().await.ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn python() -> Finding {
    match version("python3", &["--version"]).await {
        Some(version) => Finding::ok("python", version),
        None => Finding::warn(
            "python",
            "there is no python3 on PATH: images cannot be built where none can be pulled",
        )
        .hint("install Python 3, for example: sudo apt-get install python3"),
    }
}

async fn git() -> Finding {
    match version("git", &["--version"]).await {
        Some(version) => Finding::ok("git", version),
        None => Finding::warn(
            "git",
            "there is no git on PATH: releases are recorded without their commit",
        )
        .hint("install git, for example: sudo apt-get install git"),
    }
}

/// One environment; `unreached` is what an account that cannot be reached amounts to.
async fn environment(project: &Project, env: &EnvName, unreached: Level) -> Finding {
    let subject = format!("environment {env}");
    let config = match project.environment(env) {
        Ok(config) => config,
        Err(errors) => {
            return Finding::fail(subject, errors.to_string())
                .hint(format!("`nuages plan --env {env}` shows where in the file"));
        }
    };
    if config.emulator.is_some() {
        return Finding::ok(subject, "runs on this machine, in an emulator that nuages starts");
    }
    let settings = AwsSettings {
        region: Some(config.region.clone()),
        expected_account: config.account.clone(),
        ..AwsSettings::default()
    };
    match AwsContext::connect(&settings).await {
        Ok(aws) => {
            Finding::ok(subject, format!("{} in {}", aws.identity().arn, aws.region())).proof("sts:GetCallerIdentity")
        }
        Err(error) => Finding {
            level: unreached,
            ..failed(subject, error.to_string(), error.hint())
        },
    }
}
