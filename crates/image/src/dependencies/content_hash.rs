//! Hashes by which a lock says what it was made from, as Python's tools compute them.
//!
//! Invariant: the text under the hash is what Python's `json.dumps(…, sort_keys=True)` writes.

use std::fmt::Write as _;

use nuages_model::Digest;
use serde_json::Value;
use toml::Table;

/// The hash of a value, with these separators between items and after a name.
pub(super) fn hash(value: &Value, separators: (&str, &str)) -> String {
    let mut text = String::new();
    dump(value, separators, &mut text);
    Digest::of(text.as_bytes()).hex().to_owned()
}

/// What Python writes by itself.
pub(super) const SPACED: (&str, &str) = (", ", ": ");
/// What Python writes where it is asked to be short.
pub(super) const DENSE: (&str, &str) = (",", ":");

/// A TOML value in JSON. `None` where it holds what JSON has no word for: times, and numbers that are none.
pub(super) fn json(table: &Table) -> Option<Value> {
    fn value(from: &toml::Value) -> Option<Value> {
        Some(match from {
            toml::Value::String(text) => text.as_str().into(),
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Boolean(is) => (*is).into(),
            toml::Value::Array(items) => Value::Array(items.iter().map(value).collect::<Option<_>>()?),
            toml::Value::Table(table) => json(table)?,
            // Python and Rust write them in different ways.
            toml::Value::Float(_) | toml::Value::Datetime(_) => return None,
        })
    }
    let pairs = table.iter().map(|(name, item)| Some((name.clone(), value(item)?)));
    Some(Value::Object(pairs.collect::<Option<_>>()?))
}

fn dump(value: &Value, separators: (&str, &str), out: &mut String) {
    match value {
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push_str(separators.0);
                }
                dump(item, separators, out);
            }
            out.push(']');
        }
        Value::Object(pairs) => {
            // Python compares code points, which is how UTF-8 sorts, too.
            let mut sorted: Vec<_> = pairs.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (number, (name, item)) in sorted.into_iter().enumerate() {
                if number > 0 {
                    out.push_str(separators.0);
                }
                string(name, out);
                out.push_str(separators.1);
                dump(item, separators, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Python escapes all that is not ASCII, in halves of UTF-16.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='\u{7e}' => out.push(c),
            other => {
                for half in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{half:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_is_python_s() {
        let value = json!({"b": [1, true, null, "é\u{1f600}\u{7f}\"\\\n\u{1}"], "a": {}, "A": []});
        let mut text = String::new();
        dump(&value, SPACED, &mut text);
        // python3 -c 'import json; print(json.dumps(…, sort_keys=True))'
        assert_eq!(
            text,
            r#"{"A": [], "a": {}, "b": [1, true, null, "\u00e9\ud83d\ude00\u007f\"\\\n\u0001"]}"#
        );
    }
}
