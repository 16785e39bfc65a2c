//! What can stand in a journal: its entries, as data.
//!
//! Invariant: an entry is written once and never changed; text of a newer format reads as such.

use jiff::Timestamp;
use nuages_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StepId;
use crate::codec::{self, DecodeError};
use crate::error::ErrorReport;
use crate::holder::Holder;
use crate::step::Reversal;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place, from 0, without gaps.
    pub position: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: JournalEvent,
}

impl Entry {
    /// As a store keeps it: text, versioned.
    pub fn encode(&self) -> String {
        codec::encode("entry", self)
    }

    /// From what a store kept.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        codec::decode("entry", text)
    }
}

/// Why a process began to work on a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// To run it.
    Run,
    /// To finish it.
    Resume,
    /// To undo it.
    Abort,
}

/// What can stand in a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum JournalEvent {
    /// The plan was stored. Always the first.
    Planned {
        /// The digest of the stored plan.
        plan: Digest,
    },
    /// A process began to work on it.
    Started {
        /// Which.
        holder: Holder,
        /// To do what.
        mode: Mode,
        /// With which version of the tool.
        tool: String,
    },
    /// Something happened to a step.
    Step {
        /// Which.
        step: StepId,
        /// What.
        happened: StepEvent,
    },
    /// From here on it is undone.
    UndoBegan {
        /// Why.
        reason: UndoReason,
    },
    /// It ended.
    Ended {
        /// How.
        end: End,
    },
}

/// Why a deployment is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum UndoReason {
    /// A step failed.
    Failed {
        /// Which.
        step: StepId,
    },
    /// Somebody asked to stop.
    Interrupted,
    /// Somebody asked to undo it.
    Aborted,
}

/// How a deployment ended. One that is stuck has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// Every step was applied.
    Finished,
    /// It was undone, but for forward-only steps.
    Restored {
        /// The forward-only steps that stay applied.
        kept: Vec<StepId>,
    },
    /// Nothing was applied: the plan did not fit any more, or a check failed.
    Refused {
        /// Why.
        error: ErrorReport,
    },
}

/// What can happen to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "happened", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StepEvent {
    /// There was nothing to do.
    Satisfied {
        /// What it would have given.
        after: Value,
    },
    /// It is about to be applied.
    Intent {
        /// Which attempt, from 1.
        attempt: u32,
        /// The state that is changed; of a later attempt the first one's.
        before: Value,
    },
    /// It reached its goal.
    Applied {
        /// What it gave.
        after: Value,
    },
    /// It failed.
    Failed {
        /// Whether certainly nothing happened.
        clean: bool,
        /// Why.
        error: ErrorReport,
    },
    /// A look showed that the attempt certainly has no effect.
    NotDone,
    /// It is about to be undone.
    UndoStarted,
    /// It was undone.
    Undone,
    /// It stays as it is, although the deployment is undone.
    Kept {
        /// Whether it is forward-only, or has nothing to undo.
        reversal: Reversal,
    },
    /// It could not be undone, or nobody can tell how far it came: a person must act.
    Stuck {
        /// Why.
        error: ErrorReport,
        /// The commands that finish it.
        by_hand: Vec<String>,
    },
}

impl JournalEvent {
    /// How the deployment ended, if this ends it.
    pub fn end(&self) -> Option<End> {
        match self {
            Self::Ended { end } => Some(end.clone()),
            _ => None,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Started { .. } => "started",
            Self::UndoBegan { .. } => "undo-began",
            Self::Ended { .. } => "ended",
            Self::Step { happened, .. } => match happened {
                StepEvent::Satisfied { .. } => "satisfied",
                StepEvent::Intent { .. } => "intent",
                StepEvent::Applied { .. } => "applied",
                StepEvent::Failed { .. } => "failed",
                StepEvent::NotDone => "not-done",
                StepEvent::UndoStarted => "undo-started",
                StepEvent::Undone => "undone",
                StepEvent::Kept { .. } => "kept",
                StepEvent::Stuck { .. } => "stuck",
            },
        }
    }
}
