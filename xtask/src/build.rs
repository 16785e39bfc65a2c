//! cargo, with its progress as a row.
//!
//! Invariant: what rustc has to say reaches the person whole; only cargo's own lines of progress are taken out.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::board::Row;
use crate::tools::{self, Outcome};

/// Wide enough for the names of what is compiled; cargo wants a width where it does not see a terminal.
const WIDTH: &str = "120";

/// Builds binaries of the workspace. `--workspace` selects the features that every other build selects too; without it
/// each SDK crate would be compiled twice.
pub(crate) fn binaries(names: &[&str], row: &Row) -> Outcome {
    cargo(&binary_arguments(names), row)
}

/// cargo's arguments for [`binaries`].
pub(crate) fn binary_arguments<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["build", "--workspace"];
    args.extend(names.iter().flat_map(|name| ["--bin", name]));
    args
}

/// Runs a cargo command that compiles, to its end.
pub(crate) fn cargo(args: &[&str], row: &Row) -> Outcome {
    let mut child = start(args)?;
    if let Some(stderr) = child.stderr.take() {
        follow(stderr, row);
    }
    if child.wait()?.success() {
        Ok(())
    } else {
        Err("cargo could not build it".into())
    }
}

/// Starts a cargo command whose progress [`follow`] reads.
pub(crate) fn start(args: &[&str]) -> Outcome<Child> {
    let mut command = Command::new("cargo");
    tools::forget_cargo(&mut command);
    Ok(command
        .current_dir(tools::root())
        .args(args)
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", WIDTH)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?)
}

/// Shows what cargo says until it is through.
pub(crate) fn follow(mut from: impl Read, row: &Row) {
    let (mut buffer, mut line) = ([0; 4096], Vec::new());
    while let Ok(read) = from.read(&mut buffer)
        && read > 0
    {
        for &byte in &buffer[..read] {
            // A progress line ends where cargo goes back to its beginning.
            if byte == b'\n' || byte == b'\r' {
                show(&String::from_utf8_lossy(&line), row);
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    show(&String::from_utf8_lossy(&line), row);
}

fn show(line: &str, row: &Row) {
    match said(line) {
        Said::Progress(text) => row.status(&text),
        Said::Words => row.say(line),
        Said::Nothing => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Progress(String),
    /// A diagnostic, or anything else that is meant for the person.
    Words,
    Nothing,
}

/// What a line of cargo's is.
fn said(line: &str) -> Said {
    let plain = console::strip_ansi_codes(line);
    let words = plain.trim();
    let Some((verb, rest)) = words.split_once(' ') else {
        // An empty line within a diagnostic is part of it only for the eye.
        return if words.is_empty() { Said::Nothing } else { Said::Words };
    };
    // cargo's own words stand right-aligned in twelve columns; those of rustc begin at the left.
    if !plain.starts_with(' ') || plain.len() - plain.trim_start().len() + verb.len() != 12 {
        return Said::Words;
    }
    match verb {
        "Building" => match rest.split_once("] ") {
            // `[====>   ] 312/611: aws-sdk-ec2, …`
            Some((_, count)) => Said::Progress(count.replacen('/', " of ", 1).replacen(':', ",", 1)),
            None => Said::Nothing,
        },
        "Blocking" => Said::Progress("waiting for another cargo".to_owned()),
        "Downloading" | "Updating" | "Installing" => Said::Progress(words.to_lowercase()),
        "Compiling" | "Downloaded" | "Fresh" | "Finished" | "Locking" | "Adding" | "Executable" | "Running"
        | "Checking" | "Documenting" | "Dirty" => Said::Nothing,
        _ => Said::Words,
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, said};

    #[test]
    fn progress_is_told_from_diagnostics() {
        assert_eq!(
            said("    Building [====>      ] 312/611: aws-sdk-ec2, ring(build)...   "),
            Said::Progress("312 of 611, aws-sdk-ec2, ring(build)...".into())
        );
        assert_eq!(
            said("    Blocking waiting for file lock on build directory"),
            Said::Progress("waiting for another cargo".into())
        );
        for own in [
            "   Compiling aws-sdk-ec2 v1.2.3",
            "\x1b[1m\x1b[32m   Compiling\x1b[0m nuages v0.1.0",
            "    Finished `dev` profile [unoptimized] target(s) in 1s",
            "",
        ] {
            assert_eq!(said(own), Said::Nothing, "{own}");
        }
        for words in [
            "error[E0425]: cannot find value `x` in this scope",
            "warning: unused variable",
            "   --> crates/a/src/lib.rs:3:5",
            "3  |     x",
            "error: could not compile `nuages` (bin \"nuages\") due to 1 previous error",
        ] {
            assert_eq!(said(words), Said::Words, "{words}");
        }
    }
}
