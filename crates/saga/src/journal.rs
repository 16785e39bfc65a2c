//! What happened, in order: the journal's entries, and the state machine that they drive.
//!
//! Invariant: an entry that cannot have happened is refused, when it is written and when it is read. All that a run
//! knows of the past is this fold: whoever resumes sees what whoever ran saw.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::entry::{End, Entry, JournalEvent, StepEvent, UndoReason};
use crate::error::ErrorReport;
use crate::output::Outputs;
use crate::step::Reversal;
use crate::{Plan, StepId};

/// An entry that cannot stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {position} (`{event}`{}) cannot follow: {why}", .step.as_ref().map(|step| format!(" of step `{step}`")).unwrap_or_default())]
pub struct Illegal {
    /// Its position.
    pub position: u64,
    /// What it says.
    pub event: &'static str,
    /// Of which step.
    pub step: Option<StepId>,
    /// Why it cannot.
    pub why: String,
}

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was written yet.
    New,
    /// The plan is stored.
    Planned,
    /// It is being applied.
    Forward,
    /// It is being undone.
    Undoing(UndoReason),
    /// It ended.
    Ended(End),
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Nothing happened yet.
    Pending,
    /// There was nothing to do.
    Satisfied,
    /// It may be under way: nobody wrote how it came out.
    Intended,
    /// The last attempt certainly had no effect.
    NotDone,
    /// It reached its goal.
    Applied,
    /// It failed, and certainly nothing happened.
    FailedClean,
    /// It failed, and something may have happened.
    FailedUnknown,
    /// Its undo may be under way.
    Undoing,
    /// It was undone.
    Undone,
    /// It stays as it is.
    Kept(Reversal),
    /// A person must act.
    Stuck,
}

impl StepState {
    /// Whether the step is as the plan wants it.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Satisfied | Self::Applied)
    }

    /// Whether nothing is left to undo.
    pub fn is_settled(self) -> bool {
        use StepState::{FailedClean, Kept, NotDone, Pending, Satisfied, Undone};
        matches!(self, Pending | Satisfied | NotDone | FailedClean | Undone | Kept(_))
    }
}

/// All that is known of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// Where it stands.
    pub state: StepState,
    /// The last attempt; 0 where there was none.
    pub attempt: u32,
    /// The state before the first attempt.
    pub before: Option<Value>,
    /// What it gave.
    pub after: Option<Value>,
    /// Why it failed.
    pub failure: Option<ErrorReport>,
    /// Why a person must act, and the commands.
    pub stuck: Option<(ErrorReport, Vec<String>)>,
}

/// A journal, folded.
///
/// ```
/// use nuages_saga::{Journal, JournalEvent, Phase, Plan, StoredPlan};
///
/// let plan = Plan::new("deploy", "blog".parse()?, "staging".parse()?, "0.1.0");
/// let mut journal = Journal::new(plan.clone());
/// let first = journal.next(JournalEvent::Planned { plan: StoredPlan::of(&plan).digest() })?;
/// journal.accept(&first)?;
/// assert_eq!(*journal.phase(), Phase::Planned);
/// assert!(journal.accept(&first).is_err(), "an entry is taken once");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Journal {
    plan: Plan,
    position: u64,
    phase: Phase,
    steps: BTreeMap<StepId, StepRecord>,
    stage_of: BTreeMap<StepId, usize>,
    first_failure: Option<StepId>,
}

impl Journal {
    /// The journal of this plan, without entries.
    pub fn new(plan: Plan) -> Self {
        let record = StepRecord {
            state: StepState::Pending,
            attempt: 0,
            before: None,
            after: None,
            failure: None,
            stuck: None,
        };
        let steps = plan.steps().map(|step| (step.id.clone(), record.clone())).collect();
        let stage_of = plan
            .stages
            .iter()
            .enumerate()
            .flat_map(|(index, stage)| stage.steps.iter().map(move |step| (step.id.clone(), index)))
            .collect();
        Self {
            plan,
            position: 0,
            phase: Phase::New,
            steps,
            stage_of,
            first_failure: None,
        }
    }

    /// The journal of this plan with these entries.
    pub fn fold<'a>(plan: Plan, entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, Illegal> {
        let mut journal = Self::new(plan);
        entries.into_iter().try_for_each(|entry| journal.accept(entry))?;
        Ok(journal)
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the deployment stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The next entry's position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is known of a step.
    pub fn step(&self, id: &StepId) -> Option<&StepRecord> {
        self.steps.get(id)
    }

