//! How many random cases a test runs, and what is random in them.
//!
//! Invariant: a run that nobody asked to be long is short.

use std::error::Error;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

pub use crate::faults::spoil::spoil;
use crate::faults::{Fault, Rules, When};

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

/// So many cases that follow from this seed. A case that fails is printed, and kept in no file.
pub fn config(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Calls whose answers are spoiled, each with what it is spoiled from.
pub type Spoiled = [(usize, u64)];

/// Spoils the answers of these calls.
pub fn spoil_answers(rules: &Rules, at: &Spoiled) {
    for (call, seed) in at {
        rules.add(When::Nth(*call), Fault::Spoiled(*seed));
    }
}

/// Lives many lives, in each of which the answers of a few calls are spoiled, and prints how many. `life` is given which,
/// and answers how many calls it made; unspoiled they must be more than `least`.
///
/// # Panics
/// When a life does, or makes too few calls.
#[expect(
    clippy::print_stdout,
    reason = "the count and the seed are what a person reads of it"
)]
pub fn lives(what: &str, normal: u32, least: usize, life: impl Fn(&Spoiled) -> usize) {
    let (calls, cases) = (life(&[]), cases(normal));
    assert!(calls > least, "{calls}");
    let seed = seed();
    proptest!(config(cases, seed), |(at in prop::collection::vec((0..calls, any::<u64>()), 1..5))| {
        life(&at);
    });
    println!("{cases} {what} of {calls} calls, some answers of which were spoiled ({SEED}={seed})");
}

/// All that an error can be turned into, with its causes: for looking whether it shows what nobody may see.
pub fn everything_told(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(link) = next {
        let _ = write!(text, "{link}\n{:?}\n{link:?}\n{link:#?}\n", link.to_string());
        next = link.source();
    }
    text
}
