//! `bench deploy`: the command's start-up, and deployments of the sample to the local environment.
//!
//! Invariant: a peer does the same work on the same emulator in the same run.

use std::path::Path;
use std::process::Command;

use aws_sdk_ecs::Client;
use jiff::Timestamp;

use super::peers::{Peers, REGION};
use super::sample::{NAME, Sample, Told, told};
use super::tap::{Call, Tap};
use super::watch::{Watched, since};
use super::{Case, Failure, median, time, timed};

/// Tasks of a run whose time is a builder's, the emulator's or the application's, not the tool's.
const WAITING: [&str; 8] = [
    "emulator", "build", "checks", "push", "probe", "healthy", "smoke", "migrate",
];
/// What only asks how far a deployment is.
const POLLING: [&str; 5] = [
    "DescribeServices",
    "DescribeServiceDeployments",
    "ListServiceDeployments",
    "DescribeTasks",
    "ListTasks",
];

const STARTS: usize = 20;
const DEPLOYS: usize = 10;
const CHANGES: usize = 3;

pub(super) fn run() -> Result<Vec<Case>, Failure> {
    let peers = Peers::here();
    let mut sample = Sample::here()?;
    let mut cases = start_up(&sample.nuages, &peers);
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(deployments(&mut sample, &peers));
    // Whatever came of it, nothing is left.
    sample.down()?;
    cases.extend(measured?);
    Ok(cases)
}

fn start_up(nuages: &Path, peers: &Peers) -> Vec<Case> {
    let ours = time(STARTS, || {
        let mut command = Command::new(nuages);
        command.arg("--version");
        command
    });
    let row = |program: &str, arg: &str| {
        let peer = peers.command(program, &[arg]).and_then(|_| {
            time(5, || {
                peers.command(program, &[arg]).unwrap_or_else(|| Command::new(program))
            })
        });
        Case {
            case: format!("start-up of the dev build, beside {program}"),
            unit: "ms",
            ours,
            peer,
            peer_name: peer.map(|_| format!("{program} {arg}")),
            goal: "≤ 10".into(),
            ok: ours.map(|ours| ours <= 10.0),
            runs: STARTS,
            bound_by: "the dynamic linker and page faults of the binary that `cargo xtask deploy` builds (dev profile)"
                .into(),
        }
    };
    vec![row("aws", "--version"), row("ecs", "--version")]
}

async fn deployments(sample: &mut Sample, peers: &Peers) -> Result<Vec<Case>, Failure> {
    told(sample.deployment())?;
    let mut cases = vec![nothing_changed(sample)?];
    let endpoint = sample.endpoint()?;
    let port = endpoint.port().ok_or("the emulator has no port")?;
    let watched = Watched {
        client: client(endpoint.as_str()),
        cluster: format!("{NAME}-local"),
        service: "web".into(),
    };

    let (mut own, mut late) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        sample.change()?;
        let deployment = sample.deployment();
        let (told, steady) = watched.during(move || told(deployment)).await?;
        own.extend(told.without(&WAITING));
        let (_, seen) = told.window("healthy").ok_or("the deployment did not wait")?;
        late.push(since(steady, seen));
    }
    let own = median(own);
    cases.push(Case {
        case: "one template changed: the tool's own time".into(),
        unit: "ms",
        ours: own,
        peer: None,
        peer_name: None,
        goal: "≤ 500".into(),
        ok: own.map(|own| own <= 500.0),
        runs: CHANGES,
        bound_by: "calls to the emulator; build, push, probe, rollout and smoke test are taken out".into(),
    });
    cases.extend(steady(median(late), &watched, endpoint.as_str(), peers).await?);
    let tap = Tap::start(port).await?;
    sample.change()?;
    cases.push(calls(sample, peers, &tap, &watched).await?);
    Ok(cases)
}

fn nothing_changed(sample: &Sample) -> Result<Case, Failure> {
    let ours = time(DEPLOYS, || sample.command(&["deploy", "--env", "local"]));
    let image = format!(
        "localhost:{}/{NAME}-local:peer",
        sample.endpoint()?.port().unwrap_or_default()
    );
    // On the very image, so that it needs no package index: what is left is what a build does that finds all it made.
    let dockerfile = sample.beside("Dockerfile.peer", &format!("FROM nuages/{NAME}:deploy\nCOPY . /peer\n"))?;
    let build = || {
        let mut docker = Command::new("docker");
        docker.args(["build", "--quiet", "--tag", &image, "--file"]);
        docker.arg(&dockerfile).arg(&sample.project);
        docker
    };
    let push = || {
        let mut docker = Command::new("docker");
        docker.args(["push", &image]);
        docker
    };
    // The first one fills the cache.
    let peer = time(1, build)
        .and_then(|_| time(1, push))
        .and_then(|_| timed(DEPLOYS, || super::succeeds(build()) && super::succeeds(push())));
    super::succeeds({
        let mut docker = Command::new("docker");
        docker.args(["rmi", &image]);
        docker
    });
    Ok(Case {
        case: "nothing changed: deploy".into(),
        unit: "ms",
        ours,
        peer,
        peer_name: peer.map(|_| "docker build (one COPY) + docker push, all there".to_owned()),
        goal: "≤ 500".into(),
        ok: ours.map(|ours| ours <= 500.0),
        runs: DEPLOYS,
        bound_by: "calls to the emulator".into(),
    })
}

