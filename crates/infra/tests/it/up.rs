//! Making and changing a stack, in every state that CloudFormation knows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use nuages_infra::{Action, InfraError, Stack, StackSpec, UpKind, UpOutcome};
use nuages_model::{Note, Progress};
use nuages_testkit::fake_cloudformation::{Failure, FakeCloudFormation};
use tokio_util::sync::CancellationToken;

use crate::fixture::{WORLD, account, blog};

const NAME: &str = "nuages-blog-staging";

async fn up(stack: &Stack, spec: &StackSpec) -> Result<UpOutcome, InfraError> {
    stack
        .up(spec, &BTreeSet::new(), &Progress::none(), &CancellationToken::new())
        .await
}

fn changed() -> StackSpec {
    StackSpec {
        log_retention_days: 7,
        ..blog()
    }
}

async fn made() -> (FakeCloudFormation, Stack) {
    let (fake, stack) = account().await;
    up(&stack, &blog()).await.unwrap();
    (fake, stack)
}

#[tokio::test]
async fn makes_then_leaves_alone_then_changes() {
    let (fake, stack) = account().await;
    let first = up(&stack, &blog()).await.unwrap();
    assert_eq!(first.kind, UpKind::Created);
    assert_eq!(first.outputs.world.to_string(), WORLD);
    assert_eq!(first.outputs.log_groups.len(), 2);
    assert!(first.outputs.assign_public_ip && first.outputs.task_subnets.len() == 2);
    assert!(first.outputs.web.is_some() && first.outputs.database.is_some());
    assert_eq!(fake.count("CreateServiceLinkedRole"), 4);
    // More than one page of changes.
    assert!(first.changes.len() > 20 && first.changes.iter().all(|c| c.action == Action::Add));

    let before = fake.operations().len();
    let second = up(&stack, &blog()).await.unwrap();
    assert_eq!(second.kind, UpKind::Unchanged);
    assert_eq!(
        fake.operations()[before..],
        ["DescribeStacks"],
        "nothing to do costs one call"
    );
    assert_eq!(second.outputs, first.outputs);

    let third = up(&stack, &changed()).await.unwrap();
    assert_eq!(third.kind, UpKind::Updated);
    let ids: Vec<&str> = third.changes.iter().map(|c| c.logical_id.as_str()).collect();
    assert_eq!(ids, ["LogMailWorker", "LogWeb"]);
    assert_eq!(fake.statuses(NAME), ["UPDATE_COMPLETE"]);
    assert_eq!(fake.change_sets(), 0);
}

#[tokio::test]
async fn cloudformation_works_as_the_role_that_was_made_for_it() {
    const ROLE: &str = "arn:aws:iam::123456789012:role/blog-staging-eu-west-1-cloudformation";
    let (fake, stack) = account().await;
    let stack = stack.with_service_role(Some(ROLE.parse().unwrap()));
    let (none, never) = (Progress::none(), CancellationToken::new());
    stack.plan(&blog(), &none, &never).await.unwrap();
    up(&stack, &blog()).await.unwrap();
    up(&stack, &changed()).await.unwrap();
    fake.set_status(NAME, "UPDATE_ROLLBACK_FAILED");
    up(&stack, &blog()).await.unwrap();
    stack.down(&none, &never).await.unwrap();
    for operation in ["CreateChangeSet", "ContinueUpdateRollback", "DeleteStack"] {
        let roles = fake.parameters(operation, "RoleARN");
        assert!(!roles.is_empty(), "{operation} was not asked for");
        assert!(roles.iter().all(|role| role == ROLE), "{operation}: {roles:?}");
    }
}

#[tokio::test]
async fn an_existing_stack_keeps_its_world() {
    let (fake, stack) = made().await;
    let elsewhere = StackSpec {
        world: "01hxyzabcdefghjkmnpqrstvwy".parse().unwrap(),
        ..blog()
    };
    let again = up(&stack, &elsewhere).await.unwrap();
    assert_eq!(
        (again.kind, again.outputs.world.to_string().as_str()),
        (UpKind::Unchanged, WORLD)
    );
    assert_eq!(fake.count("CreateChangeSet"), 1);
}

#[tokio::test]
async fn a_plan_leaves_nothing() {
    let (fake, stack) = account().await;
    let plan = |spec| {
        let stack = stack.clone();
        async move {
            stack
                .plan(&spec, &Progress::none(), &CancellationToken::new())
                .await
                .unwrap()
        }
    };
    let first = plan(blog()).await;
    assert!(first.created && !first.none && !first.changes.is_empty());
    assert_eq!(
        (fake.change_sets(), fake.statuses(NAME)),
        (0, vec!["DELETE_COMPLETE".to_owned()])
    );

    up(&stack, &blog()).await.unwrap();
    assert!(plan(blog()).await.none);
    let third = plan(changed()).await;
    assert!(!third.created && third.changes.len() == 2);
    assert_eq!(fake.change_sets(), 0);
    assert_eq!(fake.statuses(NAME).last().unwrap(), "CREATE_COMPLETE");
}

