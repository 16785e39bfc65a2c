//! Rollback store: releases, journals and environment leases, in an embedded `SQLite` file.
//!
//! A [`Store`] is one file, `PROJECT/.nuages/nuages.db` unless the person names another ([`location`]). An
//! [`EnvironmentStore`] is one environment within it, keyed by account, region, application and environment: its
//! releases and which of them serves, and, behind [`nuages_saga::JournalStore`], its plans, journals and lease. Records
//! belong to a [`World`](nuages_model::World); where the account shows another one,
//! [`enter_world`](EnvironmentStore::enter_world) archives what was recorded of the old one and says so.
//!
//! Invariant: every write is one transaction that asks for the lease's fencing token in the transaction itself. Whoever
//! lost the lease writes nothing, whichever process asks.
//!
//! # The file
//!
//! * Write-ahead log, `synchronous = FULL`: an acknowledged journal entry survives a loss of power. Several processes may
//!   use the file at once; a writer waits up to ten seconds for another. Not on a network file system, where `SQLite`'s
//!   locks do not hold.
//! * The log goes into the file after each write but a renewal of the lease, as far as nobody reads. So a copy of the
//!   file alone, made while nobody uses it, lacks nothing, even where the process was killed that wrote it.
//! * Mode 0600 in a folder of mode 0700, which ignores itself in git.
//! * The format's number is `user_version`. An older file is brought forward when it is opened; one of a newer format is
//!   refused by the name of the version that wrote it, a damaged one and one of another program as such. None of these
//!   is written.
//! * Nothing in it is secret: secrets stand in it as ARN and version id.
//!
//! # Who may use it
//!
//! A file is for an emulator, or for one person on one machine. [`Circumstances::judge`] says so for a real account, and
//! refuses in CI unless the place was named: the runner's disk would take lease and rollback targets with it.
//!
//! ```
//! use nuages_releases::{EnvironmentKey, Store, location};
//! use nuages_saga::{Holder, LeaseGuard, LeaseTiming};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?; let project = folder.path();
//! let environment = Store::open(&location(project, None)).await?.environment(EnvironmentKey {
//!     account: "123456789012".parse()?,
//!     region: "eu-west-1".parse()?,
//!     app: "blog".parse()?,
//!     env: "staging".parse()?,
//! }).await?;
//! let store = std::sync::Arc::new(environment.clone());
//! let lease = LeaseGuard::acquire(store, Holder::here("deploy"), LeaseTiming::default()).await?;
//! assert!(environment.rollback_target().await?.is_none(), "nothing was released yet");
//! lease.release().await;
//! # Ok(()) }
//! ```
//!
//! `examples/rollback.rs` records two releases and goes back from the second.

mod environment;
mod error;
mod journal;
mod place;
mod policy;
mod release;
mod row;
mod schema;
mod store;

pub use environment::{EnvironmentKey, EnvironmentStore, WorldChange};
pub use error::ReleasesError;
pub use place::is_there;
pub use policy::{Circumstances, Suitability, location};
pub use release::{
    CheckOutcome, CheckRecord, GitState, MigrationState, Release, ReleaseDraft, ReleaseNumber, ReleaseNumberError,
    ReleaseOutcome, ReleaseRef,
};
pub use store::{Store, StoreOptions};
