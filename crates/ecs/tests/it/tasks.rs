//! One-off tasks: started once, followed to their real end.

use std::collections::BTreeMap;
use std::time::Duration;

use nuages_ecs::{Cluster, EcsTaskRunner, LogQuery};
use nuages_model::{TaskError, TaskKey, TaskRequest, TaskRunner as _};
use nuages_testkit::fake_ecs::{Behaviour, Fault};
use tokio_util::sync::CancellationToken;

use crate::fixture::{GROUP, World, definition, log, placement, world};

async fn runner(world: &World) -> EcsTaskRunner {
    let registered = world.cluster.register(&definition("blog")).await.unwrap();
    EcsTaskRunner::new(world.cluster.clone(), registered.arn.as_str(), "web", placement()).with_log(log())
}

fn request(key: &str, command: &[&str]) -> TaskRequest {
    TaskRequest {
        key: key.parse().unwrap(),
        command: command.iter().map(ToString::to_string).collect(),
        env: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn exit_codes_and_log_are_real() {
    let world = world();
    let runner = runner(&world).await;
    let log = ["Operations to perform:", "  Applying blog.0002_tags... OK"];
    world
        .fake
        .behave_command("migrate", Behaviour::ends_well(Duration::from_secs(5), &log));
    let handle = runner
        .start(&request("r1-migrate-1", &["python", "manage.py", "migrate"]))
        .await
        .unwrap();
    let outcome = runner.wait(&handle, &world.waiting.progress).await.unwrap();
    assert!(outcome.succeeded());
    assert_eq!(outcome.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert_eq!(outcome.log_tail, log);
    assert_eq!(world.waiting.lines(), log);
    let sent = world.fake.inputs("RunTask").remove(0);
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(sent) });
}

#[tokio::test(start_paused = true)]
async fn failure_is_told_by_the_containers() {
    let world = world();
    let runner = runner(&world).await;
    world.fake.behave_command(
        "migrate",
        Behaviour::crash(1, &["django.db.utils.ProgrammingError: no such table"]),
    );
    let handle = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap();
    let outcome = runner.wait(&handle, &world.waiting.progress).await.unwrap();
    assert!(!outcome.succeeded());
    assert_eq!(outcome.containers[0].exit_code, Some(1));
    assert_eq!(outcome.log_tail.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_never_starts() {
    let world = world();
    let runner = runner(&world).await;
    world.fake.behave_command(
        "migrate",
        Behaviour::never_starts("ResourceInitializationError: unable to pull secrets"),
    );
    let handle = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap();
    let outcome = runner.wait(&handle, &world.waiting.progress).await.unwrap();
    assert!(!outcome.succeeded());
    assert_eq!(outcome.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert_eq!(
        outcome.stopped_reason.as_deref(),
        Some("ResourceInitializationError: unable to pull secrets")
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_starts_one_task() {
    let world = world();
    let runner = runner(&world).await;
    let request = request("r1-migrate-1", &["migrate"]);
    let first = runner.start(&request).await.unwrap();
    assert_eq!(runner.start(&request).await.unwrap(), first, "while it starts");
    runner.wait(&first, &world.waiting.progress).await.unwrap();
    assert_eq!(runner.start(&request).await.unwrap(), first, "after it ended");
    // ECS has forgotten the task by now, but not its token.
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(runner.find(&request.key).await.unwrap(), None);
    assert_eq!(runner.start(&request).await.unwrap(), first, "long after it ended");
    assert_eq!(world.fake.tasks_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_used_for_something_else_starts_nothing() {
    let world = world();
    let runner = runner(&world).await;
    let first = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap();
    runner.wait(&first, &world.waiting.progress).await.unwrap();
    // Gone from the lists, and its token remembered.
    tokio::time::sleep(Duration::from_hours(2)).await;
    let error = runner.start(&request("r1-migrate-1", &["flush"])).await.unwrap_err();
    assert!(matches!(error, TaskError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("ConflictException"), "{error}");
    assert_eq!(world.fake.tasks_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_found_where_started_by_stands_alone() {
    let world = world();
    let runner = runner(&world).await;
    let request = request("r1-migrate-1", &["migrate"]);
    let handle = runner.start(&request).await.unwrap();
    runner.wait(&handle, &world.waiting.progress).await.unwrap();
    let invalid = "startedBy and desiredStatus cannot be combined";
    world.fake.fault("ListTasks", Fault::Nothing);
    world.fake.fault(
        "ListTasks",
        Fault::Refused(400, "InvalidParameterException".into(), invalid.into()),
    );
    assert_eq!(runner.find(&request.key).await.unwrap(), Some(handle));
    assert_eq!(world.fake.inputs("ListTasks").last().unwrap()["family"], "blog-web");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_starts_nothing_twice() {
    let world = world();
    let runner = runner(&world).await;
    let request = request("r1-migrate-1", &["migrate"]);
    world.fake.fault("RunTask", Fault::LostAnswer);
    assert!(matches!(runner.start(&request).await, Err(TaskError::Unknown { .. })));
    let found = runner.start(&request).await.unwrap();
    assert_eq!(Some(found), runner.find(&request.key).await.unwrap());
    assert_eq!(world.fake.tasks_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_with_failures_is_a_refusal() {
    let world = world();
    let runner = runner(&world).await;
    world.fake.fault(
        "RunTask",
        Fault::Failures("Capacity is unavailable at this time.".into(), String::new()),
    );
    let error = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap_err();
    assert!(error.to_string().contains("AWS has no room for the task"), "{error}");
    assert_eq!(world.fake.tasks_started(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_does_not_know_the_task_yet_is_repeated() {
    let world = world();
    let runner = runner(&world).await;
    let handle = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap();
    world.fake.fault("DescribeTasks", Fault::Missing);
    world.fake.fault("DescribeTasks", Fault::throttled());
    world.fake.fault("DescribeTasks", Fault::broken());
    assert!(runner.wait(&handle, &world.waiting.progress).await.unwrap().succeeded());
    // One that never was is told after a while.
    let nobody = nuages_model::TaskHandle {
        id: "arn:aws:ecs:eu-west-1:123456789012:task/blog/0".into(),
    };
    let error = runner.wait(&nobody, &world.waiting.progress).await.unwrap_err();
    assert!(matches!(error, TaskError::Unknown { .. }));
}

#[tokio::test(start_paused = true)]
async fn overrides_that_are_too_long_are_refused_here() {
    let world = world();
    let runner = runner(&world).await;
    let calls = world.fake.calls().len();
    let error = runner
        .start(&request("r1-migrate-1", &["x".repeat(9000).as_str()]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ECS takes at most 8192"), "{error}");
    assert_eq!(world.fake.calls().len(), calls);
    // Just below the limit ECS takes it.
    runner
        .start(&request("r1-migrate-2", &["x".repeat(8100).as_str()]))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end() {
    let world = world();
    let runner = runner(&world).await.with_timeout(Duration::from_mins(1));
    world
        .fake
        .behave_command("migrate", Behaviour::Healthy { boot: Duration::ZERO });
    let handle = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap();
    let error = runner.wait(&handle, &world.waiting.progress).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the task did not end within 60 s; last seen: RUNNING"
    );
    runner.stop(&handle, "the deployment is undone").await.unwrap();
    runner.stop(&handle, "again").await.unwrap();
    let outcome = runner.wait(&handle, &world.waiting.progress).await.unwrap();
    assert_eq!(outcome.stop_code.as_deref(), Some("UserInitiated"));
    assert!(!outcome.succeeded());
}

#[tokio::test(start_paused = true)]
async fn nobody_may() {
    let world = world();
    let runner = runner(&world).await;
    world.fake.fault("RunTask", Fault::denied("ecs:RunTask"));
    let error = runner.start(&request("r1-migrate-1", &["migrate"])).await.unwrap_err();
    assert!(matches!(error, TaskError::Refused { .. }), "{error}");
    let key: TaskKey = "r1-migrate-1".parse().unwrap();
    world.fake.fault("ListTasks", Fault::broken());
    assert!(matches!(runner.find(&key).await, Err(TaskError::Unknown { .. })));
}

async fn lines(cluster: &Cluster, query: &LogQuery) -> Vec<String> {
    cluster
        .log_lines(query)
        .await
        .unwrap()
        .into_iter()
        .map(|l| format!("{} {}", l.source(), l.text))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn logs_across_streams_once_each() {
    let world = world();
    for (number, at) in (0..10).zip([5, 5, 5, 6, 6, 7, 8, 9, 9, 10]) {
        let task = if number % 2 == 0 {
            "aaaaaaaabbbb"
        } else {
            "ccccccccdddd"
        };
        world
            .fake
            .add_log_line(GROUP, &format!("web/web/{task}"), at, &format!("line {number}"));
    }
    world
        .fake
        .add_log_line(GROUP, "worker/worker/eeeeeeeeffff", 5, "another service");
    let query = LogQuery {
        group: GROUP.into(),
        prefix: "web/".into(),
        since_ms: 0,
        pattern: None,
    };
    let found = lines(&world.cluster, &query).await;
    assert_eq!(found.len(), 10);
    assert!(found.contains(&"web/aaaaaaaa line 0".to_owned()) && found.contains(&"web/cccccccc line 9".to_owned()));

    let (cancel, mut followed) = (CancellationToken::new(), Vec::new());
    let follow = world
        .cluster
        .follow_logs(&query, &cancel, |line| followed.push(line.text));
    let (ended, ()) = tokio::join!(follow, async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        world.fake.add_log_line(GROUP, "web/web/aaaaaaaabbbb", 8, "late");
        world.fake.fault("FilterLogEvents", Fault::throttled());
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.fake.add_log_line(GROUP, "web/web/ccccccccdddd", 20, "new");
        tokio::time::sleep(Duration::from_secs(10)).await;
        cancel.cancel();
    });
    ended.unwrap();
    assert_eq!(followed.len(), 12, "{followed:?}");
    assert_eq!(followed[10..], ["late", "new"]);
}
