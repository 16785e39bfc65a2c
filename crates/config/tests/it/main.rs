//! Tests of `nuages.toml` from outside the crate.

mod values;
