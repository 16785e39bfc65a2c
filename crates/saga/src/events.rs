//! What is happening, for whoever shows it: a tree of tasks, with notes.
//!
//! Invariant: every task that started ends, once, and its parent is a task that started before it. Nothing here is
//! needed for the result: nobody may be listening.
//!
//! # The line format
//!
//! [`Event`] serialises to one object; `--json` prints one a line:
//!
//! ```json
//! {"v":1,"at":"2026-05-01T12:00:00Z","task":3,"event":"task-started","parent":1,"id":"push","title":"Push the image"}
//! {"v":1,"at":"2026-05-01T12:00:01Z","task":3,"event":"note","note":{"note":"bytes","what":"3f2a","done":512,"total":1024}}
//! {"v":1,"at":"2026-05-01T12:00:02Z","task":3,"event":"task-ended","state":"done","detail":"2 layers","elapsed_ms":2000}
//! {"v":1,"at":"2026-05-01T12:00:02Z","task":0,"event":"message","level":"warning","text":"…","hint":"…"}
//! {"v":1,"at":"2026-05-01T12:00:02Z","task":0,"event":"data","name":"url","value":"http://…"}
//! ```
//!
//! `task` counts from 1 within a process; 0 stands for no task. `id` is stable between runs and names what is done;
//! `title` is for people. A `failed` task has an `error` (`message`, `causes`, `hint`). `v` rises when a field changes
//! its meaning or goes; readers ignore fields and events that they do not know.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use nuages_model::{Note, Progress};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

use crate::error::ErrorReport;

/// The version of the line format.
pub const EVENT_VERSION: u32 = 1;

/// One event: a line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// [`EVENT_VERSION`].
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// Of which task.
    pub task: TaskId,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// A task's number within this process; 0 stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A task began.
    TaskStarted {
        /// Within which other task.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<TaskId>,
        /// What is done, the same in every run: `build`, `push`, a step's id, `undo/STEP`.
        id: String,
        /// A few words for people.
        title: String,
    },
    /// A task said something.
    Note {
        /// What it said.
        note: Note,
    },
    /// A task ended.
    TaskEnded {
        /// How.
        state: TaskState,
        /// A few words for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorReport>,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
    },
    /// A sentence for the person.
    Message {
        /// How much it matters.
        level: MessageLevel,
        /// The sentence.
        text: String,
        /// What to do next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// A result: a plan, a URL, a release.
    Data {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    },
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// It did what it should.
    Done,
    /// There was nothing to do.
    Unchanged,
    /// It was left out, and the detail says why.
    Skipped,
    /// It stays as it is, although the rest is undone; the detail says why.
    Kept,
    /// It failed.
    Failed,
    /// What it had done was undone.
    Undone,
    /// It was left where it stood: the run was detached, or ended by an error elsewhere.
    Abandoned,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageLevel {
    /// Good to know.
    Info,
    /// The person should act, some time.
    Warning,
    /// It ended the run.
    Error,
}

/// Where events come from; clones send to one listener.
///
/// ```
/// use nuages_saga::{EventKind, Events, TaskState};
///
/// let (events, mut received) = Events::channel();
/// let build = events.task("build", "Build the image");
/// build.progress().status("step 3 of 9");
/// build.child("context", "Send the context").done("12 files");
/// build.done("sha256:3f2a");
///
/// let mut ended = 0;
/// while let Ok(event) = received.try_recv() {
///     ended += usize::from(matches!(event.kind, EventKind::TaskEnded { state: TaskState::Done, .. }));
/// }
/// assert_eq!(ended, 2);
/// ```
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    next: AtomicU64,
    listener: Box<dyn Fn(Event) + Send + Sync>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events(..)")
    }
}

impl Events {
    /// Calls this function with each event. It must not block.
    pub fn to(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            next: AtomicU64::new(1),
            listener: Box::new(listener),
        }))
    }

    /// Sends each event into an unbounded channel.
    pub fn channel() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        // A reporter that went away does not stop a deployment.
        let events = Self::to(move |event| drop(sender.send(event)));
        (events, receiver)
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self::to(drop)
    }

    /// Begins a task that is part of no other.
    pub fn task(&self, id: impl Into<String>, title: impl Into<String>) -> TaskScope {
        TaskScope::begin(self.clone(), None, id.into(), title.into())
    }

    /// Says something that is not a task's.
    pub fn message(&self, level: MessageLevel, text: impl Into<String>, hint: Option<String>) {
        self.send(
            TaskId(0),
            EventKind::Message {
                level,
                text: text.into(),
                hint,
            },
        );
    }

    /// Gives a result.
    pub fn data(&self, name: impl Into<String>, value: Value) {
        self.send(
            TaskId(0),
            EventKind::Data {
                name: name.into(),
                value,
            },
        );
    }

    fn send(&self, task: TaskId, kind: EventKind) {
        (self.0.listener)(Event {
            v: EVENT_VERSION,
            at: Timestamp::now(),
            task,
            kind,
        });
    }
}

/// A task that has begun. Whoever holds it ends it; dropped before, it ends as [`TaskState::Abandoned`].
#[derive(Debug)]
#[must_use = "a task that is dropped at once ends as abandoned"]
pub struct TaskScope {
    events: Events,
    id: TaskId,
    began: Instant,
    ended: bool,
}

