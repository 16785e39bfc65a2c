//! Nothing is on record here, and the environment serves: a fresh clone, a store that was lost, another folder.

use nuages_testkit::http::{Answer, FakeServer, json, operation, xml};
use serde_json::json;

use crate::support::{Place, Said};

const TOML: &str = "\
[app]
name = 'blog'

[services.worker]
command = ['true']

[environments.staging]
region = 'eu-west-1'
account = '123456789012'
insecure_http = true
";

const DEFINITION: &str = "arn:aws:ecs:eu-west-1:123456789012:task-definition/blog-staging-worker:7";

/// An account in which the blog's worker runs, or in which there is nothing.
async fn account(runs: bool) -> FakeServer {
    FakeServer::start(move |request| {
        let answer: Answer = match operation(&request).as_deref() {
            Some("GetCallerIdentity") => xml(
                200,
                "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::123456789012:user/ana</Arn><UserId>AIDAEXAMPLE</UserId>\
                 <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
            ),
            Some("DescribeServices") if runs => json(
                200,
                &json!({"failures": [], "services": [{
                    "serviceName": "worker", "status": "ACTIVE", "taskDefinition": DEFINITION, "desiredCount": 1,
                    "runningCount": 1,
                }]}),
            ),
            Some("DescribeServices") => json(
                400,
                &json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."}),
            ),
            Some("DescribeTaskDefinition") => json(
                200,
                &json!({"taskDefinition": {
                    "taskDefinitionArn": DEFINITION, "family": "blog-staging-worker", "revision": 7,
                    "containerDefinitions": [{
                        "name": "worker",
                        "image": format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/blog-staging@sha256:{}", "3f2a".repeat(16)),
                    }],
                }}),
            ),
            _ => xml(403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"),
        };
        std::future::ready(answer)
    })
    .await
}

fn run(place: &Place, url: &str, args: &[&str]) -> Said {
    let env = [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
    ];
    // The server goes on beside it.
    tokio::task::block_in_place(|| place.run_with(args, &env))
}

const VERBS: [&[&str]; 4] = [
    &["releases", "--env", "staging"],
    &["history", "--env", "staging"],
    &["history", "--list", "--env", "staging"],
    &["releases", "--all", "--env", "staging"],
];

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_is_told_by_whoever_looks_for_its_records() {
    let (place, server) = (Place::with(TOML), account(true).await);
    for args in VERBS {
        let said = run(&place, &server.url(), args).ended(0);
        assert!(!said.err.contains("nothing was deployed"), "{}", said.err);
        said.tells("`staging` serves, and ")
            .tells(
                "/app/.nuages/nuages.db has no record of it: `worker` runs blog-staging-worker:7 (sha256:3f2a3f2a3f2a)",
            )
            .tells(
                "hint: where another store has the records (another clone's or person's), name it with `--store PATH`",
            );
    }
    let [line] = run(&place, &server.url(), &["releases", "--env", "staging", "--json"])
        .ended(0)
        .json()
        .try_into()
        .unwrap();
    assert_eq!((&line["event"], &line["level"]), (&json!("message"), &json!("warning")));
    assert!(
        !place.project().join(".nuages").exists(),
        "who only looks leaves nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_was_deployed_is_said_where_that_was_seen() {
    let (place, server) = (Place::with(TOML), account(false).await);
    for args in VERBS {
        run(&place, &server.url(), args)
            .ended(0)
            .tells("nothing was deployed to staging yet");
    }
    for args in VERBS {
        run(&place, "http://127.0.0.1:1", args)
            .ended(0)
            .tells("has no record of `staging`, and what serves there cannot be seen: ");
    }
}

/// Exit code 4: nothing was done, and nobody knows what could be.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_reached_refuses() {
    let place = Place::with(TOML);
    for verb in ["status", "rollback", "deploy"] {
        run(&place, "http://127.0.0.1:1", &[verb, "--env", "staging"])
            .ended(4)
            .ends_telling("failed to ask AWS who we are")
            .ends_telling("hint: check the network");
    }
}

/// Whoever only looks has begun nothing: Ctrl-C ends it at once, and nothing is said of undoing.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_what_only_looks_quietly() {
    use std::process::Stdio;

    let (place, silent) = (
        Place::with(TOML),
        FakeServer::start(|_| std::future::pending::<Answer>()).await,
    );
    for args in [&["logs", "-f"][..], &["status"]] {
        let before = silent.requests().len();
        let mut command = place.command(&[args, &["--env", "staging"]].concat());
        command
            .env("AWS_ENDPOINT_URL", silent.url())
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        while silent.requests().len() == before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let pid = child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap();
        assert!(sent.success());
        let ended = tokio::task::block_in_place(|| child.wait_with_output()).unwrap();
        let said = Said::of(args, &ended).ended(130);
        for word in ["undo", "interrupted", "error"] {
            assert!(!said.err.contains(word), "{}", said.err);
        }
    }
}
