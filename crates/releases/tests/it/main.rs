//! The store over real files, and between real processes.

mod file;
mod journal;
mod lease;
mod processes;
mod releases;
mod support;
