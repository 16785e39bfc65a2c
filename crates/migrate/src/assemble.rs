//! Puts a report together again from the lines of a log.
//!
//! Invariant: lines may come twice, in any order, between any others and after other text on the same line; what comes
//! out is the bytes whose SHA-256 the driver wrote, or nothing.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuages_model::Digest;

/// What every line of the driver's own begins with, followed by the run's id.
pub(crate) const MARKER: &str = "NUAGES1 ";
/// Far above any real report; a log that claims more is broken.
const MAX_CHUNKS: usize = 20_000;
const MAX_REPORT: u64 = 256 * 1024 * 1024;

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The driver wrote none, or its log was not delivered.
    #[error("the task's log has no report")]
    Nothing,
    /// Some lines did not arrive.
    #[error("the task's log has {have} of the report's {total} parts")]
    Parts {
        /// Parts that arrived.
        have: usize,
        /// Parts there should be.
        total: usize,
    },
    /// The parts arrived, the line with their hash did not.
    #[error("the task's log lacks the line with the report's hash")]
    NoHash,
    /// The parts do not have the hash that the driver wrote.
    #[error("the report in the task's log does not have the hash that was written with it")]
    WrongHash,
    /// The bytes are those that the driver wrote, and are no report.
    #[error("the report in the task's log cannot be read: {0}")]
    Unreadable(String),
}

/// What a line of the log was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fed {
    /// Part of the report.
    Part,
    /// So many migrations of so many are applied.
    Count {
        /// Applied.
        done: u64,
        /// In all.
        total: u64,
    },
    /// Somebody else's line.
    Other,
}

/// Collects the lines of one run's report.
///
/// ```
/// use nuages_migrate::{Missing, Reassembler};
///
/// let mut report = Reassembler::new("run-1");
/// report.feed("Applying blog.0001_initial... OK");
/// assert_eq!(report.finish(), Err(Missing::Nothing));
/// report.feed("NUAGES1 run-1 1/2 eJwrSS0u");
/// assert_eq!(report.finish(), Err(Missing::Parts { have: 1, total: 2 }));
/// ```
#[derive(Debug, Clone)]
pub struct Reassembler {
    run: String,
    total: Option<usize>,
    hash: Option<String>,
    parts: BTreeMap<usize, String>,
}

