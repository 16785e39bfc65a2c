//! The emulator crate against a real engine, and against engines that are not what they should be.

mod engine;
mod images;
mod local;
