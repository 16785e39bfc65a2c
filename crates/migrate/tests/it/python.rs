//! Virtual environments with a Django in them, made once and kept in the target directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Django that most tests run with: one that every supported Python has.
pub(crate) const DJANGO: &str = "5.2";

/// The Python of a virtual environment with this Django and a PostgreSQL driver.
pub(crate) fn with_django(version: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let home = root.join(format!("django-{version}"));
    let python = home.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    // One process per test makes it, the others wait.
    let lock = File::create(root.join(format!("django-{version}.lock"))).expect("a lock file in the target directory");
    lock.lock().expect("the lock");
    let ready = home.join("ready");
    if !ready.exists() {
        run(Command::new(host_python()).args(["-m", "venv", "--clear"]).arg(&home));
        let django = format!("Django=={version}.*");
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", &django, "psycopg[binary]>=3.1"]));
        std::fs::write(&ready, version).expect("a mark in the virtual environment");
    }
    python
}

pub(crate) fn host_python() -> String {
    std::env::var("NUAGES_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// The Django versions of the supported range that the host's Python can run, oldest and newest.
pub(crate) fn versions() -> Vec<&'static str> {
    let output = Command::new(host_python())
        .args(["-c", "import sys; print(sys.version_info[1])"])
        .output()
        .expect("python3 is needed for these tests");
    let minor: u32 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("Python's minor version");
    match minor {
        ..=11 => vec!["4.2", "5.2"],
        12 => vec!["4.2", "6.0"],
        _ => vec!["5.2", "6.0"],
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
