//! The store over real files, and between real processes.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails the test that called it")]

mod file;
mod fuzz;
mod journal;
mod lease;
mod place;
mod processes;
mod releases;
mod support;
