//! The command as a person runs it: the binary, its words, its exit codes.

mod account;
mod arguments;
mod configuration;
mod engine;
mod journey;
mod staging;
mod support;
