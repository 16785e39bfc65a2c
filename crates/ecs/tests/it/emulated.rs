//! On an emulator that runs real containers. It asks no load balancer for health, names services instead of deployments
//! as what started a task, and calls a new service completed at once; the same code is right there.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use nuages_aws::AwsContext;
use nuages_ecs::{
    Applied, Breaker, Cause, Cluster, ContainerSpec, EcsTaskRunner, LoadBalancerTarget, LogQuery, LogTarget, Placement,
    Platform, RolloutOutcome, ServiceSettings, ServiceSpec, TaskDefinitionSpec, Watched,
};
use nuages_model::{Digest, ImageRef, SecretVersion, TaskRequest, TaskRunner as _};
use nuages_testkit::emulators::{Endpoint, ministack, unique_name};

use crate::fixture::Waiting;

struct Emulated {
    endpoint: Endpoint,
    aws: AwsContext,
    cluster: Cluster,
    name: String,
    image: ImageRef,
    waiting: Waiting,
}

/// The engine keeps what an emulator's tasks ran under the emulator's names, and no emulator takes them away.
impl Drop for Emulated {
    fn drop(&mut self) {
        let repository = format!("{}/{}", self.endpoint.registry_host(), self.name);
        // A runtime cannot be entered twice on one thread.
        let forgetting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(forget(&repository));
        });
        drop(forgetting.join());
    }
}

/// Takes away the names of this repository's images, as far as nothing runs under them.
async fn forget(repository: &str) {
    let docker = Docker::connect_with_local_defaults()
        .unwrap()
        .negotiate_version()
        .await
        .unwrap();
    let all = ListImagesOptionsBuilder::default().digests(true).build();
    let images = docker.list_images(Some(all)).await.unwrap();
    for name in images
        .iter()
        .flat_map(|image| image.repo_tags.iter().chain(&image.repo_digests))
    {
        if name
            .strip_prefix(repository)
            .is_some_and(|rest| rest.starts_with([':', '@']))
        {
            let unforced = RemoveImageOptionsBuilder::default().build();
            drop(docker.remove_image(name, Some(unforced), None).await);
        }
    }
}

impl Emulated {
    async fn new() -> Self {
        let endpoint = ministack().await;
        let aws = nuages_testkit::aws::ministack(&endpoint.url, &endpoint.account);
        let name = unique_name("ecs");
        aws_sdk_ecs::Client::new(aws.sdk())
            .create_cluster()
            .cluster_name(&name)
            .send()
            .await
            .unwrap();
        let logs = aws_sdk_cloudwatchlogs::Client::new(aws.sdk());
        logs.create_log_group()
            .log_group_name(format!("/nuages/{name}"))
            .send()
            .await
            .unwrap();
        let image = push(&endpoint, &aws, &name).await;
        let cluster = Cluster::new(&aws, &name);
        Self {
            endpoint,
            aws,
            cluster,
            name,
            image,
            waiting: Waiting::new(180),
        }
    }

    fn log(&self) -> LogTarget {
        LogTarget {
            group: format!("/nuages/{}", self.name),
            prefix: "web".into(),
            region: self.aws.region().clone(),
        }
    }

    fn definition(&self, program: &str) -> TaskDefinitionSpec {
        let role = |name: &str| {
            format!("arn:aws:iam::{}:role/{name}", self.endpoint.account)
                .parse()
                .unwrap()
        };
        TaskDefinitionSpec {
            family: self.name.clone(),
            cpu: 256,
            memory: 512,
            platform: Platform::Amd64,
            execution_role: role("execution"),
            task_role: Some(role("task")),
            containers: vec![ContainerSpec {
                name: "web".into(),
                image: self.image.clone().try_into().unwrap(),
                command: ["python", "-u", "-c", program].map(String::from).to_vec(),
                env: BTreeMap::new(),
                secrets: BTreeMap::new(),
                port: Some(8000),
                log: self.log(),
                stop_timeout: 5,
                health: None,
                read_only_root: false,
                user: None,
                essential: true,
                init: false,
            }],
            ephemeral_storage: None,
            tags: BTreeMap::new(),
        }
    }

