//! Which call is befallen by what.
//!
//! Invariant: calls are counted as they arrive, repetitions too; the SDK's own id tells which are repetitions of one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Fault;

/// Which calls a fault befalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The n-th call of all, from 0.
    Nth(usize),
    /// The n-th call of an operation such as `ecs:UpdateService`, from 0.
    NthOf(String, usize),
    /// Each call of an operation.
    EachOf(String),
    /// The n-th call of all, and whenever the SDK repeats it.
    Call(usize),
    /// Each call of an operation, from the n-th call of all on.
    From(String, usize),
    /// Each call of all.
    Each,
    /// Each call of all, the first time that the SDK sends it.
    EachOnce,
}

/// A call that was befallen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Which of all calls it was.
    pub number: usize,
    /// The operation.
    pub operation: String,
    /// By tokio's clock.
    pub at: Instant,
}

/// What befalls some calls, and for how long.
#[derive(Debug)]
struct Rule {
    when: When,
    fault: Fault,
    /// From its first call on; for ever without.
    lasts: Option<Duration>,
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    calls: Vec<Seen>,
    hits: Vec<Hit>,
}

#[derive(Debug)]
struct Seen {
    operation: String,
    /// The same for all repetitions of one call.
    id: Option<String>,
}

/// What befalls which call. Clones are the same.
///
/// ```
/// use nuages_testkit::faults::{Fault, Rules, When};
///
/// let rules = Rules::default();
/// rules.add(When::NthOf("ecs:UpdateService".into(), 1), Fault::LostAnswer);
/// assert_eq!(rules.meet("ecs:UpdateService", None), None);
/// assert_eq!(rules.meet("ecs:UpdateService", None), Some(Fault::LostAnswer));
/// assert_eq!(rules.hits()[0].number, 1);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Rules {
    state: Arc<Mutex<State>>,
    hits: Arc<watch::Sender<usize>>,
}

impl Rules {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this befalls these calls. Of several rules that fit, the first one holds.
    pub fn add(&self, when: When, fault: Fault) {
        self.state().rules.push(Rule {
            when,
            fault,
            lasts: None,
            since: None,
        });
    }

    /// The same, which is over so long after its first call.
    pub fn add_for(&self, lasts: Duration, when: When, fault: Fault) {
        self.state().rules.push(Rule {
            when,
            fault,
            lasts: Some(lasts),
            since: None,
        });
    }

    /// From now on nothing befalls any.
    pub fn clear(&self) {
        self.state().rules.clear();
    }

    /// The operations that were asked for, in order: `ecs:UpdateService`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.iter().map(|seen| seen.operation.clone()).collect()
    }

    /// The calls that were befallen.
    pub fn hits(&self) -> Vec<Hit> {
        self.state().hits.clone()
    }

    /// Waits until so many calls were befallen.
    pub async fn befallen(&self, hits: usize) {
        // The sender lives as long as `self`.
        let _ = self.hits.subscribe().wait_for(|now| *now >= hits).await;
    }

    /// Takes note of a call, and says what befalls it. `id` is the same for all repetitions of one call.
    pub fn meet(&self, operation: &str, id: Option<&str>) -> Option<Fault> {
        let mut state = self.state();
        let number = state.calls.len();
        let of_its_kind = state.calls.iter().filter(|seen| seen.operation == operation).count();
        let repeats = |n: usize| {
            let first = state.calls.get(n).and_then(|seen| seen.id.as_deref());
            first.is_some() && first == id
        };
        let fits = |when: &When| match when {
            When::Nth(n) => *n == number,
            When::NthOf(name, n) => name == operation && *n == of_its_kind,
            When::EachOf(name) => name == operation,
            When::Call(n) => *n == number || repeats(*n),
            When::From(name, n) => name == operation && number >= *n,
            When::Each => true,
            When::EachOnce => id.is_none() || !state.calls.iter().any(|seen| seen.id.as_deref() == id),
        };
        let over = |rule: &Rule| {
            rule.lasts
                .zip(rule.since)
                .is_some_and(|(lasts, since)| since.elapsed() >= lasts)
        };
        let fits = |rule: &Rule| rule.fault.befalls(operation) && fits(&rule.when) && !over(rule);
        let rule = state.rules.iter().position(fits);
        let fault = rule.map(|rule| {
            let rule = &mut state.rules[rule];
            rule.since.get_or_insert_with(Instant::now);
            rule.fault
        });
        state.calls.push(Seen {
            operation: operation.to_owned(),
            id: id.map(str::to_owned),
        });
        if fault.is_some() {
            state.hits.push(Hit {
                number,
                operation: operation.to_owned(),
                at: Instant::now(),
            });
            self.hits.send_replace(state.hits.len());
        }
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_befallen_with_its_repetitions_and_no_other() {
        let rules = Rules::default();
        rules.add(When::Call(1), Fault::Throttle);
        rules.add(When::From("ecs:RunTask".into(), 4), Fault::Failures);
        rules.add(When::EachOf("ecs:UpdateService".into()), Fault::Stale(Duration::ZERO));
        let met = [
            ("ecs:ListTasks", Some("a")),
            ("ecs:RunTask", Some("b")),
            ("ecs:RunTask", Some("b")),
            ("ecs:RunTask", None),
            ("ecs:RunTask", Some("c")),
            ("ecs:ListTasks", Some("d")),
            ("ecs:UpdateService", Some("e")),
        ]
        .map(|(operation, id)| rules.meet(operation, id));
        let throttled = Some(Fault::Throttle);
        assert_eq!(
            met,
            [None, throttled, throttled, None, Some(Fault::Failures), None, None]
        );
        let hits: Vec<usize> = rules.hits().iter().map(|hit| hit.number).collect();
        assert_eq!(hits, [1, 2, 4]);
        rules.clear();
        assert_eq!(rules.meet("ecs:RunTask", Some("b")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_for_a_while_begins_with_its_first_call() {
        let rules = Rules::default();
        rules.add_for(
            Duration::from_mins(1),
            When::EachOf("ecs:ListTasks".into()),
            Fault::Reset,
        );
        tokio::time::sleep(Duration::from_hours(1)).await;
        let mut met = Vec::new();
        for _ in 0..3 {
            met.push(rules.meet("ecs:ListTasks", None));
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        assert_eq!(met, [Some(Fault::Reset), Some(Fault::Reset), None]);
    }
}
