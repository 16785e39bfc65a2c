//! OCI distribution client, with Amazon ECR on top.
//!
//! * [`Registry`] and [`Repository`]: push and pull, by any registry that speaks the OCI distribution specification;
//!   a [`Repository`] is a [`BlobSink`](nuages_model::BlobSink), so an image can be written straight into it;
//! * [`Logins`]: who we are there, as `docker login` and `podman login` left it;
//! * [`copy`](fn@copy): an image from one place to another; [`Repository::refer`] and [`Repository::referrers`]: what belongs to an
//!   image, such as its bill of materials;
//! * [`Ecr`]: login, tags that must not move, and what else Amazon's registry does in its own way.
//!
//! Invariant: content is addressed by its digest, and the digest is compared whenever content moves. `Authorization` is
//! never sent to another origin, and no registry on the internet makes us ask an address inside of our own network.

mod address;
mod auth;
mod body;
mod client;
mod copy;
mod ecr;
mod ecr_image;
mod error;
mod logins;
pub mod manifest;
mod referrers;
mod repository;
mod upload;

pub use auth::Credentials;
pub use client::{Options, Registry};
pub use copy::{Copied, copy};
pub use ecr::{Ecr, EcrImage, EcrLogin, EcrRepository, TagMutability};
pub use error::RegistryError;
pub use logins::Logins;
pub use manifest::Manifest;
pub use referrers::{Referrer, Referring};
pub use repository::Repository;
