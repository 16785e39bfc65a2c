//! `cargo xtask soak NAME`: what is long: a test of `cargo xtask test`, many times over.
//!
//! Invariant: count and seed are printed, and the same seed does the same again.

use crate::board::Board;
use crate::build;
use crate::prepare::beside_images;
use crate::tools::{self, Outcome};

/// A test that is repeated.
struct Soak {
    name: &'static str,
    what: &'static str,
    test: &'static str,
    variable: &'static str,
    usual: u32,
}

const SOAKS: [Soak; 6] = [
    Soak {
        name: "kills",
        what: "kill -9 at times drawn at random, then resume or abort",
        test: "killed_at_five_places_and_at_any_time",
        variable: "NUAGES_SOAK_KILLS",
        usual: 50,
    },
    Soak {
        name: "leases",
        what: "two deployments that begin at times drawn at random",
        test: "only_one_acts_at_a_time",
        variable: "NUAGES_SOAK_LEASES",
        usual: 20,
    },
    Soak {
        name: "faults",
        what: "every fault of every call of a deployment, a rollback and a stack's verbs, on a scripted account",
        test: "enumerated::faults::",
        variable: "NUAGES_SOAK_FAULTS",
        usual: ALL,
    },
    Soak {
        name: "deaths",
        what: "death at every call and every write of the same, then resume or abort",
        test: "enumerated::deaths::",
        variable: "NUAGES_SOAK_FAULTS",
        usual: ALL,
    },
    Soak {
        name: "fuzz",
        what: "damaged stores, edited journals and answers that make no sense, drawn at random",
        test: "fuzz::no_",
        variable: "NUAGES_FUZZ_CASES",
        usual: 2000,
    },
    Soak {
        name: "dockerignore",
        what: "a .dockerignore drawn at random, and what the docker command sends for it",
        test: "keeps_and_leaves_out_what_the_docker_command_does",
        variable: "NUAGES_SOAK_DOCKERIGNORE",
        usual: 5000,
    },
];

/// More than there are.
const ALL: u32 = u32::MAX;

pub(crate) fn run(name: Option<&str>, count: Option<u32>, seed: Option<u64>) -> Outcome {
    let Some(name) = name else {
        for soak in SOAKS {
            let times = match soak.usual {
                ALL => "all cases".to_owned(),
                usual => format!("{usual} times"),
            };
            tools::say(&format!("{:<12} {} ({times})", soak.name, soak.what));
        }
        return Ok(());
    };
    let soak = SOAKS.iter().find(|soak| soak.name == name);
    let soak = soak.ok_or_else(|| format!("there is no soak `{name}`; `cargo xtask soak` lists them"))?;
    let board = Board::new();
    let row = board.row("Build what makes images");
    build::binaries(&[crate::images::BINARY], &row)?;
    row.done("");
    let row = board.row("Build nuages");
    beside_images("local", &board, row, &build::binary_arguments(&["nuages"]))?;
    let row = board.row("Build the tests");
    build::cargo(&["test", "--workspace", "--no-run"], &row)?;
    row.done("");

    let shell = tools::shell()?;
    shell.set_var(soak.variable, count.unwrap_or(soak.usual).to_string());
    if let Some(seed) = seed {
        shell.set_var("NUAGES_SEED", seed.to_string());
    }
    tools::cargo(&shell, "test")
        .args(["--quiet", "--workspace", "--tests", soak.test, "--", "--nocapture"])
        .run()?;
    Ok(())
}
