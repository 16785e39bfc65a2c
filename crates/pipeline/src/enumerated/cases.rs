//! Running many cases, and telling all that failed.
//!
//! Invariant: a case that fails hides no other, and its name runs it alone. Which of too many cases are run follows from a
//! seed, and the seed is printed.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use nuages_model::Digest;

/// All cases are run whose name contains this, and no other.
const ONLY: &str = "NUAGES_TEST_CASE";
/// So many cases are drawn of those that are not always run.
const DRAWN: &str = "NUAGES_SOAK_FAULTS";
/// What is drawn follows from this.
const SEED: &str = "NUAGES_SEED";

/// How a case ended whose call was not made this time.
pub(super) const NOT_REACHED: &str = "without that call";

/// What a verb awaits stands on the stack, and without optimisation it is large.
const STACK: usize = 16 << 20;

/// One of many.
pub(super) trait Case: Sync {
    /// What tells it from every other.
    fn name(&self) -> String;

    /// Whether it is run each time.
    fn always(&self) -> bool;

    /// Runs it, and says in a word or two how it ended.
    fn run(&self) -> &'static str;
}

/// Runs cases on a few threads: those that are always run, and so many others.
///
/// # Panics
/// When one of them did, with all their names.
pub(super) fn run<C: Case>(what: &str, cases: &[C], others: usize) {
    let (why, chosen) = choose(cases, others);
    let next = AtomicUsize::new(0);
    let failed: Mutex<Vec<String>> = Mutex::default();
    let ended: Mutex<BTreeMap<&str, usize>> = Mutex::default();
    let threads = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let builder = std::thread::Builder::new().stack_size(STACK);
            let work = || {
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match catch_unwind(AssertUnwindSafe(|| case.run())) {
                        Ok(so) => *ended.lock().unwrap().entry(so).or_default() += 1,
                        Err(panic) => failed
                            .lock()
                            .unwrap()
                            .push(format!("{}\n    {}", case.name(), told(&*panic))),
                    }
                }
            };
            builder.spawn_scoped(scope, work).expect("a thread");
        }
    });
    let ended = ended.into_inner().unwrap();
    let missed = ended.get(NOT_REACHED).copied().unwrap_or_default();
    let ended: Vec<String> = ended.iter().map(|(so, n)| format!("{n} {so}")).collect();
    println!(
        "{what}: {} of {} cases ({why}): {}",
        chosen.len(),
        cases.len(),
        ended.join(", ")
    );
    // One in a hundred, and where few are drawn one or two: more would be calls that are not what they were counted as.
    assert!(
        missed <= 2 + chosen.len() / 100,
        "{missed} of {what} met no call ({why})"
    );
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    assert!(
        failed.is_empty(),
        "{} of {what} ({why}):\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Tells more of a case that was asked for by its name.
pub(super) fn tell(more: impl FnOnce() -> String) {
    if std::env::var_os(ONLY).is_some() {
        println!("{}", more());
    }
}

/// Which cases, and why those.
fn choose<C: Case>(cases: &[C], others: usize) -> (String, Vec<&C>) {
    if let Ok(only) = std::env::var(ONLY) {
        let named = cases.iter().filter(|case| case.name().contains(&only));
        return (format!("with `{only}`"), named.collect());
    }
    let drawn = std::env::var(DRAWN).map_or(others, |n| n.parse().expect("a number of cases"));
    let (mut chosen, rest): (Vec<&C>, Vec<&C>) = cases.iter().partition(|case| case.always());
    if drawn >= rest.len() {
        return ("all".to_owned(), cases.iter().collect());
    }
    let now = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    };
    let seed = std::env::var(SEED).unwrap_or_else(|_| now().as_millis().to_string());
    let mut rest: Vec<(Digest, &C)> = rest
        .into_iter()
        .map(|case| (Digest::of(format!("{seed} {}", case.name()).as_bytes()), case))
        .collect();
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    chosen.extend(rest.into_iter().take(drawn).map(|(_, case)| case));
    (format!("{SEED}={seed}"), chosen)
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
