//! One run over a journal, and its way forward.
//!
//! Invariant: an intent whose outcome is open is looked at before anything else is done, and `before` is the recorded
//! one: by then the world may hold our own half-made change.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cancel::{Cancel, Level};
use crate::entry::{End, JournalEvent, Mode, StepEvent, UndoReason};
use crate::error::{ApplyError, Difference, ErrorReport, SagaError, StepError};
use crate::events::TaskScope;
use crate::hand::Hand;
use crate::holder::Holder;
use crate::journal::{Journal, Phase, StepRecord, StepState};
use crate::lease::{LeaseGuard, Moment};
use crate::output::Outputs;
use crate::plan::{Plan, PlannedCheck, Stage, StepSpec};
use crate::runner::{Failure, Outcome, Runner, satisfied, within};
use crate::step::{Check, Observation, Reversal};
use crate::{MessageLevel, StepId};

pub(crate) struct Drive<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) plan: &'a Plan,
    pub(crate) scope: &'a TaskScope,
    lease: &'a LeaseGuard,
    cancel: &'a Cancel,
    journal: Mutex<Journal>,
    /// Asks the steps of the stage in hand to stop early.
    stop: CancellationToken,
}

impl<'a> Drive<'a> {
    pub(crate) fn new(
        runner: &'a Runner,
        plan: &'a Plan,
        journal: Journal,
        lease: &'a LeaseGuard,
        scope: &'a TaskScope,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            runner,
            plan,
            scope,
            lease,
            cancel,
            journal: Mutex::new(journal),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) async fn outputs(&self) -> Outputs {
        self.journal.lock().await.outputs()
    }

    pub(crate) async fn record(&self, step: &StepId) -> StepRecord {
        let journal = self.journal.lock().await;
        // The journal was folded over this plan, so every step of it has a record.
        journal
            .step(step)
            .cloned()
            .expect("every step of the plan has a record")
    }

    pub(crate) async fn with_journal<T>(&self, read: impl FnOnce(&Journal) -> T) -> T {
        read(&*self.journal.lock().await)
    }

    /// Folds what stands in the journal, and goes on from there.
    pub(crate) async fn go(&self, mode: Mode) -> Result<Outcome, SagaError> {
        let holder = Holder::here(self.plan.operation.clone());
        self.write(JournalEvent::Started {
            holder,
            mode,
            tool: self.runner.tool.clone(),
        })
        .await?;

        if self.with_journal(|journal| *journal.phase() == Phase::Forward).await {
            let reason = match (mode, self.first_failure().await) {
                (_, Some(failure)) => Some(UndoReason::Failed { step: failure.step }),
                (Mode::Abort, None) => Some(UndoReason::Aborted),
                (Mode::Run | Mode::Resume, None) => self.forward_unless_cancelled().await?,
            };
            match reason {
                None => {
                    self.write(JournalEvent::Ended { end: End::Finished }).await?;
                    return Ok(Outcome::Finished);
                }
                Some(reason) => self.write(JournalEvent::UndoBegan { reason }).await?,
            }
        }
        self.undo().await
    }

    pub(crate) async fn first_failure(&self) -> Option<Failure> {
        self.with_journal(|journal| {
            let (step, error) = journal.first_failure()?;
            Some(Failure {
                step: step.clone(),
                error: error.clone(),
            })
        })
        .await
    }

    /// Writes what happened. Every write renews the lease.
    pub(crate) async fn write(&self, event: JournalEvent) -> Result<(), SagaError> {
        let mut journal = self.journal.lock().await;
        self.append(&mut journal, event).await
    }

    pub(crate) async fn happened(&self, step: &StepId, happened: StepEvent) -> Result<(), SagaError> {
        self.write(JournalEvent::Step {
            step: step.clone(),
            happened,
        })
        .await
    }

    async fn append(&self, journal: &mut Journal, event: JournalEvent) -> Result<(), SagaError> {
        let deployment = self.plan.deployment;
        let illegal = |source| SagaError::Journal { deployment, source };
        let entry = journal.next(event).map_err(illegal)?;
        let moment = Moment::now();
        self.runner
            .store
            .append(self.lease.fence(), self.lease.ttl(), deployment, &entry)
            .await?;
        self.lease.renewed_at(moment);
        journal.accept(&entry).map_err(illegal)
    }

    /// The last question before anything is changed.
    pub(crate) async fn may_act(&self) -> Result<(), SagaError> {
        self.lease.confirm().await
    }

    async fn forward_unless_cancelled(&self) -> Result<Option<UndoReason>, SagaError> {
        let cancelled = async {
            self.cancel.at_least(Level::Graceful).await;
            self.stop.cancel();
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            reason = self.forward() => reason,
            never = cancelled => match never {},
        }
    }