impl TaskScope {
    fn begin(events: Events, parent: Option<TaskId>, id: String, title: String) -> Self {
        let task = TaskId(events.0.next.fetch_add(1, Ordering::Relaxed));
        events.send(task, EventKind::TaskStarted { parent, id, title });
        Self {
            events,
            id: task,
            began: Instant::now(),
            ended: false,
        }
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Where this task's events go.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Begins a task within this one.
    pub fn child(&self, id: impl Into<String>, title: impl Into<String>) -> Self {
        Self::begin(self.events.clone(), Some(self.id), id.into(), title.into())
    }

    /// For adapters: their notes become events of this task. It may outlive the scope.
    pub fn progress(&self) -> Progress {
        let (events, task) = (self.events.clone(), self.id);
        Progress::new(move |note| events.send(task, EventKind::Note { note }))
    }

    /// Says a sentence as part of this task.
    pub fn message(&self, level: MessageLevel, text: impl Into<String>, hint: Option<String>) {
        self.events.send(
            self.id,
            EventKind::Message {
                level,
                text: text.into(),
                hint,
            },
        );
    }

    /// Gives a result of this task.
    pub fn data(&self, name: impl Into<String>, value: Value) {
        self.events.send(
            self.id,
            EventKind::Data {
                name: name.into(),
                value,
            },
        );
    }

    /// It did what it should. An empty detail is left out.
    pub fn done(self, detail: impl Into<String>) {
        self.end(TaskState::Done, detail.into(), None);
    }

    /// There was nothing to do.
    pub fn unchanged(self, detail: impl Into<String>) {
        self.end(TaskState::Unchanged, detail.into(), None);
    }

    /// It was left out.
    pub fn skipped(self, why: impl Into<String>) {
        self.end(TaskState::Skipped, why.into(), None);
    }

    /// It stays as it is, although the rest is undone.
    pub fn kept(self, why: impl Into<String>) {
        self.end(TaskState::Kept, why.into(), None);
    }

    /// It failed.
    pub fn failed(self, error: &(dyn Error + 'static)) {
        self.failed_with(ErrorReport::of(error));
    }

    /// It failed, with an error that is data already, or that has a hint of its own.
    pub fn failed_with(self, report: ErrorReport) {
        self.end(TaskState::Failed, String::new(), Some(report));
    }

    /// What it had done was undone.
    pub fn undone(self) {
        self.end(TaskState::Undone, String::new(), None);
    }

    fn end(mut self, state: TaskState, detail: String, error: Option<ErrorReport>) {
        self.ended = true;
        self.send_end(state, Some(detail).filter(|detail| !detail.is_empty()), error);
    }

    fn send_end(&self, state: TaskState, detail: Option<String>, error: Option<ErrorReport>) {
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.events.send(
            self.id,
            EventKind::TaskEnded {
                state,
                detail,
                error,
                elapsed_ms,
            },
        );
    }
}

impl Drop for TaskScope {
    fn drop(&mut self) {
        if !self.ended {
            self.send_end(TaskState::Abandoned, None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(act: impl FnOnce(&Events)) -> Vec<Value> {
        let (events, mut received) = Events::channel();
        act(&events);
        let mut lines = Vec::new();
        while let Ok(event) = received.try_recv() {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(
                serde_json::from_str::<Event>(&text).unwrap(),
                event,
                "the line format reads back"
            );
            let mut line: Value = serde_json::from_str(&text).unwrap();
            assert!(line["at"].is_string());
            line.as_object_mut().unwrap().remove("at");
            lines.push(line);
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_format() {
        let lines = lines(|events| {
            let deploy = events.task("deploy", "Deploy blog");
            let push = deploy.child("push", "Push");
            push.progress().bytes("3f2a", 512, Some(1024));
            push.failed(
                &crate::StepError::message("no route")
                    .context("failed to push")
                    .with_hint("try again"),
            );
            events.message(MessageLevel::Warning, "careful", None);
            deploy.data("url", json!("http://x"));
            drop(deploy);
        });
        assert_eq!(
            lines,
            [
                json!({"v":1,"task":1,"event":"task-started","id":"deploy","title":"Deploy blog"}),
                json!({"v":1,"task":2,"event":"task-started","parent":1,"id":"push","title":"Push"}),
                json!({"v":1,"task":2,"event":"note","note":{"note":"bytes","what":"3f2a","done":512,"total":1024}}),
                json!({"v":1,"task":2,"event":"task-ended","state":"failed","elapsed_ms":0,
                       "error":{"message":"failed to push","causes":["no route"],"hint":"try again"}}),
                json!({"v":1,"task":0,"event":"message","level":"warning","text":"careful"}),
                json!({"v":1,"task":1,"event":"data","name":"url","value":"http://x"}),
                json!({"v":1,"task":1,"event":"task-ended","state":"abandoned","elapsed_ms":0}),
            ]
        );
    }

    #[test]
    fn a_listener_that_went_away_stops_nothing() {
        let (events, received) = Events::channel();
        drop(received);
        events.task("a", "A").done("");
    }
}
