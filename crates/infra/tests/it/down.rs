//! Taking a stack down.

use std::collections::BTreeSet;

use nuages_infra::{InfraError, Stack, StackSpec};
use nuages_model::Progress;
use nuages_testkit::fake_cloudformation::FakeCloudFormation;
use tokio_util::sync::CancellationToken;

use crate::fixture::{account, blog};

async fn made(spec: &StackSpec) -> (FakeCloudFormation, Stack) {
    let (fake, stack) = account().await;
    stack
        .up(spec, &BTreeSet::new(), &Progress::none(), &CancellationToken::new())
        .await
        .unwrap();
    (fake, stack)
}

#[tokio::test]
async fn empties_lifts_deletes_and_says_what_is_left() {
    let (fake, stack) = made(&blog()).await;
    fake.protect_database();
    fake.push_images(&["sha256:a", "sha256:b"]);
    let down = stack.down(&Progress::none(), &CancellationToken::new()).await.unwrap();
    assert!(down.existed);
    assert_eq!((fake.images(), fake.count("DeleteStack")), (0, 1));
    assert_eq!(fake.statuses("nuages-blog-staging"), ["DELETE_COMPLETE"]);
    let left: Vec<String> = down
        .retained
        .iter()
        .map(|r| format!("{}\n  {}", r.what, r.command))
        .collect();
    insta::assert_snapshot!(left.join("\n"));

    let again = stack.down(&Progress::none(), &CancellationToken::new()).await.unwrap();
    assert!(!again.existed && again.retained.is_empty());
}

#[tokio::test]
async fn who_may_not_finish_is_refused_before_anything_changes() {
    for (operation, what) in [
        ("ListStackResources", "list the stack's resources"),
        ("ListImages", "list the repository's images"),
        ("BatchDeleteImage", "empty the repository"),
        ("DescribeDBInstances", "look at the database"),
        ("ModifyDBInstance", "lift the database's deletion protection"),
    ] {
        let (fake, stack) = made(&blog()).await;
        fake.protect_database();
        fake.push_images(&["sha256:a", "sha256:b"]);
        fake.refuse(operation);
        let refused = stack.may_go_down().await.unwrap_err();
        let InfraError::Call { what: tried, source } = refused else {
            panic!("{operation}: {refused}")
        };
        assert_eq!((tried, source.kind), (what, nuages_aws::Kind::AccessDenied));
    }
}

#[tokio::test]
async fn asking_whether_one_may_changes_nothing() {
    let (fake, stack) = account().await;
    stack.may_go_down().await.unwrap();
    let never = CancellationToken::new();
    stack
        .up(&blog(), &BTreeSet::new(), &Progress::none(), &never)
        .await
        .unwrap();
    fake.protect_database();
    fake.push_images(&["sha256:a", "sha256:b"]);
    stack.may_go_down().await.unwrap();
    assert_eq!(fake.count("BatchDeleteImage"), 1, "it was asked");
    assert!(fake.database_is_protected());
    assert_eq!((fake.images(), fake.count("DeleteStack")), (2, 0));
}

#[tokio::test]
async fn a_deletion_that_fails_is_repeated_since_interfaces_linger() {
    let (fake, stack) = made(&StackSpec {
        database: None,
        ..blog()
    })
    .await;
    fake.fail_deletions(2);
    assert!(
        stack
            .down(&Progress::none(), &CancellationToken::new())
            .await
            .unwrap()
            .existed
    );
    assert_eq!(fake.count("DeleteStack"), 3);
}

#[tokio::test]
async fn a_deletion_that_goes_on_failing_is_explained() {
    let (fake, stack) = made(&StackSpec {
        database: None,
        ..blog()
    })
    .await;
    fake.fail_deletions(9);
    let failed = stack
        .down(&Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(failed, InfraError::Failed { .. }));
    assert!(
        failed.to_string().contains("DELETE_FAILED: Vpc (AWS::EC2::VPC)"),
        "{failed}"
    );
    assert_eq!(fake.count("DeleteStack"), 3);
}

#[tokio::test]
async fn a_service_that_was_left_in_the_cluster_is_told() {
    let (fake, stack) = made(&StackSpec {
        database: None,
        ..blog()
    })
    .await;
    fake.leave_service();
    let failed = stack
        .down(&Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        failed.to_string().contains(
            "Cluster (AWS::ECS::Cluster) DELETE_FAILED: The Cluster cannot be deleted while Services are active"
        ),
        "{failed}"
    );
    assert_eq!(fake.statuses("nuages-blog-staging"), ["DELETE_FAILED"]);
}

#[tokio::test]
async fn a_half_deleted_stack_is_deleted_to_the_end() {
    let (fake, stack) = made(&StackSpec {
        database: None,
        ..blog()
    })
    .await;
    fake.set_status("nuages-blog-staging", "DELETE_FAILED");
    assert!(
        stack
            .down(&Progress::none(), &CancellationToken::new())
            .await
            .unwrap()
            .existed
    );
}
