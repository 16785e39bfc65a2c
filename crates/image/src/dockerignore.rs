//! `.dockerignore`, with the meaning that Docker gives it: not the one of `.gitignore`.
//!
//! Patterns are anchored at the context's root and cleaned like paths; the last pattern that matches decides; `!` takes
//! back in what stands under an excluded folder; `[^…]` negates a class; `**` spans folders. Docker translates a pattern
//! into one of Go's regular expressions, and some odd patterns mean what that translation happens to say (`[*]`, `**a`).
//! So the translation is done here too, and its result matched by a small automaton.
//!
//! Invariant: what Docker would refuse is refused, with the line; nothing is silently read in another way.

use std::path::Path;

use crate::ImageError;
use crate::go_pattern::{Expression, is_well_formed};

/// What no image needs: history, environments, secrets and databases of this machine, leftovers of tools.
const USUAL: &str = "\
.git
.hg
.svn
**/.env
**/.env.*
**/.venv
**/venv
**/node_modules
**/db.sqlite3
**/db.sqlite3-*
**/.DS_Store
**/.idea
**/.vscode
**/.mypy_cache
**/.pytest_cache
**/.ruff_cache
**/.tox
**/.coverage
**/*.egg-info
Dockerfile
nuages.toml
nuages.lock
";

/// The image's own stand beside the modules instead.
const COMPILED: &str = "**/__pycache__\n**/*.pyc\n";

/// The patterns of a `.dockerignore`.
///
/// ```
/// use nuages_image::dockerignore::Ignore;
///
/// let ignore = Ignore::parse("*.pyc\n**/__pycache__\ndocs\n!docs/README.md\n")?;
/// assert!(ignore.excludes("app.pyc"));
/// assert!(!ignore.excludes("blog/app.pyc"), "patterns are anchored at the root");
/// assert!(ignore.excludes("blog/__pycache__/app.pyc"));
/// assert!(ignore.excludes("docs/index.html"));
/// assert!(!ignore.excludes("docs/README.md"));
/// # Ok::<(), nuages_image::dockerignore::IgnoreError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// Why a `.dockerignore` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct IgnoreError {
    /// The line, from one.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

#[derive(Debug, Clone)]
struct Pattern {
    takes_back: bool,
    cleaned: String,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Exact,
    /// The pattern ends in `**` and has no other wildcard.
    Prefix,
    /// The pattern begins with `**` and has no other wildcard.
    Suffix,
    Expression(Expression),
}

/// What is known about a path: whether it is excluded, and which patterns its children need not be asked again.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Whether the path itself is left out.
    pub excluded: bool,
    matched: Vec<bool>,
}

