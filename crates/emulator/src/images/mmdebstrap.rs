//! mmdebstrap: the machine's own, or a copy fetched with apt for this run.
//!
//! Invariant: nothing is installed, and a fetched copy goes when the value is dropped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::apt::{self, Fetched};

const PROGRAM: &str = "mmdebstrap";
/// The keys of Debian's archive: on every Debian, and not on what was derived from it.
const KEYS: &str = "debian-archive-keyring";
const KEYRING: &str = "usr/share/keyrings/debian-archive-keyring.gpg";

/// A way to run mmdebstrap.
pub(super) struct Mmdebstrap {
    program: PathBuf,
    /// The folder of a fetched copy's programs: it calls others of its package by their names.
    programs: Option<PathBuf>,
    /// Debian's keys, where the machine has none.
    keyring: Option<PathBuf>,
    /// Where what was fetched lies.
    _fetched: Option<Fetched>,
}

impl Mmdebstrap {
    /// The machine's own if it is installed, else a fetched copy. The error says why there is neither.
    pub(super) async fn find() -> Result<Self, String> {
        if runs(Path::new(PROGRAM)).await {
            return Ok(Self {
                program: PROGRAM.into(),
                programs: None,
                keyring: None,
                _fetched: None,
            });
        }
        fetch()
            .await
            .map_err(|why| format!("{PROGRAM} is not installed, and could not be fetched: {why}"))
    }

    /// The command; what is to be made is for the caller to say.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.kill_on_drop(true);
        if let Some(programs) = &self.programs {
            command.env("PATH", in_front(programs));
        }
        if let Some(keyring) = &self.keyring {
            command.arg(format!("--keyring={}", keyring.display()));
        }
        command
    }
}

/// `PATH` with one more folder, which is looked into first.
fn in_front(folder: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    // A temporary folder whose name cannot stand in a PATH leaves it as it was.
    std::env::join_paths(folders).unwrap_or(path)
}

async fn runs(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

async fn fetch() -> Result<Mmdebstrap, String> {
    let mut names = vec![PROGRAM];
    if !Path::new("/").join(KEYRING).exists() {
        names.push(KEYS);
    }
    let fetched = apt::fetch(&names).await?;
    let programs = fetched.root().join("usr/bin");
    let program = programs.join(PROGRAM);
    // It is a Perl script: this also tells whether Perl and its modules are here.
    let mut version = Command::new(&program);
    version.arg("--version");
    apt::run(version).await?;
    let keyring = fetched.root().join(KEYRING);
    Ok(Mmdebstrap {
        program,
        programs: Some(programs),
        keyring: keyring.exists().then_some(keyring),
        _fetched: Some(fetched),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_copy_finds_its_helpers_first() {
        let path = in_front(Path::new("/fetched/usr/bin"));
        assert_eq!(
            std::env::split_paths(&path).next().unwrap(),
            Path::new("/fetched/usr/bin")
        );
    }
}