    /// Applies what is left to apply. Nothing, or why all has to be undone.
    async fn forward(&self) -> Result<Option<UndoReason>, SagaError> {
        self.settle_open(true).await?;
        let mut fresh = if self.with_journal(Journal::is_untouched).await {
            self.compare().await?
        } else {
            BTreeMap::new()
        };
        for stage in &self.plan.stages {
            if let Some(reason) = self.must_undo().await {
                return Ok(Some(reason));
            }
            // As soon as anything was applied, an earlier look may be out of date.
            if !self.with_journal(Journal::is_untouched).await {
                fresh.clear();
            }
            self.stage(stage, &fresh).await?;
        }
        Ok(self.must_undo().await)
    }

    async fn must_undo(&self) -> Option<UndoReason> {
        match self.first_failure().await {
            Some(failure) => Some(UndoReason::Failed { step: failure.step }),
            None if self.cancel.level() >= Level::Graceful => Some(UndoReason::Interrupted),
            None => None,
        }
    }

    /// Compares the checks with the plan's before anything is applied.
    async fn compare(&self) -> Result<BTreeMap<StepId, Check>, SagaError> {
        let given = satisfied(&self.plan.checks);
        let known = |spec: &&StepSpec| {
            matches!(
                self.plan.checks.get(&spec.id),
                Some(PlannedCheck::Satisfied { .. } | PlannedCheck::Change { .. })
            )
        };
        let looks = self.plan.steps().filter(known).map(|spec| {
            let given = &given;
            async move {
                let look = self.runner.look(self.plan, spec, given, self.scope).await?;
                Ok::<_, SagaError>((spec.id.clone(), look))
            }
        });
        let error = match try_join_all(looks).await {
            Ok(fresh) => {
                let fresh: BTreeMap<StepId, Check> = fresh.into_iter().collect();
                let differences: Vec<Difference> = self
                    .plan
                    .steps()
                    .filter_map(|spec| self.differs(spec, &fresh))
                    .collect();
                if differences.is_empty() {
                    return Ok(fresh);
                }
                SagaError::Stale(differences)
            }
            Err(error) => error,
        };
        let report = ErrorReport {
            hint: error.hint(),
            ..ErrorReport::of(&error)
        };
        // Only now: where all is as it was planned, the tree has a task for each step and no other.
        self.scope
            .child("compare", "Compare with the plan")
            .failed_with(report.clone());
        self.write(JournalEvent::Ended {
            end: End::Refused { error: report },
        })
        .await?;
        Err(error)
    }

    fn differs(&self, spec: &StepSpec, fresh: &BTreeMap<StepId, Check>) -> Option<Difference> {
        let (planned, now) = (self.plan.checks.get(&spec.id)?, fresh.get(&spec.id)?);
        (!planned.still_holds(now)).then(|| Difference {
            step: spec.id.clone(),
            planned: planned.clone(),
            now: now.clone().into(),
        })
    }

    /// Finds out how far every attempt came whose outcome was never written. On the way back, what still runs and can
    /// be undone is not waited for.
    pub(crate) async fn settle_open(&self, forward: bool) -> Result<(), SagaError> {
        let open: Vec<&StepSpec> = self
            .with_journal(|journal| {
                let is_open = |spec: &&StepSpec| {
                    journal
                        .step(&spec.id)
                        .is_some_and(|record| record.state == StepState::Intended)
                };
                self.plan.steps().filter(is_open).collect()
            })
            .await;
        try_join_all(open.into_iter().map(|spec| self.settle(spec, forward))).await?;
        Ok(())
    }

