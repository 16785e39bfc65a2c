//! What an undo waits for, on a scripted ECS and a site that takes its time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nuages_ecs::{ContainerSpec, Placement, Platform, ServiceSettings, TaskDefinitionSpec};
use nuages_model::{ImageRef, Note};
use nuages_releases::{EnvironmentKey, Store};
use nuages_saga::{Plan, StepId};
use nuages_testkit::aws::{ACCOUNT, REGION};
use nuages_testkit::fake_ecs::FakeEcs;
use nuages_testkit::http::{FakeServer, text};
use serde_json::json;

use super::*;

fn log() -> LogTarget {
    LogTarget {
        group: "/nuages/blog".into(),
        prefix: "app".into(),
        region: REGION.parse().unwrap(),
    }
}

fn definition(tag: &str) -> TaskDefinitionSpec {
    let digest = nuages_model::Digest::of(tag.as_bytes());
    let image: ImageRef = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/blog@{digest}")
        .parse()
        .unwrap();
    TaskDefinitionSpec {
        family: "blog-web".into(),
        cpu: 256,
        memory: 512,
        platform: Platform::Amd64,
        execution_role: format!("arn:aws:iam::{ACCOUNT}:role/execution").parse().unwrap(),
        task_role: None,
        containers: vec![ContainerSpec {
            name: "web".into(),
            image: image.try_into().unwrap(),
            command: vec!["gunicorn".into()],
            env: [("TAG".to_owned(), tag.to_owned())].into(),
            secrets: std::collections::BTreeMap::new(),
            port: Some(8000),
            log: log(),
            stop_timeout: 30,
            health: None,
            read_only_root: false,
            user: None,
            essential: true,
            init: true,
        }],
        ephemeral_storage: None,
        tags: std::collections::BTreeMap::new(),
    }
}

fn service(task_definition: String) -> ServiceSpec {
    ServiceSpec {
        name: "web".into(),
        settings: ServiceSettings {
            task_definition,
            desired: 1,
            placement: Placement {
                subnets: ["subnet-1".to_owned()].into(),
                security_groups: ["sg-task".to_owned()].into(),
                public_ip: true,
            },
            load_balancers: Vec::new(),
            health_grace: None,
            min_percent: 100,
            max_percent: 200,
            breaker: None,
            exec: false,
            platform_version: None,
        },
        tags: std::collections::BTreeMap::new(),
    }
}

/// A service that was updated, and what is said while the update is undone.
async fn undone(site: Option<Site>) -> Vec<String> {
    let fake = FakeEcs::new("blog");
    fake.add_log_group("/nuages/blog");
    let aws = fake.context();
    let folder = tempfile::tempdir().unwrap();
    let key = EnvironmentKey {
        account: ACCOUNT.parse().unwrap(),
        region: REGION.parse().unwrap(),
        app: "blog".parse().unwrap(),
        env: "staging".parse().unwrap(),
    };
    let store = Store::open(&folder.path().join("nuages.db")).await.unwrap();
    let tools = Arc::new(Tools {
        aws: aws.clone(),
        store: store.environment(key).await.unwrap(),
        fence: None,
    });
    let cluster = Cluster::new(&aws, "blog");
    let mut revisions = Vec::new();
    for tag in ["old", "new"] {
        revisions.push(cluster.register(&definition(tag)).await.unwrap().arn.to_string());
    }
    let [old, new] = &revisions[..] else {
        panic!("two revisions")
    };
    let step: StepId = "service/web".parse().unwrap();
    let plan = Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0");
    let said = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&said);
    let progress = Progress::new(move |note| {
        if let Note::Warning { text } = note {
            listener.lock().unwrap().push(text);
        }
    });
    let cx = StepContext::new(&plan, &step, 1, progress);
    let at = |revision: &str, site: Option<Site>| {
        let params = ServiceParams {
            cluster: "blog".into(),
            spec: service(revision.to_owned()),
            container: "web".into(),
            log: log(),
            limit_seconds: 60,
            site,
        };
        Service(Arc::clone(&tools), params)
    };
    at(old, None).apply(&cx, None).await.unwrap();
    let updating = at(new, site);
    let TypedCheck::Change { before, .. } = updating.check(&cx).await.unwrap() else {
        panic!("there is something to change")
    };
    updating.apply(&cx, before.clone()).await.unwrap();
    updating.undo(&cx, before, None).await.unwrap();
    let live = cluster.observe("web").await.unwrap();
    assert_eq!(live.settings.task_definition, *old, "the service is as it was");
    let said = said.lock().unwrap();
    said.clone()
}

fn at(url: &str) -> Site {
    Site {
        url: url.parse().unwrap(),
        via: None,
        ready: "/readyz".into(),
    }
}

#[tokio::test]
async fn an_undo_is_done_when_the_site_answers_well_again() {
    let bad = AtomicUsize::new(3);
    let server = FakeServer::start(move |_| {
        let left = bad.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        std::future::ready(text(if left.is_ok() { 502 } else { 200 }, "so"))
    })
    .await;
    let said = undone(Some(at(&server.url()))).await;
    assert_eq!(said, Vec::<String>::new());
    assert!(
        server.requests().len() > 3 + 5,
        "not done before several good answers came: {}",
        server.requests().len()
    );
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_not_stuck_where_the_site_cannot_be_reached() {
    let said = undone(Some(at("http://127.0.0.1:1/"))).await;
    let [warning] = &said[..] else {
        panic!("one warning: {said:?}")
    };
    assert!(warning.contains("cannot be seen from this machine"), "{warning}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_names_no_site_is_undone_as_it_was_meant() {
    let params = json!({
        "cluster": "blog", "spec": service("blog-web:1".into()), "container": "web", "log": log(), "limit_seconds": 60,
    });
    let params: ServiceParams = serde_json::from_value(params).unwrap();
    assert_eq!(params.site, None, "as plans of earlier versions say it");
    let said = undone(params.site).await;
    assert_eq!(said, Vec::<String>::new());
}
