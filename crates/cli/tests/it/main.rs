//! The command as a person runs it: the binary, its words, its exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod account;
mod arguments;
mod blog;
mod bootstrap;
mod chance;
mod configuration;
mod elsewhere;
mod engine;
mod hardship;
mod images;
mod journey;
mod kills;
mod moved;
mod records;
mod rivals;
mod shapes;
mod signals;
mod staging;
mod store_alone;
mod support;
mod unrecorded;
mod your_project;
