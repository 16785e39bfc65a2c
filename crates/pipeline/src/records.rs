//! An environment's records, read where they are: neither AWS nor an emulator is asked.
//!
//! Invariant: the records are found under the same key as those of a connected [`Session`](crate::Session). Where that
//! takes a connection (an emulator that somebody else runs says itself which account it is), it is made.

use std::path::{Path, PathBuf};

use nuages_aws::AwsContext;
use nuages_config::{Config, Project};
use nuages_model::{AccountId, EnvName};
use nuages_releases::{Circumstances, EnvironmentKey, EnvironmentStore, Store, Suitability};
use nuages_saga::{Events, MessageLevel};

use crate::error::PipelineError;
use crate::recorded;
use crate::session::{Absent, OpenOptions, Session, has_own_emulator, local_settings, quirks};
use crate::ui::Ui;

/// What is on record of an environment.
#[derive(Debug)]
pub struct Records {
    /// The records; none where nothing was ever written.
    pub store: Option<EnvironmentStore>,
    /// The file that they are in, or would be.
    pub path: PathBuf,
}

impl Records {
    /// Finds an environment's records. Makes none.
    pub async fn open(project: &Project, options: &OpenOptions, ui: &Ui) -> Result<Self, PipelineError> {
        let config = project.environment(&options.env)?;
        let path = place(&config, options);
        if !nuages_releases::is_there(&path)? {
            return Ok(Self { store: None, path });
        }
        let store = if let Some(account) = account(&config)? {
            open_store(&config, account, !quirks(&config).is_emulator(), options, &ui.events).await?
        } else {
            let options = OpenOptions {
                emulator: Absent::Told,
                ..options.clone()
            };
            Session::open(project, &options, ui).await?.environment.store
        };
        Ok(Self {
            store: Some(store),
            path,
        })
    }

    /// The records of the only environment of this name that a store has, for whoever has no project at hand.
    pub async fn of_store(store: &Path, env: &EnvName) -> Result<Self, PipelineError> {
        let store = recorded::only(store, env).await?;
        Ok(Self {
            path: store.store().path().to_owned(),
            store: Some(store),
        })
    }
}

/// Where an environment's records are, or would be.
pub(crate) fn place(config: &Config, options: &OpenOptions) -> PathBuf {
    nuages_releases::location(&config.project_dir, options.store.as_deref())
}

/// The account that a connection would prove, where the settings say it.
fn account(config: &Config) -> Result<Option<AccountId>, PipelineError> {
    if let Some(account) = &config.account {
        return Ok(Some(account.clone()));
    }
    if !has_own_emulator(config) {
        return Ok(None);
    }
    let account = local_settings(config)?.account.parse();
    Ok(Some(account.map_err(|e| {
        PipelineError::machine("read the emulator's account", e)
    })?))
}

/// The records of the environment that was connected to.
pub(crate) async fn of_connection(
    config: &Config,
    aws: &AwsContext,
    options: &OpenOptions,
    events: &Events,
) -> Result<EnvironmentStore, PipelineError> {
    let account = aws.identity().account.clone();
    open_store(config, account, !aws.quirks().is_emulator(), options, events).await
}

async fn open_store(
    config: &Config,
    account: AccountId,
    real_account: bool,
    options: &OpenOptions,
    events: &Events,
) -> Result<EnvironmentStore, PipelineError> {
    let circumstances = Circumstances {
        real_account,
        ci: options.ci,
        named: options.store.is_some(),
    };
    judge(circumstances, events)?;
    let path = place(config, options);
    let key = EnvironmentKey {
        account,
        region: config.region.clone(),
        app: config.app.name.clone(),
        env: config.env.name.clone(),
    };
    Ok(Store::open(&path).await?.environment(key).await?)
}

/// Refuses a store that protects nothing, and says what one in a file is for.
pub(crate) fn judge(circumstances: Circumstances, events: &Events) -> Result<(), PipelineError> {
    let judged = circumstances.judge();
    if let (Suitability::Refused, Some(why), Some(hint)) = (judged, judged.sentence(), judged.hint()) {
        return Err(PipelineError::StoreRefused { why, hint });
    }
    if let Some(sentence) = judged.sentence() {
        events.message(MessageLevel::Warning, sentence, judged.hint().map(str::to_owned));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nuages_model::EnvName;
    use nuages_releases::Store;
    use nuages_saga::Holder;

    use super::*;
    use crate::environment::lease;
    use crate::stack::tests::blog;

    fn of(env: &str) -> OpenOptions {
        let env: EnvName = env.parse().unwrap();
        OpenOptions::new(env)
    }

    #[tokio::test]
    async fn nothing_is_made_where_nothing_was_ever_written() {
        let (project, dir) = blog();
        let records = Records::open(&project, &of("staging"), &Ui::silent()).await.unwrap();
        assert!(records.store.is_none());
        assert!(!dir.path().join(".nuages").exists());
    }

    /// Nobody could answer: there are neither credentials nor an endpoint, and no emulator runs.
    #[tokio::test]
    async fn the_key_is_that_of_a_connection() {
        let (project, dir) = blog();
        let local = nuages_emulator::local::LocalSettings::new("blog", dir.path()).unwrap();
        for (env, account, region) in [
            ("staging", "123456789012", "eu-west-1"),
            ("local", local.account.as_str(), "us-east-1"),
        ] {
            let key = EnvironmentKey {
                account: account.parse().unwrap(),
                region: region.parse().unwrap(),
                app: "blog".parse().unwrap(),
                env: env.parse().unwrap(),
            };
            let path = nuages_releases::location(dir.path(), None);
            let connected = Store::open(&path).await.unwrap().environment(key).await.unwrap();
            let held = lease(&connected, "deploy").await.unwrap();
            let found = Records::open(&project, &of(env), &Ui::silent()).await.unwrap();
            assert_eq!(found.store.as_ref().unwrap().key(), connected.key());
            let seen = nuages_saga::JournalStore::inspect(&found.store.unwrap()).await.unwrap();
            assert_eq!(seen.unwrap().holder.pid, Holder::here("").pid, "the same records");
            held.release().await;
        }
    }
}
