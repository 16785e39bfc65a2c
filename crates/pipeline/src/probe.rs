//! The probe: what the release's own code says of the database, asked from inside the environment.
//!
//! Invariant: it reads only. It runs before anything that serves is touched, so a project that cannot start is told
//! from here.

use std::time::Duration;

use nuages_config::{Config, Provider, SecretSource};
use nuages_ecs::{Cluster, EcsTaskRunner};
use nuages_migrate::{MigrateError, ProbeReport};
use nuages_model::ReleaseId;
use nuages_saga::TaskScope;

use crate::error::PipelineError;
use crate::layout::{Layout, RUN};
use crate::session::Session;
use crate::steps::MigrateParams;

const LIMIT: Duration = Duration::from_mins(10);

/// What the plan needs of the one-off task definition and of the database.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) migrate: MigrateParams,
    pub(crate) report: ProbeReport,
}

/// Registers the one-off task definition, and asks the database through it.
pub(crate) async fn probe(
    session: &Session,
    layout: &Layout<'_>,
    release: ReleaseId,
    task: &TaskScope,
) -> Result<Probed, PipelineError> {
    let definition = layout.run_definition()?;
    let cluster = Cluster::new(&session.aws, &layout.outputs.cluster);
    let registered = cluster.register(&definition).await?;
    let migrate = MigrateParams {
        cluster: layout.outputs.cluster.clone(),
        task_definition: registered.arn.to_string(),
        container: RUN.to_owned(),
        placement: layout.placement(),
        log: layout.run_log()?,
        release,
        databases: session.config.migrations.databases.clone(),
        lock_timeout_ms: u64::try_from(session.config.migrations.lock_timeout.as_millis()).unwrap_or(u64::MAX),
        pending: Vec::new(),
    };
    let runner = EcsTaskRunner::new(cluster, &migrate.task_definition, RUN, migrate.placement.clone())
        .with_log(migrate.log.clone())
        .with_timeout(LIMIT);
    task.progress().status("asking the database what is applied");
    let probed = nuages_migrate::probe(&runner, &migrate.run(1), &task.progress()).await;
    let report = probed.map_err(|error| unopened(&session.config, &error).unwrap_or_else(|| error.into()))?;
    if let Some(refusal) = unread(&session.config, &report) {
        return Err(refusal);
    }
    let pending = report
        .pending()
        .into_iter()
        .map(|(alias, name)| format!("{alias} {name}"))
        .collect();
    Ok(Probed {
        migrate: MigrateParams { pending, ..migrate },
        report,
    })
}

const SQLITE: &str = "sqlite";

/// Django would migrate, and serve from, a file that goes with its task, beside a database that stands ready.
fn unread(config: &Config, report: &ProbeReport) -> Option<PipelineError> {
    let mut vendors = report.databases.values().map(|database| database.vendor.as_deref());
    let sqlite = !report.databases.is_empty() && vendors.all(|vendor| vendor == Some(SQLITE));
    (sqlite && config.database.is_some()).then(|| not_read(config))
}

/// The same, where not even the file could be opened.
fn unopened(config: &Config, error: &MigrateError) -> Option<PipelineError> {
    let MigrateError::Failed(failure) = error else {
        return None;
    };
    let vendor = failure.driver.as_ref()?.vendor.as_deref();
    (vendor == Some(SQLITE) && config.database.is_some()).then(|| not_read(config))
}

fn not_read(config: &Config) -> PipelineError {
    let from_database = |source: &SecretSource| {
        matches!(
            source,
            SecretSource::From {
                from: Provider::Database
            }
        )
    };
    let variable = config
        .secrets
        .iter()
        .find(|(_, source)| from_database(source))
        .map(|(variable, _)| variable.as_str());
    match variable {
        Some(variable) => PipelineError::refused(
            format!(
                "Django uses SQLite in the container, and not the [database]: the settings do not read `{variable}`"
            ),
            format!(
                "let DATABASES come from `{variable}`, for example with dj-database-url, and see that DJANGO_SETTINGS_MODULE \
                     names those settings"
            ),
        ),
        None => PipelineError::refused(
            "Django uses SQLite in the container, and not the [database]: nothing gives it the URL",
            "add `DATABASE_URL = { from = \"database\" }` to [secrets], and let DATABASES come from that variable",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nuages_config::ConfigFile;
    use nuages_migrate::DatabaseReport;

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "[app]\nname = 'blog'\n[services.worker]\ncommand = ['true']\n[environments.local]\nemulator = 'ministack'\n{more}"
        );
        let file = ConfigFile::parse("nuages.toml", &text).unwrap();
        file.environment(&"local".parse().unwrap()).unwrap()
    }

    fn report(vendors: &[&str]) -> ProbeReport {
        let database = |vendor: &str| DatabaseReport {
            vendor: Some(vendor.to_owned()),
            ..DatabaseReport::default()
        };
        let databases = vendors.iter().enumerate();
        ProbeReport {
            python: "3.13.1".into(),
            django: Some("5.2".into()),
            databases: databases
                .map(|(n, vendor)| (format!("db{n}"), database(vendor)))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    const DATABASE: &str = "[database]\nengine = 'postgres'\n";
    const URL: &str = "[secrets]\nDB = { from = 'database' }\n";

    #[test]
    fn a_database_that_django_does_not_use_is_refused_by_the_variable_it_does_not_read() {
        let error = unread(&config(&format!("{DATABASE}{URL}")), &report(&["sqlite"])).unwrap();
        assert_eq!(error.ending().code(), 4);
        assert!(error.to_string().ends_with("the settings do not read `DB`"), "{error}");
        let error = unread(&config(DATABASE), &report(&["sqlite"])).unwrap();
        assert!(
            error.hint().unwrap().contains("from = \"database\""),
            "{:?}",
            error.hint()
        );
    }

    #[test]
    fn who_uses_it_or_asked_for_none_goes_on() {
        let wanted = config(&format!("{DATABASE}{URL}"));
        for vendors in [&["postgresql"][..], &["postgresql", "sqlite"], &[]] {
            assert!(unread(&wanted, &report(vendors)).is_none(), "{vendors:?}");
        }
        assert!(unread(&config(""), &report(&["sqlite"])).is_none());
    }
}
