//! The way back: in reverse, by stages.
//!
//! Invariant: a stage is undone only when all later ones are. Forward-only steps stay applied, and the journal says
//! so. What cannot be undone stops everything: a person must act.

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::drive::Drive;
use crate::entry::{End, JournalEvent, StepEvent, UndoReason};
use crate::error::{ApplyError, ErrorReport, SagaError, StepError};
use crate::events::TaskScope;
use crate::hand::Hand;
use crate::journal::{Journal, Phase, StepRecord, StepState};
use crate::runner::{Failure, Outcome, StuckStep};
use crate::step::{Observation, Reversal};
use crate::{Stage, StepSpec};

impl Drive<'_> {
    /// Undoes what was applied.
    pub(crate) async fn undo(&self) -> Result<Outcome, SagaError> {
        self.settle_open(false).await?;
        for stage in self.plan.stages.iter().rev() {
            try_join_all(stage.steps.iter().map(|spec| self.take_back(spec))).await?;
            // Of this stage: what was stuck in an earlier stage when a run ended is tried again when its turn comes.
            let stuck = self.with_journal(|journal| stuck_steps(journal, stage)).await;
            if !stuck.is_empty() {
                let (reason, failure) = self.why().await;
                return Ok(Outcome::Stuck {
                    steps: stuck,
                    reason,
                    failure,
                });
            }
        }
        let (reason, failure) = self.why().await;
        let kept = self.with_journal(Journal::kept).await;
        self.write(JournalEvent::Ended {
            end: End::Restored { kept: kept.clone() },
        })
        .await?;
        Ok(Outcome::Restored { kept, reason, failure })
    }

    /// Why all is undone, and the failure that led here. Where somebody asked to stop, a step that was cut off is none.
    async fn why(&self) -> (UndoReason, Option<Failure>) {
        let reason = self.with_journal(|journal| match journal.phase() {
            Phase::Undoing(reason) => reason.clone(),
            _ => UndoReason::Aborted,
        });
        match reason.await {
            reason @ UndoReason::Failed { .. } => (reason, self.first_failure().await),
            reason => (reason, None),
        }
    }

    async fn take_back(&self, spec: &StepSpec) -> Result<(), SagaError> {
        let record = self.record(&spec.id).await;
        if record.state.is_settled() {
            return Ok(());
        }
        let task = self
            .scope
            .child(format!("undo/{}", spec.id), format!("Undo: {}", spec.title));
        // A request to stop is why we are here: the undo itself is not stopped by it.
        let hand = self
            .take_in_hand(spec, record.attempt, &task, CancellationToken::new())
            .await?;
        match hand.step.reversal() {
            reversal @ Reversal::Nothing => {
                self.happened(&spec.id, StepEvent::Kept { reversal }).await?;
                task.kept("there is nothing to undo");
                Ok(())
            }
            Reversal::ForwardOnly => self.keep(spec, &record, &hand, task).await,
            Reversal::Undo => self.reverse(spec, &record, &hand, task).await,
        }
    }

    async fn reverse(
        &self,
        spec: &StepSpec,
        record: &StepRecord,
        hand: &Hand,
        task: TaskScope,
    ) -> Result<(), SagaError> {
        let before = record.before.clone().unwrap_or_default();
        self.happened(&spec.id, StepEvent::UndoStarted).await?;
        self.may_act().await?;
        match hand
            .limited(hand.step.undo(&hand.cx, &before, record.after.as_ref()))
            .await
        {
            Ok(()) => {
                self.happened(&spec.id, StepEvent::Undone).await?;
                task.undone();
                Ok(())
            }
            Err(error) => self.stuck(spec, record, hand, task, &error).await,
        }
    }

    /// A forward-only step stays. Where nobody knows how far it came, that is found out first.
    async fn keep(&self, spec: &StepSpec, record: &StepRecord, hand: &Hand, task: TaskScope) -> Result<(), SagaError> {
        if record.state != StepState::Applied {
            let before = record.before.clone().unwrap_or_default();
            let after = match self.observe(spec, hand, &before).await? {
                Observation::Done(after) => Ok(after),
                Observation::NotDone => Err(ApplyError::clean(StepError::message("it had no effect"))),
                Observation::Running => hand.limited(hand.step.attach(&hand.cx, &before)).await,
                Observation::Indeterminate { why } => Err(ApplyError::Unknown(StepError::message(why))),
            };
            match after {
                Ok(after) => self.happened(&spec.id, StepEvent::Applied { after }).await?,
                Err(ApplyError::Clean(_)) => {
                    self.happened(&spec.id, StepEvent::NotDone).await?;
                    task.skipped("it had no effect");
                    return Ok(());
                }
                Err(ApplyError::Unknown(error)) => return self.stuck(spec, record, hand, task, &error).await,
            }
        }
        self.happened(
            &spec.id,
            StepEvent::Kept {
                reversal: Reversal::ForwardOnly,
            },
        )
        .await?;
        self.warn(format!("`{}` stays applied: it cannot be undone", spec.title), None);
        task.kept("it stays applied");
        Ok(())
    }

    async fn stuck(
        &self,
        spec: &StepSpec,
        record: &StepRecord,
        hand: &Hand,
        task: TaskScope,
        error: &StepError,
    ) -> Result<(), SagaError> {
        let before = record.before.clone().unwrap_or_default();
        let by_hand = hand.step.by_hand(&before, record.after.as_ref());
        let report = ErrorReport::of(error);
        self.happened(
            &spec.id,
            StepEvent::Stuck {
                error: report.clone(),
                by_hand,
            },
        )
        .await?;
        task.failed_with(report);
        Ok(())
    }
}

fn stuck_steps(journal: &Journal, stage: &Stage) -> Vec<StuckStep> {
    let stuck = |spec: &StepSpec| {
        let record = journal
            .step(&spec.id)
            .filter(|record| record.state == StepState::Stuck)?;
        let (error, by_hand) = record.stuck.clone()?;
        Some(StuckStep {
            step: spec.id.clone(),
            error,
            by_hand,
        })
    };
    stage.steps.iter().filter_map(stuck).collect()
}
