//! Answers that no service ever gave, and rows that nobody wrote: real ones, changed at random.
//!
//! Invariant: what becomes of an answer follows from the answer and the seed alone.

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

/// Values that stand where others are expected.
const ODD: [&str; 12] = [
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "9223372036854775807",
    "18446744073709551616",
    "\"\"",
    "\"\\u0000\\uD83D\\uDE00\\u202E\"",
    "\"2026-13-45T99:99:99Z\"",
    "[]",
    "{}",
];

/// The same, as the text of an element.
const ODD_TEXTS: [&str; 9] = [
    "",
    "-1",
    "1e308",
    "18446744073709551616",
    "2026-13-45T99:99:99Z",
    "&bogus;",
    "]]>",
    "&#x1F600;\u{202e}",
    "<State>healthy</State>",
];

/// The same, as a header's.
const ODD_HEADERS: [&str; 9] = [
    "",
    "-1",
    "18446744073709551616",
    "sha256:0f",
    "http://[",
    "/../../elsewhere?x=%",
    "bytes 9-1/0",
    "Bearer realm=\"http://127.0.0.1:1/token",
    "text/html",
];

/// As deep as this nobody nests.
const DEEP: usize = 2000;

/// Numbers that follow from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than this, which is at least one.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or_default()
    }

    fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }

    fn word(&mut self, some: &[&'static str]) -> &'static str {
        some[self.below(some.len())]
    }
}

/// Another text or body in the place of this one, as the seed has it: JSON and XML keep most of their shape.
///
/// ```
/// use nuages_testkit::fuzz::spoil;
///
/// let answer = br#"{"runningCount": 2}"#;
/// assert_eq!(spoil(1, answer), spoil(1, answer));
/// assert!((0..9).any(|seed| spoil(seed, answer) != answer));
/// ```
pub fn spoil(seed: u64, body: &[u8]) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut spoiled = body.to_vec();
    for _ in 0..=dice.below(3) {
        spoiled = once(&mut dice, &spoiled);
    }
    spoiled
}

/// Another value of one header in the place of its own, half of the time; what frames the body stays.
pub(crate) fn spoil_headers(seed: u64, headers: &mut HeaderMap) {
    let mut dice = Dice(!seed);
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
    let names: Vec<HeaderName> = headers.keys().filter(|name| !framing.contains(name)).cloned().collect();
    if names.is_empty() || dice.below(2) == 0 {
        return;
    }
    let name = dice.of(&names).clone();
    if dice.below(3) == 0 {
        headers.remove(name);
    } else {
        headers.insert(name, HeaderValue::from_static(dice.word(&ODD_HEADERS)));
    }
}

fn once(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    if dice.below(4) == 0 {
        return bytes(dice, body);
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        json(dice, &mut value);
        return value.to_string().into_bytes();
    }
    match std::str::from_utf8(body) {
        Ok(text) if text.trim_start().starts_with('<') => xml(dice, text).into_bytes(),
        _ => bytes(dice, body),
    }
}

fn bytes(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let at = dice.below(body.len());
    match dice.below(6) {
        0 => body.truncate(at),
        1 => body.clear(),
        2 => {
            for _ in 0..=dice.below(8) {
                let at = dice.below(body.len());
                if let Some(byte) = body.get_mut(at) {
                    *byte = dice.next().to_le_bytes()[0];
                }
            }
        }
        3 => {
            let again = body[at..].to_vec();
            body.extend(again);
        }
        4 => drop(body.splice(at..at, [0xff, 0xfe, 0])),
        _ => {
            let deep = if body.starts_with(b"<") { "<a>" } else { "[" };
            drop(body.splice(at..at, deep.repeat(DEEP).into_bytes()));
        }
    }
    body
}

/// Every place in a document, as the way to it.
fn places(value: &Value, way: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    found.push(way.clone());
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, value)| (n.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        way.push(key);
        places(child, way, found);
        way.pop();
    }
}

