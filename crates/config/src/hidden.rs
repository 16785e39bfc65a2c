//! What of a file is not quoted: values that look like secrets, wherever they stand.
//!
//! Invariant: a mistake is shown with the lines around it, and no value of theirs that somebody could use: terminals
//! scroll back, and CI keeps its logs.

use crate::node::Span;

/// Parts of a variable's name that say what its value is.
const TELLING: [&str; 8] = [
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASS",
    "TOKEN",
    "KEY",
    "PRIVATE",
    "CREDENTIALS",
];

/// The texts between quotes that are not to be quoted again: of variables by their names, and addresses with a password.
pub(crate) fn looks_secret(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let end = text[from..].find('\n').map_or(text.len(), |newline| from + newline);
        let line = &text[from..end];
        let mut next = end + 1;
        if let Some((name, value)) = variable(line) {
            let start = from + value;
            let end = end_of(text, start);
            if is_telling(name) || has_password(&text[start..end]) {
                spans.push(start..end);
            }
            next = next.max(end);
        }
        from = next;
    }
    spans
}

/// A variable's name, and where its text begins, quotes and all. Tables and numbers are none.
fn variable(line: &str) -> Option<(&str, usize)> {
    let (name, rest) = line.split_once('=')?;
    let value = rest.trim_start();
    let name = name.trim().trim_matches(['"', '\'']);
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let quoted = value.starts_with(['"', '\'']);
    (quoted && !name.is_empty() && name.chars().all(is_name)).then(|| (name, line.len() - value.len()))
}

/// Where a text ends that begins here: at the line's end, or behind the three quotes that close it. One that nothing
/// closes ends with the file.
fn end_of(text: &str, start: usize) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inside) = text[start..].strip_prefix(quotes) {
            return inside
                .find(quotes)
                .map_or(text.len(), |close| start + quotes.len() + close + quotes.len());
        }
    }
    text[start..].find('\n').map_or(text.len(), |newline| start + newline)
}

fn is_telling(name: &str) -> bool {
    name.split('_').any(|part| TELLING.contains(&part))
}

/// Whether it names a user and a password, as addresses of databases do.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else {
        return false;
    };
    rest.split('/')
        .next()
        .and_then(|place| place.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<&str> {
        looks_secret(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn names_and_passwords_tell() {
        assert_eq!(hidden("STRIPE_API_KEY = \"sk_live\""), ["\"sk_live\""]);
        assert_eq!(hidden("  \"SECRET_KEY\"='x' # why\nLOG = \"INFO\""), ["'x' # why"]);
        assert_eq!(hidden("CACHE = \"redis://:hunter2@c/0\""), ["\"redis://:hunter2@c/0\""]);
        assert_eq!(
            hidden("A = 1\nDB_PASS = '''\nhunter\n2'''\nB = \"b\""),
            ["'''\nhunter\n2'''"]
        );
        assert_eq!(
            hidden("TOKEN = \"\"\"never closed\nX = \"x\""),
            ["\"\"\"never closed\nX = \"x\""]
        );
        assert_eq!(hidden("PASSWORD = \"ü"), ["\"ü"]);
    }

    #[test]
    fn all_else_is_shown() {
        for text in [
            "DJANGO_SECRET_KEY = { generate = 50 }",
            "SENTRY_DSN = { secret = \"blog/sentry\", key = \"dsn\" }",
            "LOG_LEVEL = \"DEBUG\"",
            "MONKEY = \"bars\"",
            "HOME_URL = \"https://example.org/a:b@c\"",
            "command = [\"gunicorn\"]",
            "= \"x\"",
            "",
        ] {
            assert_eq!(hidden(text), [""; 0], "{text}");
        }
    }
}
