//! Which files of a project are looked at.
//!
//! Invariant: links are not followed, and a walk ends: its depth, its files and their sizes are bounded.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ConfigError;

const MOST_FILES: usize = 3000;
const MOST_BYTES: u64 = 1 << 20;

/// Folders with other people's code.
const FOREIGN: [&str; 9] = [
    "node_modules",
    "site-packages",
    "venv",
    "env",
    "__pycache__",
    "target",
    "build",
    "dist",
    "staticfiles",
];

/// The folder with `manage.py`: this one, or the only one at most two below it.
pub(super) fn project_dir(dir: &Path) -> Result<PathBuf, ConfigError> {
    if dir.join("manage.py").is_file() {
        return Ok(dir.to_path_buf());
    }
    // A folder that cannot be read is another problem than one without a project.
    fs::read_dir(dir).map_err(|source| ConfigError::Read {
        path: dir.to_path_buf(),
        source,
    })?;
    let mut found: Vec<PathBuf> = Vec::new();
    walk(dir, 2, &mut |path| {
        if path.file_name().is_some_and(|name| name == "manage.py") {
            found.extend(path.parent().map(Path::to_path_buf));
        }
    });
    match found.len() {
        0 => Err(ConfigError::NoManagePy {
            // "." tells nobody where they are.
            dir: fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf()),
        }),
        1 => Ok(found.remove(0)),
        _ => Err(ConfigError::SeveralManagePy { found }),
    }
}

/// Calls this with every file, in the order of their names.
pub(super) fn walk(dir: &Path, depth: usize, file: &mut dyn FnMut(&Path)) {
    let mut left = MOST_FILES;
    walk_into(dir, depth, &mut left, file);
}

fn walk_into(dir: &Path, depth: usize, left: &mut usize, file: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') || *left == 0 {
            continue;
        }
        if kind.is_file() {
            *left -= 1;
            file(&entry.path());
        } else if kind.is_dir() && depth > 0 && !FOREIGN.contains(&&*name) && !entry.path().join("pyvenv.cfg").exists()
        {
            walk_into(&entry.path(), depth - 1, left, file);
        }
    }
}

/// A file's text, where it is one of sensible size.
pub(super) fn text(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return None;
    }
    fs::read(path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The texts within quotes of Python code, near enough: a quote opens and the same one closes on its line.
pub(super) fn quoted(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in code.lines() {
        let mut rest = line;
        while let Some(open) = rest.find(['"', '\'']) {
            let quote = &rest[open..=open];
            let inner = &rest[open + 1..];
            let Some(close) = inner.find(quote) else { break };
            found.push(&inner[..close]);
            rest = &inner[close + 1..];
        }
    }
    found
}

/// Whether a test is written anywhere: `startapp` makes files for them that have none.
pub(super) fn has_tests(dir: &Path) -> bool {
    let mut found = false;
    walk(dir, 5, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_tests = name.starts_with("test") || name.ends_with("_test.py") || name.ends_with("_tests.py");
        if !found && of_tests && name.ends_with(".py") {
            found = text(path).is_some_and(|code| code.contains("def test"));
        }
    });
    found
}

/// Where the project answers whether it is alive and ready: paths that its code names.
pub(super) fn health(dir: &Path, health_check_package: bool) -> Option<(String, String)> {
    let mut named: Vec<String> = Vec::new();
    walk(dir, 3, &mut |path| {
        let python = path.extension().is_some_and(|extension| extension == "py");
        let test = path
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with("test"));
        if python
            && !test
            && let Some(code) = text(path)
        {
            named.extend(
                quoted(&code)
                    .into_iter()
                    .filter(|text| text.len() <= 24)
                    .map(str::to_owned),
            );
        }
    });
    let find = |words: &[&str]| {
        words.iter().find_map(|word| {
            let hit = named.iter().find(|text| text.trim_matches(['/', '^', '$']) == *word)?;
            Some(format!(
                "/{}",
                hit.trim_start_matches('^')
                    .trim_end_matches('$')
                    .trim_start_matches('/')
            ))
        })
    };
    let live = find(&[
        "livez",
        "healthz",
        "health/live",
        "health",
        "healthcheck",
        "ping",
        "alive",
        "_health",
    ]);
    let ready = find(&["readyz", "health/ready", "ready", "readiness"]);
    match (live, ready) {
        (Some(live), Some(ready)) => Some((live, ready)),
        (Some(only), None) | (None, Some(only)) => Some((only.clone(), only)),
        (None, None) if health_check_package => Some(("/ht/".to_owned(), "/ht/".to_owned())),
        (None, None) => None,
    }
}
