//! An environment for the tests, and a stack on a fake.

use std::time::Duration;

use nuages_aws::poll::Pace;
use nuages_infra::{
    DatabaseSpec, Domain, Egress, Emulation, Exposure, ServiceSize, Stack, StackSpec, Template, WebSpec,
};
use nuages_model::Arn;
use nuages_testkit::aws::as_if_real;
use nuages_testkit::fake_cloudformation::FakeCloudFormation;

pub(crate) const WORLD: &str = "01hxyzabcdefghjkmnpqrstvwx";

/// A blog with a worker, plain and public.
pub(crate) fn blog() -> StackSpec {
    StackSpec {
        app: "blog".parse().unwrap(),
        env: "staging".parse().unwrap(),
        world: WORLD.parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        partition: "aws".to_owned(),
        egress: Egress::Public,
        web: Some(WebSpec {
            port: 8000,
            health_live: "/livez".to_owned(),
            longest_request_seconds: 20,
            exposure: Exposure::InsecureHttp,
        }),
        database: Some(DatabaseSpec {
            version: "17".to_owned(),
            class: "db.t4g.micro".to_owned(),
            storage_gib: 20,
            multi_az: false,
            deletion_protection: true,
            backup_retention_days: 7,
        }),
        services: vec![
            ServiceSize {
                name: "web".parse().unwrap(),
                cpu: 256,
                memory: 512,
                count: 2,
            },
            ServiceSize {
                name: "mail-worker".parse().unwrap(),
                cpu: 512,
                memory: 1024,
                count: 1,
            },
        ],
        secrets: vec![secret("secretsmanager", "secret:blog/staging/DJANGO_SECRET_KEY-AbCdEf")],
        kms_keys: Vec::new(),
        log_retention_days: 30,
        exec: false,
        permissions_boundary: None,
        emulation: Emulation::none(),
    }
}

pub(crate) fn secret(service: &str, resource: &str) -> Arn {
    format!("arn:aws:{service}:eu-west-1:123456789012:{resource}")
        .parse()
        .unwrap()
}

/// The blog under a domain.
pub(crate) fn with_domain(mut spec: StackSpec) -> StackSpec {
    let domain = Domain {
        name: "blog.example.org".to_owned(),
        hosted_zone_id: "Z0123456789ABC".to_owned(),
    };
    spec.web = spec.web.map(|web| WebSpec {
        exposure: Exposure::Https(domain),
        ..web
    });
    spec
}

/// The blog on an emulator that has no database instances, zones and gateways.
pub(crate) fn emulated(mut spec: StackSpec) -> StackSpec {
    spec.emulation = Emulation {
        database_by_api: true,
        plain_http: true,
        no_nat: true,
        disposable: true,
    };
    spec
}

pub(crate) fn render(spec: &StackSpec) -> serde_json::Value {
    serde_json::from_str(&Template::render(spec).unwrap().body()).unwrap()
}

/// The blog's stack on a fresh fake account.
pub(crate) async fn account() -> (FakeCloudFormation, Stack) {
    let fake = FakeCloudFormation::start().await;
    let spec = blog();
    let pace = Pace::every(Duration::from_millis(1));
    let stack = Stack::new(&as_if_real(&fake.url()), &spec.app, &spec.env).with_pace(pace);
    (fake, stack)
}
