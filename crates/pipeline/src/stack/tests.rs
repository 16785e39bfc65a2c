//! What an account is asked before its stack is described: a fake of IAM and Route 53 answers for real ones.

use std::sync::{Arc, Mutex};

use nuages_config::Project;
use nuages_releases::{EnvironmentKey, Store};
use nuages_saga::{EventKind, Events};
use nuages_testkit::http::{FakeServer, operation, xml};
use tempfile::TempDir;

use super::*;
use crate::error::Ending;

const ROLE: &str = "arn:aws:iam::123456789012:role/blog-staging-eu-west-1-cloudformation";
const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/blog-staging-eu-west-1-boundary";

const TOML: &str = r#"
[app]
name = "blog"

[services.web]
command = ["gunicorn", "blog.wsgi"]
port = 8000
health = { live = "/livez", ready = "/readyz" }

[secrets]
DJANGO_SECRET_KEY = { generate = 50 }
MAIL = { secret = "shared/mail" }
TOKEN = { parameter = "/shared/token" }

[environments.local]
emulator = "ministack"

[environments.staging]
region = "eu-west-1"
account = "123456789012"
domain = "www.example.org"
"#;

fn project(toml: &str) -> (Project, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("nuages.toml"), toml).unwrap();
    std::fs::write(dir.path().join("manage.py"), "").unwrap();
    (Project::open(dir.path()).unwrap(), dir)
}

/// The blog's project, for tests of what is beside its stack.
pub(crate) fn blog() -> (Project, TempDir) {
    project(TOML)
}

/// The blog's settings of one environment.
pub(crate) fn config(env: &str) -> (Config, TempDir) {
    let (project, dir) = blog();
    (project.environment(&env.parse().unwrap()).unwrap(), dir)
}

/// The blog's staging, at this endpoint as if it were AWS.
pub(crate) async fn staging(endpoint: &str) -> (Session, TempDir) {
    session(TOML, endpoint).await
}

async fn session(toml: &str, endpoint: &str) -> (Session, TempDir) {
    let (project, dir) = project(toml);
    let config = project.environment(&"staging".parse().unwrap()).unwrap();
    let aws = nuages_testkit::aws::as_if_real(endpoint);
    let key = EnvironmentKey {
        account: aws.identity().account.clone(),
        region: aws.region().clone(),
        app: config.app.name.clone(),
        env: config.env.name.clone(),
    };
    let store = Store::open(&dir.path().join("store")).await.unwrap();
    let environment = Environment {
        aws,
        store: store.environment(key).await.unwrap(),
        project: Some(config.project_dir.clone()),
    };
    let session = Session {
        config,
        environment,
        emulator: None,
        looked: false,
    };
    (session, dir)
}

/// An account with CloudFormation's role, or without, and with these zones, each a name and an id.
async fn account(role: bool, zones: &'static [(&'static str, &'static str)]) -> FakeServer {
    FakeServer::start(move |request| {
        let answer = if operation(&request).as_deref() == Some("GetRole") {
            let there = format!(
                "<GetRoleResponse><GetRoleResult><Role><Path>/</Path><RoleName>r</RoleName><RoleId>AROA1</RoleId>\
                 <Arn>{ROLE}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></Role></GetRoleResult></GetRoleResponse>"
            );
            let absent = "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>none</Message></Error></ErrorResponse>";
            if role { xml(200, there) } else { xml(404, absent) }
        } else {
            let zone = |(name, id): &(&str, &str)| {
                format!(
                    "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}.</Name><CallerReference>c</CallerReference>\
                     </HostedZone>"
                )
            };
            let zones: String = zones.iter().map(zone).collect();
            xml(
                200,
                format!(
                    "<ListHostedZonesByNameResponse><HostedZones>{zones}</HostedZones><IsTruncated>false</IsTruncated>\
                     <MaxItems>100</MaxItems></ListHostedZonesByNameResponse>"
                ),
            )
        };
        std::future::ready(answer)
    })
    .await
}

#[tokio::test]
async fn a_domains_zone_is_found_by_name_unless_it_is_named() {
    let fake = account(false, &[("example.org", "Z0EXAMPLE")]).await;
    let (session, _dir) = session(TOML, &fake.url()).await;
    let found = domain(&session).await.unwrap().unwrap();
    assert_eq!(
        (found.name.as_str(), found.hosted_zone_id.as_str()),
        ("www.example.org", "Z0EXAMPLE")
    );

    let asked = fake.requests().len();
    let named = TOML.to_owned() + "hosted_zone = \"Z0NAMED\"\n";
    let (session, _dir) = self::session(&named, &fake.url()).await;
    assert_eq!(domain(&session).await.unwrap().unwrap().hosted_zone_id, "Z0NAMED");
    assert_eq!(fake.requests().len(), asked, "nobody is asked for what is said");
}

#[tokio::test]
async fn a_domain_that_no_zone_or_several_could_hold_is_bad_input() {
    for (zones, says) in [
        (
            &[("example.com", "Z1")][..],
            "no public Route 53 zone of this account holds the domain `www.example.org`",
        ),
        (
            &[("example.org", "Z1"), ("example.org", "Z2")],
            "the account has 2 public Route 53 zones `example.org`: Z1, Z2",
        ),
    ] {
        let fake = account(false, zones).await;
        let (session, _dir) = session(TOML, &fake.url()).await;
        let error = domain(&session).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.ending()), (says, Ending::BadInput));
        assert!(error.hint().is_some());
    }
}

/// The texts and hints of what is told.
fn told(session: &Session, made: Option<&Bootstrapped>) -> Vec<(String, Option<String>)> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let ui = Ui {
        events: Events::to(move |event| {
            if let EventKind::Message { text, hint, .. } = event.kind {
                listener.lock().unwrap().push((text, hint));
            }
        }),
        ..Ui::silent()
    };
    tell_rights(session, made, &ui);
    let heard = heard.lock().unwrap();
    heard.clone()
}

#[tokio::test]
async fn the_role_and_the_boundary_that_were_made_are_used() {
    let fake = account(true, &[]).await;
    let (session, _dir) = session(TOML, &fake.url()).await;
    let made = bootstrapped(&session).await.unwrap();
    assert_eq!(made.as_ref().unwrap().service_role.as_str(), ROLE);
    let spec = spec(
        &session.config,
        There::of(&session),
        &Resolved::default(),
        None,
        made.as_ref(),
        None,
    );
    assert_eq!(spec.permissions_boundary.as_ref().map(Arn::as_str), Some(BOUNDARY));
    assert_eq!(told(&session, made.as_ref()), []);
}

#[tokio::test]
async fn without_them_it_is_said_with_whose_rights_the_stack_changes() {
    let fake = account(false, &[]).await;
    let (session, _dir) = session(TOML, &fake.url()).await;
    let made = bootstrapped(&session).await.unwrap();
    assert_eq!(made, None);
    let told = told(&session, None);
    let [(text, Some(hint))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(text, "CloudFormation works with your own rights");
    assert!(hint.contains("nuages infra bootstrap --env staging --apply"), "{hint}");
}

#[tokio::test]
async fn the_policies_hear_of_every_secret_that_is_named() {
    let fake = account(false, &[]).await;
    let (session, _dir) = session(TOML, &fake.url()).await;
    let place = place(&session, None);
    assert_eq!(
        (place.secrets, place.parameters),
        (vec!["shared/mail".to_owned()], vec!["/shared/token".to_owned()])
    );
}
