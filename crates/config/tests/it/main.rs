//! Tests of `nuages.toml` from outside the crate.

mod diagnostics;
mod properties;
mod values;
