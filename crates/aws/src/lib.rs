//! What every AWS adapter of nuages shares, and nothing of any one service.
//!
//! * [`AwsContext`]: credentials, region, endpoint override and the proven identity, from the places the AWS CLI reads;
//! * [`error::describe`]: any SDK error as one sentence with code, message and request id, and whether the call may
//!   have had an effect;
//! * [`poll::wait_for`]: waiting for a condition with a deadline, a cancel, and back-off only when throttled;
//! * [`Quirks`]: the one file in which emulators differ from AWS.
//!
//! Invariant: an [`AwsContext`] from [`AwsContext::connect`] has proven who it is, and that the account is the expected
//! one, before any adapter gets to write with it.
//!
//! ```no_run
//! use nuages_aws::{AwsContext, AwsSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = AwsSettings { region: Some("eu-west-1".parse()?), ..AwsSettings::default() };
//! let aws = AwsContext::connect(&settings).await?;
//! println!("{} in {}", aws.identity().arn, aws.region());
//! # Ok(())
//! # }
//! ```

pub mod context;
pub mod error;
mod http_client;
mod identity;
pub mod poll;
mod profile;
mod quirks;

pub use context::{AwsContext, AwsError, AwsSettings};
pub use error::{Effect, Kind, ServiceError};
pub use identity::Identity;
pub use quirks::{EmulatorKind, Quirks};