#[tokio::test]
async fn a_stack_that_stands_is_left_until_it_may_change() {
    let (fake, stack) = account().await;
    let (none, never) = (Progress::none(), CancellationToken::new());
    let stand = async |spec: &StackSpec| stack.stand(spec, &BTreeSet::new(), &none, &never).await;
    let first = stand(&blog()).await.unwrap();
    assert_eq!(first.kind, UpKind::Created, "where there is none it is made");
    assert_eq!(stand(&blog()).await.unwrap().kind, UpKind::Unchanged);

    let due = stand(&changed()).await.unwrap();
    assert_eq!((due.kind, &due.outputs), (UpKind::Pending, &first.outputs));
    let ids: Vec<&str> = due.changes.iter().map(|c| c.logical_id.as_str()).collect();
    assert_eq!(ids, ["LogMailWorker", "LogWeb"]);
    assert_eq!((fake.count("ExecuteChangeSet"), fake.change_sets()), (1, 0));
    assert_eq!(fake.statuses(NAME), ["CREATE_COMPLETE"]);

    let without_database = StackSpec {
        database: None,
        ..blog()
    };
    let refused = stand(&without_database).await.unwrap_err();
    assert!(matches!(refused, InfraError::Refused { .. }), "{refused}");
    assert_eq!((fake.count("ExecuteChangeSet"), fake.change_sets()), (1, 0));
    assert_eq!(up(&stack, &changed()).await.unwrap().changes, due.changes);
}

#[tokio::test]
async fn a_plan_does_not_delete_a_stack_that_somebody_else_plans() {
    let (fake, stack) = account().await;
    fake.begin_review(NAME, &[("nuages:app", "blog"), ("nuages:env", "staging")]);
    let plan = stack
        .plan(&blog(), &Progress::none(), &CancellationToken::new())
        .await
        .unwrap();
    assert!(plan.created);
    assert_eq!(
        (fake.change_sets(), fake.statuses(NAME)),
        (1, vec!["REVIEW_IN_PROGRESS".to_owned()])
    );
}

#[tokio::test]
async fn a_template_that_is_refused_leaves_nothing() {
    let (fake, stack) = account().await;
    fake.refuse_template("Template error: no");
    let failed = up(&stack, &blog()).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "CloudFormation refused the template: Template error: no"
    );
    assert_eq!(
        (fake.change_sets(), fake.statuses(NAME)),
        (0, vec!["DELETE_COMPLETE".to_owned()])
    );
}

#[tokio::test]
async fn what_holds_data_is_not_destroyed_unless_named() {
    let (fake, stack) = made().await;
    let without_database = StackSpec {
        database: None,
        ..blog()
    };
    let refused = up(&stack, &without_database).await.unwrap_err();
    assert!(matches!(&refused, InfraError::Refused { changes } if changes.len() == 4));
    assert!(
        refused.to_string().contains("Database (AWS::RDS::DBInstance)"),
        "{refused}"
    );
    assert!(refused.hint().unwrap().contains("--allow-destroy Database "));
    assert_eq!((fake.count("ExecuteChangeSet"), fake.change_sets()), (1, 0));

    let named = ["Database", "DatabaseUrl", "DatabasePassword", "DatabaseSubnets"].map(str::to_owned);
    let allow = BTreeSet::from(named);
    let done = stack
        .up(&without_database, &allow, &Progress::none(), &CancellationToken::new())
        .await
        .unwrap();
    assert!(done.outputs.database.is_none());
}

#[tokio::test]
async fn a_replacement_that_is_only_possible_is_refused_too() {
    for replacement in ["True", "Conditional"] {
        let (fake, stack) = made().await;
        fake.replaces("Database", replacement);
        let mut larger = blog();
        larger.database.as_mut().unwrap().storage_gib = 40;
        let refused = up(&stack, &larger).await.unwrap_err();
        assert!(
            matches!(refused, InfraError::Refused { .. }),
            "{replacement}: {refused}"
        );
    }
    let (_fake, stack) = made().await;
    let mut larger = blog();
    larger.database.as_mut().unwrap().storage_gib = 40;
    assert_eq!(up(&stack, &larger).await.unwrap().kind, UpKind::Updated);
}

