//! The stack's own verbs, and the part of a deployment that brings it up.
//!
//! Invariant: what holds data is destroyed only where the person named it.

use std::collections::BTreeSet;
use std::time::Duration;

use nuages_config::Project;
use nuages_ecs::{Cluster, Patience};
use nuages_infra::{ChangeSetPlan, CostEstimate, DownOutcome, ResourceDrift, StackOutputs, UpKind, UpOutcome};
use nuages_releases::WorldChange;
use nuages_saga::{LeaseGuard, MessageLevel};
use nuages_secrets::Resolved;

use crate::error::PipelineError;
use crate::session::{OpenOptions, Session, remove_emulator};
use crate::ui::{Ui, count};
use crate::{secrets, stack};

/// What the environment gives a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) outputs: StackOutputs,
    pub(crate) secrets: Resolved,
    /// Whether the database is at another address than before, so that running tasks must be replaced.
    pub(crate) database_moved: bool,
}

/// Settles secrets and stack: makes what is missing, changes what differs.
pub(crate) async fn ground(
    session: &Session,
    lease: &LeaseGuard,
    allow: &BTreeSet<String>,
    ui: &Ui,
) -> Result<Ground, PipelineError> {
    secrets::check_database(session)?;
    let stop = ui.stop_token();
    let (made, domain) = tokio::try_join!(stack::bootstrapped(session), stack::domain(session))?;
    stack::tell_rights(session, made.as_ref(), ui);
    let stack = stack::managed(session, made.as_ref());
    let manager = secrets::manager(session);

    let known = stack.describe().await?.filter(nuages_infra::StackState::stands);
    let known = known.map(|state| state.outputs()).transpose().unwrap_or(None);
    let serving = session.store.serving().await?;
    let versions = serving
        .as_ref()
        .map(|release| release.secrets.clone())
        .unwrap_or_default();

    let task = ui.events.task("secrets", "Secrets");
    let url = secrets::database_url(known.as_ref()).cloned();
    let settled = manager
        .resolve(&secrets::wanted(session, url.as_ref()), &versions)
        .await;
    let mut settled = match settled {
        Ok(settled) => settled,
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            return Err(error);
        }
    };
    for warning in &settled.warnings {
        task.message(MessageLevel::Warning, warning.clone(), None);
    }
    let omitted: Vec<String> = settled
        .omitted
        .iter()
        .map(|o| format!("without {} ({})", o.variable, o.why))
        .collect();
    let detail = [format!("{} ready", settled.references.len())]
        .into_iter()
        .chain(omitted)
        .collect::<Vec<_>>()
        .join("; ");
    if settled.changes.is_empty() {
        task.unchanged(detail);
    } else {
        task.done(detail);
    }

    let task = ui.events.task("infra", "Environment");
    let spec = stack::spec(session, &settled, url.as_ref(), made.as_ref(), domain);
    let up = stack.up(&spec, allow, &task.progress(), &stop).await;
    let UpOutcome {
        kind,
        outputs,
        changes,
        database_moved,
    } = match up {
        Ok(up) => up,
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            return Err(error);
        }
    };
    let name = stack.name().to_owned();
    match kind {
        UpKind::Unchanged if database_moved => task.done(format!("stack {name}: the database has a new address")),
        UpKind::Unchanged => task.unchanged(format!("stack {name}")),
        UpKind::Created => task.done(format!("stack {name} made, {}", count(changes.len(), "resource"))),
        UpKind::Updated => task.done(format!("stack {name} changed, {}", count(changes.len(), "resource"))),
    }

    enter_world(session, lease, &outputs, ui).await?;

    // The database's URL has a place only once the stack stands, and another version where the database moved.
    let fresh = secrets::database_url(Some(&outputs)).cloned();
    if secrets::wants_database(session) && (fresh != url || database_moved || kind != UpKind::Unchanged) {
        settled = manager
            .resolve(&secrets::wanted(session, fresh.as_ref()), &versions)
            .await?;
    }
    Ok(Ground {
        outputs,
        secrets: settled,
        database_moved,
    })
}

/// Takes note of which world this is; records of another one are archived, and the person is told.
async fn enter_world(
    session: &Session,
    lease: &LeaseGuard,
    outputs: &StackOutputs,
    ui: &Ui,
) -> Result<(), PipelineError> {
    match session.store.enter_world(lease.fence(), outputs.world).await? {
        WorldChange::Same => {}
        WorldChange::Changed {
            releases, unfinished, ..
        } => {
            let lost = if unfinished {
                ", an unfinished deployment among them"
            } else {
                ""
            };
            let text = format!(
                "the environment is not the one on record: it was built anew, so {releases} earlier releases were archived{lost}"
            );
            let hint = "`nuages releases --all` still lists them; there is nothing to roll back to".to_owned();
            ui.events.message(MessageLevel::Warning, text, Some(hint));
        }
    }
    Ok(())
}

