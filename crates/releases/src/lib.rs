//! Rollback store: releases, journals and environment leases, in an embedded `SQLite` file.
mod environment;
mod error;
mod journal;
mod policy;
mod release;
mod row;
mod schema;
mod store;

pub use environment::{EnvironmentKey, EnvironmentStore, WorldChange};
pub use error::ReleasesError;
pub use policy::{Circumstances, Suitability, location};
pub use release::{
    CheckOutcome, CheckRecord, GitState, MigrationState, Release, ReleaseDraft, ReleaseNumber, ReleaseNumberError,
    ReleaseOutcome, ReleaseRef,
};
pub use store::{Store, StoreOptions};