impl Reassembler {
    /// For the report of this run; other runs' lines are ignored.
    pub fn new(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            total: None,
            hash: None,
            parts: BTreeMap::new(),
        }
    }

    /// Takes a line; says whether it was the driver's own.
    pub fn feed(&mut self, line: &str) -> bool {
        self.take(line) != Fed::Other
    }

    pub(crate) fn take(&mut self, line: &str) -> Fed {
        self.parse(line).unwrap_or(Fed::Other)
    }

    fn parse(&mut self, line: &str) -> Option<Fed> {
        // The last marker: whatever the application printed without a line end stands before it.
        let (_, rest) = line.rsplit_once(MARKER)?;
        let mut words = rest.split_ascii_whitespace();
        if words.next()? != self.run {
            return None;
        }
        match words.next()? {
            "sha256" => {
                self.total = Some(words.next()?.parse().ok().filter(|n| *n <= MAX_CHUNKS)?);
                self.hash = Some(words.next()?.to_owned());
            }
            "count" => {
                let (done, total) = words.next()?.split_once('/')?;
                return Some(Fed::Count {
                    done: done.parse().ok()?,
                    total: total.parse().ok()?,
                });
            }
            position => {
                let (index, total) = position.split_once('/')?;
                let (index, total): (usize, usize) = (index.parse().ok()?, total.parse().ok()?);
                if index == 0 || index > total || total > MAX_CHUNKS {
                    return None;
                }
                let chunk = words.next()?;
                self.total.get_or_insert(total);
                self.parts.entry(index).or_insert_with(|| chunk.to_owned());
            }
        }
        Some(Fed::Part)
    }

    /// Whether anything of the report has arrived.
    pub(crate) fn started(&self) -> bool {
        self.total.is_some()
    }

    /// The report's bytes, once every part has arrived.
    pub fn finish(&self) -> Result<Vec<u8>, Missing> {
        let total = self.total.ok_or(Missing::Nothing)?;
        let have = (1..=total).filter(|index| self.parts.contains_key(index)).count();
        if have < total {
            return Err(Missing::Parts { have, total });
        }
        let hash = self.hash.as_deref().ok_or(Missing::NoHash)?;
        let text: String = (1..=total)
            .filter_map(|index| self.parts.get(&index))
            .map(String::as_str)
            .collect();
        let packed = STANDARD.decode(text).map_err(|_| Missing::WrongHash)?;
        if Digest::of(&packed).hex() != hash {
            return Err(Missing::WrongHash);
        }
        let mut report = Vec::new();
        flate2::read::ZlibDecoder::new(packed.as_slice())
            .take(MAX_REPORT)
            .read_to_end(&mut report)
            .map_err(|error| Missing::Unreadable(error.to_string()))?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;

    use super::*;
    use proptest::prelude::*;

    /// As the driver writes it, with chunks of any size.
    fn lines(run: &str, report: &[u8], chunk: usize) -> Vec<String> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(report).unwrap();
        let packed = encoder.finish().unwrap();
        let text = STANDARD.encode(&packed);
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(chunk).collect();
        let mut lines: Vec<String> = chunks
            .iter()
            .enumerate()
            .map(|(i, c)| {
                format!(
                    "NUAGES1 {run} {}/{} {}",
                    i + 1,
                    chunks.len(),
                    std::str::from_utf8(c).unwrap()
                )
            })
            .collect();
        lines.push(format!(
            "NUAGES1 {run} sha256 {} {}",
            chunks.len(),
            Digest::of(&packed).hex()
        ));
        lines
    }

    fn noise() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,40}",
            Just("NUAGES1 other 1/1 eJwrSS0uAQAEXQHB".to_owned()),
            Just("NUAGES1 run x/y z".to_owned()),
            Just("NUAGES1 run 0/3 AAAA".to_owned()),
            Just("NUAGES1 run".to_owned()),
            Just("NUAGES1 run count 1/2 default".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn any_order_twice_and_interleaved(
            report in proptest::collection::vec(any::<u8>(), 0..600),
            chunk in 1usize..200,
            noise in proptest::collection::vec(noise(), 0..10),
            repeats in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
            prefix in "[a-z .]{0,10}",
            seed in any::<u64>(),
        ) {
            let parts = lines("run", &report, chunk);
            let mut all: Vec<String> = parts.iter().map(|l| format!("{prefix}{l}")).collect();
            all.extend(repeats.iter().map(|i| parts[i.index(parts.len())].clone()));
            all.extend(noise);
            // A plain deterministic shuffle.
            let mut state = seed | 1;
            for i in (1..all.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let j = usize::try_from(state >> 33).unwrap() % (i + 1);
                all.swap(i, j);
            }
            let mut assembler = Reassembler::new("run");
            for line in &all {
                assembler.feed(line);
            }
            prop_assert_eq!(assembler.finish().unwrap(), report);
        }

        #[test]
        fn a_lost_line_is_never_a_report(report in proptest::collection::vec(any::<u8>(), 0..300), chunk in 1usize..100, lost in any::<prop::sample::Index>()) {
            let mut parts = lines("run", &report, chunk);
            parts.remove(lost.index(parts.len()));
            let mut assembler = Reassembler::new("run");
            for line in &parts {
                prop_assert!(assembler.feed(line));
            }
            prop_assert!(assembler.finish().is_err());
        }

        #[test]
        fn a_changed_byte_is_never_a_report(report in proptest::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>()) {
            let mut parts = lines("run", &report, 64);
            let victim = at.index(parts.len() - 1);
            let last = parts[victim].pop().unwrap();
            write!(parts[victim], "{}", if last == 'A' { 'B' } else { 'A' }).unwrap();
            let mut assembler = Reassembler::new("run");
            for line in &parts {
                assembler.feed(line);
            }
            prop_assert!(assembler.finish().is_err());
        }

        #[test]
        fn never_panics(lines in proptest::collection::vec("(NUAGES1 run )?[ -~]{0,60}", 0..20)) {
            let mut assembler = Reassembler::new("run");
            for line in &lines {
                assembler.feed(line);
            }
            let _ = assembler.finish();
        }
    }

    #[test]
    fn a_huge_claim_is_refused() {
        let mut assembler = Reassembler::new("run");
        assert!(!assembler.feed("NUAGES1 run 1/99999999999 AAAA"));
        assert!(!assembler.feed("NUAGES1 run sha256 99999999 abc"));
        assert_eq!(assembler.finish(), Err(Missing::Nothing));
    }
}