    async fn settle(&self, spec: &StepSpec, forward: bool) -> Result<(), SagaError> {
        let record = self.record(&spec.id).await;
        let before = record.before.unwrap_or_default();
        let task = self
            .scope
            .child(spec.id.as_str(), format!("Find again: {}", spec.title));
        let stop = if forward {
            self.stop.clone()
        } else {
            CancellationToken::new()
        };
        let hand = self.take_in_hand(spec, record.attempt, &task, stop).await?;
        match self.observe(spec, &hand, &before).await? {
            Observation::Done(after) => {
                self.happened(&spec.id, StepEvent::Applied { after }).await?;
                task.done("it was done");
            }
            Observation::NotDone => {
                self.happened(&spec.id, StepEvent::NotDone).await?;
                task.skipped("it had no effect");
            }
            Observation::Running if forward || hand.step.reversal() == Reversal::ForwardOnly => {
                self.may_act().await?;
                let attached = hand.limited(hand.step.attach(&hand.cx, &before)).await;
                self.outcome(spec, task, attached).await?;
            }
            Observation::Running => {
                let error = ApplyError::Unknown(StepError::message("it was still under way"));
                self.outcome(spec, task, Err(error)).await?;
            }
            Observation::Indeterminate { why } => {
                self.outcome(spec, task, Err(ApplyError::Unknown(StepError::message(why))))
                    .await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn observe(&self, spec: &StepSpec, hand: &Hand, before: &Value) -> Result<Observation, SagaError> {
        let seen = within(self.runner.options.read_deadline, hand.step.observe(&hand.cx, before)).await;
        seen.map_err(|source| SagaError::Observe {
            step: spec.id.clone(),
            source,
        })
    }

    /// Writes how an attempt ended, and asks the others to stop where it failed.
    async fn outcome(
        &self,
        spec: &StepSpec,
        task: TaskScope,
        outcome: Result<Value, ApplyError>,
    ) -> Result<(), SagaError> {
        match outcome {
            Ok(after) => {
                self.happened(&spec.id, StepEvent::Applied { after }).await?;
                task.done("");
            }
            Err(error) => {
                let clean = matches!(error, ApplyError::Clean(_));
                let report = ErrorReport::of(error.error());
                self.happened(
                    &spec.id,
                    StepEvent::Failed {
                        clean,
                        error: report.clone(),
                    },
                )
                .await?;
                self.stop.cancel();
                task.failed_with(report);
            }
        }
        Ok(())
    }

    async fn stage(&self, stage: &Stage, fresh: &BTreeMap<StepId, Check>) -> Result<(), SagaError> {
        try_join_all(stage.steps.iter().map(|spec| self.advance(spec, fresh.get(&spec.id)))).await?;
        Ok(())
    }

    async fn advance(&self, spec: &StepSpec, fresh: Option<&Check>) -> Result<(), SagaError> {
        let record = self.record(&spec.id).await;
        let task = self.scope.child(spec.id.as_str(), spec.title.clone());
        if record.state.is_complete() {
            task.unchanged("it was done before");
            return Ok(());
        }
        let attempt = record.attempt + 1;
        let hand = match self.take_in_hand(spec, attempt, &task, self.stop.clone()).await {
            Ok(hand) => hand,
            // What an earlier step gave does not fit: this is the step's failure, and the others are undone.
            Err(error @ (SagaError::Params { .. } | SagaError::Reference { .. })) => {
                let hint = error.hint();
                let error = StepError::new(error);
                let error = match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                };
                return self.outcome(spec, task, Err(ApplyError::Clean(error))).await;
            }
            Err(error) => return Err(error),
        };
        let before = match record.before {
            // A later attempt: what the first one found is what `undo` goes back to.
            Some(before) => before,
            None => match self.check(fresh, &hand).await {
                Ok(Check::Change { before, .. }) => before,
                Ok(Check::Satisfied { after }) => {
                    if self.begin(spec, StepEvent::Satisfied { after }).await? {
                        task.unchanged("");
                    }
                    return Ok(());
                }
                Err(error) => return self.outcome(spec, task, Err(ApplyError::Clean(error))).await,
            },
        };
        if !self
            .begin(
                spec,
                StepEvent::Intent {
                    attempt,
                    before: before.clone(),
                },
            )
            .await?
        {
            task.skipped("it was not begun");
            return Ok(());
        }
        self.may_act().await?;
        let applied = hand.limited(hand.step.apply(&hand.cx, &before)).await;
        let applied = match applied {
            Err(ApplyError::Unknown(error)) => self.second_look(&hand, &before, error).await,
            known => known,
        };
        self.outcome(spec, task, applied).await
    }

    async fn check(&self, fresh: Option<&Check>, hand: &Hand) -> Result<Check, StepError> {
        match fresh {
            Some(check) => Ok(check.clone()),
            None => within(self.runner.options.read_deadline, hand.step.check(&hand.cx)).await,
        }
    }

    /// Writes that a step begins, unless all is about to be undone.
    async fn begin(&self, spec: &StepSpec, event: StepEvent) -> Result<bool, SagaError> {
        let mut journal = self.journal.lock().await;
        if journal.first_failure().is_some() || self.stop.is_cancelled() || self.cancel.level() >= Level::Graceful {
            return Ok(false);
        }
        self.append(
            &mut journal,
            JournalEvent::Step {
                step: spec.id.clone(),
                happened: event,
            },
        )
        .await?;
        Ok(true)
    }

    /// An answer may have been lost, not the effect. What the look cannot tell stays the error that it was.
    async fn second_look(&self, hand: &Hand, before: &Value, error: StepError) -> Result<Value, ApplyError> {
        let read_deadline = self.runner.options.read_deadline;
        match within(read_deadline, hand.step.observe(&hand.cx, before)).await {
            Ok(Observation::Done(after)) => {
                hand.cx
                    .progress()
                    .warning(format!("it was done, although: {}", ErrorReport::of(&error)));
                Ok(after)
            }
            Ok(Observation::Running) if hand.step.reversal() == Reversal::ForwardOnly && !Hand::is_late(&error) => {
                hand.cx
                    .progress()
                    .warning(format!("it still runs, although: {}", ErrorReport::of(&error)));
                hand.limited(hand.step.attach(&hand.cx, before)).await
            }
            _ => Err(ApplyError::Unknown(error)),
        }
    }

    pub(crate) fn warn(&self, text: String, hint: Option<String>) {
        self.scope.message(MessageLevel::Warning, text, hint);
    }
}
