//! How a person or a signal asks a run to end.
//!
//! Invariant: the level only rises.

use tokio::sync::watch;

/// How a run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nobody asked.
    None,
    /// Finish or stop the step in hand, then undo.
    Graceful,
    /// Stop at once and leave the journal as it is.
    Detach,
}

/// Asks runs to end; clones share one level.
///
/// ```
/// use nuages_saga::{Cancel, Level};
///
/// let cancel = Cancel::new();
/// cancel.request(Level::Detach);
/// cancel.request(Level::Graceful);
/// assert_eq!(cancel.level(), Level::Detach);
/// ```
#[derive(Debug, Clone)]
pub struct Cancel(watch::Sender<Level>);

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(Level::None))
    }

    /// Asks. A lower level than the one that stands changes nothing.
    pub fn request(&self, level: Level) {
        self.0.send_if_modified(|now| {
            let rises = level > *now;
            *now = level.max(*now);
            rises
        });
    }

    /// The level that stands.
    pub fn level(&self) -> Level {
        *self.0.borrow()
    }

    /// Waits until the level is at least this.
    pub async fn at_least(&self, level: Level) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= level).await;
    }
}
