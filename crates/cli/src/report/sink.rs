//! A place to write to that may go away.
//!
//! Invariant: after the first failure nothing is written any more, and only [`finish`](Sink::finish) tells of it.

use std::fmt;
use std::io::{self, ErrorKind, Write};

pub(super) struct Sink {
    writer: Box<dyn Write + Send>,
    failed: Option<io::Error>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Sink {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Self {
        Self { writer, failed: None }
    }

    /// Writes a line and hands it on at once.
    pub(super) fn line(&mut self, line: &str) {
        if self.failed.is_some() {
            return;
        }
        // One write a line: two processes that share a log do not cut each other's lines.
        let bytes = format!("{line}\n");
        if let Err(error) = self
            .writer
            .write_all(bytes.as_bytes())
            .and_then(|()| self.writer.flush())
        {
            self.failed = Some(error);
        }
    }

    /// The first failure, unless the reader just had enough.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
