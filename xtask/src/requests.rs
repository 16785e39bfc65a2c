//! The requests that the tests send, checked against AWS's own models of its services.
//!
//! Invariant: the check is checked first: it must find planted errors.

use std::path::PathBuf;

use xshell::cmd;

use crate::tools::{self, Outcome, say};

/// Names the folder to the tests, which write into it.
pub(crate) const VARIABLE: &str = "NUAGES_TEST_REQUESTS";

/// An empty folder for the requests of this run.
pub(crate) fn folder() -> Outcome<PathBuf> {
    let folder = tools::target()?.join("requests");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Checks what the tests wrote. A selection of tests may have sent nothing.
pub(crate) fn check(folder: &PathBuf, is_selection: bool) -> Outcome {
    if is_selection && std::fs::read_dir(folder)?.next().is_none() {
        return Ok(());
    }
    say("checking the requests that the tests sent against AWS's models");
    let python = tools::python("requests", &["fixtures/requests/requirements.txt"])?.join("python");
    let shell = tools::shell()?;
    shell.change_dir(tools::root().join("fixtures/requests"));
    cmd!(shell, "{python} -B -m unittest --quiet test_check")
        .quiet()
        .run()?;
    cmd!(shell, "{python} -B check.py {folder}").quiet().run()?;
    Ok(())
}
