//! An environment that was reached: who we are there, and its records.
//!
//! Invariant: it exists only where the account was proven to be that of the records. All that finishing an interrupted
//! run takes is in it: neither settings nor a working tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nuages_aws::AwsContext;
use nuages_model::{AppName, EnvName};
use nuages_releases::EnvironmentStore;
use nuages_saga::{Holder, LeaseGuard, LeaseTiming};

use crate::error::PipelineError;
use crate::steps::quoted;

/// An environment that was reached.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The proven connection.
    pub aws: AwsContext,
    /// Its records.
    pub store: EnvironmentStore,
    /// The project's folder; none where the records alone say what the environment is.
    pub project: Option<PathBuf>,
}

impl Environment {
    /// The application.
    pub fn app(&self) -> &AppName {
        &self.store.key().app
    }

    /// The environment's name.
    pub fn env(&self) -> &EnvName {
        &self.store.key().env
    }

    /// Takes the environment's lease.
    pub(crate) async fn lease(&self, doing: &str) -> Result<LeaseGuard, PipelineError> {
        lease(&self.store, doing).await
    }

    /// Where is written what a person runs by hand: no build sees it. Without a project, beside the store.
    pub(crate) fn folder(&self) -> PathBuf {
        match &self.project {
            Some(project) => project.join(".nuages"),
            None => folder_of(self.store.store().path()).to_owned(),
        }
    }

    /// What stands behind `--env` where a command is to mean this environment, run where this one was.
    pub(crate) fn named(&self) -> String {
        match &self.project {
            Some(_) => self.env().to_string(),
            None => with_store(self.env(), self.store.store().path()),
        }
    }
}

/// What stands behind `--env` where the records alone say what the environment is.
pub(crate) fn with_store(env: &EnvName, store: &Path) -> String {
    format!("{env} --store {}", quoted(&store.display().to_string()))
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Takes an environment's lease.
pub(crate) async fn lease(store: &EnvironmentStore, doing: &str) -> Result<LeaseGuard, PipelineError> {
    let store = Arc::new(store.clone());
    Ok(LeaseGuard::acquire(store, Holder::here(doing), LeaseTiming::default()).await?)
}

#[cfg(test)]
mod tests {
    use nuages_releases::{EnvironmentKey, Store};

    use super::*;

    #[tokio::test]
    async fn what_a_person_is_told_works_where_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carried here").join("nuages.db");
        let aws = nuages_testkit::aws::as_if_real("http://127.0.0.1:1");
        let key = EnvironmentKey {
            account: aws.identity().account.clone(),
            region: aws.region().clone(),
            app: "blog".parse().unwrap(),
            env: "staging".parse().unwrap(),
        };
        let store = Store::open(&path).await.unwrap().environment(key).await.unwrap();
        let project = Some(folder.path().to_owned());
        let mut environment = Environment { aws, store, project };
        assert_eq!(environment.folder(), folder.path().join(".nuages"));
        assert_eq!(environment.named(), "staging");
        environment.project = None;
        assert_eq!(environment.folder(), path.parent().unwrap());
        assert_eq!(environment.named(), format!("staging --store '{}'", path.display()));
    }

    #[test]
    fn a_file_without_a_folder_stands_in_this_one() {
        assert_eq!(folder_of(Path::new("nuages.db")), Path::new("."));
        assert_eq!(folder_of(Path::new("/srv/nuages.db")), Path::new("/srv"));
    }
}
