//! `cargo xtask test`: makes what it needs and runs every test.
//!
//! Invariant: the emulators are started once, before the tests, and swept after them, whether they pass, fail or are
//! interrupted. What a killed run left is swept by the next.

use std::process::Command;

use xshell::cmd;

use crate::tools::{self, Outcome, say};

pub(crate) fn run(filter: Option<&str>, keep: bool) -> Outcome {
    // Ctrl-C reaches the children too: they end, and what they leave is swept here.
    ctrlc::set_handler(|| {})?;
    tools::build(&["nuages-images", "testkit"])?;
    images()?;
    say("building the tests");
    let shell = tools::shell()?;
    let nextest = tools::has("cargo-nextest", "--version");
    if nextest {
        cmd!(shell, "cargo nextest run --workspace --no-run --cargo-quiet")
            .quiet()
            .run()?;
    } else {
        say(
            "cargo-nextest is not installed, so `cargo test` runs the tests; `cargo install cargo-nextest` makes it quicker",
        );
        tools::cargo(&shell, "test")
            .args(["--quiet", "--workspace", "--no-run"])
            .run()?;
    }
    // The binary that the end-to-end tests start.
    tools::build(&["nuages"])?;

    let emulators = start()?;
    let tested = tests(filter, nextest, &emulators);
    if keep {
        say("the emulators keep running: sweep them with another `cargo xtask test`");
    } else {
        sweep()?;
    }
    tested
}

fn images() -> Outcome {
    say("making the images that the tests need");
    let status = Command::new(tools::binary("nuages-images")?)
        .args(["--for", "test"])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the images that the tests need could not be made".into())
    }
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

fn tests(filter: Option<&str>, nextest: bool, emulators: &[(String, String)]) -> Outcome {
    let shell = tools::shell()?;
    for (name, value) in emulators {
        shell.set_var(name, value);
    }
    shell.set_var("NUAGES_BINARY", tools::binary("nuages")?);
    let filter: &Vec<&str> = &filter.into_iter().collect();
    if nextest {
        cmd!(shell, "cargo nextest run --workspace --no-fail-fast {filter...}")
            .quiet()
            .run()?;
    } else {
        cmd!(
            shell,
            "cargo test --workspace --no-fail-fast --lib --bins --tests {filter...}"
        )
        .quiet()
        .run()?;
    }
    if !filter.is_empty() {
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