#[tokio::test]
async fn a_failed_creation_is_explained_and_the_next_one_clears_it_away() {
    let (fake, stack) = account().await;
    let failure = |id: &str, why: &str| (id.to_owned(), why.to_owned());
    fake.fail_next(Failure {
        resources: vec![
            failure("TargetGroup", "Resource creation cancelled"),
            failure(
                "Repository",
                "Resource handler returned message: \"Resource of type 'AWS::ECR::Repository' with identifier 'blog' \
                 already exists.\" (RequestToken: 1, HandlerErrorCode: AlreadyExists)",
            ),
            failure("Cluster", "Resource creation cancelled"),
        ],
        rollback_fails: false,
    });
    let failed = up(&stack, &blog()).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the stack `nuages-blog-staging` ended in ROLLBACK_COMPLETE: Repository (AWS::ECR::Repository) CREATE_FAILED: \
         Resource of type 'AWS::ECR::Repository' with identifier 'blog' already exists"
    );
    assert!(failed.hint().unwrap().contains("has the name of Repository"));

    let plan = stack
        .plan(&blog(), &Progress::none(), &CancellationToken::new())
        .await
        .unwrap();
    assert!(plan.created && plan.changes.len() > 20);
    assert_eq!(fake.statuses(NAME), ["ROLLBACK_COMPLETE"], "a plan deletes nothing");

    assert_eq!(up(&stack, &blog()).await.unwrap().kind, UpKind::Created);
    assert_eq!(fake.statuses(NAME), ["DELETE_COMPLETE", "CREATE_COMPLETE"]);
}

#[tokio::test]
async fn a_creation_whose_rollback_failed_is_cleared_away_too() {
    let (fake, stack) = account().await;
    fake.protect_database();
    fake.fail_next(Failure {
        resources: vec![("Listener".to_owned(), "no".to_owned())],
        rollback_fails: true,
    });
    let failed = up(&stack, &blog()).await.unwrap_err();
    assert!(failed.to_string().contains("ROLLBACK_FAILED: Listener"), "{failed}");
    // The database was made, and is protected from being deleted with the rest.
    assert_eq!(up(&stack, &blog()).await.unwrap().kind, UpKind::Created);
    assert_eq!(fake.count("ModifyDBInstance"), 1);
}

#[tokio::test]
async fn a_failed_update_is_explained_and_leaves_the_stack_usable() {
    let (fake, stack) = made().await;
    fake.fail_next(Failure {
        resources: vec![("LogWeb".to_owned(), "Rate exceeded".to_owned())],
        rollback_fails: false,
    });
    let failed = up(&stack, &changed()).await.unwrap_err();
    assert!(
        failed.to_string().contains("UPDATE_ROLLBACK_COMPLETE: LogWeb"),
        "{failed}"
    );
    assert_eq!(up(&stack, &blog()).await.unwrap().kind, UpKind::Unchanged);
    assert_eq!(up(&stack, &changed()).await.unwrap().kind, UpKind::Updated);
    assert_eq!(fake.statuses(NAME), ["UPDATE_COMPLETE"]);
}

#[tokio::test]
async fn a_rollback_that_failed_is_continued() {
    let (fake, stack) = made().await;
    fake.set_status(NAME, "UPDATE_ROLLBACK_FAILED");
    let plan = stack
        .plan(&changed(), &Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(plan, InfraError::Unplannable { .. }));
    assert_eq!(up(&stack, &changed()).await.unwrap().kind, UpKind::Updated);
    assert_eq!(fake.count("ContinueUpdateRollback"), 1);
}

#[tokio::test]
async fn a_half_deleted_stack_is_not_built_upon() {
    let (fake, stack) = made().await;
    fake.set_status(NAME, "DELETE_FAILED");
    let refused = up(&stack, &blog()).await.unwrap_err();
    assert!(matches!(refused, InfraError::HalfDeleted { .. }));
    assert!(refused.hint().unwrap().contains("infra down"));
}

#[tokio::test]
async fn somebody_elses_stack_is_not_touched() {
    let (fake, stack) = made().await;
    fake.disown(NAME);
    assert!(matches!(
        up(&stack, &changed()).await.unwrap_err(),
        InfraError::NotOurs { .. }
    ));
    let down = stack
        .down(&Progress::none(), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(down, InfraError::NotOurs { .. }));
    assert_eq!((fake.count("CreateChangeSet"), fake.count("DeleteStack")), (1, 0));
}

#[tokio::test]
async fn only_this_operations_events_are_shown() {
    let (_fake, stack) = made().await;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let progress = Progress::new({
        let lines = Arc::clone(&lines);
        move |note| {
            if let Note::Line { source, text } = note {
                lines.lock().unwrap().push(format!("{source}: {text}"));
            }
        }
    });
    stack
        .up(&changed(), &BTreeSet::new(), &progress, &CancellationToken::new())
        .await
        .unwrap();
    insta::assert_snapshot!(lines.lock().unwrap().join("\n"));
}

#[tokio::test]
async fn a_cancel_before_the_change_set_runs_changes_nothing() {
    let (fake, stack) = made().await;
    let cancel = CancellationToken::new();
    let progress = Progress::new({
        let cancel = cancel.clone();
        move |note| {
            // The moment in which the person has seen what would change.
            if matches!(note, Note::Line { source, .. } if source == "changes") {
                cancel.cancel();
            }
        }
    });
    let cancelled = stack
        .up(&changed(), &BTreeSet::new(), &progress, &cancel)
        .await
        .unwrap_err();
    assert!(cancelled.is_cancelled());
    assert_eq!((fake.count("ExecuteChangeSet"), fake.change_sets()), (1, 0));
}
