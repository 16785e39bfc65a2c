//! The tests' own tools, tested on a real engine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod emulators;
