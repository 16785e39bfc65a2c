//! `bench deploy`: the command's start-up, and deployments of the sample to the local environment.
//!
//! Invariant: the sample is copied; the repository's own files and environment are not touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Case, Failure, median, time};

/// Tasks of a run whose time is a builder's, the emulator's or the application's, not the tool's.
const WAITING: [&str; 8] = [
    "emulator", "build", "checks", "push", "probe", "healthy", "smoke", "migrate",
];

const STARTS: usize = 20;
const DEPLOYS: usize = 10;
const CHANGES: usize = 3;

pub(super) fn run() -> Result<Vec<Case>, Failure> {
    let nuages = PathBuf::from(std::env::var_os("NUAGES_BINARY").ok_or("NUAGES_BINARY names no binary")?);
    let workspace = PathBuf::from(std::env::var_os("NUAGES_WORKSPACE").ok_or("NUAGES_WORKSPACE names no folder")?);
    let mut cases = vec![start_up(&nuages)];
    let folder = tempfile::tempdir()?;
    let project = folder.path().join("django-sample");
    copy(&workspace.join("django-sample"), &project)?;
    let measured = deployments(&nuages, &project);
    // Whatever came of it, nothing is left.
    let down = command(&nuages, &project, &["infra", "down", "--env", "local", "--yes"]).output()?;
    cases.extend(measured?);
    if down.status.success() {
        Ok(cases)
    } else {
        Err("the bench's environment could not be taken down".into())
    }
}

fn start_up(nuages: &Path) -> Case {
    let ours = time(STARTS, || {
        let mut command = Command::new(nuages);
        command.arg("--version");
        command
    });
    let peer = time(5, || {
        let mut command = Command::new("aws");
        command.arg("--version");
        command
    });
    Case {
        case: "start-up (--version)".into(),
        unit: "ms",
        ours,
        peer,
        peer_name: peer.map(|_| "aws --version".to_owned()),
        goal: "≤ 10".into(),
        ok: ours.map(|ours| ours <= 10.0),
        runs: STARTS,
        bound_by: "the dynamic linker and page faults of the debug binary".into(),
    }
}

fn deployments(nuages: &Path, project: &Path) -> Result<Vec<Case>, Failure> {
    deploy(nuages, project, &["--skip-checks", "bench"])?;
    let nothing = time(DEPLOYS, || command(nuages, project, &["deploy", "--env", "local"]));
    let build = time(DEPLOYS, || {
        let mut docker = Command::new("docker");
        docker
            .args(["build", "--quiet", "--build-arg", "BASE=python:3.13-slim"])
            .arg(project);
        docker
    });
    let mut own = Vec::new();
    for change in 0..CHANGES {
        let page = project.join("posts/templates/posts/list.html");
        let text = std::fs::read_to_string(&page)?;
        std::fs::write(&page, format!("{text}\n<!-- {change} -->\n"))?;
        own.push(own_time(&deploy(nuages, project, &["--skip-checks", "bench"])?));
    }
    let own = median(own);
    Ok(vec![
        Case {
            case: "nothing changed: deploy".into(),
            unit: "ms",
            ours: nothing,
            peer: build,
            peer_name: build.map(|_| "docker build alone, all cached".to_owned()),
            goal: "≤ 500".into(),
            ok: nothing.map(|ours| ours <= 500.0),
            runs: DEPLOYS,
            bound_by: "calls to the emulator".into(),
        },
        Case {
            case: "one template changed: the tool's own time".into(),
            unit: "ms",
            ours: own,
            peer: None,
            peer_name: None,
            goal: "≤ 500".into(),
            ok: own.map(|ours| ours <= 500.0),
            runs: CHANGES,
            bound_by: "calls to the emulator; build, push, probe, rollout and smoke test are taken out".into(),
        },
    ])
}

fn command(nuages: &Path, project: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(nuages);
    command.arg("--project").arg(project).args(args);
    command
}

/// Deploys, and answers the events.
fn deploy(nuages: &Path, project: &Path, more: &[&str]) -> Result<Vec<Value>, Failure> {
    let output = command(nuages, project, &["deploy", "--env", "local", "--json"])
        .args(more)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let last = text.lines().last().unwrap_or_default();
        return Err(format!("a deployment of the bench failed: {last}").into());
    }
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// From the first event to the last, without the tasks that wait for others.
fn own_time(events: &[Value]) -> f64 {
    let at = |event: &Value| event["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let (Some(first), Some(last)) = (events.first().and_then(at), events.last().and_then(at)) else {
        return 0.0;
    };
    let waiting: std::collections::BTreeSet<u64> = events
        .iter()
        .filter(|event| event["event"] == "task-started")
        .filter(|event| event["id"].as_str().is_some_and(|id| WAITING.contains(&id)))
        .filter_map(|event| event["task"].as_u64())
        .collect();
    let waited: f64 = events
        .iter()
        .filter(|event| event["event"] == "task-ended")
        .filter(|event| event["task"].as_u64().is_some_and(|task| waiting.contains(&task)))
        .filter_map(|event| event["elapsed_ms"].as_f64())
        .sum();
    let all = last.duration_since(first).as_secs_f64() * 1e3;
    (all - waited).max(0.0)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == ".nuages" || name == "__pycache__" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
