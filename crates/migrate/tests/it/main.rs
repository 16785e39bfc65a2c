//! The driver in a real Python, with a real Django and real databases.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, helpers included")]

mod local_runner;
mod log;
mod on_postgres;
mod on_sqlite;
mod postgres;
mod python;
