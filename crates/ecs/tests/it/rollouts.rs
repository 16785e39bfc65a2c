//! Rollouts: followed by id, ended at the first cause that stays, and explained.

use std::time::Duration;

use nuages_ecs::{Cause, RolloutOutcome};
use nuages_testkit::fake_ecs::{Behaviour, Fault};
use tokio::time::Instant;

use crate::fixture::{Waiting, definition, service, watched, world};

fn only_cause(outcome: &RolloutOutcome) -> Cause {
    match outcome {
        RolloutOutcome::Failed { diagnoses } => {
            assert_eq!(diagnoses.len(), 1);
            diagnoses[0].cause
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_deployment_takes_five_fixed_calls() {
    let world = world();
    world.deploy("blog").await;
    let before = world.fake.calls().len();
    let (_, outcome) = world.deploy("blog2").await;
    let RolloutOutcome::Healthy { services } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((services[0].running, services[0].settings.desired), (2, 2));
    let calls: Vec<String> = world.fake.calls()[before..]
        .iter()
        .map(|c| c.operation.clone())
        .collect();
    // What is asked again each second while it rolls out is polling; the first look at the service is not.
    let polling = ["DescribeServices", "ListTasks", "DescribeTasks", "DescribeTargetHealth"];
    let mut fixed: Vec<&str> = calls
        .iter()
        .map(String::as_str)
        .filter(|c| !polling.contains(c))
        .collect();
    fixed.push("DescribeServices");
    fixed.sort_unstable();
    assert_eq!(
        fixed,
        [
            "DescribeServiceDeployments",
            "DescribeServices",
            "DescribeTaskDefinition",
            "RegisterTaskDefinition",
            "UpdateService",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn steady_is_seen_within_a_second() {
    let world = world();
    world.deploy("blog").await;
    let registered = world.cluster.register(&definition("blog2")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    let started = Instant::now();
    world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await
        .unwrap();
    let seen = started.elapsed();
    // The script: one second to start, one to be healthy, one for the old tasks to end, half a second steady.
    assert!(seen <= Duration::from_millis(3600 + 1000), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn several_services_share_one_look() {
    let world = world();
    let registered = world.cluster.register(&definition("blog")).await.unwrap();
    let mut changes = Vec::new();
    for name in ["web", "worker", "beat"] {
        let group = (name == "web").then_some(world.target_group.as_str());
        let spec = service(name, registered.arn.as_str(), group);
        changes.push(
            world
                .cluster
                .apply(&spec, name, world.waiting.patience())
                .await
                .unwrap(),
        );
    }
    let before = world.fake.count("DescribeServices");
    let all: Vec<_> = changes.iter().map(watched).collect();
    let started = Instant::now();
    let outcome = world.cluster.follow(&all, world.waiting.patience()).await.unwrap();
    assert!(matches!(outcome, RolloutOutcome::Healthy { ref services } if services.len() == 3));
    let looks = world.fake.count("DescribeServices") - before;
    assert_eq!(
        looks as u64,
        started.elapsed().as_secs() + 1,
        "one look a second for all"
    );
    assert_eq!(
        world.fake.inputs("DescribeServices").last().unwrap()["services"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn one_of_several_fails() {
    let world = world();
    world.fake.behave(
        "worker",
        Behaviour::crash(1, &["ModuleNotFoundError: No module named 'celery'"]),
    );
    let (good, bad) = (
        world.cluster.register(&definition("blog")).await.unwrap(),
        world.cluster.register(&definition("worker")).await.unwrap(),
    );
    let web = service("web", good.arn.as_str(), Some(&world.target_group));
    let worker = service("worker", bad.arn.as_str(), None);
    let web = world.cluster.apply(&web, "w", world.waiting.patience()).await.unwrap();
    let worker = world
        .cluster
        .apply(&worker, "x", world.waiting.patience())
        .await
        .unwrap();
    let outcome = world
        .cluster
        .follow(&[watched(&web), watched(&worker)], world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(only_cause(&outcome), Cause::Module);
}

/// How long the explanation took, and what it was.
async fn explained(behaviour: Behaviour, first: bool) -> (Duration, RolloutOutcome, usize) {
    let world = world();
    if !first {
        world.deploy("blog").await;
    }
    world.fake.behave("broken", behaviour);
    let started = Instant::now();
    let (_, outcome) = world.deploy("broken").await;
    (started.elapsed(), outcome, world.fake.tasks_started())
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_ends_it_at_once() {
    let reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref \
                  123456789012.dkr.ecr.eu-west-1.amazonaws.com/blog@sha256:0: not found";
    for first in [true, false] {
        let (took, outcome, _) = explained(Behaviour::never_starts(reason), first).await;
        assert_eq!(only_cause(&outcome), Cause::ImageMissing);
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_named_crash_ends_it_at_once() {
    let log = [
        "Traceback (most recent call last):",
        "django.core.exceptions.ImproperlyConfigured: SECRET_KEY is empty",
    ];
    let (took, outcome, _) = explained(Behaviour::crash(1, &log), false).await;
    assert_eq!(only_cause(&outcome), Cause::Setting);
    assert!(took <= Duration::from_secs(4), "{took:?}");
    let RolloutOutcome::Failed { diagnoses } = outcome else {
        unreachable!()
    };
    assert_eq!((diagnoses[0].exit_code, diagnoses[0].log_tail.len()), (Some(1), 2));
}

#[tokio::test(start_paused = true)]
async fn a_crash_without_a_name_needs_a_second_one() {
    let (took, outcome, tasks) = explained(Behaviour::crash(3, &["something"]), true).await;
    assert_eq!(only_cause(&outcome), Cause::ExitedWithError);
    assert!(tasks >= 2 && took <= Duration::from_secs(10), "{tasks} {took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_unlucky_task_is_forgiven() {
    let world = world();
    let registered = world.cluster.register(&definition("lucky")).await.unwrap();
    let spec = nuages_ecs::ServiceSpec {
        settings: nuages_ecs::ServiceSettings {
            desired: 1,
            ..service("web", registered.arn.as_str(), None).settings
        },
        ..service("web", registered.arn.as_str(), None)
    };
    world.fake.behave("lucky", Behaviour::crash(3, &["chance"]));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    let waiting = world.waiting.patience();
    let watched = [watched(&change)];
    let (outcome, ()) = tokio::join!(world.cluster.follow(&watched, waiting), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        world.fake.behave("lucky", Behaviour::Healthy { boot: Duration::ZERO });
    });
    assert!(matches!(outcome.unwrap(), RolloutOutcome::Healthy { .. }));
    assert_eq!(world.fake.tasks_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn out_of_memory_ends_it_at_once() {
    let (_, outcome, _) = explained(
        Behaviour::OutOfMemory {
            after: Duration::from_secs(2),
        },
        false,
    )
    .await;
    assert_eq!(only_cause(&outcome), Cause::OutOfMemory);
}

#[tokio::test(start_paused = true)]
async fn a_refused_health_check_does_not_wait_for_the_grace_period() {
    let line = "Invalid HTTP_HOST header: '10.0.0.9:8000'. You may need to add '10.0.0.9' to ALLOWED_HOSTS.";
    let (took, outcome, _) = explained(Behaviour::answers(400, &[line]), false).await;
    assert_eq!(only_cause(&outcome), Cause::AllowedHosts);
    assert!(took <= Duration::from_secs(10), "{took:?}");
    let RolloutOutcome::Failed { diagnoses } = outcome else {
        unreachable!()
    };
    assert!(
        diagnoses[0].target.as_deref().unwrap().ends_with("codes: [400]"),
        "{:?}",
        diagnoses[0].target
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_program_is_explained_when_ecs_gives_it_up() {
    let behaviour = Behaviour::Unhealthy {
        reason: "Target.FailedHealthChecks".into(),
        description: "Health checks failed".into(),
        log: vec!["[1] [INFO] Listening at: http://127.0.0.1:8000 (1)".into()],
    };
    let (took, outcome, _) = explained(behaviour, false).await;
    assert_eq!(only_cause(&outcome), Cause::LoopbackOnly);
    assert!(
        took >= Duration::from_mins(2),
        "not before the grace period ended: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_rollback_of_ecs_is_a_failure() {
    let world = world();
    world.deploy("blog").await;
    world.fake.behave("broken", Behaviour::crash(3, &[]));
    let registered = world.cluster.register(&definition("broken")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    // By now ECS has gone back to the old definition, and all is steady: a false green for whoever looks at that.
    tokio::time::sleep(Duration::from_mins(2)).await;
    let state = world.cluster.observe("web").await.unwrap();
    assert!(!state.in_flight() && state.running == 2);
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await
        .unwrap();
    assert!(matches!(
        only_cause(&outcome),
        Cause::Superseded | Cause::RolledBack | Cause::ExitedWithError
    ));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_deployment_is_told() {
    let world = world();
    world.deploy("blog").await;
    world.fake.behave("slow", Behaviour::Stuck);
    let slow = world.cluster.register(&definition("slow")).await.unwrap();
    let spec = service("web", slow.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    world.deploy("other").await;
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(only_cause(&outcome), Cause::Superseded);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_service_is_told() {
    let world = world();
    let (change, _) = world.deploy("blog").await;
    world.cluster.delete("web", world.waiting.patience()).await.unwrap();
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await
        .unwrap();
    assert_eq!(only_cause(&outcome), Cause::ServiceGone);
}

#[tokio::test(start_paused = true)]
async fn a_hasty_word_is_not_believed() {
    let world = world();
    world.fake.be_hasty();
    world.fake.hide_deployments_of_tasks();
    world
        .fake
        .behave("broken", Behaviour::crash(1, &["KeyError: 'DATABASE_URL'"]));
    let (_, outcome) = world.deploy("broken").await;
    assert_eq!(only_cause(&outcome), Cause::Setting);
    let world = crate::fixture::world();
    world.fake.be_hasty();
    let started = Instant::now();
    let (_, outcome) = world.deploy("blog").await;
    assert!(matches!(outcome, RolloutOutcome::Healthy { .. }));
    assert!(
        started.elapsed() >= Duration::from_secs(4),
        "tasks must have stayed a while"
    );
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_down_and_nothing_else() {
    let world = world();
    let registered = world.cluster.register(&definition("blog")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    for _ in 0..4 {
        world.fake.fault("DescribeServices", Fault::throttled());
    }
    let started = Instant::now();
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await
        .unwrap();
    assert!(matches!(outcome, RolloutOutcome::Healthy { .. }));
    // 2 + 4 + 8 + 16 seconds of patience, and then the usual pace.
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_asked_for_again() {
    let world = world();
    let registered = world.cluster.register(&definition("blog")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    world.fake.fault("DescribeServices", Fault::broken());
    world.fake.fault(
        "DescribeServiceDeployments",
        Fault::denied("ecs:DescribeServiceDeployments"),
    );
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await
        .unwrap();
    assert!(matches!(outcome, RolloutOutcome::Healthy { .. }));
    world
        .fake
        .fault("DescribeServices", Fault::denied("ecs:DescribeServices"));
    assert!(
        world
            .cluster
            .follow(&[watched(&change)], world.waiting.patience())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn time_runs_out_with_the_last_status() {
    let world = world();
    world.deploy("blog").await;
    world.fake.behave("slow", Behaviour::Stuck);
    let registered = world.cluster.register(&definition("slow")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    let waiting = Waiting::new(30);
    let started = Instant::now();
    let outcome = world
        .cluster
        .follow(&[watched(&change)], waiting.patience())
        .await
        .unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    let RolloutOutcome::TimedOut { last, diagnoses } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(last, "web 0 of 2 running, 2 starting");
    assert_eq!(diagnoses[0].sentence, "its tasks do not come up");
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_the_wait_not_the_deployment() {
    let world = world();
    let registered = world.cluster.register(&definition("blog")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    let waiting = Waiting::new(600);
    let watched = [watched(&change)];
    let (outcome, ()) = tokio::join!(world.cluster.follow(&watched, waiting.patience()), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        waiting.cancel.cancel();
    });
    assert!(matches!(outcome.unwrap(), RolloutOutcome::Cancelled { .. }));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.cluster.observe("web").await.unwrap().running, 2);
}

#[tokio::test(start_paused = true)]
async fn events_are_told_once() {
    let world = world();
    world.deploy("blog").await;
    world.deploy("blog2").await;
    let steady = world
        .waiting
        .lines()
        .iter()
        .filter(|l| l.contains("steady state"))
        .count();
    assert!(
        steady <= 2,
        "each deployment's events once: {:?}",
        world.waiting.lines()
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_the_update_is_no_end() {
    let world = world();
    world.deploy("blog").await;
    let registered = world.cluster.register(&definition("blog2")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    for _ in 0..3 {
        world.fake.fault("DescribeServices", Fault::Stale);
    }
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await;
    let RolloutOutcome::Healthy { services } = outcome.unwrap() else {
        panic!("an older answer is not the end of the rollout")
    };
    assert_eq!(services[0].settings.task_definition, registered.arn.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_the_creation_is_no_end() {
    let world = world();
    let registered = world.cluster.register(&definition("blog")).await.unwrap();
    let spec = service("web", registered.arn.as_str(), Some(&world.target_group));
    let change = world.cluster.apply(&spec, "t", world.waiting.patience()).await.unwrap();
    for _ in 0..3 {
        world.fake.fault("DescribeServices", Fault::Stale);
    }
    let outcome = world
        .cluster
        .follow(&[watched(&change)], world.waiting.patience())
        .await;
    assert!(matches!(outcome.unwrap(), RolloutOutcome::Healthy { .. }));
}
