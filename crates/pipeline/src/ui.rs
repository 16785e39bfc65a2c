//! Who hears what a verb does, and who may end it.

use nuages_saga::{Cancel, Events, Level};
use tokio_util::sync::CancellationToken;

/// The events of a verb and the way to end it early.
#[derive(Debug, Clone)]
pub struct Ui {
    /// Where events go.
    pub events: Events,
    /// How a person or a signal asks for the end.
    pub cancel: Cancel,
    /// Writes the commands of a text, `nuages VERB` in backticks, as the person calls them: for what stays in a file.
    pub pasteable: fn(&str) -> String,
}

impl Ui {
    /// Nobody listens and nobody interrupts.
    pub fn silent() -> Self {
        Self {
            events: Events::none(),
            cancel: Cancel::new(),
            pasteable: str::to_owned,
        }
    }

    /// A token that is cancelled as soon as somebody asks for an end: for work that leaves nothing behind. It lives as
    /// long as the guard.
    pub(crate) fn stop_token(&self) -> StopGuard {
        let token = CancellationToken::new();
        let (cancel, forward) = (self.cancel.clone(), token.clone());
        let task = tokio::spawn(async move {
            cancel.at_least(Level::Graceful).await;
            forward.cancel();
        });
        StopGuard { token, task }
    }

    /// Whether somebody asked for an end.
    pub(crate) fn stopped(&self) -> bool {
        self.cancel.level() > Level::None
    }
}

/// Forwards a request to end to a token until it is dropped.
pub(crate) struct StopGuard {
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl std::ops::Deref for StopGuard {
    type Target = CancellationToken;
    fn deref(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// So many of these, in words.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}
