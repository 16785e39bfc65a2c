//! Migration runner: Django's migrations in a one-off task, with the truth about how they ended.
//!
//! A database is private, so nothing here connects to one. A small Python driver travels on the command line of a
//! one-off task (any [`TaskRunner`](nuages_model::TaskRunner)) with the release's own image, environment and secrets;
//! it asks the application's own Django, and its report comes back through the task's log.
//!
//! [`probe`] only reads: what is applied, what is pending, what this code does not know. [`apply`] takes a lock on the
//! migrating session, runs `migrate` and reports what stands in the database afterwards, also after a failure.
//! [`AppliedSet`] is what a release records; [`changed_between`] says what lies between two of them.
//!
//! Invariant: success is never concluded from an exit code alone. It takes the exit code **and** a complete report whose
//! hash is right and in which nothing is pending.
//!
//! ```
//! use nuages_migrate::{AppliedSet, changed_between, same_schema};
//!
//! let old: AppliedSet = serde_json::from_str(r#"{"default": {"applied": {"blog": ["0001_initial"]}}}"#)?;
//! let new: AppliedSet = serde_json::from_str(r#"{"default": {"applied": {"blog": ["0001_initial", "0002_tags"]}}}"#)?;
//! assert!(!same_schema(&old, &new));
//! assert_eq!(changed_between(&old, &new)[0].to_string(), "+ blog.0002_tags on default");
//! # Ok::<(), serde_json::Error>(())
//! ```

mod applied;
mod assemble;
mod command;
mod error;
mod explain;
mod report;
mod run;

pub use applied::{AppliedSet, Change, DatabaseSet, MigrationChange, changed_between, same_schema};
pub use assemble::{Missing, Reassembler};
pub use command::{COMMAND_LIMIT, Manage, MigrationRun, Verb};
pub use error::{Failure, MigrateError};
pub use report::{ApplyReport, DatabaseReport, DriverFailure, MissingModule, Outcome, ProbeReport};
pub use run::{apply, find, probe};
