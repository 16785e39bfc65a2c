//! Secrets against a fake that enforces what emulators do not, and against an emulator.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, helpers included")]

mod emulator;
mod fake;
mod fuzz;
mod redaction;
mod resolve;
mod values;
