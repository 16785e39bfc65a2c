//! How many random cases a test runs, and what is random in them.
//!
//! Invariant: a run that nobody asked to be long is short.

pub use crate::faults::spoil::spoil;

/// So many cases instead of the test's own number.
pub const CASES: &str = "NUAGES_FUZZ_CASES";
/// What is random follows from this.
pub const SEED: &str = "NUAGES_SEED";

/// The number of cases: this one, unless the environment names another.
///
/// ```
/// assert!(nuages_testkit::fuzz::cases(64) >= 1);
/// ```
///
/// # Panics
/// When what it names is no number.
pub fn cases(normal: u32) -> u32 {
    std::env::var(CASES).map_or(normal, |n| n.parse().expect("a number of cases"))
}

/// What the random cases follow from: this run's own, unless the environment names one. Whoever runs them prints it.
///
/// ```
/// println!("NUAGES_SEED={}", nuages_testkit::fuzz::seed());
/// ```
///
/// # Panics
/// When what it names is no number.
pub fn seed() -> u64 {
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
    };
    std::env::var(SEED).map_or_else(|_| now(), |seed| seed.parse().expect("a seed"))
}
