//! What serves, and what it says.
//!
//! Invariant: reads only, and works while a deployment is under way.

use nuages_ecs::{Cluster, LogLine, LogQuery, ServiceSummary};
use nuages_infra::StackState;
use nuages_model::ServiceName;
use nuages_releases::Release;
use nuages_saga::{JournalStore as _, Lease, SagaError, Summary};
use url::Url;

use crate::error::PipelineError;
use crate::session::Session;
use crate::stack;
use crate::ui::Ui;

/// An environment as it stands.
#[derive(Debug, Clone)]
pub struct EnvironmentStatus {
    /// The stack's status; none where there is no stack.
    pub stack: Option<String>,
    /// Where people reach it.
    pub url: Option<Url>,
    /// The serving release, by the record.
    pub serving: Option<Release>,
    /// What ECS says of each service.
    pub services: Vec<ServiceSummary>,
    /// A run that has not ended.
    pub unfinished: Option<Summary>,
    /// Who holds the environment.
    pub lease: Option<Lease>,
}

/// Looks at an environment.
pub async fn status(session: &Session) -> Result<EnvironmentStatus, PipelineError> {
    let found = stack::stack(session).describe().await?;
    let standing = found.as_ref().filter(|state| state.stands());
    let outputs = standing.map(StackState::outputs).transpose()?;
    let services = match &outputs {
        Some(outputs) => {
            let names: Vec<&str> = session.config.services.keys().map(ServiceName::as_str).collect();
            Cluster::new(&session.aws, &outputs.cluster).status(&names).await?
        }
        None => Vec::new(),
    };
    Ok(EnvironmentStatus {
        stack: found.map(|state| state.status.as_str().to_owned()),
        url: outputs
            .as_ref()
            .map(|outputs| stack::public_url(session, outputs))
            .transpose()?
            .flatten(),
        serving: session.store.serving().await?,
        services,
        unfinished: session.store.unfinished().await.map_err(SagaError::from)?,
        lease: session.store.inspect().await.map_err(SagaError::from)?,
    })
}

/// Which log lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// The service; the web service, or the first, without it.
    pub service: Option<String>,
    /// Whether one-off tasks' lines are wanted instead: migrations, probes.
    pub one_off: bool,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Only lines that match this CloudWatch filter pattern.
    pub pattern: Option<String>,
    /// Whether to go on as lines come.
    pub follow: bool,
}

/// Reads a service's log; each line goes to `line`.
pub async fn logs(
    session: &Session,
    options: &LogsOptions,
    ui: &Ui,
    mut line: impl FnMut(LogLine) + Send,
) -> Result<(), PipelineError> {
    let env = &session.config.env.name;
    let Some(state) = stack::stack(session).describe().await?.filter(StackState::stands) else {
        return Err(PipelineError::refused(
            format!("the environment `{env}` has no stack, so there are no logs"),
            format!("nuages deploy --env {env}"),
        ));
    };
    let outputs = state.outputs()?;
    let service: ServiceName = match (&options.service, session.config.web()) {
        (Some(name), _) => name
            .parse()
            .map_err(|e: nuages_model::NameError| PipelineError::Arguments {
                what: e.to_string(),
                hint: None,
            })?,
        (None, Some((name, _))) => name.clone(),
        (None, None) => match session.config.services.keys().next() {
            Some(name) => name.clone(),
            None => return Ok(()),
        },
    };
    let Some(group) = outputs.log_groups.get(&service) else {
        let known: Vec<&str> = outputs.log_groups.keys().map(ServiceName::as_str).collect();
        return Err(PipelineError::Arguments {
            what: format!("there is no service `{service}`"),
            hint: Some(format!("the services are: {}", known.join(", "))),
        });
    };
    let query = LogQuery {
        group: group.clone(),
        prefix: if options.one_off {
            crate::layout::RUN.to_owned()
        } else {
            "app".to_owned()
        },
        since_ms: options.since_ms,
        pattern: options.pattern.clone(),
    };
    let cluster = Cluster::new(&session.aws, &outputs.cluster);
    if !options.follow {
        for found in cluster.log_lines(&query).await? {
            line(found);
        }
        return Ok(());
    }
    let stop = ui.stop_token();
    cluster.follow_logs(&query, &stop, line).await?;
    Ok(())
}