impl Ignore {
    /// Reads patterns, one a line.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').enumerate() {
            let refuse = |why: String| IgnoreError { line: index + 1, why };
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                return Err(refuse("`!` stands alone; it needs a pattern".into()));
            }
            let mut cleaned = clean(pattern);
            if cleaned.len() > 1 && cleaned.starts_with('/') {
                cleaned.remove(0);
            }
            if takes_back && cleaned == "/" {
                // Docker cleans once more with the `!` in front, and then nothing is left.
                return Err(refuse(
                    "`!` stands before the root itself, and Docker refuses that".into(),
                ));
            }
            if !is_well_formed(&cleaned) {
                return Err(refuse(format!(
                    "`{pattern}` is not a pattern: a `[` or a `\\` is left open"
                )));
            }
            let rule = Rule::of(&cleaned).map_err(|why| refuse(format!("`{pattern}` is not a pattern: {why}")))?;
            patterns.push(Pattern {
                takes_back,
                cleaned,
                rule,
            });
        }
        Ok(Self { patterns })
    }

    /// Reads the file that belongs to this Dockerfile: `NAME.dockerignore` beside it, else the context's own.
    pub fn read(context: &Path, dockerfile: &Path) -> Result<Self, ImageError> {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        for path in [own.into(), context.join(".dockerignore")] {
            if let Some(read) = Self::read_file(path)? {
                return Ok(read);
            }
        }
        Ok(Self::default())
    }

    /// What leaves out files of a project that has no Dockerfile: its `.dockerignore`, or what nobody wants in an image where
    /// it has none. Compiled modules are always left out.
    pub(crate) fn of_project(project: &Path) -> Result<Self, ImageError> {
        let refuse = |error: IgnoreError| ImageError::Syntax {
            path: project.join(".dockerignore"),
            line: error.line,
            why: error.why,
        };
        let mut ignore = match Self::read_file(project.join(".dockerignore"))? {
            Some(own) => own,
            None => Self::parse(USUAL).map_err(refuse)?,
        };
        ignore.patterns.extend(Self::parse(COMPILED).map_err(refuse)?.patterns);
        Ok(ignore)
    }

    /// `None` if there is no such file.
    fn read_file(path: std::path::PathBuf) -> Result<Option<Self>, ImageError> {
        match std::fs::read(&path) {
            Ok(text) => {
                let read = Self::parse(&String::from_utf8_lossy(&text)).map_err(|error| ImageError::Syntax {
                    path,
                    line: error.line,
                    why: error.why,
                });
                read.map(Some)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::file("read", path)(error)),
        }
    }

    /// Whether this path, relative to the context and with `/` between its parts, is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let mut verdict: Option<Verdict> = None;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            verdict = Some(self.check(&path[..end], verdict.as_ref()));
        }
        verdict.is_some_and(|verdict| verdict.excluded)
    }

    /// The same for a walk, which knows the verdict on the folder that holds the path.
    pub fn check(&self, path: &str, folder: Option<&Verdict>) -> Verdict {
        let mut excluded = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = folder.is_some_and(|folder| folder.matched[index]);
            if !hit {
                // Docker does not ask a pattern that could change nothing, and then does not know it for the children
                // either. That can be seen in the result (`a`, `!a/b`, `a` keeps `a/b/c`), so it is kept.
                if pattern.takes_back != excluded {
                    continue;
                }
                hit = pattern.matches(path);
            }
            matched[index] = hit;
            if hit {
                excluded = !pattern.takes_back;
            }
        }
        Verdict { excluded, matched }
    }

    /// Whether something below this excluded folder may be taken back in, so that it must be walked.
    pub fn may_keep_below(&self, folder: &str) -> bool {
        self.patterns
            .iter()
            .filter(|pattern| pattern.takes_back)
            .any(|pattern| {
                let fixed = pattern.cleaned.split(['*', '?', '[', '\\']).next().unwrap_or_default();
                if fixed.len() < pattern.cleaned.len() {
                    // A wildcard: whatever the fixed part leaves open.
                    let below = format!("{folder}/");
                    below.starts_with(fixed) || fixed.starts_with(&below)
                } else {
                    format!("{}/", pattern.cleaned).starts_with(&format!("{folder}/"))
                }
            })
    }
}

