//! What differs from run to run, made equal.

use regex::Regex;

/// Replaces ULIDs, UUIDs, digests, ports on loopback, times and durations by their names.
///
/// ```
/// let text = nuages_testkit::snapshot::normalise("http://127.0.0.1:40123/ took 1.3s");
/// assert_eq!(text, "http://127.0.0.1:[port]/ took [time]");
/// ```
pub fn normalise(text: &str) -> String {
    const FILTERS: [(&str, &str); 7] = [
        (
            r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "[uuid]",
        ),
        (r"sha256:[0-9a-f]{64}", "[digest]"),
        (r"\b01[0-9a-hjkmnp-tv-zA-HJKMNP-TV-Z]{24}\b", "[ulid]"),
        (r"(127\.0\.0\.1|localhost):\d+", "$1:[port]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?", "[timestamp]"),
        (r"\b\d+m \d+s\b", "[time]"),
        (r"\b\d+(\.\d+)?\s?(ms|s)\b", "[time]"),
    ];
    FILTERS.iter().fold(text.to_owned(), |text, (pattern, name)| {
        Regex::new(pattern)
            .expect("a constant pattern")
            .replace_all(&text, *name)
            .into_owned()
    })
}
