//! How an adapter says how far it is, without knowing who listens.
//!
//! Invariant: nothing sent here is needed for the result. A listener may drop every note.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One thing an adapter says while it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Note {
    /// A line of output of a build, a container or a task.
    Line {
        /// Whose output it is, such as `build` or `web/3f2a`.
        source: String,
        /// The line, without its end.
        text: String,
    },
    /// Bytes moved, of a total where it is known. Later notes of the same `what` replace earlier ones.
    Bytes {
        /// What moves, such as a layer's short digest.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// Things done of a total: tasks healthy of desired, resources complete of all.
    Count {
        /// What is counted.
        what: String,
        /// So many are done.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// What is happening now, in a few words; replaces the last one.
    Status {
        /// The words.
        text: String,
    },
    /// Something that the person should know and that stops nothing.
    Warning {
        /// The sentence.
        text: String,
    },
}

/// Where an adapter sends its notes.
///
/// ```
/// use nuages_model::{Note, Progress};
/// use std::sync::{Arc, Mutex};
///
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let progress = { let seen = seen.clone(); Progress::new(move |note| seen.lock().unwrap().push(note)) };
/// progress.status("waiting");
/// assert_eq!(*seen.lock().unwrap(), [Note::Status { text: "waiting".into() }]);
/// ```
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Note) + Send + Sync>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress(..)")
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::none()
    }
}

impl Progress {
    /// Sends every note to this function. It must not block.
    pub fn new(listener: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Sends a note.
    pub fn send(&self, note: Note) {
        (self.0)(note);
    }

    /// A line of somebody's output.
    pub fn line(&self, source: impl Into<String>, text: impl Into<String>) {
        self.send(Note::Line {
            source: source.into(),
            text: text.into(),
        });
    }

    /// Bytes moved so far.
    pub fn bytes(&self, what: impl Into<String>, done: u64, total: Option<u64>) {
        self.send(Note::Bytes {
            what: what.into(),
            done,
            total,
        });
    }

    /// Things done of a total.
    pub fn count(&self, what: impl Into<String>, done: u64, total: u64) {
        self.send(Note::Count {
            what: what.into(),
            done,
            total,
        });
    }

    /// What is happening now.
    pub fn status(&self, text: impl Into<String>) {
        self.send(Note::Status { text: text.into() });
    }

    /// Something the person should know.
    pub fn warning(&self, text: impl Into<String>) {
        self.send(Note::Warning { text: text.into() });
    }
}
