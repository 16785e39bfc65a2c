//! A line an event, for logs.
//!
//! Invariant: lines are only ever added, none depends on the width of a terminal, and at least every thirty seconds
//! one says that the run is alive.

use std::io::{self, Write};

use jiff::Timestamp;
use nuages_model::Note;
use nuages_saga::{Event, EventKind, MessageLevel, TaskId, TaskState};

use super::error::block;
use super::state::{State, Task, word};
use super::style::{Paint, Style};
use super::text::{clean, elapsed};
use super::{Sink, data};

/// The longest silence, in milliseconds.
const HEARTBEAT: i128 = 30_000;

/// Writes a line for each event.
#[derive(Debug)]
pub(crate) struct Plain {
    out: Sink,
    err: Sink,
    style: Style,
    /// Problems and results alone.
    quiet: bool,
    state: State,
    began: Option<Timestamp>,
    spoke: Option<Timestamp>,
}

impl Plain {
    pub(super) fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, style: Style, quiet: bool) -> Self {
        Self {
            out: Sink::new(out),
            err: Sink::new(err),
            style,
            quiet,
            state: State::default(),
            began: None,
            spoke: None,
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.began.get_or_insert(event.at);
        let counts_before = self.counts(event.task);
        let status_before = self.state.get(event.task).and_then(|task| task.status.clone());
        self.state.follow(event);
        match &event.kind {
            EventKind::TaskStarted { .. } => {
                let title = self.title(event.task);
                self.say(event.at, &title);
            }
            EventKind::Note { note } => self.note(event, note, status_before.as_deref(), &counts_before),
            EventKind::TaskEnded { .. } => self.ended(event),
            EventKind::Message { level, text, hint } => self.message(event, *level, text, hint.as_deref()),
            EventKind::Data { value, .. } => {
                if let Some(line) = data(value) {
                    self.out.line(&line);
                }
            }
            _ => {}
        }
        // Beneath a root that ended nothing more is said.
        if let Some(task) = self
            .state
            .get(event.task)
            .filter(|task| task.parent.is_none() && !task.running())
        {
            let id = task.id;
            self.state.forget(id);
        }
    }

    /// Says what runs, where nothing else was said for a while.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let Some(spoke) = self.spoke else { return };
        if self.quiet || now.duration_since(spoke).as_millis() < HEARTBEAT {
            return;
        }
        let lines: Vec<String> = self.state.leaves().map(|task| still(task, now)).collect();
        for line in lines {
            self.say(now, &line);
        }
        self.spoke = Some(now);
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.out.finish()
    }

    fn note(&mut self, event: &Event, note: &Note, status: Option<&str>, counts: &[(String, u64)]) {
        match note {
            // A log's empty lines tell nothing beside a stamp.
            Note::Line { text, .. } if text.trim().is_empty() => {}
            Note::Line { source, text } => {
                let line = format!("{} | {}", clean(source), clean(text));
                let line = self.style.paint(Paint::Dim, line.trim_end());
                self.say(event.at, &line);
            }
            Note::Warning { text } => self.message(event, MessageLevel::Warning, text, None),
            _ => {
                let Some(task) = self.state.get(event.task) else { return };
                let new_status = task
                    .status
                    .as_deref()
                    .filter(|now| Some(*now) != status)
                    .map(str::to_owned);
                let title = task.title.clone();
                if let Some(text) = new_status {
                    self.say(event.at, &format!("{title}: {text}"));
                }
                // Counts are few; of bytes, the heartbeat and the end tell enough.
                let changed: Vec<String> = self
                    .counts(event.task)
                    .into_iter()
                    .filter(|now| !counts.contains(now))
                    .map(|now| now.0)
                    .collect();
                for text in changed {
                    self.say(event.at, &format!("{title}: {text}"));
                }
            }
        }
    }

    /// What a task counts, in words.
    fn counts(&self, id: TaskId) -> Vec<(String, u64)> {
        let amounts = self
            .state
            .get(id)
            .map(|task| task.amounts.as_slice())
            .unwrap_or_default();
        amounts
            .iter()
            .filter(|amount| !amount.bytes)
            .map(|amount| (amount.counted(), amount.done))
            .collect()
    }

    fn ended(&mut self, event: &Event) {
        let Some((task, end)) = self
            .state
            .get(event.task)
            .and_then(|task| Some((task, task.end.as_ref()?)))
        else {
            return;
        };
        let paint = match end.state {
            TaskState::Failed => Paint::Bad,
            TaskState::Undone | TaskState::Abandoned => Paint::Warn,
            TaskState::Done | TaskState::Unchanged | TaskState::Skipped | TaskState::Kept => Paint::Good,
        };
        let mut line = format!(
            "{}: {} in {}",
            task.title,
            self.style.paint(paint, word(end.state)),
            elapsed(end.elapsed_ms)
        );
        let transferred = task.transfer().map(|(done, _)| super::text::bytes(done));
        // Told by the task that it happened in, and not by every task around it again.
        let inner = task
            .children
            .iter()
            .any(|id| self.state.get(*id).is_some_and(Task::failed));
        let why = end
            .error
            .as_ref()
            .filter(|_| !inner)
            .map(|error| clean(&error.to_string()));
        for part in [end.detail.clone(), transferred, why].into_iter().flatten() {
            line.push_str(", ");
            line.push_str(&part);
        }
        if end.state == TaskState::Failed {
            // Without the lines as they came, the last of them explain the failure.
            let last: Vec<String> = if self.quiet {
                task.lines.iter().cloned().collect()
            } else {
                Vec::new()
            };
            self.always(event.at, &line);
            for text in last {
                self.always(event.at, &format!("  | {text}"));
            }
        } else {
            self.say(event.at, &line);
        }
    }

    fn message(&mut self, event: &Event, level: MessageLevel, text: &str, hint: Option<&str>) {
        let (word, paint) = match level {
            MessageLevel::Info => ("", Paint::Plain),
            MessageLevel::Warning => ("warning: ", Paint::Warn),
            MessageLevel::Error => ("error: ", Paint::Bad),
        };
        let line = format!("{}{}", self.style.paint(paint, word), block(text, STAMP + word.len()));
        if level == MessageLevel::Info {
            self.say(event.at, &line);
        } else {
            self.always(event.at, &line);
        }
        if let Some(hint) = hint.filter(|_| level != MessageLevel::Info || !self.quiet) {
            let line = format!("hint: {}", block(hint, STAMP + "hint: ".len()));
            self.always(event.at, &line);
        }
    }

    fn title(&self, id: TaskId) -> String {
        self.state.get(id).map(|task| task.title.clone()).unwrap_or_default()
    }

    fn say(&mut self, at: Timestamp, line: &str) {
        if !self.quiet {
            self.always(at, line);
        }
    }

    fn always(&mut self, at: Timestamp, line: &str) {
        let since = self.began.map_or(0, |began| at.duration_since(began).as_millis());
        let since = elapsed(u64::try_from(since).unwrap_or(0));
        let stamp = self.style.paint(Paint::Dim, &format!("[{since:>7}]"));
        self.err.line(&format!("{stamp} {line}"));
        self.spoke = Some(at);
    }
}

/// The width of `[  12.3s] `.
const STAMP: usize = 10;

fn still(task: &Task, now: Timestamp) -> String {
    let mut line = format!("{}: still running, {}", task.title, elapsed(task.elapsed_ms(now)));
    for part in [task.progress(now), task.status.clone()].into_iter().flatten() {
        line.push_str(", ");
        line.push_str(&part);
    }
    line
}
