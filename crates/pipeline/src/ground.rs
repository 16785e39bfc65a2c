//! What a deployment stands on: secrets and the environment's stack.
//!
//! Invariant: what serves depends on a stack that stands, so that is changed only by [`change`], which whoever deploys
//! calls when all that could refuse the release has been asked. What is missing is made at once: nothing depends on it.

use std::collections::BTreeSet;

use nuages_infra::{ResourceChange, Stack, StackOutputs, StackSpec, UpKind, UpOutcome};
use nuages_releases::WorldChange;
use nuages_saga::{LeaseGuard, MessageLevel, TaskScope};
use nuages_secrets::Resolved;

use crate::error::PipelineError;
use crate::infra::tell_other_regions;
use crate::session::Session;
use crate::ui::{Ui, count};
use crate::{local_database, secrets, stack};

/// What the environment gives a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) outputs: StackOutputs,
    pub(crate) secrets: Resolved,
    /// Whether the database is at another address than before, or was made again, so that running tasks must be replaced.
    pub(crate) database_moved: bool,
    /// What of the stack is still to be changed.
    pub(crate) pending: Option<Pending>,
}

/// A change of a stack that stands, which waits.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    stack: Stack,
    spec: StackSpec,
    allow: BTreeSet<String>,
    changes: Vec<ResourceChange>,
}

impl Pending {
    /// Whether tasks of a release that goes with it can start without it.
    pub(crate) fn is_before_tasks(&self) -> bool {
        self.changes.iter().all(ResourceChange::is_before_tasks)
    }
}

/// What is done about a stack that stands and is not as the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is changed at once.
    Changed,
    /// It is left until [`change`].
    Left,
}

/// Settles secrets and stack: makes what is missing, and finds out what differs.
pub(crate) async fn ground(
    session: &Session,
    lease: &LeaseGuard,
    existing: Existing,
    allow: &BTreeSet<String>,
    ui: &Ui,
) -> Result<Ground, PipelineError> {
    secrets::check_database(session)?;
    tell_other_regions(session, ui).await?;
    let (made, domain) = tokio::try_join!(stack::bootstrapped(session), stack::domain(session))?;
    stack::tell_rights(session, made.as_ref(), ui);
    let stack = stack::managed(session, made.as_ref());

    let known = stack.describe().await?.filter(nuages_infra::StackState::stands);
    let known = known.map(|state| state.outputs()).transpose().unwrap_or(None);
    let settled = settle_secrets(session, known.as_ref(), ui).await?;

    let there = stack::There::of(session);
    let url = secrets::database_url(known.as_ref());
    let spec = stack::spec(&session.config, there, &settled, url, made.as_ref(), domain);
    let task = ui.events.task("infra", "Environment");
    let up = bring_up(session, &stack, &spec, existing, allow, task, ui).await?;

    enter_world(session, lease, &up.outputs, ui).await?;
    let pending = (up.kind == UpKind::Pending).then(|| Pending {
        stack,
        spec,
        allow: allow.clone(),
        changes: up.changes.clone(),
    });
    Ok(Ground {
        secrets: secrets_after(session, settled, known.as_ref(), &up).await?,
        database_moved: up.database_moved,
        outputs: up.outputs,
        pending,
    })
}

/// Makes what is still to be changed of the stack, and answers what a release stands on then. What changed is added to
/// `changed`.
pub(crate) async fn change(
    session: &Session,
    ground: Ground,
    changed: &mut Vec<String>,
    ui: &Ui,
) -> Result<Ground, PipelineError> {
    let Some(pending) = &ground.pending else {
        return Ok(ground);
    };
    let task = ui.events.task("infra/change", "Change the environment");
    let Pending { stack, spec, allow, .. } = pending;
    let up = bring_up(session, stack, spec, Existing::Changed, allow, task, ui).await?;
    changed.extend(up.changes.iter().map(ToString::to_string));
    Ok(Ground {
        secrets: secrets_after(session, ground.secrets.clone(), Some(&ground.outputs), &up).await?,
        database_moved: ground.database_moved || up.database_moved,
        outputs: up.outputs,
        pending: None,
    })
}

/// Makes the secrets that are missing, and finds the others.
async fn settle_secrets(session: &Session, known: Option<&StackOutputs>, ui: &Ui) -> Result<Resolved, PipelineError> {
    let task = ui.events.task("secrets", "Secrets");
    let settled = match resolve(session, known).await {
        Ok(settled) => settled,
        Err(error) => {
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
    Ok(settled)
}

async fn resolve(session: &Session, outputs: Option<&StackOutputs>) -> Result<Resolved, PipelineError> {
    let serving = session.store.serving().await?;
    let versions = serving.map(|release| release.draft.secrets).unwrap_or_default();
    let wanted = secrets::wanted(session, secrets::database_url(outputs));
    Ok(secrets::manager(session).resolve(&wanted, &versions).await?)
}

/// The secrets where the stack may have changed: the database's URL has a place only once it stands, and another version
/// where the database moved.
async fn secrets_after(
    session: &Session,
    settled: Resolved,
    before: Option<&StackOutputs>,
    up: &UpOutcome,
) -> Result<Resolved, PipelineError> {
    let fresh = secrets::database_url(Some(&up.outputs)) != secrets::database_url(before);
    let other = fresh || up.database_moved || matches!(up.kind, UpKind::Created | UpKind::Updated);
    if secrets::wants_database(session) && other {
        return resolve(session, Some(&up.outputs)).await;
    }
    Ok(settled)
}

async fn bring_up(
    session: &Session,
    stack: &Stack,
    spec: &StackSpec,
    existing: Existing,
    allow: &BTreeSet<String>,
    task: TaskScope,
    ui: &Ui,
) -> Result<UpOutcome, PipelineError> {
    let stop = ui.stop_token();
    let up = async {
        let progress = task.progress();
        let mut up = match existing {
            Existing::Changed => stack.up(spec, allow, &progress, &stop).await?,
            Existing::Left => stack.stand(spec, allow, &progress, &stop).await?,
        };
        local_database::revive(session, stack, spec, &mut up, &task, &stop).await?;
        Ok::<_, PipelineError>(up)
    };
    let up = match up.await {
        Ok(up) => up,
        Err(error) => {
            task.failed_with(error.report());
            return Err(error);
        }
    };
    let name = stack.name();
    let resources = count(up.changes.len(), "resource");
    match up.kind {
        UpKind::Unchanged if up.database_moved => task.done(format!("stack {name}: the database has moved")),
        UpKind::Unchanged => task.unchanged(format!("stack {name}")),
        UpKind::Created => task.done(format!("stack {name} made, {resources}")),
        UpKind::Updated => task.done(format!("stack {name} changed, {resources}")),
        UpKind::Pending => task.done(format!("stack {name}: {resources} to change, after build and checks")),
    }
    Ok(up)
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
            let hint =
                "`nuages releases --all` still lists those releases; there is nothing to roll back to".to_owned();
            ui.events.message(MessageLevel::Warning, text, Some(hint));
        }
    }
    Ok(())
}
