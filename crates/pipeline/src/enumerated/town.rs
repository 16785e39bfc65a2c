//! A project, its account and its records, as a case finds them.
//!
//! Invariant: what one case does to them no other one sees.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use nuages_config::{Config, Project};
use nuages_model::{Digest, ImageRef};
use nuages_releases::{EnvironmentKey, Store, StoreOptions};
use nuages_testkit::account::Account;
use nuages_testkit::fake_cloudformation::Made as Resource;
use tempfile::TempDir;
use url::Url;

use super::writes::Writes;
use crate::build::PushedImage;
use crate::deploy::Made;
use crate::steps::site::Bad;
use crate::steps::site::scripted::Pages;
use crate::{Environment, Session};

const TOML: &str = r#"
[app]
name = "blog"

[services.web]
command = ["gunicorn", "blog.wsgi"]
port = 8000
health = { live = "/livez", ready = "/readyz", grace = "120s" }
count = 2

[services.worker]
command = ["python", "manage.py", "work"]

[database]
engine = "postgres"

[secrets]
DJANGO_SECRET_KEY = { generate = 50 }
DATABASE_URL = { from = "database" }
MAIL = { secret = "shared/mail" }

[environments.staging]
region = "eu-west-1"
account = "123456789012"
domain = "www.example.org"
"#;

/// The services that serve, and with how many tasks.
pub(super) const SERVICES: [(&str, usize); 2] = [("web", 2), ("worker", 1)];

/// Where its images are.
pub(super) const REPOSITORY: &str = "blog-staging";

/// An image and what its project brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// Two migrations.
    One,
    /// A third one.
    Two,
    /// As two, but its pages do not come.
    Mute,
    /// As two, but its tasks end at once.
    Crashing,
}

impl Image {
    const ALL: [Self; 4] = [Self::One, Self::Two, Self::Mute, Self::Crashing];

    fn manifest(self) -> String {
        format!("{{\"schemaVersion\":2,\"annotations\":{{\"is\":\"{self:?}\"}}}}")
    }

    pub(super) fn digest(self) -> Digest {
        Digest::of(self.manifest().as_bytes())
    }

    /// The migrations of its project.
    pub(super) fn migrations(self) -> &'static [&'static str] {
        match self {
            Self::One => &["posts.0001_initial", "posts.0002_tags"],
            _ => &["posts.0001_initial", "posts.0002_tags", "posts.0003_slugs"],
        }
    }
}

/// A project, its account and its records.
#[derive(Debug)]
pub(super) struct Town {
    pub(super) account: Account,
    /// The writes into its records.
    pub(super) writes: Writes,
    folder: TempDir,
}

/// What nuages.toml says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settings {
    Usual,
    /// One more service.
    Grown,
    /// The load balancer asks another path.
    Moved,
    /// One more secret, which the tasks' role may not read before the stack says so.
    Trusted,
}

fn read(toml: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("nuages.toml"), toml).unwrap();
    std::fs::write(dir.path().join("manage.py"), "").unwrap();
    let project = Project::open(dir.path()).unwrap();
    project.environment(&"staging".parse().unwrap()).unwrap()
}

impl Settings {
    /// The configuration, read once.
    fn config(self) -> &'static Config {
        static USUAL: LazyLock<Config> = LazyLock::new(|| read(TOML));
        static GROWN: LazyLock<Config> = LazyLock::new(|| {
            read(&format!(
                "{TOML}\n[services.beat]\ncommand = [\"python\", \"manage.py\", \"beat\"]\n"
            ))
        });
        static MOVED: LazyLock<Config> = LazyLock::new(|| read(&TOML.replace("/livez", "/alive")));
        static TRUSTED: LazyLock<Config> =
            LazyLock::new(|| read(&TOML.replace("[secrets]", "[secrets]\nTOKEN = { secret = \"shared/token\" }")));
        match self {
            Self::Usual => &USUAL,
            Self::Grown => &GROWN,
            Self::Moved => &MOVED,
            Self::Trusted => &TRUSTED,
        }
    }
}

/// In memory where the system has such a folder: every write of a store is synced, and there are thousands of stores.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

impl Town {
    /// An account in which there are a zone, a secret and images, and nothing else.
    pub(super) fn new() -> Self {
        let account = Account::new();
        account.zone("example.org", "Z0EXAMPLE");
        account.role("blog-staging-eu-west-1-cloudformation");
        account.secret("shared/mail", "hunter2");
        account.secret("shared/token", "hunter3");
        for image in Image::ALL {
            assert_eq!(account.push(REPOSITORY, &image.manifest()), image.digest().as_str());
            account.ecs().project(image.digest().as_str(), image.migrations());
        }
        let crash = nuages_testkit::fake_ecs::Behaviour::crash(1, &["ModuleNotFoundError: No module named 'blog'"]);
        account.ecs().behave(Image::Crashing.digest().as_str(), crash);
        Self {
            account,
            writes: Writes::default(),
            folder: folder(),
        }
    }

    /// The same account and records, for another case to go on from. Nobody may have the store open.
    pub(super) fn apart(&self) -> Self {
        let copy = folder();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        Self {
            account: self.account.apart(),
            writes: Writes::default(),
            folder: copy,
        }
    }

    /// A connection, as a new process makes it.
    pub(super) async fn session(&self, settings: Settings) -> Session {
        let config = Config {
            project_dir: self.folder.path().join("project"),
            ..settings.config().clone()
        };
        let aws = self.account.context();
        let key = EnvironmentKey {
            account: aws.identity().account.clone(),
            region: aws.region().clone(),
            app: config.app.name.clone(),
            env: config.env.name.clone(),
        };
        let options = StoreOptions {
            clock: self.writes.counted(self.account.clock()),
            ..StoreOptions::default()
        };
        let store = Store::open_with(&self.folder.path().join("nuages.db"), options)
            .await
            .unwrap();
        let environment = Environment {
            aws,
            store: store.environment(key).await.unwrap(),
            project: Some(config.project_dir.clone()),
        };
        Session {
            config,
            environment,
            emulator: None,
            looked: false,
        }
    }

    /// An image as a build and a push leave it.
    pub(super) fn made(image: Image) -> Made {
        let digest = image.digest();
        let reference = ImageRef::new("123456789012.dkr.ecr.eu-west-1.amazonaws.com", REPOSITORY).unwrap();
        Made {
            pushed: PushedImage {
                image: reference.with_digest(digest.clone()),
                digest,
                repository: REPOSITORY.to_owned(),
            },
            builder: "none".to_owned(),
            git: None,
            checks: Vec::new(),
        }
    }

    /// The path that the stack's load balancer asks.
    pub(super) fn asked_path(&self) -> Option<String> {
        let made = self.account.cloud().made()?;
        let is_group = |made: &&Resource| made.kind == "AWS::ElasticLoadBalancingV2::TargetGroup";
        let path = made.iter().find(is_group)?.properties["HealthCheckPath"].as_str()?;
        Some(path.to_owned())
    }

    /// What the site answers: the release whose tasks serve answers for itself.
    pub(super) fn pages(&self) -> Pages {
        let ecs = self.account.ecs().clone();
        Arc::new(move |url: &Url| {
            assert_eq!(url.host_str(), Some("www.example.org"));
            match ecs.answering("web") {
                None => Ok((503, "no task serves".to_owned())),
                Some(image) if image.contains(Image::Mute.digest().as_str()) => Ok((500, "a fault".to_owned())),
                Some(image) => Ok::<_, Bad>((200, image)),
            }
        })
    }
}
