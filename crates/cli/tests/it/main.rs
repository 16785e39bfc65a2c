//! The command as a person runs it: the binary, its words, its exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod account;
mod arguments;
mod bootstrap;
mod configuration;
mod engine;
mod journey;
mod staging;
mod support;