    fn placement() -> Placement {
        Placement {
            subnets: ["subnet-1".to_owned()].into(),
            security_groups: ["sg-1".to_owned()].into(),
            public_ip: true,
        }
    }

    /// A load balancer; answers its DNS name and the target group's ARN.
    async fn balancer(&self) -> (String, String) {
        let elb = aws_sdk_elasticloadbalancingv2::Client::new(self.aws.sdk());
        let made = elb
            .create_load_balancer()
            .name(&self.name)
            .subnets("subnet-1")
            .subnets("subnet-2")
            .send()
            .await
            .unwrap();
        let balancer = made.load_balancers()[0].clone();
        let group = elb
            .create_target_group()
            .name(&self.name)
            .protocol(aws_sdk_elasticloadbalancingv2::types::ProtocolEnum::Http)
            .port(8000)
            .target_type(aws_sdk_elasticloadbalancingv2::types::TargetTypeEnum::Ip)
            .vpc_id("vpc-1")
            .send()
            .await
            .unwrap();
        let group = group.target_groups()[0].target_group_arn().unwrap().to_owned();
        elb.create_listener()
            .load_balancer_arn(balancer.load_balancer_arn().unwrap())
            .protocol(aws_sdk_elasticloadbalancingv2::types::ProtocolEnum::Http)
            .port(80)
            .default_actions(
                aws_sdk_elasticloadbalancingv2::types::Action::builder()
                    .r#type(aws_sdk_elasticloadbalancingv2::types::ActionTypeEnum::Forward)
                    .target_group_arn(&group)
                    .build(),
            )
            .send()
            .await
            .unwrap();
        (balancer.dns_name().unwrap().to_owned(), group)
    }

    /// Registers, applies and follows the service `web`.
    async fn deploy(
        &self,
        definition: &TaskDefinitionSpec,
        group: Option<&str>,
    ) -> (nuages_ecs::ServiceChange, RolloutOutcome) {
        let registered = self.cluster.register(definition).await.unwrap();
        let spec = ServiceSpec {
            name: "web".into(),
            settings: ServiceSettings {
                task_definition: registered.arn.to_string(),
                desired: 1,
                placement: Self::placement(),
                load_balancers: group
                    .map(|arn| LoadBalancerTarget {
                        target_group: arn.into(),
                        container: "web".into(),
                        port: 8000,
                    })
                    .into_iter()
                    .collect(),
                health_grace: group.map(|_| 120),
                min_percent: 100,
                max_percent: 200,
                breaker: Some(Breaker {
                    rollback: true,
                    failures: Some(3),
                }),
                exec: false,
                platform_version: None,
            },
            tags: BTreeMap::new(),
        };
        let change = self
            .cluster
            .apply(&spec, "token", self.waiting.patience())
            .await
            .unwrap();
        let outcome = self.follow(&change).await;
        (change, outcome)
    }

    async fn follow(&self, change: &nuages_ecs::ServiceChange) -> RolloutOutcome {
        let watched = Watched::new(change, "web", Some(self.log()));
        self.cluster.follow(&[watched], self.waiting.patience()).await.unwrap()
    }

    async fn done(self) {
        self.cluster
            .drain_and_delete(std::slice::from_ref(&self.name), self.waiting.patience())
            .await
            .unwrap();
        assert!(self.cluster.services().await.unwrap().is_empty());
    }
}