fn at<'a>(value: &'a mut Value, way: &[String]) -> Option<&'a mut Value> {
    way.iter().try_fold(value, |value, key| match value {
        Value::Object(members) => members.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn json(dice: &mut Dice, value: &mut Value) {
    let mut found = Vec::new();
    places(value, &mut Vec::new(), &mut found);
    let (way, other) = (dice.of(&found).clone(), dice.of(&found).clone());
    let other = at(value, &other).map(|other| other.clone()).unwrap_or_default();
    let odd = serde_json::from_str(dice.word(&ODD)).unwrap_or_default();
    let (Some((key, parent)), what) = (way.split_last(), dice.below(6)) else {
        *value = odd;
        return;
    };
    match (what, at(value, parent)) {
        (0, Some(Value::Object(members))) => drop(members.remove(key)),
        (0, Some(Value::Array(items))) => items.clear(),
        (1, Some(Value::Array(items))) => {
            let again = items.clone();
            items.extend((0..=dice.below(3)).flat_map(|_| again.clone()));
        }
        (2, Some(Value::Object(members))) => {
            if let Some(value) = members.remove(key) {
                members.insert(format!("{key}s"), value);
            }
        }
        (3, Some(place)) => {
            if let Some(place) = at(place, std::slice::from_ref(key)) {
                *place = other;
            }
        }
        (4, Some(place)) => {
            if let Some(Value::String(text)) = at(place, std::slice::from_ref(key)) {
                let end = dice.below(text.chars().count() + 1);
                *text = text.chars().take(end).collect();
            }
        }
        (_, Some(place)) => {
            if let Some(place) = at(place, std::slice::from_ref(key)) {
                *place = odd;
            }
        }
        (_, None) => {}
    }
}

fn xml(dice: &mut Dice, text: &str) -> String {
    // Where tags begin and end: `<` up to `>`.
    let tags: Vec<(usize, usize)> = text
        .match_indices('<')
        .filter_map(|(from, _)| Some((from, from + text[from..].find('>')? + 1)))
        .collect();
    if tags.is_empty() {
        return String::new();
    }
    let number = dice.below(tags.len());
    let (from, to) = tags[number];
    let (next, _) = *tags.get(number + 1).unwrap_or(&(text.len(), text.len()));
    let next = next.max(to);
    // An element of this tag, as far as its name goes.
    let name: String = text[from + 1..to].chars().take_while(|c| c.is_alphanumeric()).collect();
    let end = text[to..]
        .find(&format!("</{name}>"))
        .map_or(to, |at| to + at + name.len() + 3);
    match dice.below(7) {
        0 => format!("{}{}", &text[..from], &text[end..]),
        1 => format!("{}{}{}", &text[..end], &text[from..end], &text[end..]),
        2 => format!("{}{}{}", &text[..to], dice.word(&ODD_TEXTS), &text[next..]),
        3 => format!("{}{}", &text[..from], &text[to..]),
        4 => format!("{}<x{}", &text[..from], &text[from + 1..]),
        5 => text[..to].to_owned(),
        _ => format!("{}{}{}", &text[..to], "<a>".repeat(DEEP), &text[to..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"services":[{"serviceName":"web","runningCount":2,"events":[{"message":"x"}]}],"failures":[]}"#;
    const XML: &str = "<Response><Result><member><State>healthy</State></member></Result></Response>";

    #[test]
    fn it_follows_from_its_seed_and_is_mostly_another_one() {
        for body in [JSON, XML, "", "neither"] {
            let of = |seed| spoil(seed, body.as_bytes());
            let all: std::collections::BTreeSet<Vec<u8>> = (0..500).map(of).collect();
            assert_eq!(of(7), of(7));
            assert!(
                all.len() > if body.is_empty() { 1 } else { 100 },
                "{body}: {}",
                all.len()
            );
        }
    }

    #[test]
    fn much_keeps_its_shape() {
        let read = |seed| serde_json::from_slice::<Value>(&spoil(seed, JSON.as_bytes())).is_ok();
        let still = (0..500).filter(|seed| read(*seed)).count();
        assert!((100..450).contains(&still), "{still}");
    }
}
