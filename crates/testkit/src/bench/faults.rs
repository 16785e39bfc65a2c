//! `bench faults`: requests through three rollouts, one that fails and one return, and how a release that fails is told.
//!
//! Invariant: who is measured brings the same revisions of the same service, on the same emulator, under the same load.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::types::SortOrder;
use jiff::Timestamp;

use super::crash::Crashes;
use super::load::{Load, Tally};
use super::peers::{Peers, REGION};
use super::sample::{NAME, Sample, ran, told};
use super::tap::Tap;
use super::watch::since;
use super::{Case, Failure};

/// Releases that come up well.
const GOOD: usize = 3;
/// What is broken in the release that fails: read before anything listens, so that it ends at once.
const BROKEN: &str = "gunicorn.conf.py";
/// How long a peer waits for a rollout, in seconds: its own default.
const PATIENCE: &str = "300";

pub(super) fn run() -> Result<Vec<Case>, Failure> {
    let peers = Peers::here();
    let mut sample = Sample::here()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(measure(&mut sample, &peers));
    // Whatever came of it, nothing is left.
    sample.down()?;
    measured
}

/// What one tool did.
struct Seen {
    tally: Tally,
    failing: Failing,
}

/// How a release that fails ended.
struct Failing {
    /// From the command to its end, in seconds.
    seconds: f64,
    /// So many calls to ECS.
    calls: usize,
    /// From the first crash to the explanation, in seconds. None where the release was called a success.
    explained: Option<f64>,
}

/// The service under load, and the revisions that the tools bring.
struct Ground {
    client: Client,
    cluster: String,
    service: String,
    address: SocketAddr,
    host: String,
    tap: Tap,
}

async fn measure(sample: &mut Sample, peers: &Peers) -> Result<Vec<Case>, Failure> {
    told(sample.deployment())?;
    let url = sample.status()?["url"]
        .as_str()
        .ok_or("the sample has no URL")?
        .to_owned();
    let url: url::Url = url.parse()?;
    let port = url.port().ok_or("the sample's URL has no port")?;
    let host = url.host_str().ok_or("the sample's URL has no host")?;
    let ground = Ground {
        client: client(sample.endpoint()?.as_str()),
        cluster: format!("{NAME}-local"),
        service: "web".into(),
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        host: format!("{host}:{port}"),
        tap: Tap::start(port).await?,
    };
    let (ours, revisions) = ours(sample, &ground).await?;
    let mut cases = Vec::new();
    for (name, program) in [("ecs deploy", "ecs"), ("aws ecs update-service", "aws")] {
        let peer = match peers.command(program, &[]) {
            Some(_) => Some(theirs(&ground, &revisions, |revision| bring(&ground, peers, program, revision)).await?),
            None => None,
        };
        cases.extend(rows(name, &ours, peer.as_ref()));
    }
    Ok(cases)
}

/// An emulator under load drops a connection now and then.
fn client(endpoint: &str) -> Client {
    let sdk = crate::aws::sdk_config(endpoint, "test", REGION);
    let config = aws_sdk_ecs::config::Builder::from(&sdk).retry_config(RetryConfig::standard());
    Client::from_conf(config.build())
}

/// The revisions of one service: those that work, in the order in which they came, and the one that does not.
struct Revisions {
    good: Vec<String>,
    broken: String,
}

async fn ours(sample: &mut Sample, ground: &Ground) -> Result<(Seen, Revisions), Failure> {
    let load = Load::start(ground.address, &ground.host);
    let mut good = Vec::new();
    for _ in 0..GOOD {
        sample.change()?;
        let deployment = sample.deployment();
        tokio::task::spawn_blocking(move || told(deployment)).await??;
        good.push(ground.serving().await?);
    }
    let working = sample.edit(BROKEN, |text| {
        format!("{text}\nraise RuntimeError(\"the blog has no ink\")\n")
    })?;
    let mut deployment = sample.deployment();
    deployment
        .env("AWS_ENDPOINT_URL", ground.tap.url())
        .env("NUAGES_EMULATOR", "ministack");
    ground.tap.take();
    let crashes = Crashes::of(&ground.cluster)?;
    let began = Timestamp::now();
    let (told_of, well) = tokio::task::spawn_blocking(move || ran(deployment)).await??;
    if well {
        return Err("a release that cannot start was deployed".into());
    }
    let seconds = since(began, Timestamp::now()) / 1e3;
    let calls = ground.tap.take().len();
    let broken = ground.newest(&good).await?;
    let (_, explained) = told_of.window("healthy").ok_or("the deployment did not wait")?;
    let crash = crashes.first().await?;
    sample.edit(BROKEN, |_| working)?;
    let rollback = sample.command(&["rollback", "--env", "local"]);
    let back = tokio::task::spawn_blocking(move || super::succeeds(rollback)).await?;
    let tally = load.stop().await;
    if !back {
        return Err("the rollback failed".into());
    }
    let failing = Failing {
        seconds,
        calls,
        explained: Some(since(crash, explained) / 1e3),
    };
    Ok((Seen { tally, failing }, Revisions { good, broken }))
}

