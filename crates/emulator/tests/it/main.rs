//! The emulator crate against a real engine, and against engines that are not what they should be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod engine;
mod images;
mod local;