/// Pushes the Python image under a name of its own, and answers it by digest.
async fn push(endpoint: &Endpoint, aws: &AwsContext, name: &str) -> ImageRef {
    let ecr = aws_sdk_ecr::Client::new(aws.sdk());
    ecr.create_repository().repository_name(name).send().await.unwrap();
    let docker = Docker::connect_with_local_defaults()
        .unwrap()
        .negotiate_version()
        .await
        .unwrap();
    let repository = format!("{}/{name}", endpoint.registry_host());
    let tag = TagImageOptionsBuilder::new().repo(&repository).tag("1").build();
    docker.tag_image("python:3.13-slim", Some(tag)).await.unwrap();
    let credentials = DockerCredentials {
        username: Some("AWS".into()),
        password: Some("test".into()),
        ..DockerCredentials::default()
    };
    let options = PushImageOptionsBuilder::new().tag("1").build();
    let mut push = docker.push_image(&repository, Some(options), Some(credentials));
    let mut digest: Option<Digest> = None;
    while let Some(line) = push.next().await {
        let status = line.unwrap().status.unwrap_or_default();
        digest = status
            .split("digest: ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .or(digest);
    }
    drop(
        docker
            .remove_image(
                &format!("{repository}:1"),
                None::<bollard::query_parameters::RemoveImageOptions>,
                None,
            )
            .await,
    );
    let image: ImageRef = repository.parse().unwrap();
    image.with_digest(digest.unwrap())
}

/// Asks for a page through the load balancer.
fn page(endpoint: &Endpoint, host: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", endpoint.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn serving(text: &str) -> String {
    format!(
        "import http.server as h\n\
         class P(h.BaseHTTPRequestHandler):\n\
         \x20def do_GET(s):\n\
         \x20\x20s.send_response(200); s.end_headers(); s.wfile.write(b'{text}')\n\
         print('Listening at: http://0.0.0.0:8000')\n\
         h.HTTPServer(('0.0.0.0', 8000), P).serve_forever()"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn deployed_broken_and_brought_back() {
    let world = Emulated::new().await;
    let (host, group) = world.balancer().await;
    let (first, outcome) = world
        .deploy(&world.definition(&serving("page one")), Some(&group))
        .await;
    assert_eq!(first.applied, Applied::Created);
    assert!(matches!(outcome, RolloutOutcome::Healthy { .. }), "{outcome:?}");
    assert!(page(&world.endpoint, &host).contains("page one"));

    let (same, _) = world
        .deploy(&world.definition(&serving("page one")), Some(&group))
        .await;
    assert_eq!(same.applied, Applied::Unchanged);

    let (second, outcome) = world
        .deploy(&world.definition(&serving("page two")), Some(&group))
        .await;
    assert!(second.new_deployment());
    assert!(matches!(outcome, RolloutOutcome::Healthy { .. }), "{outcome:?}");
    assert!(page(&world.endpoint, &host).contains("page two"));

    let (third, outcome) = world
        .deploy(&world.definition("import blog_that_is_not_there"), Some(&group))
        .await;
    let RolloutOutcome::Failed { diagnoses } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(diagnoses[0].cause, Cause::Module, "{}", diagnoses[0]);
    assert_eq!(diagnoses[0].exit_code, Some(1));
    assert!(
        page(&world.endpoint, &host).contains("page two"),
        "the old release serves meanwhile"
    );

    let restored = world
        .cluster
        .restore("web", third.previous.as_ref(), world.waiting.patience())
        .await
        .unwrap();
    let back = nuages_ecs::ServiceChange {
        deployment_id: restored.deployment_id().unwrap().to_owned(),
        task_definition: second.task_definition.clone(),
        ..third
    };
    let outcome = world.follow(&back).await;
    assert!(matches!(outcome, RolloutOutcome::Healthy { .. }), "{outcome:?}");
    assert!(page(&world.endpoint, &host).contains("page two"));

    let status = world.cluster.status(&["web"]).await.unwrap();
    assert_eq!(status[0].word(), "steady");
    let query = LogQuery {
        group: world.log().group,
        prefix: "web/".into(),
        since_ms: 0,
        pattern: None,
    };
    let lines = world.cluster.log_lines(&query).await.unwrap();
    assert!(lines.iter().any(|l| l.text == "Listening at: http://0.0.0.0:8000"));
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_service_that_crashes_is_no_success() {
    let world = Emulated::new().await;
    let program = "import os, time; time.sleep(0.3); os.environ['DATABASE_URL']";
    let (change, outcome) = world.deploy(&world.definition(program), None).await;
    let RolloutOutcome::Failed { diagnoses } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (diagnoses[0].cause, diagnoses[0].sentence.as_str()),
        (Cause::Setting, "the variable `DATABASE_URL` is missing")
    );
    world
        .cluster
        .restore("web", change.previous.as_ref(), world.waiting.patience())
        .await
        .unwrap();
    assert!(!world.cluster.observe("web").await.unwrap().exists());
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_starts_is_explained() {
    let world = Emulated::new().await;
    let mut absent = world.definition("");
    absent.containers[0].image = world.image.with_digest(Digest::of(b"nowhere")).try_into().unwrap();
    let (_, outcome) = world.deploy(&absent, None).await;
    let RolloutOutcome::Failed { diagnoses } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(diagnoses[0].cause, Cause::ImageMissing, "{}", diagnoses[0]);

    let mut secretless = world.definition("");
    let arn = format!(
        "arn:aws:secretsmanager:eu-west-1:{}:secret:nothing-AbCdEf",
        world.endpoint.account
    );
    let secret = SecretVersion {
        arn: arn.parse().unwrap(),
        key: None,
        version_id: None,
    };
    secretless.containers[0].secrets.insert("KEY".into(), secret);
    let (_, outcome) = world.deploy(&secretless, None).await;
    let RolloutOutcome::Failed { diagnoses } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(diagnoses[0].cause, Cause::SecretMissing, "{}", diagnoses[0]);
    world.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_off_tasks_tell_their_exit_code_and_log() {
    let world = Emulated::new().await;
    let registered = world
        .cluster
        .register(&world.definition("print('unused')"))
        .await
        .unwrap();
    let runner = EcsTaskRunner::new(
        world.cluster.clone(),
        registered.arn.as_str(),
        "web",
        Emulated::placement(),
    )
    .with_log(world.log());
    let request = |key: &str, program: &str| TaskRequest {
        key: format!("{}-{key}", &world.name[world.name.len() - 8..])
            .parse()
            .unwrap(),
        command: ["python", "-u", "-c", program].map(String::from).to_vec(),
        env: [("COUNT".to_owned(), "200".to_owned())].into(),
    };
    let good = request(
        "good",
        "import os\nfor n in range(int(os.environ['COUNT'])): print('line', n)",
    );
    let handle = runner.start(&good).await.unwrap();
    assert_eq!(runner.start(&good).await.unwrap(), handle);
    let outcome = runner.wait(&handle, &world.waiting.progress).await.unwrap();
    assert!(outcome.succeeded(), "{outcome:?}");
    let expected: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    assert_eq!(outcome.log_tail, expected, "every line once, in order");
    assert_eq!(world.waiting.lines(), expected);
    assert_eq!(runner.find(&good.key).await.unwrap(), Some(handle));

    let bad = runner
        .start(&request("bad", "import sys; print('no'); sys.exit(3)"))
        .await
        .unwrap();
    let outcome = runner.wait(&bad, &world.waiting.progress).await.unwrap();
    assert!(!outcome.succeeded());
    assert_eq!(
        (outcome.containers[0].exit_code, outcome.log_tail),
        (Some(3), vec!["no".to_owned()])
    );

    let long = runner
        .start(&request("long", "import time; time.sleep(600)"))
        .await
        .unwrap();
    runner.stop(&long, "enough").await.unwrap();
    let outcome = runner.wait(&long, &world.waiting.progress).await.unwrap();
    assert_eq!(outcome.stopped_reason.as_deref(), Some("enough"));
    world.done().await;
}
