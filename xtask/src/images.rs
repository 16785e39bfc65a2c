//! The container images, made by a small binary that is built in a fraction of the time of the big one.
//!
//! Invariant: what it makes and how is the product's own (`nuages-emulator`); here it is only started and shown.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::board::Row;
use crate::tools::{self, Outcome};

pub(crate) const BINARY: &str = "nuages-images";

/// Starts making the images for a purpose; [`follow`] shows how far it is.
pub(crate) fn start(purpose: &str) -> Outcome<Child> {
    Ok(Command::new(tools::binary(BINARY)?)
        .args(["--for", purpose, "--show", "events"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

/// Shows what the binary says until it is through; answers how many images it made.
pub(crate) fn follow(from: impl Read, row: &Row) -> usize {
    let mut made = 0;
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        match line.split_once('\t') {
            Some(("done", text)) => {
                made += 1;
                row.say(text);
            }
            Some(("now", text)) => row.status(text),
            _ => row.say(&line),
        }
    }
    made
}

/// What it says where it fails.
pub(crate) fn words(mut from: impl Read) -> String {
    let mut words = String::new();
    // What cannot be read was not text.
    let _ = from.read_to_string(&mut words);
    words.trim_end().to_owned()
}

/// How the row ends.
pub(crate) fn summary(made: usize) -> String {
    match made {
        0 => "all there".to_owned(),
        1 => "1 made".to_owned(),
        made => format!("{made} made"),
    }
}

/// `cargo xtask images`.
pub(crate) fn run(args: &[String]) -> Outcome {
    let row = crate::board::Board::new().row("Build nuages-images");
    crate::build::binaries(&[BINARY], &row)?;
    row.done("");
    let args: Vec<String> = if args.is_empty() {
        vec!["--for".into(), "all".into()]
    } else {
        args.to_vec()
    };
    let status = Command::new(tools::binary(BINARY)?).args(args).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("not every image could be made".into())
    }
}
