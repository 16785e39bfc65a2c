//! `cargo xtask bench NAME`: measures, beside a peer in the same run.
//!
//! Invariant: figures never decide the exit code.

use std::process::Command;

use crate::tools::{self, Outcome};

pub(crate) fn run(name: Option<&str>) -> Outcome {
    tools::build(&["nuages", "nuages-images", "nuages-bench"])?;
    let mut command = Command::new(tools::binary("nuages-bench")?);
    command.args(name);
    command.env("NUAGES_BINARY", tools::binary("nuages")?);
    command.env("NUAGES_BENCH_OUT", tools::target()?.join("bench"));
    command.env("NUAGES_WORKSPACE", tools::root());
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the bench could not be run".into())
    }
}
