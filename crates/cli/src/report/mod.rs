//! Showing what happens: the events of a run, as a live tree, as lines for logs, or as JSON.
//!
//! Invariant: nothing here changes what a run does. A closed pipe, a terminal that went away or a full disk under a
//! redirected log stops the showing, and never the deployment. Data goes to stdout and everything else to stderr; no
//! meaning is carried by colour alone.
//!
//! [`choose`] picks the reporter, [`drive`] feeds it until the events end, and [`error::write`] prints the error that
//! ended a run.

pub(crate) mod error;
mod json;
mod last;
mod plain;
mod resting;
mod sink;
mod state;
mod style;
mod text;
mod tree;
mod tty;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use nuages_saga::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::invocation;

pub(crate) use json::Json;
pub(crate) use last::{LastWords, configuration};
pub(crate) use plain::Plain;
use sink::Sink;
pub(crate) use style::Style;
pub(crate) use tty::Tty;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Color {
    /// Where a terminal shows it and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Also into a file or a pipe.
    Always,
    /// Nowhere.
    Never,
}

/// What the person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// `--json`
    pub(crate) json: bool,
    /// `--quiet`: problems and results alone.
    pub(crate) quiet: bool,
    /// `--color`
    pub(crate) color: Color,
}

/// What is known of the place that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact")]
pub(crate) struct Surroundings {
    /// stderr is a terminal.
    pub(crate) terminal: bool,
    /// `NO_COLOR` is set and not empty.
    pub(crate) no_color: bool,
    /// `TERM=dumb`: a terminal that cannot move its cursor.
    pub(crate) dumb: bool,
    /// A CI system, whose log nobody sees move.
    pub(crate) ci: bool,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
        Self {
            terminal: io::stderr().is_terminal(),
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            dumb: std::env::var_os("TERM").is_some_and(|value| value == "dumb"),
            ci: set("CI"),
        }
    }

    /// The style of what goes to stderr.
    pub(crate) fn style(self, color: Color) -> Style {
        Style::new(match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => self.terminal && !self.no_color && !self.dumb,
        })
    }
}

/// Whatever shows events.
#[derive(Debug)]
pub(crate) enum Reporter {
    /// A live tree.
    Tty(Tty),
    /// A line an event.
    Plain(Plain),
    /// An object an event.
    Json(Json),
}

/// The reporter for this choice in these surroundings. `out` and `err` are stdout and stderr, or a test's buffers.
pub(crate) fn choose(
    choice: Choice,
    surroundings: Surroundings,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
) -> Reporter {
    let style = surroundings.style(choice.color);
    if choice.json {
        Reporter::Json(Json::new(out))
    } else if surroundings.terminal && !surroundings.dumb && !surroundings.ci && !choice.quiet {
        Reporter::Tty(Tty::stderr(out, style))
    } else {
        Reporter::Plain(Plain::new(out, err, style, choice.quiet))
    }
}

impl Reporter {
    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event) {
        match self {
            Self::Tty(tty) => tty.event(event),
            Self::Plain(plain) => plain.event(event),
            Self::Json(json) => json.event(event),
        }
    }

    /// Time has passed: spinners turn, elapsed times grow, a heartbeat is due.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        match self {
            Self::Tty(tty) => tty.tick(now),
            Self::Plain(plain) => plain.tick(now),
            Self::Json(_) => {}
        }
    }

    /// Nothing more comes. An error is one of writing data, other than a pipe that the reader closed. A log that could
    /// not be written takes nothing from the result.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Tty(tty) => tty.finish(),
            Self::Plain(plain) => plain.finish(),
            Self::Json(json) => json.finish(),
        }
    }
}

/// A result for people and scripts: texts and numbers as they are. What has parts is for `--json`, and is shown to
/// people by the verb that made it.
fn data(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text::clean(text)),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// How often the tree is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Somebody who waits until all that was sent before is shown.
pub(crate) type Barrier = oneshot::Sender<()>;

/// Shows every event until the last sender is gone.
pub(crate) async fn drive(
    mut events: UnboundedReceiver<Event>,
    mut barriers: UnboundedReceiver<Barrier>,
    mut reporter: Reporter,
) -> io::Result<()> {
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => show(&mut reporter, event),
                None => return reporter.finish(),
            },
            Some(barrier) = barriers.recv() => {
                while let Ok(event) = events.try_recv() {
                    show(&mut reporter, event);
                }
                reporter.tick(Timestamp::now());
                // Whoever waited may have been dropped meanwhile.
                let _ = barrier.send(());
            }
            _ = frames.tick() => reporter.tick(Timestamp::now()),
        }
    }
}

fn show(reporter: &mut Reporter, mut event: Event) {
    invocation::in_event(&mut event);
    reporter.event(&event);
}
