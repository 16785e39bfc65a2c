//! Finishing or undoing what an earlier process left.
//!
//! Invariant: the steps come from the stored plan; `nuages.toml` says only which environment it is and how to reach it.

use nuages_infra::StackState;
use nuages_releases::WorldChange;
use nuages_saga::{JournalStore as _, LeaseGuard, MessageLevel, SagaError, Summary};

use crate::deploy::Deployed;
use crate::error::PipelineError;
use crate::run::{Run, conclude, ended};
use crate::session::Session;
use crate::stack;
use crate::ui::Ui;

#[derive(Clone, Copy)]
enum Way {
    Forward,
    Back,
}

/// An interrupted run that has ended now.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What was run.
    pub run: Summary,
    /// What serves after it; none where nothing does.
    pub serves: Option<Deployed>,
}

/// Finishes an interrupted run: forward, or back where its undo has begun. Answers what was run, none where there was
/// nothing to finish.
pub async fn resume(session: &Session, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    finish(session, Way::Forward, ui).await
}

/// Undoes an interrupted run.
pub async fn abort(session: &Session, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    finish(session, Way::Back, ui).await
}

async fn finish(session: &Session, way: Way, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    let doing = match way {
        Way::Forward => "resume",
        Way::Back => "abort",
    };
    let lease = session.lease(doing).await?;
    let finished = finish_in(session, way, &lease, ui).await;
    lease.release().await;
    finished
}

async fn finish_in(session: &Session, way: Way, lease: &LeaseGuard, ui: &Ui) -> Result<Option<Ended>, PipelineError> {
    // What is on record may describe an environment that is gone: an emulator that lost its state.
    let state = stack::stack(session).describe().await?.filter(StackState::stands);
    if let Some(world) = state.as_ref().and_then(|state| state.world)
        && let WorldChange::Changed { .. } = session.store.enter_world(lease.fence(), world).await?
    {
        let text = "the environment is not the one that the interrupted run was in; its records were archived";
        ui.events.message(MessageLevel::Warning, text, None);
    }
    let Some(open) = session.store.unfinished().await.map_err(SagaError::from)? else {
        return Ok(None);
    };
    let runner = Run::new(session, lease).runner;
    let (id, title) = match way {
        Way::Forward => ("resume", format!("Resume {} {}", open.operation, open.deployment)),
        Way::Back => ("abort", format!("Undo {} {}", open.operation, open.deployment)),
    };
    let scope = ui.events.task(id, title);
    let report = match way {
        Way::Forward => runner.resume(open.deployment, lease, &scope, &ui.cancel).await,
        Way::Back => runner.abort(open.deployment, lease, &scope, &ui.cancel).await,
    };
    let report = ended(report, scope)?;
    // An abort that restored did what it was asked for.
    let undone_as_asked = matches!(
        (way, &report.outcome),
        (Way::Back, nuages_saga::Outcome::Restored { .. })
    );
    if !undone_as_asked {
        conclude(&report, &format!("the interrupted {}", open.operation), session, ui)?;
    }
    let release = session.store.serving().await?;
    let url = match state {
        Some(state) => stack::public_url(session, &state.outputs()?)?,
        None => None,
    };
    Ok(Some(Ended {
        run: open,
        serves: release.map(|release| Deployed {
            release,
            url,
            changed: true,
        }),
    }))
}
