//! What valid files come to.

use std::time::Duration;

use nuages_config::{
    Backup, Builder, CaBundle, Config, ConfigFile, Egress, Emulator, Engine, Platform, Provider, SecretSource,
    Strategy, Target,
};

const WHOLE: &str = r#"
region = "eu-west-1"

[app]
name = "blog"

[build]
builder = "auto"
base = "python:3.13-slim"
ca_bundle = "host"
dockerfile = "deploy/Dockerfile"
target = "app"
platform = "linux/arm64"
args = { VERSION = "1" }

[checks]
tests = { command = ["pytest", "-q"], target = "test", timeout = "10m" }
lint = { command = ["ruff", "check", "."] }

[services.web]
command = ["gunicorn", "blog.wsgi"]
port = 8000
health = { live = "/livez", ready = "/readyz", page = "/about/", grace = "180s" }
cpu = 512
memory = 2048
count = 2
stop_timeout = "60s"

[services.worker]
command = ["celery", "-A", "blog", "worker"]

[database]
engine = "postgres"
version = "17"

[network]
egress = "nat"

[migrations]
databases = ["default", "events"]
lock_timeout = "500ms"
backup = "none"

[env]
DJANGO_SETTINGS_MODULE = "blog.settings.production"
LATER_SECRET = "plain"

[secrets]
DJANGO_SECRET_KEY = { generate = 50 }
DATABASE_URL = { from = "database" }
SENTRY_DSN = { secret = "blog/sentry", key = "dsn", optional = true }
MAIL = { parameter = "/blog/mail" }

[environments.local]
emulator = "ministack"

[environments.staging]
account = "123456789012"
domain = "staging.example.org"
hosted_zone = "Z0123456789"

[environments.staging.services.web]
count = 4

