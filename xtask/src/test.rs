//! `cargo xtask test`: makes what it needs and runs every test.
//!
//! Invariant: the emulators are started once, before the tests, and swept after them, whether they pass, fail or are
//! interrupted. What a killed run left is swept by the next.

use std::process::Command;

use xshell::cmd;

use crate::board::Board;
use crate::prepare::beside_images;
use crate::requests;
use crate::tools::{self, Outcome, say};
use crate::{build, images};

pub(crate) fn run(filter: Option<&str>, keep: bool) -> Outcome {
    // Ctrl-C reaches the children too: they end, and what they leave is swept here.
    ctrlc::set_handler(|| {})?;
    let board = Board::new();
    let row = board.row("Build what makes images");
    build::binaries(&[images::BINARY], &row)?;
    row.done("");
    // The binary that the end-to-end tests start, and the one that starts the emulators.
    let row = board.row("Build nuages");
    beside_images("test", &board, row, &build::binary_arguments(&["nuages", "testkit"]))?;
    let row = board.row("Build the tests");
    let nextest = tools::has("cargo-nextest", "--version");
    let runner: &[&str] = if nextest {
        &["nextest", "run"]
    } else {
        row.say(
            "cargo-nextest is not installed, so `cargo test` runs the tests; `cargo install cargo-nextest` makes it quicker",
        );
        &["test"]
    };
    build::cargo(&[runner, &["--workspace", "--no-run"]].concat(), &row)?;
    row.done("");

    let emulators = start()?;
    let recorded = requests::folder()?;
    let environment = emulators
        .into_iter()
        .chain([(requests::VARIABLE.to_owned(), recorded.display().to_string())]);
    let tested = tests(filter, nextest, &environment.collect::<Vec<_>>());
    if keep {
        say("the emulators keep running: sweep them with another `cargo xtask test`");
    } else {
        sweep()?;
    }
    // Said of failed runs too: what AWS would refuse may be why.
    let checked = requests::check(&recorded, filter.is_some());
    tested.and(checked)
}

fn testkit() -> Outcome<Command> {
    Ok(Command::new(tools::binary("testkit")?))
}

/// Starts the emulators for this process, and answers their addresses.
fn start() -> Outcome<Vec<(String, String)>> {
    testkit()?.args(["sweep", "--dead"]).status()?;
    say("starting the emulators");
    let owner = std::process::id().to_string();
    let output = testkit()?
        .args([
            "start",
            "--ministack",
            "--localstack",
            "--postgres",
            "--registry",
            "--owner",
            &owner,
        ])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        sweep()?;
        return Err("the emulators could not be started".into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect())
}

fn sweep() -> Outcome {
    let owner = std::process::id().to_string();
    let status = testkit()?.args(["sweep", "--owner", &owner]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the emulators could not be swept".into())
    }
}

fn tests(filter: Option<&str>, nextest: bool, environment: &[(String, String)]) -> Outcome {
    let shell = tools::shell()?;
    for (name, value) in environment {
        shell.set_var(name, value);
    }
    shell.set_var("NUAGES_BINARY", tools::binary("nuages")?);

    let runner: &[&str] = if nextest {
        &["nextest", "run", "--workspace", "--no-fail-fast"]
    } else {
        &["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests"]
    };
    tools::cargo(&shell, runner[0]).args(&runner[1..]).args(filter).run()?;
    if filter.is_some() {
        return Ok(());
    }
    say("running the examples of the documentation");
    tools::cargo(&shell, "test")
        .args(["--quiet", "--workspace", "--doc"])
        .run()?;
    say("running the sample's own tests");
    let bin = tools::python(
        "sample",
        &["django-sample/requirements.txt", "django-sample/requirements-dev.txt"],
    )?;
    let python = bin.join("python");
    shell.change_dir(tools::root().join("django-sample"));
    cmd!(shell, "{python} -m pytest -q -p no:cacheprovider").quiet().run()?;
    Ok(())
}