    /// What is known of every step, by name.
    pub fn steps(&self) -> &BTreeMap<StepId, StepRecord> {
        &self.steps
    }

    /// The step that failed first, if one did.
    pub fn first_failure(&self) -> Option<(&StepId, &ErrorReport)> {
        let step = self.first_failure.as_ref()?;
        Some((step, self.steps.get(step)?.failure.as_ref()?))
    }

    /// What the steps have given so far.
    pub fn outputs(&self) -> Outputs {
        self.steps
            .iter()
            .filter_map(|(id, record)| Some((id.clone(), record.after.clone()?)))
            .collect()
    }

    /// Whether no step was ever about to be applied.
    pub fn is_untouched(&self) -> bool {
        self.steps.values().all(|record| record.attempt == 0)
    }

    /// The entry that would say this next, made now, if it may be said.
    pub fn next(&self, event: JournalEvent) -> Result<Entry, Illegal> {
        let entry = Entry {
            position: self.position,
            at: Timestamp::now(),
            event,
        };
        self.judge(&entry)?;
        Ok(entry)
    }

    /// Takes an entry. A refused one changes nothing.
    pub fn accept(&mut self, entry: &Entry) -> Result<(), Illegal> {
        self.judge(entry)?;
        self.position += 1;
        match &entry.event {
            JournalEvent::Planned { .. } => self.phase = Phase::Planned,
            JournalEvent::Started { .. } => {
                if self.phase == Phase::Planned {
                    self.phase = Phase::Forward;
                }
            }
            JournalEvent::UndoBegan { reason } => self.phase = Phase::Undoing(reason.clone()),
            JournalEvent::Ended { end } => self.phase = Phase::Ended(end.clone()),
            JournalEvent::Step { step, happened } => self.take(step, happened),
        }
        Ok(())
    }

    fn take(&mut self, step: &StepId, happened: &StepEvent) {
        let Some(record) = self.steps.get_mut(step) else { return };
        match happened {
            StepEvent::Satisfied { after } => {
                record.state = StepState::Satisfied;
                record.after = Some(after.clone());
            }
            StepEvent::Intent { attempt, before } => {
                record.state = StepState::Intended;
                record.attempt = *attempt;
                record.before = Some(before.clone());
            }
            StepEvent::Applied { after } => {
                record.state = StepState::Applied;
                record.after = Some(after.clone());
            }
            StepEvent::Failed { clean, error } => {
                record.state = if *clean {
                    StepState::FailedClean
                } else {
                    StepState::FailedUnknown
                };
                record.failure = Some(error.clone());
                self.first_failure.get_or_insert_with(|| step.clone());
            }
            StepEvent::NotDone => record.state = StepState::NotDone,
            StepEvent::UndoStarted => record.state = StepState::Undoing,
            StepEvent::Undone => record.state = StepState::Undone,
            StepEvent::Kept { reversal } => record.state = StepState::Kept(*reversal),
            StepEvent::Stuck { error, by_hand } => {
                record.state = StepState::Stuck;
                record.stuck = Some((error.clone(), by_hand.clone()));
            }
        }
    }

    fn judge(&self, entry: &Entry) -> Result<(), Illegal> {
        let step = match &entry.event {
            JournalEvent::Step { step, .. } => Some(step.clone()),
            _ => None,
        };
        let refuse = |why: String| Illegal {
            position: entry.position,
            event: entry.event.name(),
            step: step.clone(),
            why,
        };
        if entry.position != self.position {
            return Err(refuse(format!("the next position is {}", self.position)));
        }
        let verdict = match &entry.event {
            JournalEvent::Planned { .. } => {
                if self.phase == Phase::New {
                    Ok(())
                } else {
                    Err("the plan is stored already")
                }
            }
            _ if self.phase == Phase::New => Err("no plan is stored yet"),
            _ if matches!(self.phase, Phase::Ended(_)) => Err("the deployment has ended"),
            JournalEvent::Started { .. } => Ok(()),
            _ if self.phase == Phase::Planned => Err("no process has started"),
            JournalEvent::UndoBegan { .. } => {
                if self.phase == Phase::Forward {
                    Ok(())
                } else {
                    Err("the undo has begun already")
                }
            }
            JournalEvent::Ended { end } => self.judge_end(end),
            JournalEvent::Step { step, happened } => match self.steps.get(step) {
                None => Err("the plan has no such step"),
                Some(record) => self.judge_step(step, record, happened),
            },
        };
        verdict.map_err(|why| refuse(why.to_owned()))
    }

