//! What the tests share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuages_ecs::{
    Breaker, Cluster, ContainerSpec, LoadBalancerTarget, LogTarget, Patience, Placement, Platform, RolloutOutcome,
    ServiceChange, ServiceSettings, ServiceSpec, TaskDefinitionSpec, Watched,
};
use nuages_model::{Digest, ImageRef, Note, Progress};
use nuages_testkit::fake_ecs::FakeEcs;
use tokio_util::sync::CancellationToken;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const GROUP: &str = "/nuages/blog";

pub(crate) fn log() -> LogTarget {
    LogTarget {
        group: GROUP.into(),
        prefix: "web".into(),
        region: "eu-west-1".parse().unwrap(),
    }
}

pub(crate) fn container(image: &str) -> ContainerSpec {
    let digest = Digest::of(image.as_bytes());
    let image: ImageRef = format!("{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{image}@{digest}")
        .parse()
        .unwrap();
    ContainerSpec {
        name: "web".into(),
        image: image.try_into().unwrap(),
        command: vec!["gunicorn".into(), "blog.wsgi".into()],
        env: [(
            "DJANGO_SETTINGS_MODULE".to_owned(),
            "blog.settings.production".to_owned(),
        )]
        .into(),
        secrets: BTreeMap::new(),
        port: Some(8000),
        log: log(),
        stop_timeout: 60,
        health: None,
        read_only_root: false,
        user: None,
        essential: true,
        init: true,
    }
}

pub(crate) fn definition(image: &str) -> TaskDefinitionSpec {
    TaskDefinitionSpec {
        family: "blog-web".into(),
        cpu: 256,
        memory: 512,
        platform: Platform::Amd64,
        execution_role: format!("arn:aws:iam::{ACCOUNT}:role/blog-execution").parse().unwrap(),
        task_role: Some(format!("arn:aws:iam::{ACCOUNT}:role/blog-task").parse().unwrap()),
        containers: vec![container(image)],
        ephemeral_storage: None,
        tags: [("nuages:app".to_owned(), "blog".to_owned())].into(),
    }
}

pub(crate) fn placement() -> Placement {
    Placement {
        subnets: ["subnet-1".to_owned(), "subnet-2".to_owned()].into(),
        security_groups: ["sg-task".to_owned()].into(),
        public_ip: true,
    }
}

pub(crate) fn service(name: &str, task_definition: &str, target_group: Option<&str>) -> ServiceSpec {
    ServiceSpec {
        name: name.into(),
        settings: ServiceSettings {
            task_definition: task_definition.into(),
            desired: 2,
            placement: placement(),
            load_balancers: target_group
                .map(|arn| LoadBalancerTarget {
                    target_group: arn.into(),
                    container: "web".into(),
                    port: 8000,
                })
                .into_iter()
                .collect(),
            health_grace: target_group.map(|_| 120),
            min_percent: 100,
            max_percent: 200,
            breaker: Some(Breaker {
                rollback: true,
                failures: Some(3),
            }),
            exec: false,
            platform_version: None,
        },
        tags: [("nuages:app".to_owned(), "blog".to_owned())].into(),
    }
}

/// A wait that is never cancelled, with all that was said.
pub(crate) struct Waiting {
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: Progress,
    pub(crate) notes: Arc<Mutex<Vec<Note>>>,
    pub(crate) timeout: Duration,
}

impl Waiting {
    pub(crate) fn new(seconds: u64) -> Self {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let progress = {
            let notes = notes.clone();
            Progress::new(move |note| notes.lock().unwrap().push(note))
        };
        Self {
            cancel: CancellationToken::new(),
            progress,
            notes,
            timeout: Duration::from_secs(seconds),
        }
    }

    pub(crate) fn patience(&self) -> Patience<'_> {
        Patience {
            timeout: self.timeout,
            cancel: &self.cancel,
            progress: &self.progress,
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        notes
            .iter()
            .filter_map(|n| match n {
                Note::Line { text, .. } => Some(text.clone()),
                _ => None,
            })
            .collect()
    }
}

/// A fake with its cluster.
pub(crate) struct World {
    pub(crate) fake: FakeEcs,
    pub(crate) cluster: Cluster,
    pub(crate) waiting: Waiting,
    pub(crate) target_group: String,
}

pub(crate) fn world() -> World {
    let fake = FakeEcs::new("blog");
    fake.add_log_group(GROUP);
    let target_group = fake.add_target_group("blog-web", "ip", true);
    let cluster = Cluster::new(&fake.context(), "blog");
    World {
        fake,
        cluster,
        waiting: Waiting::new(1800),
        target_group,
    }
}

impl World {
    /// Registers, applies and follows the service `web` with this image.
    pub(crate) async fn deploy(&self, image: &str) -> (ServiceChange, RolloutOutcome) {
        self.deploy_as("web", image, true).await
    }

    pub(crate) async fn deploy_as(&self, name: &str, image: &str, balanced: bool) -> (ServiceChange, RolloutOutcome) {
        let registered = self.cluster.register(&definition(image)).await.unwrap();
        let group = balanced.then_some(self.target_group.as_str());
        let spec = service(name, registered.arn.as_str(), group);
        let change = self
            .cluster
            .apply(&spec, &format!("{name}-{image}"), self.waiting.patience())
            .await
            .unwrap();
        let outcome = self
            .cluster
            .follow(&[watched(&change)], self.waiting.patience())
            .await
            .unwrap();
        (change, outcome)
    }
}

pub(crate) fn watched(change: &ServiceChange) -> Watched {
    Watched::new(change, "web", Some(log()))
}
