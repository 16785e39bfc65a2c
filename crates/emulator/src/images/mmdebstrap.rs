//! mmdebstrap: the machine's own, or a copy fetched with apt for this run.
//!
//! Invariant: nothing is installed. A fetched copy lies in a temporary folder, comes from the sources and under the
//! keys that this machine's apt trusts, and goes when the value is dropped. No root is needed for it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

const PROGRAM: &str = "mmdebstrap";
/// The keys of Debian's archive: on every Debian, and not on what was derived from it.
const KEYS: &str = "debian-archive-keyring";
const KEYRING: &str = "usr/share/keyrings/debian-archive-keyring.gpg";
/// Enough to see why apt refused.
const REASON: usize = 3;

/// A way to run mmdebstrap.
pub(super) struct Mmdebstrap {
    program: PathBuf,
    /// The folder of a fetched copy's programs: it calls others of its package by their names.
    programs: Option<PathBuf>,
    /// Debian's keys, where the machine has none.
    keyring: Option<PathBuf>,
    /// Where what was fetched lies.
    _fetched: Option<TempDir>,
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
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let (packages, root) = (folder.path().join("packages"), folder.path().join("root"));
    std::fs::create_dir(&packages).map_err(|e| format!("no folder for packages: {e}"))?;
    // What apt knows already is enough where its lists are fresh; a private look asks the sources again.
    if download(&packages, &[]).await.is_err() {
        let private = private_lists(folder.path())?;
        apt(&packages, &private, &["update"]).await?;
        download(&packages, &private).await?;
    }
    let archives = std::fs::read_dir(&packages).map_err(|e| format!("the packages cannot be read: {e}"))?;
    for archive in archives.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(archive.path()).arg(&root);
        run(unpack).await?;
    }
    let programs = root.join("usr/bin");
    let program = programs.join(PROGRAM);
    // It is a Perl script: this also tells whether Perl and its modules are here.
    let mut version = Command::new(&program);
    version.arg("--version");
    run(version).await?;
    let keyring = root.join(KEYRING);
    Ok(Mmdebstrap {
        program,
        programs: Some(programs),
        keyring: keyring.exists().then_some(keyring),
        _fetched: Some(folder),
    })
}

async fn download(into: &Path, options: &[String]) -> Result<(), String> {
    let mut words = vec!["download", PROGRAM];
    if !Path::new("/").join(KEYRING).exists() {
        words.push(KEYS);
    }
    apt(into, options, &words).await
}

/// Options that give apt lists and caches of its own: those of the system belong to root, and are left as they are.
fn private_lists(folder: &Path) -> Result<Vec<String>, String> {
    let mut options = vec!["--option=APT::Sandbox::User=".to_owned()];
    for (key, name, inner) in [
        ("Dir::State::lists", "lists", "partial"),
        ("Dir::Cache", "cache", "archives/partial"),
    ] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.join(inner)).map_err(|e| format!("no folder for apt: {e}"))?;
        options.push(format!("--option={key}={}", path.display()));
    }
    Ok(options)
}

async fn apt(into: &Path, options: &[String], words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    command.current_dir(into).arg("--quiet").args(options).args(words);
    run(command).await
}

/// Runs a command to its end; the error is the last of what it said.
async fn run(mut command: Command) -> Result<(), String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).env("LC_ALL", "C").kill_on_drop(true);
    let done = command.output().await.map_err(|e| format!("{name}: {e}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("W: "))
        .collect();
    let last = lines[lines.len().saturating_sub(REASON)..].join("; ");
    Err(if last.is_empty() {
        format!("{name} ended with {}", done.status)
    } else {
        format!("{name}: {last}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_own_folders_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let options = private_lists(folder.path()).unwrap();
        let here = folder.path().display().to_string();
        assert!(options[1].starts_with(&format!("--option=Dir::State::lists={here}")));
        assert!(options[2].starts_with(&format!("--option=Dir::Cache={here}")));
        assert!(folder.path().join("cache/archives/partial").is_dir());
    }

    #[test]
    fn a_fetched_copy_finds_its_helpers_first() {
        let path = in_front(Path::new("/fetched/usr/bin"));
        assert_eq!(
            std::env::split_paths(&path).next().unwrap(),
            Path::new("/fetched/usr/bin")
        );
    }

    #[tokio::test]
    async fn a_failing_command_says_why() {
        let mut missing = Command::new("dpkg-deb-of-another-planet");
        missing.arg("--extract");
        assert!(run(missing).await.unwrap_err().contains("another-planet"));
        let mut refused = Command::new("ls");
        refused.arg("/no/such/folder");
        let why = run(refused).await.unwrap_err();
        assert!(why.contains("No such file"), "{why}");
    }
}
