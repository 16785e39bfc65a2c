//! Signals: what each asks for.
//!
//! Invariant: the first Ctrl-C finishes or stops the step in hand and undoes; a second one, SIGTERM and a closed terminal
//! leave everything as it stands for `resume`, and begin no undo. The exit code follows from what then happened. A verb
//! that only looks has nothing to undo: it ends, and says nothing.

use nuages_saga::{Cancel, Events, Level, MessageLevel};

use crate::args::Interrupted;

/// Listens until the task is dropped. `means` is what the first Ctrl-C means to the verb.
pub(crate) fn listen(cancel: &Cancel, events: &Events, means: Interrupted) -> tokio::task::JoinHandle<()> {
    let (cancel, events) = (cancel.clone(), events.clone());
    tokio::spawn(async move {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::debug!(%error, "signals cannot be listened to");
                return;
            }
        };
        loop {
            let level = match (signals.next().await, cancel.level()) {
                (Signal::Interrupt, Level::None) => {
                    tell(means, &events);
                    Level::Graceful
                }
                (Signal::Interrupt | Signal::End, _) => Level::Detach,
            };
            cancel.request(level);
        }
    })
}

/// What the first Ctrl-C leads to, where it takes a while.
fn tell(means: Interrupted, events: &Events) {
    let (text, hint) = match means {
        Interrupted::Ends => return,
        Interrupted::Stops => ("interrupted: this stops as soon as nothing half-done is left", None),
        Interrupted::Undoes => (
            "interrupted: what was begun is undone; a running migration is waited for",
            Some("Ctrl-C again leaves everything as it stands".to_owned()),
        ),
    };
    events.message(MessageLevel::Warning, text, hint);
}

enum Signal {
    Interrupt,
    End,
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::End,
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: tokio::signal::windows::ctrl_c()?,
            close: tokio::signal::windows::ctrl_close()?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.close.recv() => Signal::End,
        }
    }
}
