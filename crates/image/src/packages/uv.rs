//! `uv`, of one version, whatever is on PATH.
//!
//! Invariant: it comes from the package index that pip uses, and only with one of the hashes that are pinned here.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nuages_model::{Digest, Progress};
use tokio::process::Command;

use crate::ImageError;

/// The version, and the hashes of its wheels for every platform.
pub(super) const PIN: &str = include_str!("uv.txt");

/// So many of the last lines tell why it failed.
const TAIL: usize = 12;

pub(super) struct Uv {
    program: PathBuf,
    /// What pip is told of indexes and certificates; uv does not read pip's settings.
    settings: Vec<(&'static str, String)>,
}

impl Uv {
    /// Finds it in the cache, or has pip fetch it.
    pub(super) async fn obtain(cache: &Path, progress: &Progress) -> Result<Self, ImageError> {
        let folder = cache.join(format!("uv-{}", &Digest::of(PIN.as_bytes()).hex()[..16]));
        let program = folder.join("bin").join(if cfg!(windows) { "uv.exe" } else { "uv" });
        let python = python().await?;
        if !program.is_file() {
            progress.status("fetching uv");
            let part = tempfile::tempdir_in(cache).map_err(ImageError::file("write", cache))?;
            let pin = part.path().join("uv.txt");
            std::fs::write(&pin, PIN).map_err(ImageError::file("write", &pin))?;
            let into = part.path().join("uv");
            let mut pip = Command::new(&python);
            pip.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ]);
            pip.args(["--only-binary", ":all:", "--require-hashes", "--target"])
                .arg(&into);
            pip.arg("--requirement").arg(&pin);
            said(pip, "pip could not fetch uv").await?;
            let made = std::fs::rename(&into, &folder);
            // Another process may have been faster.
            if !program.is_file() {
                made.map_err(ImageError::file("write", &folder))?;
            }
        }
        Ok(Self {
            program,
            settings: settings(&python).await,
        })
    }

    /// Unpacks what a lock names into a folder.
    pub(super) async fn install(
        &self,
        lock: &Path,
        into: &Path,
        target: &str,
        (major, minor): (u32, u32),
        progress: &Progress,
    ) -> Result<(), ImageError> {
        progress.status("fetching packages");
        let mut uv = Command::new(&self.program);
        uv.args([
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--no-deps",
            "--only-binary",
            ":all:",
        ]);
        uv.args([
            "--python-platform",
            target,
            "--python-version",
            &format!("{major}.{minor}"),
        ]);
        // Files of uv's own cache may be replaced in place; copies are ours.
        uv.args(["--link-mode", "copy", "--no-compile-bytecode", "--target"])
            .arg(into);
        let lock = std::path::absolute(lock).map_err(ImageError::file("find", lock))?;
        // A project's own settings of uv, such as its indexes, stand beside its lock.
        if let Some(folder) = lock.parent() {
            uv.current_dir(folder);
        }
        uv.arg("--requirement").arg(&lock);
        uv.envs(self.settings.iter().map(|(name, value)| (name, value)));
        said(uv, "uv could not fetch them").await.map(drop)
    }
}

/// The machine's Python, which has pip.
async fn python() -> Result<PathBuf, ImageError> {
    for name in ["python3", "python"] {
        let mut asks = Command::new(name);
        asks.args(["-m", "pip", "--version"]).stdin(Stdio::null());
        if asks.output().await.is_ok_and(|output| output.status.success()) {
            return Ok(name.into());
        }
    }
    Err(ImageError::Packages {
        why: "there is no Python with pip on this machine to fetch them".into(),
        hint: Some(
            "install Python 3 and pip (on Debian: `apt install python3-pip`), or set `builder = \"docker\"`".into(),
        ),
    })
}

/// What pip was told, in uv's words, unless uv was told itself.
async fn settings(python: &Path) -> Vec<(&'static str, String)> {
    let mut asks = Command::new(python);
    asks.args(["-m", "pip", "config", "list"]).stdin(Stdio::null());
    let Ok(output) = asks.output().await else {
        return Vec::new();
    };
    let told = |name: &str| std::env::var_os(name).is_some();
    translate(&String::from_utf8_lossy(&output.stdout))
        .into_iter()
        .filter(|(name, _)| !told(name))
        .collect()
}

/// `global.index-url='https://…'`, a line each; a variable of the environment is `:env:.index-url`.
fn translate(listed: &str) -> Vec<(&'static str, String)> {
    let lines = listed.lines().filter_map(|line| line.split_once('='));
    let known = lines.filter_map(|(key, value)| {
        let (_, key) = key.trim().rsplit_once('.')?;
        let name = match key {
            "index-url" => "UV_DEFAULT_INDEX",
            "extra-index-url" => "UV_INDEX",
            "find-links" => "UV_FIND_LINKS",
            "cert" => "SSL_CERT_FILE",
            _ => return None,
        };
        let value = value.trim().trim_matches(['\'', '"']);
        // pip writes several on lines of their own; its listing shows them as `\n`.
        let several = value.replace("\\n", " ");
        Some((name, several.split_whitespace().collect::<Vec<_>>().join(" ")))
    });
    known.filter(|(_, value)| !value.is_empty()).collect()
}

/// Runs a command that ends with it all being there. What it said is the reason where it does not.
async fn said(mut command: Command, what: &str) -> Result<String, ImageError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| ImageError::Packages {
        why: format!("{what}: {error}"),
        hint: None,
    })?;
    let err = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let lines: Vec<&str> = err.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    Err(ImageError::Packages {
        why: format!("{what}: {}", without_passwords(&tail)),
        hint: advice(&tail),
    })
}

fn advice(said: &str) -> Option<String> {
    let hint = if said.contains("--require-hashes") || said.contains("hash") && said.contains("missing") {
        "write the versions and hashes of all packages: `uv pip compile --universal --generate-hashes requirements.in -o requirements.txt`"
    } else if said.contains("no wheels")
        || said.contains("no usable wheels")
        || said.contains("only-binary")
        || said.contains("no source distribution")
    {
        "a package has no wheel for the base image: choose another version, another base, or `builder = \"docker\"`"
    } else if said.contains("error sending request") || said.contains("dns error") || said.contains("timed out") {
        "check that the package index is reachable: `python3 -m pip config list` shows which one is used"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// An index's address may hold a password.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace())
            .unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                out.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_was_told_uv_is_told() {
        let listed = ":env:.timeout='180'\nglobal.index-url='https://pypi.example.org/simple'\n\
            user.extra-index-url='https://a.example.org/simple\\nhttps://b.example.org/simple'\nglobal.cert='/etc/ca.pem'\nodd";
        assert_eq!(
            translate(listed),
            [
                ("UV_DEFAULT_INDEX", "https://pypi.example.org/simple".to_owned()),
                (
                    "UV_INDEX",
                    "https://a.example.org/simple https://b.example.org/simple".to_owned()
                ),
                ("SSL_CERT_FILE", "/etc/ca.pem".to_owned()),
            ]
        );
    }

    #[test]
    fn an_index_s_password_is_not_told() {
        assert_eq!(
            without_passwords("error: https://me:secret@pypi.example.org/simple and http://b/x@y"),
            "error: https://***@pypi.example.org/simple and http://b/x@y"
        );
    }

    #[test]
    fn only_a_pinned_uv_is_used() {
        let mut lines = PIN.lines();
        assert!(lines.next().unwrap().starts_with("uv=="));
        assert!(lines.all(|line| line.trim().starts_with("--hash=sha256:")));
    }
}