[environments.staging.secrets]
MAIL = { secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mail-AbCdEf" }
LATER_SECRET = { generate = 20 }

[environments.plain]
region = "us-east-2"
account = "000000000001"
insecure_http = true
"#;

fn config(text: &str, environment: &str) -> Config {
    let file = ConfigFile::parse("nuages.toml", text).unwrap_or_else(|errors| panic!("{}", errors.render(100, false)));
    file.environment(&environment.parse().unwrap())
        .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
}

#[test]
fn every_key_is_read() {
    let config = config(WHOLE, "local");
    assert_eq!(config.app.name.as_str(), "blog");
    assert_eq!(config.env.name.as_str(), "local");
    assert_eq!((config.region.as_str(), config.account.as_ref()), ("eu-west-1", None));
    assert_eq!(
        (config.emulator, config.target, &config.strategy),
        (Some(Emulator::Ministack), Target::Ecs, &Strategy::Rolling)
    );
    assert!(config.insecure_http && config.domain.is_none());
    let build = &config.build;
    assert_eq!(
        (build.builder, build.platform, build.base.as_deref()),
        (Builder::Docker, Platform::Arm64, Some("python:3.13-slim"))
    );
    assert_eq!(
        (build.ca_bundle.as_ref(), build.target.as_deref()),
        (Some(&CaBundle::Host), Some("app"))
    );
    assert_eq!(
        (build.dockerfile.to_str(), build.context.to_str()),
        (Some("deploy/Dockerfile"), Some("."))
    );
    assert_eq!(build.args["VERSION"], "1");
    assert_eq!(config.checks["tests"].timeout, Duration::from_mins(10));
    assert_eq!(config.checks["tests"].target.as_deref(), Some("test"));
    assert_eq!(config.checks["lint"].command, ["ruff", "check", "."]);
    let (name, web) = config.web().unwrap();
    assert_eq!(
        (name.as_str(), web.port, web.cpu, web.memory, web.count),
        ("web", Some(8000), 512, 2048, 2)
    );
    let health = web.health.as_ref().unwrap();
    assert_eq!(
        (health.page.as_str(), health.grace),
        ("/about/", Duration::from_mins(3))
    );
    assert_eq!(
        web.effective_command().join(" "),
        "gunicorn --bind 0.0.0.0:8000 --threads 4 --keep-alive 75 --graceful-timeout 50 blog.wsgi"
    );
    let worker = &config.services[&"worker".parse().unwrap()];
    assert_eq!(
        (worker.port, worker.cpu, worker.memory, worker.count),
        (None, 256, 512, 1)
    );
    assert_eq!(worker.effective_command(), worker.command);
    let database = config.database.as_ref().unwrap();
    assert_eq!(
        (
            database.engine,
            database.major(),
            database.class.as_str(),
            database.storage
        ),
        (Engine::Postgres, "17", "db.t4g.micro", 20)
    );
    assert_eq!(
        (
            database.deletion_protection,
            database.multi_az,
            database.backup_retention
        ),
        (false, false, 7)
    );
    assert_eq!(config.network.egress, Egress::Nat);
    assert_eq!(config.migrations.databases, ["default", "events"]);
    assert_eq!(
        (config.migrations.lock_timeout, config.migrations.backup),
        (Duration::from_millis(500), Backup::None)
    );
    assert_eq!(config.variables["DJANGO_SETTINGS_MODULE"], "blog.settings.production");
    assert_eq!(
        config.secrets["DJANGO_SECRET_KEY"],
        SecretSource::Generate { generate: 50 }
    );
    assert_eq!(
        config.secrets["DATABASE_URL"],
        SecretSource::From {
            from: Provider::Database
        }
    );
    assert_eq!(
        config.secrets["SENTRY_DSN"],
        SecretSource::Secret {
            secret: "blog/sentry".into(),
            key: Some("dsn".into()),
            optional: true
        }
    );
    assert_eq!(
        config.secrets["MAIL"],
        SecretSource::Parameter {
            parameter: "/blog/mail".into(),
            optional: false
        }
    );
}

#[test]
fn an_environment_overrides_what_it_says_and_nothing_else() {
    let staging = config(WHOLE, "staging");
    let (_, web) = staging.web().unwrap();
    assert_eq!((web.count, web.cpu), (4, 512));
    assert!(
        staging.database.as_ref().unwrap().deletion_protection,
        "a real account's database is protected"
    );
    assert_eq!(staging.domain.as_deref(), Some("staging.example.org"));
    assert!(!staging.insecure_http);
    // A secret's source is replaced whole, and a plain variable may become a secret.
    assert!(
        matches!(&staging.secrets["MAIL"], SecretSource::Secret { secret, key: None, .. } if secret.starts_with("arn:"))
    );
    assert!(staging.secrets.contains_key("LATER_SECRET") && !staging.variables.contains_key("LATER_SECRET"));

    let plain = config(WHOLE, "plain");
    assert_eq!(
        (plain.region.as_str(), plain.account.as_ref().unwrap().as_str()),
        ("us-east-2", "000000000001")
    );
    assert!(plain.insecure_http && plain.domain.is_none());
}

#[test]
fn the_fingerprint_follows_the_settings_alone() {
    let text = |count: u32| WHOLE.replace("count = 2", &format!("count = {count}"));
    let here = ConfigFile::parse("here/nuages.toml", &text(2))
        .unwrap()
        .environment(&"local".parse().unwrap())
        .unwrap();
    let there = ConfigFile::parse("there/nuages.toml", &format!("# a comment\n{}", text(2)));
    let there = there.unwrap().environment(&"local".parse().unwrap()).unwrap();
    assert_ne!(here.project_dir, there.project_dir);
    assert_eq!(here.fingerprint(), there.fingerprint());
    assert_ne!(here.fingerprint(), config(&text(3), "local").fingerprint());
    assert_ne!(here.fingerprint(), config(WHOLE, "staging").fingerprint());
}

#[test]
fn what_cannot_be_done_yet_is_told_when_its_environment_is_asked_for() {
    let text = format!(
        "{WHOLE}\n[environments.production]\naccount = \"123456789012\"\ndomain = \"example.org\"\ntarget = \"ec2-image\"\n\
         strategy = {{ kind = \"canary\", percent = 10, bake = \"10m\", alarms = [\"blog-5xx\"] }}\n"
    );
    let file = ConfigFile::parse("nuages.toml", &text).unwrap();
    assert!(file.environment(&"staging".parse().unwrap()).is_ok());
    let errors = file.environment(&"production".parse().unwrap()).unwrap_err();
    let said: Vec<&str> = errors.problems().iter().map(nuages_config::Problem::message).collect();
    assert_eq!(
        said,
        [
            "deploying to EC2 instances has no code yet",
            "the strategy \"canary\" has no code yet"
        ]
    );
}

#[test]
fn the_sample_is_valid() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../django-sample");
    let project = nuages_config::Project::open(&dir).unwrap();
    for name in project.file.environments() {
        let config = project.environment(name).unwrap();
        assert_eq!(config.app.name.as_str(), "blog");
        let (_, web) = config.web().unwrap();
        assert_eq!(
            web.health.as_ref().unwrap().page,
            "/",
            "what is asked where nothing is named"
        );
    }
    let from_below = nuages_config::Project::find(&dir.join("blog")).unwrap();
    assert_eq!(from_below.dir, project.dir);
}

#[test]
fn what_requests_are_sent_to_runs() {
    let text = |count: &str| {
        format!(
            "app.name = 'shop'\nenvironments.local.emulator = 'ministack'\n[services.worker]\ncommand = ['celery']\ncount = 0\n\
             [services.web]\ncommand = ['gunicorn', 'a']\nport = 8000\nhealth = {{ live = '/' }}\ncount = {count}\n"
        )
    };
    assert_eq!(
        config(&text("1"), "local").services[&"worker".parse().unwrap()].count,
        0
    );
    let refused = ConfigFile::parse("nuages.toml", &text("0")).unwrap_err();
    assert!(
        refused.render(100, false).contains("count = 0"),
        "{}",
        refused.render(100, false)
    );
}
