//! Images by themselves, of any project: looking at them, and bringing them from one place to another.
//!
//! Invariant: an image is what it was: its digest is the same at both ends.

mod copy;
mod look;
mod place;

pub use copy::copy_image;
pub use look::{image_facts, image_sbom};
pub use place::{Place, PlaceError};
