//! What is verified before anything changes.

use nuages_ecs::Preflight;
use nuages_model::{Finding, ImageRef, Level};
use nuages_testkit::fake_ecs::{Behaviour, Fault};

use crate::fixture::{World, definition, service, world};

fn preflight(world: &World, image: &str) -> Preflight {
    Preflight {
        definition: definition(image),
        service: service("web", "", Some(&world.target_group)),
    }
}

async fn verify(world: &World, preflight: Preflight) -> Vec<Finding> {
    let resolve =
        |image: ImageRef| async move { Ok(image.digest().cloned().filter(|_| !image.repository().contains("gone"))) };
    world.cluster.preflight(&[preflight], resolve).await
}

fn grave(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .filter(|f| f.level >= Level::Warn)
        .map(ToString::to_string)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn all_is_well() {
    let world = world();
    let findings = verify(&world, preflight(&world, "blog")).await;
    assert!(grave(&findings).is_empty(), "{:?}", grave(&findings));
    assert_eq!(findings.len(), 6);
    assert!(
        findings
            .iter()
            .filter(|f| f.proof.as_ref().is_some_and(|p| p.contains("as arn:aws:iam")))
            .count()
            >= 4
    );
    let changing = ["Create", "Update", "Delete", "Register", "Run", "Stop"];
    assert!(
        world
            .fake
            .calls()
            .iter()
            .all(|c| !changing.iter().any(|word| c.operation.starts_with(word)))
    );
}

#[tokio::test(start_paused = true)]
async fn everything_at_once() {
    let world = world();
    world.deploy("blog").await;
    world.fake.behave("slow", Behaviour::Stuck);
    let slow = world.cluster.register(&definition("slow")).await.unwrap();
    let spec = service("web", slow.arn.as_str(), Some(&world.target_group));
    world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    let loose = world.fake.add_target_group("loose", "instance", false);
    let mut bad = preflight(&world, "gone");
    bad.service.settings.load_balancers[0].target_group = loose;
    bad.service.settings.load_balancers[0].port = 9000;
    bad.definition.containers[0].log.group = "/nowhere".into();
    let findings = verify(&world, bad).await;
    insta::assert_snapshot!(grave(&findings).join("\n"));
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_may_not_read_is_a_warning() {
    let world = world();
    for operation in [
        "DescribeClusters",
        "DescribeServices",
        "DescribeLogGroups",
        "DescribeTargetGroups",
    ] {
        let code = if operation == "DescribeTargetGroups" {
            "elasticloadbalancing"
        } else {
            "ecs"
        };
        world
            .fake
            .fault(operation, Fault::denied(&format!("{code}:{operation}")));
    }
    let findings = verify(&world, preflight(&world, "blog")).await;
    assert_eq!(findings.iter().filter(|f| f.level == Level::Warn).count(), 4);
    assert!(
        findings.iter().all(|f| f.level != Level::Fail),
        "{:?}",
        grave(&findings)
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_cluster() {
    let world = world();
    world.fake.remove_cluster();
    let findings = verify(&world, preflight(&world, "blog")).await;
    assert_eq!(grave(&findings), ["FAIL cluster blog: it does not exist"]);
}
