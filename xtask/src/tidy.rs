//! `cargo xtask tidy`: what no linter knows.
//!
//! Invariant: every problem is told at once, with file and line.

use std::path::Path;

use xshell::cmd;

use crate::tools::{self, Outcome, say};

/// Longer files hold more than one idea. Tests may be longer.
const LONGEST: usize = 700;

/// Words that have no place in what is committed, and why.
const FORBIDDEN: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "open work belongs into an issue"),
    (concat!("FIX", "ME"), "open work belongs into an issue"),
    (concat!("XX", "X:"), "open work belongs into an issue"),
    (concat!("#[allow", "("), "use #[expect(…, reason = \"…\")]"),
    (concat!("files.python", "hosted.org"), "name no package registry's host"),
    (concat!("py", "pi.org/simple"), "name no package registry's host"),
    (concat!("deb.", "debian.org"), "name no package registry's host"),
];

/// Where package registries' hosts may stand: cargo writes its own.
const LOCK: &str = "Cargo.lock";

pub(crate) fn run() -> Outcome {
    let shell = tools::shell()?;
    let listed = cmd!(shell, "git ls-files").quiet().read()?;
    let root = tools::root();
    let mut problems = Vec::new();
    for file in listed.lines().filter(|file| *file != LOCK) {
        let Ok(bytes) = std::fs::read(root.join(file)) else {
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            if !is_picture(file) {
                problems.push(format!("{file}: is no text; binaries are not committed"));
            }
            continue;
        };
        check(file, &text, &mut problems);
    }
    for problem in &problems {
        say(problem);
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("{} problems", problems.len()).into())
    }
}

fn is(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|there| there == extension)
}

fn is_picture(file: &str) -> bool {
    ["png", "ico", "woff2", "svg"]
        .iter()
        .any(|extension| is(file, extension))
}

fn check(file: &str, text: &str, problems: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        for (word, why) in FORBIDDEN {
            if line.contains(word) {
                problems.push(format!("{file}:{}: `{word}`: {why}", number + 1));
            }
        }
        if line.ends_with([' ', '\t']) && !is(file, "md") && !is(file, "snap") {
            problems.push(format!("{file}:{}: white space at the end", number + 1));
        }
    }
    if !is(file, "rs") {
        return;
    }
    let lines = text.lines().count();
    let is_test = file.contains("/tests/") || file.contains("/testkit/") || file.ends_with("tests.rs");
    if lines > LONGEST && !is_test {
        problems.push(format!("{file}: has {lines} lines; split it (at most {LONGEST})"));
    }
    // rustfmt puts attributes anywhere, but a file's purpose stands in its first lines.
    let opens = text.lines().find(|line| !line.starts_with("#!["));
    if !opens.is_some_and(|line| line.starts_with("//!")) {
        problems.push(format!("{file}: does not open with what it is for (`//!`)"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_their_line() {
        let mut problems = Vec::new();
        check(
            "crates/x/src/a.rs",
            concat!("//! A.\nfn a() {} // TO", "DO\nlet b; \n"),
            &mut problems,
        );
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("crates/x/src/a.rs:2:") && problems[1].starts_with("crates/x/src/a.rs:3:"));
    }
}
