//! Verbs of the product: builds the `nuages` binary and becomes it.
//!
//! Invariant: the arguments reach the binary as they were written; in this workspace the project is `django-sample`
//! unless another one is named.

use std::process::{Command, ExitCode};

use crate::board::Board;
use crate::prepare::beside_images;
use crate::tools::{self, Outcome};
use crate::{build, images};

/// The verbs that may need container images on this machine.
const NEED_IMAGES: [&str; 6] = ["deploy", "check", "build", "push", "plan", "infra"];

/// Builds the binary, meanwhile makes images that are missing, and runs the verb.
pub(crate) fn run(args: &[String]) -> ExitCode {
    match prepare(args) {
        Ok(command) => become_it(command),
        Err(error) => {
            tools::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn prepare(args: &[String]) -> Outcome<Command> {
    if wants_local_images(args) {
        let board = Board::new();
        let row = board.row("Build nuages");
        build::binaries(&[images::BINARY], &row)?;
        beside_images("local", &board, row, &build::binary_arguments(&["nuages"]))?;
    } else {
        let row = Board::new().row("Build nuages");
        build::binaries(&["nuages"], &row)?;
        row.done("");
    }
    let mut command = Command::new(tools::binary("nuages")?);
    command.args(args);
    // What it tells people to type begins with this.
    command.env("NUAGES_CALLED_AS", "cargo xtask");
    let named = args
        .iter()
        .any(|arg| arg == "--project" || arg.starts_with("--project="));
    if !named && std::env::var_os("NUAGES_PROJECT").is_none() && args.first().is_some_and(|verb| verb != "init") {
        command.env("NUAGES_PROJECT", tools::root().join("django-sample"));
    }
    Ok(command)
}

fn wants_local_images(args: &[String]) -> bool {
    let verb = args.first().is_some_and(|verb| NEED_IMAGES.contains(&verb.as_str()));
    let down = args.iter().any(|arg| arg == "down");
    let local = args
        .windows(2)
        .any(|pair| (pair[0] == "--env" || pair[0] == "-e") && pair[1] == "local")
        || args.iter().any(|arg| arg == "--env=local");
    verb && local && !down
}

/// Signals and the terminal are the verb's own: on Unix this process becomes it.
#[cfg(unix)]
fn become_it(mut command: Command) -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    tools::say(&format!(
        "error: failed to start {}: {error}",
        command.get_program().display()
    ));
    ExitCode::FAILURE
}

#[cfg(not(unix))]
fn become_it(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            tools::say(&format!(
                "error: failed to start {}: {error}",
                command.get_program().display()
            ));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wants_local_images;

    #[test]
    fn only_a_local_environment_needs_images() {
        let wants = |line: &str| wants_local_images(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(wants("deploy --env local") && wants("deploy -e local") && wants("build --env=local"));
        assert!(!wants("deploy --env staging") && !wants("logs --env local") && !wants("infra down --env local"));
    }
}
