//! Which Python a project wants.
//!
//! Invariant: the answer is a minor version that has a current base image.

use std::path::Path;

use super::files::text;

/// The minor versions with current images, the one to take when nothing is said first.
const MINORS: [u32; 5] = [13, 12, 14, 11, 10];

/// From `.python-version`, `runtime.txt`, the Dockerfile's base or `requires-python`, as `3.13`.
pub(super) fn version(dir: &Path, dockerfile: Option<&str>, requires: Option<&str>) -> String {
    let pinned = text(&dir.join(".python-version")).as_deref().and_then(minor_in);
    let runtime = || text(&dir.join("runtime.txt")).as_deref().and_then(minor_in);
    let image = || dockerfile.and_then(image_minor);
    let allowed = || {
        MINORS
            .into_iter()
            .find(|minor| requires.is_none_or(|spec| allows(spec, *minor)))
    };
    let minor = pinned
        .or_else(runtime)
        .or_else(image)
        .or_else(allowed)
        .unwrap_or(MINORS[0]);
    format!("3.{minor}")
}

/// The minor version of the first `3.N` in the text.
fn minor_in(text: &str) -> Option<u32> {
    let (_, after) = text.split_once("3.")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|minor| MINORS.contains(minor))
}

/// The minor version of `python:3.N` in a `FROM` or an `ARG`.
fn image_minor(dockerfile: &str) -> Option<u32> {
    let mut lines = dockerfile.lines().map(str::trim_start);
    lines.find_map(|line| {
        let word = line.split_whitespace().next()?.to_ascii_uppercase();
        let (_, tag) = line
            .split_once("python:")
            .filter(|_| matches!(word.as_str(), "FROM" | "ARG"))?;
        minor_in(tag)
    })
}

/// Whether a version specifier allows 3.N, looking no further than the minor version.
fn allows(spec: &str, minor: u32) -> bool {
    spec.split(',').map(str::trim).all(|clause| {
        let at = clause.find(|c: char| c.is_ascii_digit()).unwrap_or(clause.len());
        let (operator, version) = clause.split_at(at);
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
        let (Some(Some(major)), second) = (numbers.next(), numbers.next().flatten()) else {
            return true;
        };
        let exact_patch = numbers.next().flatten().is_some();
        let own = (3, minor);
        let given = (major, second.unwrap_or(0));
        match operator.trim() {
            ">=" | ">" => own >= given,
            // `<3.13` excludes all of 3.13; `<3.13.2` does not.
            "<" => own < given || (exact_patch && own == given),
            "<=" => own <= given,
            "==" | "===" | "" => second.is_none() || own == given,
            "^" => major == 3 && own >= given,
            "~=" => major == 3 && if exact_patch { own == given } else { own >= given },
            "~" => own == given,
            "!=" => exact_patch || own != given,
            _ => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(spec: &str) -> Option<u32> {
        MINORS.into_iter().find(|minor| allows(spec, *minor))
    }

    #[test]
    fn specifiers() {
        for (spec, minor) in [
            (">=3.11", Some(13)),
            (">=3.10,<3.13", Some(12)),
            ("==3.12.*", Some(12)),
            ("^3.11", Some(13)),
            ("~=3.14", Some(14)),
            ("~=3.11.2", Some(11)),
            ("<3.13.2", Some(13)),
            ("!=3.13", Some(12)),
            (">=3.15", None),
            (">=2.7,<3", None),
            ("", Some(13)),
        ] {
            assert_eq!(best(spec), minor, "{spec}");
        }
    }

    #[test]
    fn images() {
        assert_eq!(image_minor("# python:3.9\nFROM python:3.12-slim"), Some(12));
        assert_eq!(
            image_minor("ARG BASE=docker.io/library/python:3.11-slim\nFROM ${BASE}"),
            Some(11)
        );
        assert_eq!(image_minor("FROM debian:13"), None);
        assert_eq!(minor_in("pypy3.10"), Some(10));
        assert_eq!(minor_in("2.7.18"), None);
    }
}