    fn judge_end(&self, end: &End) -> Result<(), &'static str> {
        let undoing = matches!(self.phase, Phase::Undoing(_));
        match end {
            End::Finished if undoing => Err("it is being undone"),
            End::Finished if self.steps.values().all(|record| record.state.is_complete()) => Ok(()),
            End::Finished => Err("not every step was applied"),
            End::Restored { .. } if !undoing => Err("its undo has not begun"),
            End::Restored { .. } if !self.steps.values().all(|record| record.state.is_settled()) => {
                Err("not every step was undone")
            }
            End::Restored { kept } if *kept == self.kept() => Ok(()),
            End::Restored { .. } => Err("these are not the steps that were kept"),
            End::Refused { .. } if undoing || !self.is_untouched() => Err("something was done"),
            End::Refused { .. } => Ok(()),
        }
    }

    fn judge_step(&self, step: &StepId, record: &StepRecord, happened: &StepEvent) -> Result<(), &'static str> {
        use StepState::{Applied, FailedUnknown, Intended, NotDone, Pending, Stuck, Undoing};
        let undoing = matches!(self.phase, Phase::Undoing(_));
        let state = record.state;
        let ok = |legal: bool, why| if legal { Ok(()) } else { Err(why) };
        match happened {
            StepEvent::Satisfied { .. } | StepEvent::Intent { .. } => {
                ok(!undoing, "the deployment is being undone")?;
                ok(self.first_failure.is_none(), "a step has failed")?;
                ok(
                    self.earlier(step).all(|record| record.state.is_complete()),
                    "an earlier stage is not complete",
                )?;
                match happened {
                    StepEvent::Intent { attempt, before } => {
                        ok(
                            matches!(state, Pending | NotDone),
                            "the step may have been applied already",
                        )?;
                        ok(*attempt == record.attempt + 1, "the attempt is not the next one")?;
                        ok(
                            record.before.as_ref().is_none_or(|first| first == before),
                            "`before` was read again",
                        )
                    }
                    _ => ok(state == Pending, "the step was begun"),
                }
            }
            StepEvent::Applied { .. } | StepEvent::NotDone => ok(
                matches!(state, Intended | FailedUnknown | Stuck),
                "there is no attempt whose outcome is open",
            ),
            StepEvent::Failed { clean, .. } => {
                // A step whose check failed has made no attempt.
                let unbegun = matches!(state, Pending | NotDone) && *clean && !undoing;
                ok(
                    unbegun || state == Intended,
                    "there is no attempt whose outcome is open",
                )
            }
            StepEvent::UndoStarted | StepEvent::Kept { .. } => {
                ok(undoing, "the deployment is not being undone")?;
                ok(
                    self.later(step).all(|record| record.state.is_settled()),
                    "a later stage is not undone",
                )?;
                ok(
                    matches!(state, Applied | FailedUnknown | Undoing | Stuck),
                    "there is nothing to undo",
                )
            }
            StepEvent::Undone => ok(state == Undoing, "its undo was not started"),
            StepEvent::Stuck { .. } => {
                ok(undoing, "the deployment is not being undone")?;
                ok(
                    matches!(state, Undoing | FailedUnknown | Stuck),
                    "its undo was not started",
                )
            }
        }
    }

    fn in_stages(&self, wanted: impl Fn(usize) -> bool) -> impl Iterator<Item = &StepRecord> {
        self.stage_of
            .iter()
            .filter(move |(_, stage)| wanted(**stage))
            .filter_map(|(id, _)| self.steps.get(id))
    }

    fn earlier(&self, step: &StepId) -> impl Iterator<Item = &StepRecord> {
        let stage = self.stage_of.get(step).copied().unwrap_or_default();
        self.in_stages(move |other| other < stage)
    }

    fn later(&self, step: &StepId) -> impl Iterator<Item = &StepRecord> {
        let stage = self.stage_of.get(step).copied().unwrap_or_default();
        self.in_stages(move |other| other > stage)
    }

    /// The forward-only steps that stay applied in an undo, in the plan's order.
    pub fn kept(&self) -> Vec<StepId> {
        let kept = |step: &&crate::StepSpec| {
            self.steps
                .get(&step.id)
                .is_some_and(|record| record.state == StepState::Kept(Reversal::ForwardOnly))
        };
        self.plan.steps().filter(kept).map(|step| step.id.clone()).collect()
    }
}
