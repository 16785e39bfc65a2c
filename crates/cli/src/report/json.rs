//! `--json`: an object a line, in the format of [`nuages_saga::Event`].
//!
//! Invariant: every line is one whole event, and stdout has nothing else.

use std::io::{self, Write};

use nuages_saga::Event;

use super::Sink;

/// Writes each event to stdout.
#[derive(Debug)]
pub(crate) struct Json {
    out: Sink,
}

impl Json {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Sink::new(out) }
    }

    pub(super) fn event(&mut self, event: &Event) {
        // An event is text, numbers and maps with text for keys: it serialises.
        if let Ok(line) = serde_json::to_string(event) {
            self.out.line(&line);
        }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.out.finish()
    }
}
