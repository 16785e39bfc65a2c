//! The words that every nuages crate shares.
//!
//! Pure newtypes ([`AppName`], [`EnvName`], [`ReleaseId`], [`Digest`], [`Arn`], [`ImageRef`], [`Secret`]), the way an
//! adapter says how far it is ([`Progress`]), what a Python program's last words mean ([`LastWords`]), and the ports that adapters share: [`BlobSink`] (an image goes to a
//! registry), [`BlobSource`] (an image comes from one) and [`TaskRunner`] (a migration runs somewhere).
//!
//! Invariant: a value of a type in this crate is valid. Whoever holds an [`AppName`] never checks it again, and a
//! [`Secret`] is never printed nor serialised.
//!
//! ```
//! use nuages_model::{AppName, Digest, ImageRef};
//!
//! let app: AppName = "blog".parse()?;
//! assert_eq!(app.as_str(), "blog");
//! assert!("Blog!".parse::<AppName>().is_err());
//!
//! let digest = Digest::of(b"hello");
//! let image: ImageRef = format!("localhost:4566/blog@{digest}").parse()?;
//! assert_eq!(image.repository(), "blog");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arn;
mod digest;
mod finding;
mod image_ref;
mod name;
mod progress;
mod python;
mod release;
mod secret;
mod sink;
mod source;
mod task;
mod wrapper;

pub use arn::{AccountId, Arn, ArnError, Region};
pub use digest::{Digest, DigestError, Sha256};
pub use finding::{Finding, Level};
pub use image_ref::{ImageRef, ImageRefError};
pub use name::{AppName, EnvName, NameError, ServiceName};
pub use progress::{Note, Progress};
pub use python::{LastWords, Trouble};
pub use release::{ReleaseId, ReleaseIdError, World};
pub use secret::{Secret, SecretVersion};
pub use sink::{Blob, BlobSink, Descriptor, PutOutcome, SinkError};
pub use source::{BlobSource, SourceError};
pub use task::{ContainerExit, TaskError, TaskHandle, TaskKey, TaskOutcome, TaskRequest, TaskRunner};
pub use wrapper::is_wrapper;
