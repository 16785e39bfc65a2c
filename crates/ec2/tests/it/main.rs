//! EC2 as it is read: from an emulator, and from an EC2 that refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aws_sdk_ec2::types as ec2;
use nuages_ec2::{Ec2, NetworkPreflight, WayOut};
use nuages_model::{Finding, Level};
use nuages_testkit::emulators::{localstack, unique_account};
use nuages_testkit::http::{FakeServer, xml};

fn grave(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .filter(|f| f.level >= Level::Warn)
        .map(ToString::to_string)
        .collect()
}

fn rule(port: i32, group: Option<&str>) -> ec2::IpPermission {
    let rule = ec2::IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port);
    match group {
        Some(id) => rule
            .user_id_group_pairs(ec2::UserIdGroupPair::builder().group_id(id).build())
            .build(),
        None => rule
            .ip_ranges(ec2::IpRange::builder().cidr_ip("0.0.0.0/0").build())
            .build(),
    }
}

/// A VPC with a public and a private subnet and three groups.
struct Network {
    client: aws_sdk_ec2::Client,
    ec2: Ec2,
    public: String,
    private: String,
    balancer: String,
    task: String,
    database: String,
}

impl Network {
    async fn new() -> Self {
        let emulator = localstack().await;
        let aws = nuages_testkit::aws::localstack(&emulator.url, &unique_account());
        let client = aws_sdk_ec2::Client::new(aws.sdk());
        let vpc = client.create_vpc().cidr_block("10.7.0.0/16").send().await.unwrap();
        let vpc = vpc.vpc().unwrap().vpc_id().unwrap().to_owned();
        let subnet = async |block: &str, zone: &str| {
            let call = client
                .create_subnet()
                .vpc_id(&vpc)
                .cidr_block(block)
                .availability_zone(zone);
            call.send()
                .await
                .unwrap()
                .subnet()
                .unwrap()
                .subnet_id()
                .unwrap()
                .to_owned()
        };
        let (public, private) = (
            subnet("10.7.0.0/24", "eu-west-1a").await,
            subnet("10.7.1.0/24", "eu-west-1b").await,
        );
        let gateway = client.create_internet_gateway().send().await.unwrap();
        let gateway = gateway
            .internet_gateway()
            .unwrap()
            .internet_gateway_id()
            .unwrap()
            .to_owned();
        client
            .attach_internet_gateway()
            .vpc_id(&vpc)
            .internet_gateway_id(&gateway)
            .send()
            .await
            .unwrap();
        let table = client.create_route_table().vpc_id(&vpc).send().await.unwrap();
        let table = table.route_table().unwrap().route_table_id().unwrap().to_owned();
        let route = client
            .create_route()
            .route_table_id(&table)
            .destination_cidr_block("0.0.0.0/0");
        route.gateway_id(&gateway).send().await.unwrap();
        client
            .associate_route_table()
            .route_table_id(&table)
            .subnet_id(&public)
            .send()
            .await
            .unwrap();
        let group = async |name: &str| {
            let call = client
                .create_security_group()
                .vpc_id(&vpc)
                .group_name(name)
                .description(name);
            call.send().await.unwrap().group_id().unwrap().to_owned()
        };
        let (balancer, task, database) = (group("alb").await, group("task").await, group("db").await);
        for (group, port, from) in [
            (&balancer, 443, None),
            (&task, 8000, Some(&balancer)),
            (&database, 5432, Some(&task)),
        ] {
            let call = client.authorize_security_group_ingress().group_id(group);
            call.ip_permissions(rule(port, from.map(String::as_str)))
                .send()
                .await
                .unwrap();
        }
        Self {
            ec2: Ec2::new(&aws),
            client,
            public,
            private,
            balancer,
            task,
            database,
        }
    }

    fn preflight(&self) -> NetworkPreflight {
        NetworkPreflight {
            subnets: [self.public.clone(), self.private.clone()].into(),
            public_ip: true,
            addresses: 5,
            balancer_groups: [self.balancer.clone()].into(),
            task_groups: [self.task.clone()].into(),
            database_groups: [self.database.clone()].into(),
            ports: [8000].into(),
            database_port: Some(5432),
        }
    }
}

