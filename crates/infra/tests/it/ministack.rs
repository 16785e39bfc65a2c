//! A whole environment on MiniStack, with its real PostgreSQL.

use std::collections::BTreeSet;

use nuages_aws::AwsContext;
use nuages_infra::{Emulation, Stack, StackSpec, Template, UpKind};
use nuages_model::{Progress, World};
use nuages_testkit::emulators::{self, unique_name};
use tokio_util::sync::CancellationToken;

use crate::fixture::blog;

#[tokio::test]
async fn up_again_changed_and_down() {
    let emulator = emulators::ministack().await;
    let aws = nuages_testkit::aws::ministack(&emulator.url, &emulator.account);
    let (none, never) = (Progress::none(), CancellationToken::new());
    let spec = StackSpec {
        app: unique_name("app").parse().unwrap(),
        world: World::generate(),
        secrets: Vec::new(),
        emulation: Emulation::of(aws.quirks()),
        ..blog()
    };
    let stack = Stack::new(&aws, &spec.app, &spec.env);
    let allow = BTreeSet::new();

    assert!(stack.plan(&spec, &none, &never).await.unwrap().created);
    assert!(stack.describe().await.unwrap().is_none(), "a plan leaves no stack");

    let made = stack.up(&spec, &allow, &none, &never).await.unwrap();
    assert_eq!(made.kind, UpKind::Created);
    assert_eq!(made.outputs.world, spec.world);
    let database = made.outputs.database.clone().unwrap();
    let secrets = aws_sdk_secretsmanager::Client::new(aws.sdk());
    let url = secrets
        .get_secret_value()
        .secret_id(database.url_secret.as_str())
        .send()
        .await
        .unwrap();
    let url = url.secret_string().unwrap();
    assert!(
        url.starts_with("postgres://nuages:") && url.ends_with("/app?sslmode=require"),
        "the shape of DATABASE_URL"
    );

    let again = stack.up(&spec, &allow, &none, &never).await.unwrap();
    assert_eq!((again.kind, again.database_moved), (UpKind::Unchanged, false));

    // The address that the tasks know is not the database's any more.
    secrets
        .put_secret_value()
        .secret_id(database.url_secret.as_str())
        .secret_string("postgres://elsewhere")
        .send()
        .await
        .unwrap();
    let moved = stack.up(&spec, &allow, &none, &never).await.unwrap();
    assert_eq!((moved.kind, moved.database_moved), (UpKind::Unchanged, true));

    // Its server is gone, which the emulator does not know.
    let before = instance(&aws, &database.identifier).await;
    let address = stack
        .remake_database(&spec, &made.outputs, &none, &never)
        .await
        .unwrap();
    let after = instance(&aws, &database.identifier).await;
    assert_ne!(before, after, "it is another instance");
    let again = stack.up(&spec, &allow, &none, &never).await.unwrap();
    assert_eq!((again.kind, again.database_moved), (UpKind::Unchanged, false));
    assert_eq!(again.database_address, address);
    assert!(address.is_some());

    let changed = StackSpec {
        log_retention_days: 7,
        ..spec.clone()
    };
    let planned = stack.plan(&changed, &none, &never).await.unwrap().changes;
    assert_eq!(
        planned
            .iter()
            .filter(|c| c.resource_type == "AWS::Logs::LogGroup")
            .count(),
        2,
        "{planned:?}"
    );
    let updated = stack.up(&changed, &allow, &none, &never).await.unwrap();
    assert_eq!((updated.kind, updated.database_moved), (UpKind::Updated, false));
    assert_eq!(updated.outputs.world, spec.world);

    tell_less(&aws, stack.name(), &Template::render(&changed).unwrap()).await;
    let state = stack.describe().await.unwrap().unwrap();
    assert!(state.outputs().is_err(), "an older nuages told less");
    let updated = stack.up(&changed, &allow, &none, &never).await.unwrap();
    assert_eq!(
        updated.kind,
        UpKind::Updated,
        "what the stack tells is brought up to date"
    );
    assert_eq!(updated.outputs.world, spec.world);

    assert_eq!(stack.drift(&none, &never).await.unwrap(), []);
    secrets
        .update_secret()
        .secret_id(database.url_secret.as_str())
        .description("mine")
        .send()
        .await
        .unwrap();
    let drift = stack.drift(&none, &never).await.unwrap();
    let [drifted] = &drift[..] else {
        panic!("one resource drifted: {drift:?}")
    };
    assert_eq!((drifted.logical_id.as_str(), drifted.deleted), ("DatabaseUrl", false));
    assert_eq!(drifted.differences[0].actual.as_deref(), Some("mine"));
    assert_eq!(drifted.differences[0].path, "/Description");

    let down = stack.down(&none, &never).await.unwrap();
    assert!(
        down.existed && down.retained.is_empty(),
        "nothing is kept on an emulator: {:?}",
        down.retained
    );
    assert!(stack.describe().await.unwrap().is_none());
    let left = secrets
        .describe_secret()
        .secret_id(database.url_secret.as_str())
        .send()
        .await;
    assert!(left.is_err(), "the secrets are gone with the stack");
}

/// What tells an instance from another one of the same name.
async fn instance(aws: &AwsContext, identifier: &str) -> Option<String> {
    let rds = aws_sdk_rds::Client::new(aws.sdk());
    let found = rds.describe_db_instances().db_instance_identifier(identifier).send();
    let found = found.await.unwrap();
    found.db_instances().first()?.dbi_resource_id().map(str::to_owned)
}

/// Makes the stack as an older version of nuages would have: one output fewer, and so another hash.
async fn tell_less(aws: &AwsContext, name: &str, template: &Template) {
    let mut body: serde_json::Value = serde_json::from_str(&template.body()).unwrap();
    let outputs = body["Outputs"].as_object_mut().unwrap();
    outputs.remove("LoadBalancerSecurityGroup").unwrap();
    outputs["TemplateHash"]["Value"] = "older".into();
    let cloudformation = aws_sdk_cloudformation::Client::new(aws.sdk());
    cloudformation
        .update_stack()
        .stack_name(name)
        .template_body(body.to_string())
        .capabilities(aws_sdk_cloudformation::types::Capability::CapabilityNamedIam)
        .send()
        .await
        .unwrap();
    // It is updated beside the call.
    for _ in 0..100 {
        let stacks = cloudformation.describe_stacks().stack_name(name).send().await.unwrap();
        let hash = stacks.stacks()[0]
            .outputs()
            .iter()
            .find(|output| output.output_key() == Some("TemplateHash"));
        if hash.and_then(|output| output.output_value()) == Some("older") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the stack was not updated");
}
