//! A store in a folder of its own, with a clock that the test moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use jiff::Timestamp;
use nuages_model::{Digest, ReleaseId};
use nuages_releases::{
    CheckOutcome, CheckRecord, EnvironmentKey, EnvironmentStore, GitState, MigrationState, ReleaseDraft,
    ReleaseOutcome, Store, StoreOptions,
};
use nuages_saga::{Fence, Holder, JournalStore};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const TTL: Duration = Duration::from_secs(30);

pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<AtomicI64>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicI64::new(1_700_000_000_000)),
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store/nuages.db")
    }

    pub(crate) async fn open(&self) -> Store {
        let clock = self.clock.clone();
        let clock = Arc::new(move || Timestamp::from_millisecond(clock.load(SeqCst)).unwrap());
        Store::open_with(
            &self.path(),
            StoreOptions {
                clock,
                ..StoreOptions::default()
            },
        )
        .await
        .unwrap()
    }

    pub(crate) async fn environment(&self) -> EnvironmentStore {
        self.open().await.environment(key("staging")).await.unwrap()
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_millis()).unwrap(), SeqCst);
    }

    /// The file as another program sees it.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

pub(crate) fn key(env: &str) -> EnvironmentKey {
    EnvironmentKey {
        account: "123456789012".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        app: "blog".parse().unwrap(),
        env: env.parse().unwrap(),
    }
}

/// A holder on a machine that this one knows nothing of.
pub(crate) fn elsewhere(name: &str) -> Holder {
    Holder {
        host: name.into(),
        boot: Some(name.into()),
        ..Holder::here("deploy")
    }
}

pub(crate) async fn held(environment: &EnvironmentStore) -> Fence {
    environment.acquire(&Holder::here("deploy"), TTL).await.unwrap().fence
}

pub(crate) fn draft(image: &str) -> ReleaseDraft {
    let digest = Digest::of(image.as_bytes());
    ReleaseDraft {
        id: ReleaseId::generate(),
        created_by: "ana@laptop".into(),
        deployment: None,
        parent: None,
        world: None,
        outcome: ReleaseOutcome::Healthy,
        git: Some(GitState {
            commit: "3f2a".into(),
            branch: None,
            dirty: true,
        }),
        image_reference: format!("localhost:4566/blog@{digest}").parse().unwrap(),
        image_digest: digest,
        task_definitions: BTreeMap::from([(
            "web".parse().unwrap(),
            "arn:aws:ecs:eu-west-1:123456789012:task-definition/blog-web:3"
                .parse()
                .unwrap(),
        )]),
        fingerprint: format!("fp-{image}"),
        config_hash: "c0ffee".into(),
        config: json!({"services": {"web": {"cpu": 256}}}),
        secrets: vec![nuages_model::SecretVersion {
            arn: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/key-AbCdEf"
                .parse()
                .unwrap(),
            key: None,
            version_id: Some("v1".into()),
        }],
        migrations: BTreeMap::from([(
            "default".into(),
            MigrationState {
                applied: vec!["blog.0001_initial".into()],
                leaves: BTreeMap::from([("blog".into(), vec!["0001_initial".into()])]),
            },
        )]),
        checks: vec![
            CheckRecord {
                name: "tests".into(),
                outcome: CheckOutcome::Passed {
                    millis: 3100,
                    cached: false,
                },
            },
            CheckRecord {
                name: "lint".into(),
                outcome: CheckOutcome::Skipped {
                    reason: "hotfix".into(),
                },
            },
        ],
        builder: "docker 27".into(),
        url: Some("http://blog-staging.alb.localhost:4566/".into()),
    }
}