/// Brings the environment's stack up, alone.
pub async fn infra_up(session: &Session, allow: &BTreeSet<String>, ui: &Ui) -> Result<StackOutputs, PipelineError> {
    let lease = session.lease("infra up").await?;
    let ground = ground(session, &lease, allow, ui).await;
    lease.release().await;
    Ok(ground?.outputs)
}

/// What bringing the stack up would change. Leaves nothing behind.
pub async fn infra_plan(session: &Session, ui: &Ui) -> Result<ChangeSetPlan, PipelineError> {
    let stop = ui.stop_token();
    let (made, domain) = tokio::try_join!(stack::bootstrapped(session), stack::domain(session))?;
    stack::tell_rights(session, made.as_ref(), ui);
    let stack = stack::managed(session, made.as_ref());
    let known = stack.describe().await?.filter(nuages_infra::StackState::stands);
    let known = known.map(|state| state.outputs()).transpose().unwrap_or(None);
    let url = secrets::database_url(known.as_ref()).cloned();
    let inspected = secrets::manager(session)
        .inspect(&secrets::wanted(session, url.as_ref()), &[])
        .await?;
    let resolved = secrets::as_resolved(inspected);
    let spec = stack::spec(session, &resolved, url.as_ref(), made.as_ref(), domain);
    let task = ui.events.task("infra", "Environment");
    match stack.plan(&spec, &task.progress(), &stop).await {
        Ok(plan) => {
            if plan.none {
                task.unchanged("");
            } else {
                task.done(format!("{} changes", plan.changes.len()));
            }
            Ok(plan)
        }
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// How long services may take to drain.
const DRAIN: Duration = Duration::from_mins(15);

/// Takes the environment down: services, then the stack, and on this machine the emulator with all that is its own.
pub async fn infra_down(project: &Project, options: &OpenOptions, ui: &Ui) -> Result<DownOutcome, PipelineError> {
    let config = project.environment(&options.env)?;
    let own_emulator = config.emulator.is_some() && std::env::var_os("AWS_ENDPOINT_URL").is_none();
    if own_emulator {
        // All of it is the emulator's: taking that away takes everything with it.
        return Ok(DownOutcome {
            existed: remove_emulator(&config, ui).await?,
            retained: Vec::new(),
        });
    }
    let session = Session::open(project, options, ui).await?;
    let lease = session.lease("infra down").await?;
    let down = down_in(&session, &lease, ui).await;
    lease.release().await;
    down
}

async fn down_in(session: &Session, lease: &LeaseGuard, ui: &Ui) -> Result<DownOutcome, PipelineError> {
    let stop = ui.stop_token();
    let made = stack::bootstrapped(session).await?;
    let stack = stack::managed(session, made.as_ref());
    let task = ui.events.task("drain", "Stop the services");
    let cluster = Cluster::new(&session.aws, session.name());
    let families: Vec<String> = session
        .config
        .services
        .keys()
        .map(|service| format!("{}-{service}", session.name()))
        .chain([format!("{}-{}", session.name(), crate::layout::RUN)])
        .collect();
    let patience = Patience {
        timeout: DRAIN,
        cancel: &stop,
        progress: &task.progress(),
    };
    match cluster.drain_and_delete(&families, patience).await {
        Ok(drained) if drained.services.is_empty() => task.unchanged("there are none"),
        Ok(drained) => task.done(format!("{} stopped", drained.services.join(", "))),
        Err(error) if error.kind() == Some(nuages_aws::Kind::NotFound) => task.unchanged("there is no cluster"),
        Err(error) => {
            task.failed(&error);
            return Err(error.into());
        }
    }
    let task = ui.events.task("infra", "Delete the stack");
    let down = match stack.down(&task.progress(), &stop).await {
        Ok(down) => down,
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            return Err(error);
        }
    };
    if down.existed {
        task.done(stack.name().to_owned());
    } else {
        task.unchanged("there is none");
    }
    session.store.set_serving(lease.fence(), None).await?;
    if session.aws.quirks().is_emulator() {
        secrets::manager(session).delete_generated(true).await?;
    }
    Ok(down)
}

/// What the environment costs a month, estimated from list prices.
pub fn infra_cost(session: &Session) -> CostEstimate {
    // Secrets and their keys cost next to nothing and are left out of the estimate, so none need be resolved; a role, a
    // boundary and a certificate cost nothing.
    nuages_infra::cost(&stack::spec(session, &Resolved::default(), None, None, None))
}

/// What differs between the stack and what is there.
pub async fn infra_drift(session: &Session, ui: &Ui) -> Result<Vec<ResourceDrift>, PipelineError> {
    let stop = ui.stop_token();
    let task = ui.events.task("drift", "Compare the stack with what is there");
    match stack::stack(session).drift(&task.progress(), &stop).await {
        Ok(drift) => {
            if drift.is_empty() {
                task.unchanged("all as it was made");
            } else {
                task.done(format!("{} differ", drift.len()));
            }
            Ok(drift)
        }
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            Err(error)
        }
    }
}
