//! `uv`, of one version, whatever is on PATH.
//!
//! Invariant: it comes from the package index that pip uses, and only with one of the hashes that are pinned here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nuages_model::{Digest, Progress};
use tokio::process::Command;

use super::fit;
use super::installed::Installed;
use super::requirements::{Index, Requirements};
use crate::ImageError;

/// The version, and the hashes of its wheels for every platform.
pub(super) const PIN: &str = include_str!("uv.txt");

/// uv would fetch a Python of the image's version for this machine, which nobody runs.
const NO_PYTHON: (&str, &str) = ("UV_PYTHON_DOWNLOADS", "never");

/// So many of the last lines tell why it failed.
const TAIL: usize = 12;

pub(crate) struct Uv {
    program: PathBuf,
    /// What pip is told of indexes and certificates; uv does not read pip's settings.
    settings: Vec<(String, String)>,
}

impl Uv {
    /// Finds it in the cache, or has pip fetch it.
    pub(crate) async fn obtain(cache: &Path, progress: &Progress) -> Result<Self, ImageError> {
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

    /// Unpacks what a list names into a folder, which is made.
    pub(super) async fn install(
        &self,
        requirements: &Requirements,
        into: &Path,
        target: &str,
        (major, minor): (u32, u32),
        progress: &Progress,
    ) -> Result<(), ImageError> {
        progress.status("fetching packages");
        let python = format!("{major}.{minor}");
        let wanted = |into: &Path| {
            // Files of uv's own cache may be replaced in place; copies are ours.
            let mut words: Vec<OsString> = ["pip", "install", "--quiet", "--no-deps", "--link-mode", "copy"]
                .map(OsString::from)
                .into();
            let of_target = [
                "--no-compile-bytecode",
                "--python-platform",
                target,
                "--python-version",
                &python,
                "--target",
            ];
            words.extend(of_target.map(OsString::from));
            words.push(into.into());
            words
        };
        let beside = into.parent().unwrap_or(into);
        let (hashed, commits) = requirements.lines()?;
        std::fs::create_dir_all(into).map_err(ImageError::file("write", into))?;
        let mut built = false;
        if requirements.has_hashed() {
            let list = written(beside, "hashed.txt", &hashed)?;
            // The hash decides which file it is, so it makes no difference which index has it.
            let with_hashes = [
                "--require-hashes",
                "--index-strategy",
                "unsafe-best-match",
                "--requirement",
            ];
            let mut strict = wanted(into);
            strict.extend(["--only-binary", ":all:"].map(OsString::from));
            strict.extend(with_hashes.map(OsString::from));
            strict.push(list.clone().into());
            let done = self.run_for(requirements, &strict, "uv could not fetch them").await;
            if let Err(error) = done {
                if !lacks_wheel(&error.to_string()) {
                    return Err(error);
                }
                progress.status("building packages that are published as source alone");
                std::fs::remove_dir_all(into).map_err(ImageError::file("write", into))?;
                std::fs::create_dir_all(into).map_err(ImageError::file("write", into))?;
                let mut words = wanted(into);
                words.extend(with_hashes.map(OsString::from));
                words.push(list.into());
                let what = "a package is published as source alone, and uv could not build it";
                self.run_for(requirements, &words, what).await?;
                built = true;
            }
        }
        if !commits.is_empty() {
            progress.status("building packages that come from repositories");
            let mut words = wanted(into);
            words.push("--requirement".into());
            words.push(written(beside, "commits.txt", &commits)?.into());
            self.run_for(requirements, &words, "uv could not build what comes from a repository")
                .await?;
            built = true;
        }
        if built {
            fit::for_any_machine(&Installed::read(into)?)?;
        }
        Ok(())
    }

    /// Runs it in a project's folder, where the project's own settings of uv, such as its indexes, stand.
    pub(crate) async fn run(&self, words: &[&str], folder: &Path, what: &str) -> Result<String, ImageError> {
        let mut uv = Command::new(&self.program);
        uv.args(words).current_dir(folder);
        uv.envs(self.settings.iter().map(|(name, value)| (name, value)));
        uv.env(NO_PYTHON.0, NO_PYTHON.1);
        said(uv, what).await
    }

    async fn run_for(&self, requirements: &Requirements, words: &[OsString], what: &str) -> Result<(), ImageError> {
        let mut uv = Command::new(&self.program);
        uv.args(words).current_dir(&requirements.folder);
        let mut settings = self.settings.clone();
        indexes(&requirements.indexes, &mut settings, |name| std::env::var(name).ok());
        uv.envs(settings).env(NO_PYTHON.0, NO_PYTHON.1);
        said(uv, what).await.map(drop)
    }
}

fn written(folder: &Path, name: &str, content: &str) -> Result<PathBuf, ImageError> {
    let path = folder.join(name);
    std::fs::write(&path, content).map_err(ImageError::file("write", &path))?;
    std::path::absolute(&path).map_err(ImageError::file("find", &path))
}

/// Indexes with a name, and the passwords that Poetry's users have in the environment, in uv's words.
fn indexes(indexes: &[Index], settings: &mut Vec<(String, String)>, told: impl Fn(&str) -> Option<String>) {
    for index in indexes {
        let Index::Named { name, url } = index else { continue };
        let there = settings
            .iter()
            .find(|(variable, _)| variable == "UV_INDEX")
            .map(|(_, value)| value.clone());
        let there = there.or_else(|| told("UV_INDEX")).unwrap_or_default();
        settings.retain(|(variable, _)| variable != "UV_INDEX");
        settings.push(("UV_INDEX".to_owned(), format!("{there} {name}={url}").trim().to_owned()));
        let upper = |keep: fn(char) -> bool| {
            let letters = name.chars().map(|c| if keep(c) { c.to_ascii_uppercase() } else { '_' });
            letters.collect::<String>()
        };
        for part in ["USERNAME", "PASSWORD"] {
            let of_uv = format!("UV_INDEX_{}_{part}", upper(|c| c.is_ascii_alphanumeric()));
            let of_poetry = format!("POETRY_HTTP_BASIC_{}_{part}", upper(|c| c != '-' && c != '.'));
            if told(&of_uv).is_none()
                && let Some(value) = told(&of_poetry)
            {
                settings.push((of_uv, value));
            }
        }
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
async fn settings(python: &Path) -> Vec<(String, String)> {
    let mut asks = Command::new(python);
    asks.args(["-m", "pip", "config", "list"]).stdin(Stdio::null());
    let Ok(output) = asks.output().await else {
        return Vec::new();
    };
    let told = |name: &str| std::env::var_os(name).is_some();
    translate(&String::from_utf8_lossy(&output.stdout))
        .into_iter()
        .filter(|(name, _)| !told(name))
        .map(|(name, value)| (name.to_owned(), value))
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
    } else if lacks_wheel(said) || said.contains("no source distribution") {
        "a package has no wheel for the base image: choose another version, another base, or `builder = \"docker\"`"
    } else if said.contains("error sending request") || said.contains("dns error") || said.contains("timed out") {
        "check that the package index is reachable: `python3 -m pip config list` shows which one is used"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// Whether a package is there as source alone.
fn lacks_wheel(said: &str) -> bool {
    ["no wheels", "no usable wheels", "only-binary"]
        .iter()
        .any(|word| said.contains(word))
}

/// Whether an address holds a password itself, and not the name of a variable.
pub(crate) fn has_password(address: &str) -> bool {
    let after = address.split_once("://").map_or("", |(_, after)| after);
    let host = after.split(['/', '#', '?']).next().unwrap_or_default();
    let user = host.rsplit_once('@').map(|(user, _)| user);
    let of_variables = |text: &str| {
        text.split(':')
            .all(|part| part.starts_with("${") && part.ends_with('}') || part == "git")
    };
    user.is_some_and(|user| !of_variables(user))
}

/// An index's address may hold a password.
pub(crate) fn without_passwords(text: &str) -> String {
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
    fn only_the_names_of_variables_are_no_password() {
        for (address, password) in [
            ("https://host.example/a.whl", false),
            ("git+ssh://git@host.example/a@0123", false),
            ("git+https://${TOKEN}@host.example/a", false),
            ("https://${USER}:${PASSWORD}@host.example/a.whl", false),
            ("https://token@host.example/a.whl", true),
            ("https://${USER}:hush@host.example/a.whl", true),
        ] {
            assert_eq!(has_password(address), password, "{address}");
        }
    }

    #[test]
    fn an_index_of_poetry_is_one_of_uv_with_its_password() {
        let there = |name: &str| match name {
            "POETRY_HTTP_BASIC_OUR_OWN_USERNAME" => Some("me".to_owned()),
            "POETRY_HTTP_BASIC_OUR_OWN_PASSWORD" => Some("hush".to_owned()),
            "UV_INDEX_OUR_OWN_USERNAME" => Some("told already".to_owned()),
            _ => None,
        };
        let own = Index::Named {
            name: "our-own".into(),
            url: "https://pypi.example.org/simple".into(),
        };
        let mut settings = vec![("UV_INDEX".to_owned(), "https://other.example.org/simple".to_owned())];
        indexes(&[Index::Line("--no-index".into()), own.clone()], &mut settings, there);
        let wanted = [
            (
                "UV_INDEX",
                "https://other.example.org/simple our-own=https://pypi.example.org/simple",
            ),
            ("UV_INDEX_OUR_OWN_PASSWORD", "hush"),
        ];
        assert_eq!(
            settings,
            wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(!format!("{own:?}{:?}", Index::Line("--index-url https://me:hush@x".into())).contains("hush"));
    }

    #[test]
    fn only_a_pinned_uv_is_used() {
        let mut lines = PIN.lines();
        assert!(lines.next().unwrap().starts_with("uv=="));
        assert!(lines.all(|line| line.trim().starts_with("--hash=sha256:")));
    }
}