/// How long after a service is steady that is seen.
async fn steady(ours: Option<f64>, watched: &Watched, endpoint: &str, peers: &Peers) -> Result<Vec<Case>, Failure> {
    let (cluster, service) = (watched.cluster.as_str(), watched.service.as_str());
    let update = [
        "ecs",
        "update-service",
        "--force-new-deployment",
        "--cluster",
        cluster,
        "--service",
        service,
    ];
    let wait = [
        "ecs",
        "wait",
        "services-stable",
        "--cluster",
        cluster,
        "--services",
        service,
    ];
    let aws = [peers.at(endpoint, "aws", &update), peers.at(endpoint, "aws", &wait)];
    let ecs = [peers.at(
        endpoint,
        "ecs",
        &["deploy", cluster, service, "--timeout", "300", "--no-deregister"],
    )];
    let mut cases = Vec::new();
    for (name, commands) in [
        ("aws ecs wait services-stable", Vec::from(aws)),
        ("ecs deploy", Vec::from(ecs)),
    ] {
        let peer = match commands.into_iter().collect::<Option<Vec<Command>>>() {
            Some(commands) => Some(one_by_one(watched, commands).await?),
            None => None,
        };
        cases.push(Case {
            case: format!("steady seen after it is so, beside {name}"),
            unit: "ms",
            ours,
            peer,
            peer_name: peer.map(|_| name.to_owned()),
            goal: "≤ 1000".into(),
            ok: ours.map(|ours| ours <= 1000.0),
            runs: CHANGES,
            bound_by: "how often it is asked: once a second here; the peer was run once".into(),
        });
    }
    Ok(cases)
}

/// Runs a peer's commands, and answers how late its end is.
async fn one_by_one(watched: &Watched, commands: Vec<Command>) -> Result<f64, Failure> {
    let run = move || {
        for command in commands {
            let name = command.get_program().to_string_lossy().into_owned();
            if !super::succeeds(command) {
                return Err(format!("{name} failed"));
            }
        }
        Ok(Timestamp::now())
    };
    let (ended, steady) = watched.during(run).await?;
    Ok(since(steady, ended))
}

/// The calls to ECS that one service's rollout makes, polling apart.
async fn calls(sample: &Sample, peers: &Peers, tap: &Tap, watched: &Watched) -> Result<Case, Failure> {
    let mut deployment = sample.deployment();
    deployment
        .env("AWS_ENDPOINT_URL", tap.url())
        .env("NUAGES_EMULATOR", "ministack");
    let told = tokio::task::spawn_blocking(move || told(deployment)).await??;
    let all = tap.take();
    let (rollout, before) = parted(&told, &all).ok_or("the deployment did not roll out")?;
    let peer = peers.at(
        &tap.url(),
        "ecs",
        &[
            "deploy",
            &watched.cluster,
            &watched.service,
            "--timeout",
            "300",
            "--no-deregister",
        ],
    );
    let peer = match peer {
        Some(command) => {
            let ran = tokio::task::spawn_blocking(move || super::succeeds(command)).await?;
            ran.then(|| fixed(&tap.take()))
        }
        None => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful of calls")]
    let number = |n: usize| n as f64;
    Ok(Case {
        case: "calls to ECS of one service's rollout, polling apart".into(),
        unit: "calls",
        ours: Some(number(rollout.len())),
        peer: peer.map(number),
        peer_name: peer.map(|_| "ecs deploy".to_owned()),
        goal: "≤ 5".into(),
        ok: Some(rollout.len() <= 5),
        runs: 1,
        bound_by: format!("{}; before the rollout: {}", counted(&rollout), counted(&before)),
    })
}

/// The calls of a rollout, without those that only ask how far it is; and all that were made before it.
fn parted<'a>(told: &Told, calls: &'a [Call]) -> Option<(Vec<&'a Call>, Vec<&'a Call>)> {
    let (began, ended) = told.window("roll-out")?;
    let waits: Vec<(Timestamp, Timestamp)> = ["healthy", "smoke"].iter().filter_map(|id| told.window(id)).collect();
    let waiting = |call: &Call| polls(call) && waits.iter().any(|(from, to)| (*from..=*to).contains(&call.at));
    let rollout = calls
        .iter()
        .filter(|call| (began..=ended).contains(&call.at) && !waiting(call));
    Some((rollout.collect(), calls.iter().filter(|call| call.at < began).collect()))
}

/// The calls up to the update, and those after it that do not only ask.
fn fixed(calls: &[Call]) -> usize {
    let update = calls.iter().position(|call| call.operation == "UpdateService");
    let begun = update.map_or(0, |at| at + 1);
    begun + calls[begun..].iter().filter(|call| !polls(call)).count()
}

fn polls(call: &Call) -> bool {
    POLLING.contains(&call.operation.as_str())
}

/// `2 DescribeServices, 1 UpdateService`.
fn counted(calls: &[&Call]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for call in calls {
        *counts.entry(&call.operation).or_default() += 1;
    }
    let each: Vec<String> = counts.iter().map(|(operation, n)| format!("{n} {operation}")).collect();
    each.join(", ")
}

fn client(endpoint: &str) -> Client {
    Client::new(&crate::aws::sdk_config(endpoint, "test", REGION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_begins_with_the_update() {
        let call = |operation: &str| Call {
            at: Timestamp::UNIX_EPOCH,
            operation: operation.to_owned(),
        };
        let all = [
            "DescribeServices",
            "UpdateService",
            "DescribeServices",
            "ListTasks",
            "TagResource",
        ]
        .map(call);
        assert_eq!(fixed(&all), 3);
    }
}
