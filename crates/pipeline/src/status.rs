//! What serves, and what it says.
//!
//! Invariant: reads only, and works while a deployment is under way.

use jiff::Timestamp;
use nuages_config::Config;
use nuages_ecs::{Cluster, LogLine, LogQuery, ServiceSummary};
use nuages_infra::StackState;
use nuages_model::ServiceName;
use nuages_releases::Release;
use nuages_saga::{Holder, JournalStore as _, Lease, SagaError, Standing, Summary};
use url::Url;

use crate::error::PipelineError;
use crate::left_behind::{self, LeftBehind};
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
    /// What is being done now, and by whom.
    pub under_way: Option<UnderWay>,
    /// A run that was interrupted: it has not ended, and nobody is at it.
    pub unfinished: Option<Summary>,
    /// Local emulators that no project answers for; looked for where the environment is on this machine, too.
    pub left_behind: Vec<LeftBehind>,
}

/// Somebody acts on the environment.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// The lease, with who holds it and since when.
    pub lease: Lease,
    /// The run that is being carried out; none before its plan is stored, and where there is none to store.
    pub run: Option<Summary>,
}

/// Tells a run that somebody carries out from one that was interrupted.
fn at_work(
    lease: Option<Lease>,
    open: Option<Summary>,
    now: Timestamp,
    here: &Holder,
) -> (Option<UnderWay>, Option<Summary>) {
    let Some(lease) = lease.filter(|lease| lease.standing(now, here) == Standing::Held) else {
        return (None, open);
    };
    // Whoever carries a run out, or goes on with it, has written something since the lease was taken.
    let (run, left) = match open {
        Some(open) if open.updated >= lease.acquired => (Some(open), None),
        other => (None, other),
    };
    (Some(UnderWay { lease, run }), left)
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
    let lease = session.store.inspect().await.map_err(SagaError::from)?;
    let open = session.store.unfinished().await.map_err(SagaError::from)?;
    let left_behind = match &session.emulator {
        Some(_) => left_behind::left_behind().await?,
        None => Vec::new(),
    };
    let (under_way, unfinished) = at_work(lease, open, Timestamp::now(), &Holder::here("status"));
    Ok(EnvironmentStatus {
        stack: found.map(|state| state.status.as_str().to_owned()),
        url: outputs
            .as_ref()
            .map(|outputs| stack::public_url(session, outputs))
            .transpose()?
            .flatten(),
        serving: session.store.serving().await?,
        services,
        under_way,
        unfinished,
        left_behind,
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

/// The service whose log is wanted, by the settings alone: the one that is named, else the web service, else the first.
pub fn logged_service<'c>(config: &'c Config, named: Option<&str>) -> Result<Option<&'c ServiceName>, PipelineError> {
    let Some(named) = named else {
        let first = || config.services.keys().next();
        return Ok(config.web().map(|(name, _)| name).or_else(first));
    };
    let found = config.services.keys().find(|name| name.as_str() == named);
    found.map(Some).ok_or_else(|| {
        let known: Vec<String> = config.services.keys().map(|name| format!("`{name}`")).collect();
        PipelineError::Arguments {
            what: format!("there is no service `{named}` in nuages.toml"),
            hint: Some(match known.as_slice() {
                [only] => format!("the only one is {only}"),
                known => format!("the services are {}", known.join(", ")),
            }),
        }
    })
}

/// Reads a service's log; each line goes to `line`.
pub async fn logs(
    session: &Session,
    options: &LogsOptions,
    ui: &Ui,
    mut line: impl FnMut(LogLine) + Send,
) -> Result<(), PipelineError> {
    let env = &session.config.env.name;
    let Some(service) = logged_service(&session.config, options.service.as_deref())? else {
        return Ok(());
    };
    let Some(state) = stack::stack(session).describe().await?.filter(StackState::stands) else {
        return Err(PipelineError::refused(
            format!("the environment `{env}` has no stack, so there are no logs"),
            format!("make one with `nuages deploy --env {env}`"),
        ));
    };
    let outputs = state.outputs()?;
    let Some(group) = outputs.log_groups.get(service) else {
        return Err(PipelineError::refused(
            format!("`{env}` has no service `{service}` yet"),
            format!("make it with `nuages deploy --env {env}`"),
        ));
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

#[cfg(test)]
mod tests {
    use nuages_saga::{DeploymentId, Fence};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A holder on another machine, whose process cannot be seen from here.
    fn lease(acquired: i64, expires: i64) -> Lease {
        Lease {
            fence: Fence(1),
            holder: Holder {
                boot: Some("elsewhere".into()),
                ..Holder::here("deploy")
            },
            acquired: at(acquired),
            renewed: at(acquired),
            expires: at(expires),
        }
    }

    fn run(updated: i64) -> Summary {
        Summary {
            deployment: DeploymentId::generate(),
            operation: "deploy".into(),
            release: None,
            world: None,
            tool: "0.1.0".into(),
            created: at(0),
            updated: at(updated),
            end: None,
        }
    }

    /// What is seen at second 100: whether somebody is at work, whether at a run, and whether one was left.
    fn seen(lease: Option<Lease>, open: Option<Summary>) -> (bool, bool, bool) {
        let (under_way, left) = at_work(lease, open, at(100), &Holder::here("status"));
        let run = under_way.as_ref().is_some_and(|work| work.run.is_some());
        (under_way.is_some(), run, left.is_some())
    }

    #[test]
    fn a_run_that_somebody_carries_out_is_not_an_interrupted_one() {
        assert_eq!(seen(None, None), (false, false, false));
        assert_eq!(seen(None, Some(run(5))), (false, false, true));
        assert_eq!(
            seen(Some(lease(50, 130)), None),
            (true, false, false),
            "before the plan"
        );
        assert_eq!(seen(Some(lease(50, 130)), Some(run(60))), (true, true, false));
        assert_eq!(
            seen(Some(lease(50, 130)), Some(run(20))),
            (true, false, true),
            "interrupted before somebody else came"
        );
        assert_eq!(
            seen(Some(lease(50, 80)), Some(run(60))),
            (false, false, true),
            "its time is up"
        );
    }
}