/// The same revisions by a peer: the good ones one after the other, the broken one, and back.
async fn theirs(
    ground: &Ground,
    revisions: &Revisions,
    bring: impl Fn(&str) -> Option<Vec<Command>>,
) -> Result<Seen, Failure> {
    let missing = "a peer's command is not there";
    let load = Load::start(ground.address, &ground.host);
    for revision in &revisions.good {
        one_after_the_other(bring(revision).ok_or(missing)?)
            .await?
            .map_err(|why| format!("a peer could not bring {revision}: {why}"))?;
    }
    ground.tap.take();
    let crashes = Crashes::of(&ground.cluster)?;
    let began = Timestamp::now();
    let failed = one_after_the_other(bring(&revisions.broken).ok_or(missing)?)
        .await?
        .is_err();
    let ended = Timestamp::now();
    let calls = ground.tap.take().len();
    let crash = crashes.first().await?;
    drop(crashes);
    let before = revisions.good.len().saturating_sub(2);
    one_after_the_other(bring(&revisions.good[before]).ok_or(missing)?)
        .await?
        .map_err(|why| format!("a peer could not return to the release before: {why}"))?;
    let failing = Failing {
        seconds: since(began, ended) / 1e3,
        calls,
        explained: failed.then(|| since(crash, ended) / 1e3),
    };
    let tally = load.stop().await;
    Ok(Seen { tally, failing })
}

/// How a peer brings a revision, as its manual says, through the tap.
fn bring(ground: &Ground, peers: &Peers, program: &str, revision: &str) -> Option<Vec<Command>> {
    let (cluster, service) = (ground.cluster.as_str(), ground.service.as_str());
    let at = |args: &[&str]| peers.at(&ground.tap.url(), program, args);
    let commands = if program == "ecs" {
        let deploy = ["deploy", cluster, service, "--task", revision, "--timeout", PATIENCE];
        vec![at(&[&deploy[..], &["--rollback", "--no-deregister"]].concat())]
    } else {
        let named = [
            "--cluster",
            cluster,
            "--service",
            service,
            "--task-definition",
            revision,
        ];
        let waits = [
            "ecs",
            "wait",
            "services-stable",
            "--cluster",
            cluster,
            "--services",
            service,
        ];
        vec![at(&[&["ecs", "update-service"], &named[..]].concat()), at(&waits)]
    };
    commands.into_iter().collect()
}

/// Runs commands until one fails; the error is the last that it said.
async fn one_after_the_other(commands: Vec<Command>) -> Result<Result<(), String>, Failure> {
    let run = move || commands.into_iter().try_for_each(said);
    Ok(tokio::task::spawn_blocking(run).await?)
}

fn said(mut command: Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let all = [output.stdout, output.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(lines[lines.len().saturating_sub(5)..].join(" | "))
}

impl Ground {
    /// The revision that the service is to run.
    async fn serving(&self) -> Result<String, Failure> {
        let asked = self
            .client
            .describe_services()
            .cluster(&self.cluster)
            .services(&self.service);
        let answer = asked.send().await?;
        let service = answer.services().first().ok_or("the service is not there")?;
        Ok(service
            .task_definition()
            .ok_or("the service has no revision")?
            .to_owned())
    }

    /// The newest revision of this family, which is none of these.
    async fn newest(&self, known: &[String]) -> Result<String, Failure> {
        let last = known.last().ok_or("no revision is known")?;
        let family = last.rsplit('/').next().and_then(|name| name.split(':').next());
        let asked = self.client.list_task_definitions().sort(SortOrder::Desc);
        let answer = asked.set_family_prefix(family.map(str::to_owned)).send().await?;
        let newest = answer.task_definition_arns().first().ok_or("no revision is listed")?;
        if known.contains(newest) {
            return Err("the release that fails left no revision".into());
        }
        Ok(newest.clone())
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands of requests")]
fn rows(name: &str, ours: &Seen, peer: Option<&Seen>) -> Vec<Case> {
    let row = |case: &str, unit, goal: &str, limit: f64, value: &dyn Fn(&Seen) -> Option<f64>, bound_by: String| Case {
        case: format!("{case}, beside {name}"),
        unit,
        ours: value(ours),
        peer: peer.and_then(value),
        peer_name: peer.map(|_| name.to_owned()),
        goal: goal.into(),
        ok: value(ours).filter(|_| !goal.is_empty()).map(|value| value <= limit),
        runs: 1,
        bound_by,
    };
    let sent = |seen: &Seen| format!("{} of {} sent", seen.tally.lost(), seen.tally.sent);
    let reasons = |seen: &Seen| {
        let each = seen.tally.others.iter().map(|(why, n)| format!("{n} × {why}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let both = |say: &dyn Fn(&Seen) -> String| {
        let there = peer.map_or_else(|| "nothing".to_owned(), say);
        format!("here {}; there {there}", say(ours))
    };
    vec![
        row(
            "requests lost in three rollouts, one that fails, one return",
            "requests",
            "",
            0.0,
            &|seen| Some(seen.tally.lost() as f64),
            both(&sent),
        ),
        row(
            "of these, not by the emulator's sending them too early",
            "requests",
            "0",
            0.0,
            &|seen| Some(seen.tally.unexplained() as f64),
            both(&reasons),
        ),
        row(
            "a release that fails: first crash to explanation",
            "s",
            "≤ 10",
            10.0,
            &|seen| seen.failing.explained,
            match peer {
                Some(peer) if peer.failing.explained.is_none() => "the peer called the release a success".into(),
                _ => "how often it is asked; the peer tells at its end".into(),
            },
        ),
        row(
            "a release that fails: command to end, undone",
            "s",
            "",
            0.0,
            &|seen| Some(seen.failing.seconds),
            "build, push and the emulator's tasks; the peer only brings the revision".into(),
        ),
        row(
            "a release that fails: calls to ECS",
            "calls",
            "",
            0.0,
            &|seen| Some(seen.failing.calls as f64),
            "polling".into(),
        ),
    ]
}