impl Rule {
    fn of(cleaned: &str) -> Result<Self, String> {
        // The order of these cases is Docker's: `**a` is a suffix, so it also matches `ba`.
        let starts = cleaned.starts_with("**");
        let rest = cleaned.strip_prefix("**").unwrap_or(cleaned);
        let wild = |part: &str| part.contains(['*', '?', '[', ']', '\\']);
        Ok(if starts && !wild(rest) {
            Self::Suffix
        } else if !wild(cleaned) {
            Self::Exact
        } else if let Some(front) = cleaned.strip_suffix("**")
            && !wild(front)
        {
            Self::Prefix
        } else {
            Self::Expression(Expression::of(cleaned)?)
        })
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.rule {
            Rule::Exact => path == self.cleaned,
            Rule::Prefix => path.starts_with(&self.cleaned[..self.cleaned.len() - 2]),
            Rule::Suffix => {
                let suffix = &self.cleaned[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Rule::Expression(expression) => expression.matches(path),
        }
    }
}

/// Go's `path.Clean`: the shortest path that means the same, without asking the file system.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cleans_as_go_does() {
        for (given, cleaned) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/a", "/a"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("a/../..", ".."),
            ("/..", "/"),
            ("a/..", "."),
            ("**/", "**"),
        ] {
            assert_eq!(clean(given), cleaned, "{given}");
        }
    }

    #[test]
    fn refuses_with_the_line() {
        for (text, line) in [
            ("a\n!", 2),
            ("[", 1),
            ("# [\n\nx\\", 3),
            ("!/.", 1),
            ("[]a]", 1),
            ("[z-a]", 1),
            ("a[^]", 1),
        ] {
            assert_eq!(Ignore::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    // Each row was seen with the `docker` command: patterns, paths that it sends, paths that it leaves out.
    #[test]
    fn means_what_docker_means() {
        for (patterns, kept, left_out) in [
            ("*.txt", &["a/b.txt", "a"][..], &["b.txt"][..]),
            ("a", &["b/a", "ab"], &["a", "a/b", "a/b/c"]),
            ("/a/", &["b/a"], &["a", "a/b"]),
            ("**/a", &["ba"], &["a", "b/a", "b/c/a/d"]),
            ("**a", &["b"], &["a", "ba", "b/ca"]),
            ("a/**", &["a", "b/a/c"], &["a/b", "a/b/c"]),
            ("a/**/b", &["a/c", "b"], &["a/b", "a/c/b", "a/c/d/b"]),
            ("[^a]", &["a", "bb"], &["b"]),
            ("[!a]", &["b"], &["a", "!"]),
            ("?", &["ab"], &["a"]),
            ("*\n!a/b", &["a/b"], &["a", "c", "a/c"]),
            ("a\n!a/b\na/b/c", &["a/b", "a/b/d"], &["a", "a/b/c"]),
            ("a\n!a/b\na", &["a/b/c"], &["a", "a/x"]),
            ("\\[a\\]", &["a"], &["[a]"]),
            ("[a*]", &["a", "b]"], &["a]", "/]"]),
            ("a.b", &["axb"], &["a.b"]),
            ("a+", &["aa"], &["a+"]),
            ("[a-c]x", &["dx"], &["ax", "bx"]),
            ("**", &[], &["a", "a/b"]),
            (" # not a comment", &["a"], &["# not a comment"]),
        ] {
            let ignore = Ignore::parse(patterns).unwrap();
            for path in kept {
                assert!(!ignore.excludes(path), "{patterns:?} must keep {path}");
            }
            for path in left_out {
                assert!(ignore.excludes(path), "{patterns:?} must leave out {path}");
            }
        }
    }

    #[test]
    fn a_folder_is_walked_where_something_may_be_kept() {
        let ignore = Ignore::parse("*\n!a/b\n!c*/d").unwrap();
        assert!(ignore.may_keep_below("a"));
        assert!(ignore.may_keep_below("a/b"));
        assert!(!ignore.may_keep_below("a/c"));
        assert!(ignore.may_keep_below("cc"));
        assert!(!ignore.may_keep_below("d"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}(\n\\PC{0,20}){0,3}", path in "[a-c./]{1,8}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                ignore.excludes(&path);
                ignore.may_keep_below(&path);
            }
        }

        #[test]
        fn a_walk_that_skips_folders_keeps_the_same(
            lines in proptest::collection::vec("!?(a|b|\\*|\\*\\*|\\?|[ab]\\*|\\[\\^a\\])(/(a|b|\\*|\\*\\*)){0,2}", 1..5),
            path in "[ab](/[ab]){0,3}",
        ) {
            let ignore = Ignore::parse(&lines.join("\n")).unwrap();
            let skipped = path.match_indices('/').any(|(end, _)| {
                let folder = &path[..end];
                ignore.excludes(folder) && !ignore.may_keep_below(folder)
            });
            if skipped {
                prop_assert!(ignore.excludes(&path), "{lines:?} {path}");
            }
        }
    }
}
