//! A terminal whose cursor rests where what the person types does no harm.
//!
//! indicatif leaves the cursor behind the last column of what it drew, so that the `^C` that the terminal echoes wraps to
//! a row that nobody takes away, and a row of the frame before stays for good.
//!
//! Invariant: where the last row that was drawn is empty, the cursor stands at its beginning. Behind words it stays behind
//! them: those are printed for good, and what comes next begins a row of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::TermLike;

/// Another terminal, with its cursor at rest.
#[derive(Debug)]
pub(super) struct Resting<T> {
    terminal: T,
    /// What was written last filled a whole row with nothing.
    empty: AtomicBool,
}

impl<T> Resting<T> {
    pub(super) fn new(terminal: T) -> Self {
        Self {
            terminal,
            empty: AtomicBool::new(false),
        }
    }
}

impl<T: TermLike> TermLike for Resting<T> {
    fn width(&self) -> u16 {
        self.terminal.width()
    }

    fn height(&self) -> u16 {
        self.terminal.height()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.terminal.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let empty = text.len() == usize::from(self.width()) && text.bytes().all(|byte| byte == b' ');
        self.empty.store(empty, Ordering::Relaxed);
        self.terminal.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.terminal.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        if self.empty.swap(false, Ordering::Relaxed) {
            self.terminal.write_str("\r")?;
        }
        self.terminal.flush()
    }
}
