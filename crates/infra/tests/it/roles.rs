//! What keeps tasks from starting as their roles, seen before they are started.

use std::collections::BTreeSet;

use nuages_infra::{Emulation, Stack, StackSpec, verify_task_roles};
use nuages_model::{Arn, Level, Progress, World};
use nuages_testkit::emulators::{self, unique_account, unique_name};
use nuages_testkit::http::{FakeServer, xml};
use tokio_util::sync::CancellationToken;

use crate::fixture::blog;

fn role(account: &str, name: &str) -> Arn {
    format!("arn:aws:iam::{account}:role/{name}").parse().unwrap()
}

fn trust(service: &str) -> String {
    serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    ]})
    .to_string()
}

#[tokio::test]
async fn a_role_that_is_gone_or_trusts_somebody_else_fails() {
    let emulator = emulators::localstack().await;
    let account = unique_account();
    let aws = nuages_testkit::aws::localstack(&emulator.url, &account);
    let iam = aws_sdk_iam::Client::new(aws.sdk());
    for (name, service) in [("good", "ecs-tasks.amazonaws.com"), ("bad", "ec2.amazonaws.com")] {
        let call = iam.create_role().role_name(name);
        call.assume_role_policy_document(trust(service)).send().await.unwrap();
    }
    let [good, bad, gone] = ["good", "bad", "gone"].map(|name| role(&account, name));
    let found = verify_task_roles(
        &aws,
        &[("execution role", &good), ("task role", &bad), ("other role", &gone)],
    )
    .await;
    let levels: Vec<Level> = found.iter().map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Ok, Level::Fail, Level::Fail], "{found:?}");
    assert!(
        found[1]
            .message
            .contains("does not let ecs-tasks.amazonaws.com assume it")
    );
    assert!(found[2].message.contains("does not exist"));
    assert!(found[1..].iter().all(|finding| finding.hint.is_some()));
    let proof = format!("iam:GetRole as arn:aws:iam::{account}:user/tester");
    assert!(found.iter().all(|finding| finding.proof.as_ref() == Some(&proof)));
}

#[tokio::test]
async fn what_may_not_be_read_fails_nothing() {
    let server = FakeServer::start(|_| {
        std::future::ready(xml(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>",
        ))
    })
    .await;
    let aws = nuages_testkit::aws::as_if_real(&server.url());
    let found = verify_task_roles(&aws, &[("task role", &role("123456789012", "task"))]).await;
    assert_eq!(found[0].level, Level::Warn);
    assert!(found[0].hint.as_ref().unwrap().contains("`iam:GetRole`"));
}

#[tokio::test]
async fn the_roles_of_a_stack_let_tasks_start() {
    let emulator = emulators::ministack().await;
    let aws = nuages_testkit::aws::ministack(&emulator.url, &emulator.account);
    let (none, never) = (Progress::none(), CancellationToken::new());
    let spec = StackSpec {
        app: unique_name("role").parse().unwrap(),
        world: World::generate(),
        secrets: Vec::new(),
        database: None,
        emulation: Emulation::of(aws.quirks()),
        ..blog()
    };
    let stack = Stack::new(&aws, &spec.app, &spec.env);
    let up = stack.up(&spec, &BTreeSet::new(), &none, &never).await.unwrap();
    let roles = [
        ("execution role", &up.outputs.execution_role),
        ("task role", &up.outputs.task_role),
    ];
    let found = verify_task_roles(&aws, &roles).await;
    stack.down(&none, &never).await.unwrap();
    assert!(found.iter().all(|finding| finding.level == Level::Ok), "{found:?}");
}
