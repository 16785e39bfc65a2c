//! `cargo xtask bench NAME`: measures, beside peers in the same run.
//!
//! Invariant: figures never decide the exit code.

use std::process::Command;

use crate::board::Board;
use crate::tools::{self, Outcome};
use crate::{build, images};

pub(crate) fn run(name: Option<&str>) -> Outcome {
    let row = Board::new().row("Build nuages and its benches");
    build::binaries(&["nuages", images::BINARY, "nuages-bench"], &row)?;
    row.done("");
    let mut command = Command::new(tools::binary("nuages-bench")?);
    command.args(name);
    command.env("NUAGES_BINARY", tools::binary("nuages")?);
    command.env("NUAGES_BENCH_OUT", tools::target()?.join("bench"));
    command.env("NUAGES_WORKSPACE", tools::root());
    if name.is_some() {
        match tools::python("bench", &["fixtures/bench/requirements.txt"]) {
            Ok(bin) => {
                command.env("NUAGES_BENCH_PEERS", bin);
            }
            // Ours can be measured without them; their columns stay empty.
            Err(error) => tools::say(&format!("without the AWS CLI and ecs-deploy: {error}")),
        }
    }
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the bench could not be run".into())
    }
}
