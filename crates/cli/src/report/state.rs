//! What is known of the tasks that run, from their events.
//!
//! Invariant: it grows with the tasks and not with their output: of each task only the last lines are kept.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use nuages_model::Note;
use nuages_saga::{ErrorReport, Event, EventKind, TaskId, TaskState};

use super::text::{bytes, bytes_of, clean, elapsed};

/// Lines of output that are kept of a task, for when it fails.
const KEPT: usize = 30;

#[derive(Debug, Default)]
pub(super) struct State {
    tasks: BTreeMap<TaskId, Task>,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) title: String,
    pub(super) parent: Option<TaskId>,
    pub(super) children: Vec<TaskId>,
    pub(super) started: Timestamp,
    pub(super) end: Option<End>,
    pub(super) status: Option<String>,
    pub(super) lines: VecDeque<String>,
    pub(super) amounts: Vec<Amount>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) state: TaskState,
    pub(super) detail: Option<String>,
    pub(super) error: Option<ErrorReport>,
    pub(super) elapsed_ms: u64,
}

/// Bytes or things, done of a total.
#[derive(Debug)]
pub(super) struct Amount {
    pub(super) what: String,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    pub(super) bytes: bool,
    /// When it was first heard of, and how much was done then: its pace is measured from there.
    began: (Timestamp, u64),
}

impl State {
    pub(super) fn get(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// The tasks that are part of no other.
    pub(super) fn roots(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.tasks.values().filter(|task| task.parent.is_none())
    }

    /// Running tasks without a running task within them.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Task> {
        let running = |id: &TaskId| self.get(*id).is_some_and(|task| task.end.is_none());
        self.tasks
            .values()
            .filter(move |task| task.end.is_none() && !task.children.iter().any(running))
    }

