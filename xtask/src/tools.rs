//! What the verbs share: the workspace's folders, its binaries, Python environments.

use std::path::{Path, PathBuf};
use std::process::Command;

use xshell::{Cmd, Shell, cmd};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A line for the person.
#[expect(clippy::print_stderr, reason = "this is where xtask speaks")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// The workspace's folder: where `cargo run` found this crate now. The folder that it was compiled in may be another
/// checkout's, where several share one target folder.
pub(crate) fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A shell in the workspace's folder.
pub(crate) fn shell() -> Outcome<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    Ok(shell)
}

/// A cargo command as a person would start it. `cargo run` tells its program who it is (`CARGO_PKG_NAME`,
/// `CARGO_MANIFEST_DIR`, …); build scripts that watch these would run again, and every SDK crate would be compiled anew
/// each time that somebody changes between `cargo xtask test` and `cargo test`.
pub(crate) fn cargo<'a>(shell: &'a Shell, verb: &str) -> Cmd<'a> {
    let mut cargo = cmd!(shell, "cargo {verb}").quiet();
    for name in inherited() {
        cargo = cargo.env_remove(name);
    }
    cargo
}

/// The same for a command that is not the shell's.
pub(crate) fn forget_cargo(command: &mut Command) {
    for name in inherited() {
        command.env_remove(name);
    }
}

/// The variables that `cargo run` gave to this very program.
fn inherited() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            ["CARGO_PKG_", "CARGO_BIN_", "CARGO_CFG_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || [
                    "CARGO_MANIFEST_DIR",
                    "CARGO_MANIFEST_PATH",
                    "CARGO_CRATE_NAME",
                    "CARGO_PRIMARY_PACKAGE",
                ]
                .contains(&name.as_str())
        })
}

/// Where cargo builds: asked of cargo, which knows its configuration.
pub(crate) fn target() -> Outcome<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        let dir = PathBuf::from(dir);
        return Ok(if dir.is_absolute() {
            dir
        } else {
            std::env::current_dir()?.join(dir)
        });
    }
    let shell = shell()?;
    let metadata = cmd!(shell, "cargo metadata --format-version 1 --no-deps")
        .quiet()
        .read()?;
    let key = "\"target_directory\":\"";
    let found = metadata.find(key).map(|at| &metadata[at + key.len()..]);
    let dir = found
        .and_then(|rest| rest.split('"').next())
        .ok_or("cargo metadata names no target folder")?;
    Ok(PathBuf::from(dir.replace("\\\\", "\\")))
}

/// A built binary's path.
pub(crate) fn binary(name: &str) -> Outcome<PathBuf> {
    Ok(target()?
        .join("debug")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// A Python environment with what these requirement files pin; made once for each content of theirs. Answers its `bin`.
pub(crate) fn python(name: &str, requirements: &[&str]) -> Outcome<PathBuf> {
    let shell = shell()?;
    let root = root();
    let mut stamp = String::new();
    for file in requirements {
        stamp.push_str(&std::fs::read_to_string(root.join(file))?);
    }
    let folder = target()?.join("venvs").join(name);
    let bin = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let marker = folder.join("requirements.stamp");
    if std::fs::read_to_string(&marker).is_ok_and(|kept| kept == stamp) {
        return Ok(bin);
    }
    say(&format!("making the Python environment {name}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let python = if cmd!(shell, "python3 --version").quiet().ignore_stdout().run().is_ok() {
        "python3"
    } else {
        "python"
    };
    cmd!(shell, "{python} -m venv {folder}").quiet().run()?;
    let pip = bin.join("pip");
    let files = requirements.iter().flat_map(|file| ["-r", file]);
    cmd!(
        shell,
        "{pip} install --quiet --disable-pip-version-check --require-hashes {files...}"
    )
    .quiet()
    .run()?;
    std::fs::write(&marker, stamp)?;
    Ok(bin)
}

/// Whether a program is on PATH and answers.
pub(crate) fn has(program: &str, argument: &str) -> bool {
    shell().is_ok_and(|shell| {
        cmd!(shell, "{program} {argument}")
            .quiet()
            .ignore_stdout()
            .ignore_stderr()
            .run()
            .is_ok()
    })
}
