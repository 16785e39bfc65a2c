//! What is missing on this machine and in this account, with the command that mends it.
//!
//! Invariant: reads only, and one thing that is missing hides no other. What nobody asked for is no failure: who deploys to
//! this machine alone has credentials for no account.

use nuages_aws::{AwsContext, AwsSettings};
use nuages_config::Project;
use nuages_image::Engine;
use nuages_model::{EnvName, Finding, Level};

use crate::error::PipelineError;
use crate::left_behind::{self, LeftBehind};

/// One thing that was looked at.
pub type DoctorFinding = Finding;

/// Looks at everything that nuages needs: for this environment, or for all of them. `project` may be missing or broken:
/// that is a finding too. An account that cannot be reached is a warning where its environment was not asked for.
pub async fn doctor(
    project: Result<&Project, &PipelineError>,
    env: Option<&EnvName>,
) -> Result<Vec<DoctorFinding>, PipelineError> {
    let mut findings = vec![engine().await, python().await, git().await];
    match project {
        Err(error) => findings.push(failed("project", error.to_string(), error.hint())),
        Ok(project) => {
            findings.push(Finding::ok("project", format!("{}", project.file.path().display())));
            if let Some(env) = env {
                // One that is not in the file was misspelt, and nothing is missing.
                if !project.file.environments().any(|known| known == env) {
                    project.environment(env)?;
                }
                findings.push(environment(project, env, Level::Fail).await);
            } else {
                for env in project.file.environments() {
                    findings.push(environment(project, env, Level::Warn).await);
                }
            }
        }
    }
    findings.extend(emulators_left_behind().await);
    Ok(findings)
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
