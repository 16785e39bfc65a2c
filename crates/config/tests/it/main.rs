//! Tests of `nuages.toml` from outside the crate.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails the test that called it")]

mod detect;
mod diagnostics;
mod properties;
mod values;
