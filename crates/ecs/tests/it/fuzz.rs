//! Answers that make no sense, at any point of a deployment.
//!
//! Invariant: whatever ECS, the load balancer and the logs answer, nothing panics, everything ends, and a task that has a
//! key is started once. `NUAGES_FUZZ_CASES` says how many deployments are tried.

use std::collections::BTreeMap;
use std::time::Duration;

use nuages_ecs::{Cluster, EcsTaskRunner, LogQuery, PreviousService};
use nuages_model::{TaskRequest, TaskRunner as _};
use nuages_testkit::account::Account;
use nuages_testkit::clock::on_paused_time;
use nuages_testkit::fake_ecs::Behaviour;
use nuages_testkit::fuzz::{Spoiled, lives, spoil_answers};

use crate::fixture::{GROUP, Waiting, definition, log, placement, service, watched};

/// Longer than anything waits that was given up.
const LIMIT: Duration = Duration::from_hours(12);

/// An account in which a service can run.
fn account() -> (Account, String) {
    let account = Account::new();
    let ecs = account.ecs();
    ecs.make_cluster("blog");
    ecs.add_log_group(GROUP);
    let group = ecs.add_target_group("blog-web", "ip", true);
    ecs.behave("crashing@", Behaviour::crash(3, &["KeyError: 'DATABASE_URL'"]));
    ecs.behave(
        "refusing@",
        Behaviour::answers(400, &["Invalid HTTP_HOST header: '10.0.0.1'."]),
    );
    let log = ["Applying blog.0002_tags... OK"];
    ecs.behave_command("migrate", Behaviour::ends_well(Duration::from_secs(5), &log));
    (account, group)
}

/// Brings an image out, explains what failed, and goes back.
async fn bring(cluster: &Cluster, waiting: &Waiting, group: &str, image: &str) {
    let registered = cluster.register(&definition(image)).await;
    let arn = registered.map_or_else(|_| "blog-web:1".to_owned(), |known| known.arn.to_string());
    let spec = service("web", &arn, Some(group));
    let Ok(change) = cluster
        .apply(&spec, &format!("token-{image}"), waiting.patience())
        .await
    else {
        return;
    };
    let ended = cluster.follow(&[watched(&change)], waiting.patience()).await;
    if let Ok(outcome) = ended {
        let _ = format!("{outcome:?}");
    }
    let previous: Option<&PreviousService> = change.previous.as_ref();
    if image != "blog" {
        let _ = cluster.restore("web", previous, waiting.patience()).await;
    }
}

/// All that is asked of ECS, one thing after the other, whatever came of the one before.
async fn everything(account: &Account, group: &str) {
    let cluster = Cluster::new(&account.context(), "blog");
    let waiting = Waiting::new(1800);
    for image in ["blog", "crashing", "refusing"] {
        bring(&cluster, &waiting, group, image).await;
    }
    let runner = EcsTaskRunner::new(cluster.clone(), "blog-web:1", "web", placement()).with_log(log());
    let request = TaskRequest {
        key: "r1-migrate-1".parse().unwrap(),
        command: ["python", "manage.py", "migrate"].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
    };
    for _ in 0..2 {
        if let Ok(handle) = runner.start(&request).await {
            let _ = runner.wait(&handle, &waiting.progress).await;
        }
    }
    let query = LogQuery {
        group: GROUP.into(),
        prefix: "web/".into(),
        since_ms: 0,
        pattern: None,
    };
    let _ = cluster.log_lines(&query).await;
    let _ = cluster.observe("web").await.map(|state| format!("{state:?}"));
    let _ = cluster.scale("web", 3).await;
    let _ = cluster.services().await;
    let families = ["blog-web".to_owned()];
    let _ = cluster.drain_and_delete(&families, waiting.patience()).await;
}

/// Spoils some of the calls, and answers how many there were.
fn spoiled(at: &Spoiled) -> usize {
    on_paused_time(async {
        let (account, group) = account();
        spoil_answers(account.rules(), at);
        let done = tokio::time::timeout(LIMIT, everything(&account, &group)).await;
        done.expect("it did not end");
        let migrations = account.ecs().tasks_of_command("migrate");
        assert!(migrations <= 1, "{migrations} migrations ran");
        account.rules().calls().len()
    })
}

#[test]
fn no_answer_makes_it_panic_or_migrate_twice() {
    lives("deployments", 40, 50, spoiled);
}
