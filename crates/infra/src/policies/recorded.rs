//! What a deployment of the sample's `staging` asks of AWS, against the policies that are printed.
//!
//! Invariant: each action of a policy is there because a recorded call needs it, or because of a reason that stands here.
//! The recording is `fixtures/requests/staging.json`; the test of the command that makes it compares it at each run.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::tests::{calls, place};
use super::*;

/// What no run shows in which all goes well, on an emulator, with the sample; and when it is asked.
const DEPLOY: [(&str, &str); 14] = [
    (
        "cloudformation:DescribeStacks,DeleteStack,ContinueUpdateRollback stack/nuages-blog-staging/1",
        "a stack whose creation failed is cleared away, one whose rollback failed is continued",
    ),
    (
        "cloudformation:ListChangeSets,DeleteChangeSet stack/nuages-blog-staging/1",
        "`plan` deletes what it made, and a stack in review only where no other change set is left",
    ),
    (
        "ecs:DescribeServiceDeployments service/blog-staging/web",
        "why ECS rolled back; the emulator knows no service deployments",
    ),
    (
        "ecs:DescribeServiceDeployments service-deployment/blog-staging/web/1",
        "it asks for the permission on both",
    ),
    (
        "ecs:DeleteService service/blog-staging/web",
        "a first service is undone by deleting it",
    ),
    (
        "ecs:StopTask task/blog-staging/0123",
        "a one-off task is stopped where its wait ends early",
    ),
    (
        "ecs:TagResource task/blog-staging/0123",
        "tasks take their service's tags",
    ),
    (
        "secretsmanager:BatchGetSecretValue *",
        "a key within a secret is looked for before tasks are given it",
    ),
    (
        "secretsmanager:GetSecretValue secret:blog/staging/KEY-AbCdEf",
        "the permission that BatchGetSecretValue asks for of each secret",
    ),
    (
        "secretsmanager:DescribeSecret,GetSecretValue secret:shared/mail-AbCdEf",
        "a secret that is not the app's own",
    ),
    (
        "secretsmanager:DescribeSecret secret:shared/mail",
        "one that does not exist has no suffix",
    ),
    (
        "secretsmanager:RestoreSecret,PutSecretValue secret:blog/staging/KEY-AbCdEf",
        "one that is scheduled for deletion is brought back; a rotated one gets its new value",
    ),
    (
        "ssm:GetParameters,PutParameter parameter/blog/staging/token",
        "secrets that are kept as parameters; the sample has none",
    ),
    (
        "route53:ListHostedZonesByName *",
        "a domain whose zone the file does not name; the emulator has no HTTPS",
    ),
];

/// The same for `infra down`.
const DOWN: [(&str, &str); 2] = [
    (
        "rds:ModifyDBInstance db:nuages-blog-staging-database-abc",
        "the database's protection is lifted; the emulator's has none",
    ),
    (
        "rds:DescribeDBSnapshots *",
        "the final snapshot is told with what it costs",
    ),
];

/// Needed by a call that only shows where there is such a parameter.
const OTHER_PARAMETER: &str = "ssm:GetParameters parameter/shared/token";

#[derive(Deserialize)]
struct Recorded {
    action: String,
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, String>,
}

/// What was recorded of this part of the run.
fn recorded(part: &str) -> Vec<Request> {
    let text = include_str!("../../../../fixtures/requests/staging.json");
    let mut parts: BTreeMap<String, Vec<Recorded>> = serde_json::from_str(text).unwrap();
    let recorded = parts.remove(part).unwrap().into_iter().map(|one| Request {
        action: one.action,
        resource: one.resource,
        context: one.context,
    });
    recorded.collect()
}

fn listed(list: &[(&str, &str)]) -> Vec<Request> {
    list.iter()
        .flat_map(|(call, reason)| {
            assert!(!reason.is_empty(), "{call} needs a reason");
            calls(call)
        })
        .collect()
}

/// Removing any one action from a policy leaves some call without permission.
fn every_action_is_needed(policy: &Document, beside: &Document, needed: &[Request]) {
    let together = |policy: &Document| Document::new([&policy.statement[..], &beside.statement[..]].concat());
    assert_eq!(check(&together(policy), needed), Vec::<&Request>::new());
    for (s, statement) in policy.statement.iter().enumerate() {
        for (a, action) in statement.action.iter().enumerate() {
            let mut without = policy.clone();
            without.statement[s].action.remove(a);
            assert!(
                !check(&together(&without), needed).is_empty(),
                "nothing needs {action} of {}: take it away, or say here what does",
                statement.sid
            );
        }
    }
}

#[test]
fn deploying_needs_every_action_and_has_every_action() {
    let mut needed = recorded("deploy");
    needed.extend(listed(&DEPLOY));
    needed.extend(calls(OTHER_PARAMETER));
    every_action_is_needed(&deployer(&place()), &Document::new(Vec::new()), &needed);
}

#[test]
fn taking_down_needs_every_action_beside_the_deployers() {
    let mut needed = recorded("down");
    needed.extend(listed(&DOWN));
    every_action_is_needed(&teardown(&place()), &deployer(&place()), &needed);
}

/// What is recorded needs no reason: a list that repeats it hides what a later run no longer does.
#[test]
fn nothing_is_listed_that_is_recorded() {
    for (part, list) in [("deploy", &DEPLOY[..]), ("down", &DOWN[..])] {
        let recorded = recorded(part);
        for call in list {
            let new = calls(call.0).into_iter().any(|call| !recorded.contains(&call));
            assert!(new, "{} is recorded", call.0);
        }
    }
}