#[tokio::test]
async fn facts_and_findings() {
    let network = Network::new().await;
    let facts = network
        .ec2
        .network(&[network.public.clone(), network.private.clone()])
        .await
        .unwrap();
    assert!(facts.vpc().is_some());
    assert!(matches!(&facts.subnets[0].way_out, WayOut::InternetGateway(id) if id.starts_with("igw-")));
    assert_eq!(facts.subnets[1].way_out, WayOut::None);
    assert!(facts.subnets.iter().all(|s| s.free > 200));

    let only_public = NetworkPreflight {
        subnets: [network.public.clone()].into(),
        ..network.preflight()
    };
    let findings = network.ec2.verify_network(&only_public).await;
    assert_eq!(grave(&findings).len(), 1, "one zone only: {:?}", grave(&findings));

    let findings = network.ec2.verify_network(&network.preflight()).await;
    let fails: Vec<_> = findings.iter().filter(|f| f.level == Level::Fail).collect();
    assert_eq!(fails.len(), 1);
    assert!(
        fails[0]
            .message
            .starts_with("it has no way out, and there are no endpoints for ecr.api")
    );
    assert!(
        findings
            .iter()
            .all(|f| f.proof.as_ref().is_some_and(|p| p.contains(" as arn:aws:iam::")))
    );
}

#[tokio::test]
async fn a_closed_path_is_told() {
    let network = Network::new().await;
    let call = network
        .client
        .revoke_security_group_ingress()
        .group_id(&network.database);
    call.ip_permissions(rule(5432, Some(&network.task)))
        .send()
        .await
        .unwrap();
    let preflight = NetworkPreflight {
        addresses: 1000,
        ..network.preflight()
    };
    let findings = network.ec2.verify_network(&preflight).await;
    let fails: Vec<String> = findings
        .iter()
        .filter(|f| f.level == Level::Fail)
        .map(ToString::to_string)
        .collect();
    assert!(fails.iter().any(|f| f.starts_with("FAIL addresses: ")), "{fails:?}");
    let path = format!(
        "FAIL tasks → database on 5432: {} (db) does not let {} in on port 5432",
        network.database, network.task
    );
    assert!(fails.contains(&path), "{fails:?}");
}

#[tokio::test]
async fn what_does_not_exist() {
    let network = Network::new().await;
    let preflight = NetworkPreflight {
        subnets: ["subnet-0123456789abcdef0".to_owned()].into(),
        ..network.preflight()
    };
    let findings = network.ec2.verify_network(&preflight).await;
    assert!(
        findings[0].level == Level::Fail && findings[0].message.contains("subnet-0123456789abcdef0"),
        "{}",
        findings[0]
    );
    // The groups are judged all the same.
    assert!(
        findings
            .iter()
            .any(|f| f.to_string() == "OK tasks → database on 5432: open")
    );
}

#[tokio::test]
async fn what_may_not_be_read_is_a_warning() {
    let server = FakeServer::start(|_| async {
        xml(
            403,
            "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform this \
             operation.</Message></Error></Errors><RequestID>r-1</RequestID></Response>",
        )
    })
    .await;
    let ec2 = Ec2::new(&nuages_testkit::aws::as_if_real(&server.url()));
    let preflight = NetworkPreflight {
        subnets: ["subnet-1".to_owned()].into(),
        task_groups: ["sg-1".to_owned()].into(),
        ..NetworkPreflight::default()
    };
    let findings = ec2.verify_network(&preflight).await;
    assert_eq!(
        findings.iter().map(|f| f.level).collect::<Vec<_>>(),
        [Level::Warn, Level::Warn]
    );
    assert!(findings[0].hint.as_ref().unwrap().contains("ec2:DescribeSubnets"));
    let error = ec2.instances(&[]).await.unwrap_err();
    assert_eq!(error.kind(), nuages_aws::Kind::AccessDenied);
}

#[tokio::test]
async fn instances_by_tag() {
    let emulator = localstack().await;
    let aws = nuages_testkit::aws::localstack(&emulator.url, &unique_account());
    let client = aws_sdk_ec2::Client::new(aws.sdk());
    let tags = |env: &str| {
        let tag = |key: &str, value: &str| ec2::Tag::builder().key(key).value(value).build();
        ec2::TagSpecification::builder()
            .resource_type(ec2::ResourceType::Instance)
            .tags(tag("nuages:app", "blog"))
            .tags(tag("nuages:env", env))
            .build()
    };
    let mut started = Vec::new();
    for env in ["staging", "staging", "production"] {
        let call = client
            .run_instances()
            .image_id("ami-760aaa0f")
            .min_count(1)
            .max_count(1)
            .tag_specifications(tags(env));
        let answer = call.send().await.unwrap();
        started.push(answer.instances()[0].instance_id().unwrap().to_owned());
    }
    let reader = Ec2::new(&aws);
    let staging = [("nuages:app", "blog"), ("nuages:env", "staging")];
    let found = reader.instances(&staging).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|i| i.tags["nuages:env"] == "staging" && !i.id.is_empty() && i.state == "running")
    );
    client
        .terminate_instances()
        .instance_ids(&started[0])
        .send()
        .await
        .unwrap();
    let left = reader.instances(&staging).await.unwrap();
    assert_eq!(left.iter().map(|i| &i.id).collect::<Vec<_>>(), [&started[1]]);
}
