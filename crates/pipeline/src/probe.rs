//! The probe: what the release's own code says of the database, asked from inside the environment.
//!
//! Invariant: it reads only. It runs before anything that serves is touched, so a project that cannot start is told
//! from here.

use std::time::Duration;

use nuages_ecs::{Cluster, EcsTaskRunner};
use nuages_migrate::ProbeReport;
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
    let report = nuages_migrate::probe(&runner, &migrate.run(1), &task.progress()).await?;
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
