//! What is missing on this machine and in this account, with the command that mends it.
//!
//! Invariant: reads only, and one thing that is missing hides no other.

use nuages_aws::{AwsContext, AwsSettings};
use nuages_config::Project;
use nuages_image::Engine;
use nuages_model::Finding;

use crate::error::PipelineError;

/// One thing that was looked at.
pub type DoctorFinding = Finding;

/// Looks at everything that nuages needs. `project` may be missing or broken: that is a finding too.
pub async fn doctor(project: Result<&Project, &PipelineError>) -> Vec<DoctorFinding> {
    let mut findings = vec![engine().await, python().await, git().await];
    match project {
        Err(error) => findings.push(failed("project", error.to_string(), error.hint())),
        Ok(project) => {
            findings.push(Finding::ok("project", format!("{}", project.file.path().display())));
            for env in project.file.environments() {
                findings.push(environment(project, env).await);
            }
        }
    }
    findings
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

async fn environment(project: &Project, env: &nuages_model::EnvName) -> Finding {
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
        Err(error) => failed(subject, error.to_string(), error.hint()),
    }
}
