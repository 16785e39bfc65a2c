//! Environment variables and secrets: Secrets Manager, SSM Parameter Store and `.env` files.
//!
//! [`SecretsManager`] finds where each [`Wanted`] variable's value stands, makes what is to be generated, and answers
//! with references (ARN, JSON key, version) that a task definition takes. It also reads, writes, compares and rotates
//! the values themselves, for the person at the keyboard. [`EnvFile`] reads and writes `.env` files.
//!
//! Invariant: a value leaves this crate only as a [`Secret`](nuages_model::Secret). References, plans, diffs, reports
//! and errors hold names, ARNs and version ids; JSON keys are named, their values never.
//!
//! ```no_run
//! use nuages_secrets::{Scope, SecretsManager, Source, Wanted};
//!
//! # async fn example(aws: &nuages_aws::AwsContext) -> Result<(), Box<dyn std::error::Error>> {
//! let secrets = SecretsManager::new(aws, Scope::new("blog".parse()?, "staging".parse()?));
//! let wanted = [Wanted::new("DJANGO_SECRET_KEY", Source::Generate { length: 50, name: None })];
//! let resolved = secrets.resolve(&wanted, &[]).await?;
//! for reference in &resolved.references {
//!     println!("{} comes from {}", reference.variable, reference.version.value_from());
//! }
//! # Ok(()) }
//! ```

mod diff;
mod dotenv;
mod error;
mod generate;
mod inspect;
mod manager;
mod parameters;
mod resolve;
mod rotate;
mod store;
mod values;
mod wanted;

pub use diff::{Diff, diff};
pub use dotenv::{EnvFile, EnvFileError};
pub use error::SecretsError;
pub use inspect::{Inspection, Omitted, Planned, PlannedAction, Reference, Store};
pub use manager::SecretsManager;
pub use resolve::{Change, ChangeKind, Resolved};
pub use rotate::Rotated;
pub use store::Listed;
pub use values::{Pushed, Written};
pub use wanted::{Scope, Source, Wanted};
