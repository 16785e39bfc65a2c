//! `cargo xtask bench NAME`: runs a bench, prints its table, and writes one JSON object a case.
//!
//! Invariant: figures never decide the exit code; a bench that could not run does.

use std::path::PathBuf;
use std::process::ExitCode;

use nuages_testkit::bench::{self, Case, Table};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the program's own output")]
fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, what, _) in bench::BENCHES {
            println!("{name}\t{what}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, _, run)) = bench::BENCHES.iter().find(|(known, _, _)| *known == name) else {
        eprintln!("error: there is no bench `{name}`");
        return ExitCode::FAILURE;
    };
    let cases: Vec<Case> = match run() {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let table = Table { bench: name, cases };
    println!("{table}");
    let folder = std::env::var_os("NUAGES_BENCH_OUT").map_or_else(|| PathBuf::from("target/bench"), PathBuf::from);
    match table.write(&folder) {
        Ok(file) => {
            println!("written to {}", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: failed to write {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