    /// Follows an event. What belongs to a task that was never heard of changes nothing.
    pub(super) fn follow(&mut self, event: &Event) {
        match &event.kind {
            // A parent is known before its child, and nothing begins twice: the tasks are a tree.
            EventKind::TaskStarted { parent, title, .. } if !self.tasks.contains_key(&event.task) => {
                let parent = parent.filter(|parent| self.tasks.contains_key(parent));
                if let Some(parent) = parent.and_then(|parent| self.tasks.get_mut(&parent)) {
                    parent.children.push(event.task);
                }
                let task = Task {
                    id: event.task,
                    title: clean(title),
                    parent,
                    children: Vec::new(),
                    started: event.at,
                    end: None,
                    status: None,
                    lines: VecDeque::new(),
                    amounts: Vec::new(),
                };
                self.tasks.insert(event.task, task);
            }
            EventKind::Note { note } => {
                if let Some(task) = self.tasks.get_mut(&event.task) {
                    task.note(note, event.at);
                }
            }
            EventKind::TaskEnded {
                state,
                detail,
                error,
                elapsed_ms,
            } => {
                if let Some(task) = self.tasks.get_mut(&event.task) {
                    task.end = Some(End {
                        state: *state,
                        detail: detail.as_deref().map(clean).filter(|detail| !detail.is_empty()),
                        error: error.clone(),
                        elapsed_ms: *elapsed_ms,
                    });
                    task.status = None;
                    if *state != TaskState::Failed {
                        task.lines.clear();
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets a task and all within it.
    pub(super) fn forget(&mut self, id: TaskId) {
        for child in self.tasks.remove(&id).map(|task| task.children).unwrap_or_default() {
            self.forget(child);
        }
    }
}

impl Task {
    fn note(&mut self, note: &Note, at: Timestamp) {
        match note {
            Note::Line { text, .. } => {
                let line = clean(text);
                if !line.is_empty() {
                    if self.lines.len() == KEPT {
                        self.lines.pop_front();
                    }
                    self.lines.push_back(line);
                }
            }
            Note::Bytes { what, done, total } => self.amount(what, *done, *total, true, at),
            Note::Count { what, done, total } => self.amount(what, *done, Some(*total), false, at),
            Note::Status { text } => self.status = Some(clean(text)).filter(|text| !text.is_empty()),
            _ => {}
        }
    }

    fn amount(&mut self, what: &str, done: u64, total: Option<u64>, bytes: bool, at: Timestamp) {
        if let Some(amount) = self
            .amounts
            .iter_mut()
            .find(|amount| amount.what == what && amount.bytes == bytes)
        {
            if done < amount.done {
                // It began again: a new attempt has a pace of its own.
                amount.began = (at, done);
            }
            amount.done = done;
            amount.total = total;
        } else {
            self.amounts.push(Amount {
                what: clean(what),
                done,
                total,
                bytes,
                began: (at, done),
            });
        }
    }

    pub(super) fn running(&self) -> bool {
        self.end.is_none()
    }

    pub(super) fn failed(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.state == TaskState::Failed)
    }

    pub(super) fn elapsed_ms(&self, now: Timestamp) -> u64 {
        match &self.end {
            Some(end) => end.elapsed_ms,
            None => u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(0),
        }
    }

    /// All bytes of the task together, where every total is known.
    pub(super) fn transfer(&self) -> Option<(u64, u64)> {
        let transfers = self.amounts.iter().filter(|amount| amount.bytes);
        let mut sum = None;
        for amount in transfers {
            let total = amount.total?;
            let (done, all): (u64, u64) = sum.unwrap_or((0, 0));
            sum = Some((done.saturating_add(amount.done.min(total)), all.saturating_add(total)));
        }
        sum.filter(|(_, total)| *total > 0)
    }

    /// When all bytes will be there, at the pace so far.
    pub(super) fn left_ms(&self, now: Timestamp) -> Option<u64> {
        let (done, total) = self.transfer()?;
        let transfers = || self.amounts.iter().filter(|amount| amount.bytes);
        let since = transfers().map(|amount| amount.began.0).min()?;
        let before: u64 = transfers().map(|amount| amount.began.1).fold(0, u64::saturating_add);
        let spent = u64::try_from(now.duration_since(since).as_millis()).ok()?;
        let moved = done.checked_sub(before).filter(|moved| *moved > 0)?;
        // The first second says nothing yet.
        if spent < 1000 || done >= total {
            return None;
        }
        u64::try_from(u128::from(total - done) * u128::from(spent) / u128::from(moved)).ok()
    }

    /// How far it is, in words: `5.2 of 12.1 MB (43%), 4.0s left`, `1 of 2 tasks healthy`.
    pub(super) fn progress(&self, now: Timestamp) -> Option<String> {
        let mut parts = Vec::new();
        if let Some((done, total)) = self.transfer() {
            parts.push(format!(
                "{} ({}%)",
                bytes_of(done, total),
                u128::from(done) * 100 / u128::from(total)
            ));
            parts.extend(self.left_ms(now).map(|left| format!("{} left", elapsed(left))));
        } else {
            let moved = self
                .amounts
                .iter()
                .filter(|amount| amount.bytes)
                .map(|amount| amount.done);
            let moved = moved.fold(0, u64::saturating_add);
            parts.extend((moved > 0).then(|| bytes(moved)));
        }
        parts.extend(self.amounts.iter().filter(|amount| !amount.bytes).map(Amount::counted));
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl Amount {
    /// `1 of 2 tasks healthy`.
    pub(super) fn counted(&self) -> String {
        match self.total {
            Some(total) => format!("{} of {total} {}", self.done, self.what),
            None => format!("{} {}", self.done, self.what),
        }
    }
}

/// The word for how a task ended.
pub(super) fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Done => "done",
        TaskState::Unchanged => "unchanged",
        TaskState::Skipped => "skipped",
        TaskState::Kept => "kept",
        TaskState::Failed => "failed",
        TaskState::Undone => "undone",
        TaskState::Abandoned => "left as it is",
    }
}
