//! Debian packages without installing them: fetched with apt into a temporary folder and unpacked there.
//!
//! Invariant: nothing is installed and no root is needed. What is fetched comes from the sources and under the keys that
//! this machine's apt trusts, and goes when the value is dropped.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

/// Enough to see why apt refused.
const REASON: usize = 3;

/// Unpacked packages.
#[derive(Debug)]
pub struct Fetched {
    root: PathBuf,
    _folder: TempDir,
}

impl Fetched {
    /// The folder that stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Fetches packages by name, without what they depend on. The error says in a sentence why it could not be.
///
/// ```no_run
/// # async fn example() -> Result<(), String> {
/// let fetched = nuages_emulator::apt::fetch(&["mmdebstrap"]).await?;
/// assert!(fetched.root().join("usr/bin/mmdebstrap").exists());
/// # Ok(()) }
/// ```
pub async fn fetch(names: &[&str]) -> Result<Fetched, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let (packages, root) = (folder.path().join("packages"), folder.path().join("root"));
    std::fs::create_dir(&packages).map_err(|e| format!("no folder for packages: {e}"))?;
    let words = [&["download"], names].concat();
    // What apt knows already is enough where its lists are fresh; a private look asks the sources again.
    if apt(&packages, &[], &words).await.is_err() {
        let private = private_lists(folder.path())?;
        apt(&packages, &private, &["update"]).await?;
        apt(&packages, &private, &words).await?;
    }
    let archives = std::fs::read_dir(&packages).map_err(|e| format!("the packages cannot be read: {e}"))?;
    for archive in archives.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(archive.path()).arg(&root);
        run(unpack).await?;
    }
    Ok(Fetched { root, _folder: folder })
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
pub(crate) async fn run(mut command: Command) -> Result<(), String> {
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
