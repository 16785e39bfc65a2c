//! Which permissions a call needs.

use super::*;
use serde_json::json;

const WHOSE: Whose<'_> = Whose {
    account: "123456789012",
    region: "eu-west-1",
    app: "stg-x",
};

fn told(calls: &[Call]) -> Vec<String> {
    let told = |one: Needed| {
        let keys = one.context.iter().map(|(key, value)| format!(" {key}={value}"));
        format!("{} {}{}", one.action, one.resource, keys.collect::<String>())
    };
    needed(calls, WHOSE).into_iter().map(told).collect()
}

fn ecs(operation: &str, input: serde_json::Value) -> Call {
    Call {
        service: "ecs".into(),
        target: Some(format!("AmazonEC2ContainerServiceV20141113.{operation}")),
        input: Some(input),
        form: None,
        xml: None,
        method: "POST".into(),
        path: "/".into(),
        query: Vec::new(),
        content_type: String::new(),
    }
}

#[test]
fn roles_that_are_passed_and_tags_count() {
    let register = ecs(
        "RegisterTaskDefinition",
        json!({"family": "stg-x-staging-web", "executionRoleArn": "arn:aws:iam::1:role/stg-x", "tags": []}),
    );
    assert_eq!(
        told(&[register]),
        [
            "ecs:RegisterTaskDefinition arn:aws:ecs:eu-west-1:123456789012:task-definition/blog-staging-web:1",
            "ecs:TagResource arn:aws:ecs:eu-west-1:123456789012:task-definition/blog-staging-web:1",
            "iam:PassRole arn:aws:iam::1:role/blog iam:PassedToService=ecs-tasks.amazonaws.com",
        ]
    );
}

#[test]
fn two_runs_need_the_same() {
    let run = |id: &str, revision: u32| {
        ecs(
            "RunTask",
            json!({"cluster": "stg-x", "taskDefinition": format!("arn:aws:ecs:eu-west-1:1:task-definition/web:{revision}"), "startedBy": id}),
        )
    };
    let stop = |id: &str| ecs("StopTask", json!({"cluster": "stg-x", "task": id}));
    let (a, b) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    assert_eq!(told(&[run(a, 1), stop(a)]), told(&[run(b, 12), stop(b), stop(a)]));
}

#[test]
fn the_registrys_requests_are_ecrs_actions() {
    let registry = |method: &str, path: &str| Call {
        service: "registry".into(),
        method: method.into(),
        path: path.into(),
        ..ecs("", json!({}))
    };
    let calls = [
        registry("GET", "/v2/"),
        registry("HEAD", "/v2/stg-x/blobs/sha256:1"),
        registry("POST", "/v2/stg-x/blobs/uploads/"),
        registry("PUT", "/v2/stg-x/manifests/sha256:1"),
    ];
    let on = "arn:aws:ecr:eu-west-1:123456789012:repository/blog";
    assert_eq!(
        told(&calls),
        ["BatchCheckLayerAvailability", "InitiateLayerUpload", "PutImage"].map(|action| format!("ecr:{action} {on}"))
    );
}

#[test]
#[should_panic(expected = "which permission ecs:DeleteCluster needs")]
fn a_call_that_nobody_thought_of_is_refused() {
    told(&[ecs("DeleteCluster", json!({}))]);
}
