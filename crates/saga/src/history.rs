//! What a journal tells of its deployment: who worked on it, and what was done to each step, when and how it came out.
//!
//! Invariant: a pure function of the stored plan and the entries. What nobody wrote is open, not guessed.

use jiff::Timestamp;
use nuages_model::{AppName, EnvName, ReleaseId};
use serde::Serialize;

use crate::entry::{End, Entry, JournalEvent, Mode, StepEvent, UndoReason};
use crate::error::ErrorReport;
use crate::holder::Holder;
use crate::{DeploymentId, Plan, StepId};

/// A deployment, as its journal tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// Its id.
    pub deployment: DeploymentId,
    /// What was done: `deploy`, `rollback`, ….
    pub operation: String,
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
    /// The release that was made or gone back to.
    pub release: Option<ReleaseId>,
    /// When the plan was stored.
    pub began: Timestamp,
    /// When something was last written.
    pub last: Timestamp,
    /// How it ended; nothing, if it has not.
    pub end: Option<End>,
    /// When and why it began to be undone.
    pub undone: Option<(Timestamp, UndoReason)>,
    /// Who worked on it, in order.
    pub turns: Vec<Turn>,
    /// What was done to its steps, in the order in which it began.
    pub acts: Vec<Act>,
}

/// One process's work on a deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// Which process.
    pub holder: Holder,
    /// To do what.
    pub mode: Mode,
    /// With which version of the tool.
    pub tool: String,
    /// When it began.
    pub began: Timestamp,
    /// When it last wrote something.
    pub last: Timestamp,
}

/// One attempt at a step, or its undo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Act {
    /// The step.
    pub step: StepId,
    /// Its title.
    pub title: String,
    /// The stage that it is in.
    pub stage: String,
    /// Which attempt, from 1; none for an undo.
    pub attempt: Option<u32>,
    /// When it began.
    pub began: Timestamp,
    /// When its outcome was written.
    pub ended: Option<Timestamp>,
    /// How it came out.
    pub outcome: ActOutcome,
}

/// How an attempt or an undo came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum ActOutcome {
    /// Nobody wrote it: it is under way, or its process died.
    Open,
    /// It was as wanted before.
    Satisfied,
    /// It was applied.
    Applied,
    /// It certainly had no effect.
    NotDone,
    /// It failed.
    Failed {
        /// Why.
        error: ErrorReport,
    },
    /// It was undone.
    Undone,
    /// It stays, although the deployment is undone.
    Kept,
    /// A person must act.
    Stuck {
        /// Why.
        error: ErrorReport,
    },
}

impl ActOutcome {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Satisfied => "as wanted",
            Self::Applied => "applied",
            Self::NotDone => "no effect",
            Self::Failed { .. } => "failed",
            Self::Undone => "undone",
            Self::Kept => "kept",
            Self::Stuck { .. } => "stuck",
        }
    }

    /// Why, where it did not go well.
    pub fn error(&self) -> Option<&ErrorReport> {
        match self {
            Self::Failed { error } | Self::Stuck { error } => Some(error),
            _ => None,
        }
    }
}

impl History {
    /// Reads a journal.
    ///
    /// ```
    /// use nuages_saga::{History, Plan};
    ///
    /// let plan = Plan::new("deploy", "blog".parse()?, "staging".parse()?, "0.1.0");
    /// let history = History::of(&plan, &[]);
    /// assert!(history.acts.is_empty() && history.end.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(plan: &Plan, entries: &[Entry]) -> Self {
        let mut history = Self {
            deployment: plan.deployment,
            operation: plan.operation.clone(),
            app: plan.app.clone(),
            env: plan.env.clone(),
            release: plan.release,
            began: entries.first().map_or(plan.created, |entry| entry.at),
            last: entries.last().map_or(plan.created, |entry| entry.at),
            end: None,
            undone: None,
            turns: Vec::new(),
            acts: Vec::new(),
        };
        for entry in entries {
            history.read(plan, entry);
        }
        history
    }

    fn read(&mut self, plan: &Plan, entry: &Entry) {
        match &entry.event {
            JournalEvent::Planned { .. } => {}
            JournalEvent::Started { holder, mode, tool } => self.turns.push(Turn {
                holder: holder.clone(),
                mode: *mode,
                tool: tool.clone(),
                began: entry.at,
                last: entry.at,
            }),
            JournalEvent::UndoBegan { reason } => self.undone = Some((entry.at, reason.clone())),
            JournalEvent::Ended { end } => self.end = Some(end.clone()),
            JournalEvent::Step { step, happened } => self.step(plan, entry.at, step, happened),
        }
        if let Some(turn) = self.turns.last_mut() {
            turn.last = entry.at;
        }
    }

    fn step(&mut self, plan: &Plan, at: Timestamp, step: &StepId, happened: &StepEvent) {
        let outcome = match happened {
            StepEvent::Intent { attempt, .. } => return self.begin(plan, at, step, Some(*attempt)),
            StepEvent::UndoStarted => return self.begin(plan, at, step, None),
            StepEvent::Satisfied { .. } => ActOutcome::Satisfied,
            StepEvent::Applied { .. } => ActOutcome::Applied,
            StepEvent::Failed { error, .. } => ActOutcome::Failed { error: error.clone() },
            StepEvent::NotDone => ActOutcome::NotDone,
            StepEvent::Undone => ActOutcome::Undone,
            StepEvent::Kept { .. } => ActOutcome::Kept,
            StepEvent::Stuck { error, .. } => ActOutcome::Stuck { error: error.clone() },
        };
        let open = |act: &&mut Act| act.step == *step && act.outcome == ActOutcome::Open;
        if self.acts.iter_mut().rev().find(open).is_none() {
            // An outcome without a beginning took no time: nothing had to be done.
            let attempt = matches!(outcome, ActOutcome::Satisfied | ActOutcome::Failed { .. }).then_some(1);
            self.begin(plan, at, step, attempt);
        }
        if let Some(act) = self.acts.iter_mut().rev().find(open) {
            act.ended = Some(at);
            act.outcome = outcome;
        }
    }

    fn begin(&mut self, plan: &Plan, at: Timestamp, step: &StepId, attempt: Option<u32>) {
        let found = plan
            .stages
            .iter()
            .find_map(|stage| Some((stage, stage.steps.iter().find(|spec| spec.id == *step)?)));
        self.acts.push(Act {
            step: step.clone(),
            title: found.map_or_else(|| step.to_string(), |(_, spec)| spec.title.clone()),
            stage: found.map_or_else(String::new, |(stage, _)| stage.title.clone()),
            attempt,
            began: at,
            ended: None,
            outcome: ActOutcome::Open,
        });
    }
}
