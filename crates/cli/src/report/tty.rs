//! The live tree of a terminal.
//!
//! Invariant: what ended is printed once and stays in the scroll-back; only what runs is drawn again.

use std::fmt;
use std::io::{self, Write};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use nuages_model::Note;
use nuages_saga::{Event, EventKind, MessageLevel};

use super::error::block;
use super::resting::Resting;
use super::state::State;
use super::style::{Paint, Style};
use super::tree::{Canvas, frame, summary};
use super::{Sink, data};

/// Rows and columns of the terminal, asked anew for each frame: it may be resized.
type Size = Box<dyn Fn() -> (u16, u16) + Send>;

/// Draws the tree on a terminal.
pub(crate) struct Tty {
    out: Sink,
    style: Style,
    size: Size,
    /// One bar whose message is the whole frame: indicatif moves the cursor, and prints above it.
    bar: ProgressBar,
    state: State,
}

impl fmt::Debug for Tty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tty")
            .field("out", &self.out)
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

impl Tty {
    /// On stderr; data goes to `out`.
    pub(super) fn stderr(out: Box<dyn Write + Send>, style: Style) -> Self {
        let term = Term::stderr();
        let drawn = Resting::new(Term::buffered_stderr());
        let target = ProgressDrawTarget::term_like(Box::new(drawn));
        Self::new(out, style, target, Box::new(move || term.size()))
    }

    pub(super) fn new(out: Box<dyn Write + Send>, style: Style, target: ProgressDrawTarget, size: Size) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self {
            out: Sink::new(out),
            style,
            size,
            bar,
            state: State::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.state.follow(event);
        match &event.kind {
            EventKind::Note {
                note: Note::Warning { text },
            } => self.message(MessageLevel::Warning, text, None),
            EventKind::Message { level, text, hint } => self.message(*level, text, hint.as_deref()),
            EventKind::Data { value, .. } => {
                if let Some(line) = data(value) {
                    // stdout may be the same terminal: the tree steps aside.
                    let (bar, out) = (&self.bar, &mut self.out);
                    bar.suspend(|| out.line(&line));
                }
            }
            EventKind::TaskEnded { .. } => {
                let Some(task) = self.state.get(event.task).filter(|task| task.parent.is_none()) else {
                    return;
                };
                let id = task.id;
                let lines = summary(&self.state, task, self.canvas(event.at));
                self.state.forget(id);
                self.draw(event.at);
                self.print(&lines);
            }
            _ => {}
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        self.draw(now);
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.bar.finish_and_clear();
        self.out.finish()
    }

    fn canvas(&self, now: Timestamp) -> Canvas {
        let (rows, columns) = (self.size)();
        Canvas {
            columns: usize::from(columns),
            rows: usize::from(rows),
            style: self.style,
            now,
        }
    }

    fn draw(&mut self, now: Timestamp) {
        let mut lines = frame(&self.state, self.canvas(now));
        // The cursor rests on a row of its own, and so does what the terminal echoes there.
        lines.extend((!lines.is_empty()).then(String::new));
        // This draws; a tick after it would draw the same again.
        self.bar.set_message(lines.join("\n"));
    }

    fn print(&mut self, lines: &[String]) {
        if !lines.is_empty() {
            self.bar.println(lines.join("\n"));
        }
    }

    fn message(&mut self, level: MessageLevel, text: &str, hint: Option<&str>) {
        let (word, paint) = match level {
            MessageLevel::Info => ("", Paint::Plain),
            MessageLevel::Warning => ("warning: ", Paint::Warn),
            MessageLevel::Error => ("error: ", Paint::Bad),
        };
        let mut lines = vec![format!("{}{}", self.style.paint(paint, word), block(text, word.len()))];
        if let Some(hint) = hint {
            lines.push(format!(
                "{}{}",
                self.style.paint(Paint::Busy, "hint: "),
                block(hint, "hint: ".len())
            ));
        }
        self.print(&lines);
    }
}
