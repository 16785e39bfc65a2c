//! Services: made, changed, restored, scaled, deleted, and never touched for nothing.

use nuages_ecs::{Applied, PreviousService, Restored, ServiceStatus};
use nuages_testkit::fake_ecs::{Behaviour, Fault};

use crate::fixture::{Waiting, definition, service, world};

#[tokio::test(start_paused = true)]
async fn created_as_it_should_be() {
    let world = world();
    let (change, _) = world.deploy("blog").await;
    assert_eq!((change.applied, change.previous.is_none()), (Applied::Created, true));
    let mut sent = world.fake.inputs("CreateService").remove(0);
    sent["loadBalancers"][0]["targetGroupArn"] = "[target group]".into();
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(sent) });
}

#[tokio::test(start_paused = true)]
async fn unchanged_is_not_touched() {
    let world = world();
    let (first, _) = world.deploy("blog").await;
    let (second, _) = world.deploy("blog").await;
    assert_eq!(second.applied, Applied::Unchanged);
    assert_eq!(second.deployment_id, first.deployment_id);
    assert!(!second.new_deployment());
    assert_eq!(
        (world.fake.count("CreateService"), world.fake.count("UpdateService")),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_answers_what_was_before() {
    let world = world();
    let (first, _) = world.deploy("blog").await;
    let (second, _) = world.deploy("blog2").await;
    assert_eq!(second.applied, Applied::Updated);
    assert!(second.new_deployment());
    let previous = second.previous.clone().unwrap();
    assert_eq!(previous.deployment_id.as_deref(), Some(first.deployment_id.as_str()));
    assert_eq!(previous.settings.task_definition, first.task_definition);
    // Only what differs is sent: ECS may take a load balancer that is named again for a changed one.
    let sent = world.fake.inputs("UpdateService").remove(0);
    let mut fields: Vec<&String> = sent.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["cluster", "service", "taskDefinition"]);
    // It can be stored and read again.
    let stored = serde_json::to_string(&second).unwrap();
    assert_eq!(
        serde_json::from_str::<nuages_ecs::ServiceChange>(&stored).unwrap(),
        second
    );
}

#[tokio::test(start_paused = true)]
async fn a_mere_count_makes_no_deployment() {
    let world = world();
    let (first, _) = world.deploy("blog").await;
    let change = world.cluster.scale("web", 3).await.unwrap();
    assert_eq!((change.applied, change.desired), (Applied::Updated, 3));
    assert!(!change.new_deployment());
    assert_eq!(change.deployment_id, first.deployment_id);
    assert_eq!(world.cluster.scale("web", 3).await.unwrap().applied, Applied::Unchanged);
    assert_eq!(
        world.cluster.scale("nothing", 3).await.unwrap_err().to_string(),
        "scale the service `nothing`: cluster `blog` has no such service"
    );
}

#[tokio::test(start_paused = true)]
async fn a_creation_whose_answer_was_lost_is_found() {
    let world = world();
    world.fake.fault("CreateService", Fault::LostAnswer);
    let (change, _) = world.deploy("blog").await;
    assert_eq!(change.applied, Applied::Created);
    assert_eq!(world.fake.count("CreateService"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_answer_was_lost_is_not_repeated() {
    let world = world();
    world.deploy("blog").await;
    let registered = world.cluster.register(&definition("blog2")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    world.fake.fault("UpdateService", Fault::LostAnswer);
    let error = world
        .cluster
        .apply(&spec, "t", world.waiting.patience())
        .await
        .unwrap_err();
    assert_eq!(error.effect(), nuages_aws::Effect::Unknown);
    // Whoever repeats it finds it done, with the deployment to follow.
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    assert_eq!(change.applied, Applied::Unchanged);
    assert_eq!(world.fake.count("UpdateService"), 1);
}

#[tokio::test(start_paused = true)]
async fn restore_sets_back_or_adopts() {
    let world = world();
    let (first, _) = world.deploy("blog").await;
    let (second, _) = world.deploy("blog2").await;
    let previous = second.previous.as_ref();
    let restored = world
        .cluster
        .restore("web", previous, world.waiting.patience())
        .await
        .unwrap();
    assert!(matches!(restored, Restored::Updated { .. }));
    let again = world
        .cluster
        .restore("web", previous, world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(
        again,
        Restored::Adopted {
            deployment_id: restored.deployment_id().unwrap().to_owned()
        }
    );
    let state = world.cluster.observe("web").await.unwrap();
    assert_eq!(state.settings.task_definition, first.task_definition);
    assert_eq!(world.fake.count("UpdateService"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_the_change_restores_nothing_by_mistake() {
    let world = world();
    let (first, _) = world.deploy("blog").await;
    let (second, _) = world.deploy("blog2").await;
    world.fake.fault("DescribeServices", Fault::Stale);
    world.fake.fault("DescribeServices", Fault::Stale);
    let previous = second.previous.as_ref();
    let restored = world.cluster.restore("web", previous, world.waiting.patience()).await;
    assert!(matches!(restored.unwrap(), Restored::Updated { .. }));
    let state = world.cluster.observe("web").await.unwrap();
    assert_eq!(state.settings.task_definition, first.task_definition);
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_the_creation_leaves_no_service() {
    let world = world();
    world.deploy("blog").await;
    world.fake.fault("DescribeServices", Fault::Stale);
    let restored = world.cluster.restore("web", None, world.waiting.patience()).await;
    assert_eq!(restored.unwrap(), Restored::Deleted);
    assert!(!world.cluster.observe("web").await.unwrap().exists());
    // There it is missing for good, and that is no error.
    world.cluster.delete("other", world.waiting.patience()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ecs_own_rollback_is_adopted() {
    let world = world();
    world.deploy("blog").await;
    world
        .fake
        .behave("broken", Behaviour::never_starts("CannotPullContainerError: not found"));
    let registered = world.cluster.register(&definition("broken")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    // Nobody follows it: the circuit breaker opens and ECS goes back on its own.
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    let restored = world
        .cluster
        .restore("web", change.previous.as_ref(), world.waiting.patience())
        .await
        .unwrap();
    assert!(matches!(&restored, Restored::Adopted { deployment_id } if *deployment_id != change.deployment_id));
    assert_eq!(world.fake.count("UpdateService"), 1);
}

#[tokio::test(start_paused = true)]
async fn restoring_nothing_deletes() {
    let world = world();
    let (change, _) = world.deploy("blog").await;
    assert_eq!(
        PreviousService::of(&world.cluster.observe("nothing").await.unwrap()),
        None
    );
    let restored = world
        .cluster
        .restore("web", change.previous.as_ref(), world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(restored, Restored::Deleted);
    assert_eq!(
        world.cluster.observe("web").await.unwrap().status,
        ServiceStatus::Inactive
    );
    world.cluster.delete("web", world.waiting.patience()).await.unwrap();
    assert_eq!(world.fake.count("DeleteService"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_still_drains_is_waited_for() {
    let world = world();
    let (change, _) = world.deploy("blog").await;
    // Whoever deleted it did not wait for its end.
    let hasty = Waiting {
        timeout: std::time::Duration::ZERO,
        ..Waiting::new(0)
    };
    assert!(world.cluster.delete("web", hasty.patience()).await.is_err());
    assert_eq!(
        world.cluster.observe("web").await.unwrap().status,
        ServiceStatus::Draining
    );
    let spec = service("web", &change.task_definition, Some(&world.target_group));
    let applied = world.cluster.apply(&spec, "second", world.waiting.patience()).await;
    assert_eq!(applied.unwrap().applied, Applied::Created);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_wrong_length_is_refused_here() {
    let world = world();
    let spec = service("web", "blog-web:1", None);
    for token in ["", "with space", &"x".repeat(37)] {
        let error = world
            .cluster
            .apply(&spec, token, world.waiting.patience())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("is not 1 to 36 visible ASCII characters"));
    }
    assert!(world.fake.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_makes_one_service() {
    let world = world();
    let definition = world.cluster.register(&definition("blog")).await.unwrap();
    let spec = service("web", definition.arn.as_str(), Some(&world.target_group));
    let apply = async |spec| world.cluster.apply(spec, "token", world.waiting.patience()).await;
    world.fake.fault("CreateService", Fault::LostAnswer);
    // ECS shows the service a moment later than it made it.
    world.fake.fault("DescribeServices", Fault::Nothing);
    world.fake.fault("DescribeServices", Fault::Stale);
    world.fake.fault("DescribeServices", Fault::Stale);
    assert!(apply(&spec).await.is_err());
    assert_eq!(apply(&spec).await.unwrap().applied, Applied::Created);
    assert_eq!(world.fake.count("CreateService"), 2);
    let state = world.cluster.observe("web").await.unwrap();
    assert_eq!(state.deployments.len(), 1);
    // Gone meanwhile; the token is remembered with what it was used for.
    world.cluster.delete("web", world.waiting.patience()).await.unwrap();
    let mut other = spec.clone();
    other.settings.desired = 1;
    let error = apply(&other).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("used with other parameters"), "{error}: {cause}");
    assert!(!world.cluster.observe("web").await.unwrap().exists());
}

#[tokio::test(start_paused = true)]
async fn what_would_change_in_words() {
    let world = world();
    world.deploy("blog").await;
    let state = world.cluster.observe("web").await.unwrap();
    let mut wanted = state.settings.clone();
    assert!(state.settings.changes_to(&wanted).is_empty());
    wanted.desired = 4;
    wanted.breaker = None;
    wanted.health_grace = Some(300);
    assert_eq!(
        state.settings.changes_to(&wanted),
        [
            "count: 2 → 4",
            "health grace: 120 s → 300 s",
            "circuit breaker: after 3 failures, with rollback → off",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn drained_and_deleted() {
    let world = world();
    world.deploy("blog").await;
    world.deploy_as("worker", "blog", false).await;
    let families = ["blog-web".to_owned()];
    let drained = world
        .cluster
        .drain_and_delete(&families, world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(drained.services, ["web", "worker"]);
    assert_eq!(drained.definitions.len(), 1);
    assert!(world.cluster.services().await.unwrap().is_empty());
    let scaled: Vec<_> = world
        .fake
        .inputs("UpdateService")
        .iter()
        .map(|u| u["desiredCount"].clone())
        .collect();
    assert_eq!(scaled, [0, 0], "each is scaled to zero before it is deleted");
    // A second run finds nothing to do, and so does one without a cluster.
    assert!(
        world
            .cluster
            .drain_and_delete(&families, world.waiting.patience())
            .await
            .unwrap()
            .services
            .is_empty()
    );
    world.fake.remove_cluster();
    assert!(
        world
            .cluster
            .drain_and_delete(&families, world.waiting.patience())
            .await
            .unwrap()
            .services
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn status_in_a_word() {
    let world = world();
    world.deploy("blog").await;
    let words = |summaries: Vec<nuages_ecs::ServiceSummary>| {
        summaries
            .iter()
            .map(nuages_ecs::ServiceSummary::word)
            .collect::<Vec<_>>()
    };
    let summaries = world.cluster.status(&["web", "nothing"]).await.unwrap();
    assert_eq!((summaries[0].tasks.len(), summaries[0].targets.len()), (2, 2));
    assert_eq!(words(summaries), ["steady", "missing"]);
    world.fake.behave("stuck", Behaviour::Stuck);
    let registered = world.cluster.register(&definition("stuck")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    world
        .cluster
        .apply(&spec, "t2", world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(words(world.cluster.status(&["web"]).await.unwrap()), ["rolling out"]);
}
