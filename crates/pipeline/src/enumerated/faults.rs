//! Every fault of every call: once, at each repetition, and from then on.
//!
//! Invariant: whatever befalls a call, its verb ends in bounded time in one of two worlds, the one that it was to make or
//! the one that it found; a person is asked to act only where the undo itself was befallen. Where nothing is wrong any
//! more, the same command ends well.

use std::time::Duration;

use nuages_testkit::clock::on_paused_time;
use nuages_testkit::faults::{FAULTS, Fault, OF_SOME, When};
use tokio::time::timeout;

use super::cases;
use super::judge::{it_served_all_the_time, nothing_is_left, settle, told, undo_was_befallen};
use super::verbs::{Towns, Verb, recover};
use crate::error::Ending;
use crate::steps::site::scripted::with_pages;
use crate::{Environment, Session};

/// A migration may take six hours, and is waited for. Nothing takes longer.
const LIMIT: Duration = Duration::from_hours(8);

/// An operation that fails each time works again after this: longer than a rollout may take, shorter than a migration.
const OUTAGE: Duration = Duration::from_mins(30);

/// Reads of AWS are behind by less than this.
const BEHIND: Duration = Duration::from_secs(2);

/// A fault of one call, or of each.
#[derive(Debug, Clone)]
struct Case<'a> {
    towns: &'a Towns,
    verb: Verb,
    operation: String,
    when: When,
    fault: Fault,
}

impl cases::Case for Case<'_> {
    fn name(&self) -> String {
        let Self {
            verb,
            operation,
            when,
            fault,
            ..
        } = self;
        let when = match when {
            When::Nth(n) => format!("call {n}, once"),
            When::Call(n) => format!("call {n}, repetitions too"),
            When::From(_, n) => format!("call {n}, and all after it"),
            When::Each => "each".to_owned(),
            When::EachOnce => "each, once".to_owned(),
            other => format!("{other:?}"),
        };
        format!("{verb:?}: {fault:?} of {operation} ({when})")
    }

    /// What is lost, spoiled or repeated of a call that changes something; and what befalls all calls at once.
    fn always(&self) -> bool {
        let effect = matches!(
            self.fault,
            Fault::LostAnswer | Fault::Unanswered | Fault::Malformed | Fault::Twice
        );
        match self.when {
            When::Each | When::EachOnce => true,
            When::Nth(_) => effect && writes(&self.operation),
            When::Call(_) => self.fault == Fault::LostAnswer && writes(&self.operation),
            _ => false,
        }
    }

    fn run(&self) -> &'static str {
        on_paused_time(befallen(self))
    }
}

/// Whether an operation may change something.
fn writes(operation: &str) -> bool {
    !Fault::Stale(BEHIND).befalls(operation)
}

/// The calls of a verb that nothing befalls.
pub(super) fn calls(towns: &Towns, verb: Verb) -> Vec<String> {
    on_paused_time(async {
        let town = towns.before(verb);
        let session = verb.session(&town).await;
        let environment = Environment {
            aws: town.account.recorded_context(),
            ..session.environment.clone()
        };
        let session = Session { environment, ..session };
        let ran = with_pages(town.pages(), verb.run(&session)).await;
        assert_eq!(ran.is_err(), verb.fails(), "{:?}", ran.map_err(|error| told(&error)));
        settle().await;
        verb.is_done(&town, &session).await.unwrap();
        nothing_is_left(&town, &session).await;
        town.account.rules().calls()
    })
}

/// The calls that are no mere repetition: while something is waited for, each question is asked many times.
pub(super) fn telling(calls: &[String]) -> Vec<(usize, &String)> {
    const ENOUGH: usize = 3;
    let phase = |number: usize| {
        calls[..number]
            .iter()
            .rposition(|call| writes(call))
            .map_or(0, |write| write + 1)
    };
    let is_telling = |(number, call): &(usize, &String)| {
        let same = |others: &[String]| others.iter().filter(|other| other == call).count();
        let end = calls[*number..].iter().position(|call| writes(call));
        let last = same(&calls[number + 1..end.map_or(calls.len(), |end| number + end.max(1))]) == 0;
        last || same(&calls[phase(*number)..*number]) < ENOUGH
    };
    calls.iter().enumerate().filter(is_telling).collect()
}

/// So many calls are the same.
fn alike(some: &[String], others: &[String]) -> usize {
    some.iter()
        .zip(others)
        .take_while(|(some, other)| some == other)
        .count()
}

/// Every case of a verb.
fn cases_of(towns: &Towns, verb: Verb) -> Vec<Case<'_>> {
    let calls = calls(towns, verb);
    let mut cases = Vec::new();
    let mut add = |operation: &str, when, fault: Fault| {
        let operation = operation.to_owned();
        cases.push(Case {
            towns,
            verb,
            operation,
            when,
            fault,
        });
    };
    for fault in FAULTS {
        add("all calls", When::EachOnce, fault);
    }
    add("all calls", When::Each, Fault::Stale(BEHIND));
    // Up to there it goes like the one that is not undone.
    let common = if verb.fails() {
        alike(&calls, &self::calls(towns, Verb::Second))
    } else {
        0
    };
    let telling: Vec<(usize, &String)> = telling(&calls)
        .into_iter()
        .filter(|(number, _)| *number >= common)
        .collect();
    for (number, operation) in &telling {
        let all = FAULTS.into_iter().chain(OF_SOME).chain([Fault::Stale(BEHIND)]);
        for fault in all.filter(|fault| fault.befalls(operation)) {
            add(operation, When::Nth(*number), fault);
            add(operation, When::Call(*number), fault);
            add(operation, When::From((*operation).clone(), *number), fault);
        }
    }
    let least = telling.len() * FAULTS.len() * 3;
    assert!(cases.len() > least, "{} cases of {} calls", cases.len(), calls.len());
    cases
}

async fn befallen(case: &Case<'_>) -> &'static str {
    let verb = case.verb;
    let town = case.towns.before(verb);
    let rules = town.account.rules();
    if matches!(case.fault, Fault::Stale(_)) {
        town.account.remember(BEHIND);
    }
    rules.add_for(OUTAGE, case.when.clone(), case.fault);
    for service in verb.served() {
        town.account.ecs().watch(service);
    }

    let session = verb.session(&town).await;
    let ended = timeout(LIMIT, with_pages(town.pages(), verb.run(&session))).await;
    let ended = ended.unwrap_or_else(|_| panic!("it did not end within {} h", LIMIT.as_secs() / 3600));
    let befell = !rules.hits().is_empty();
    settle().await;
    let done = verb.is_done(&town, &session).await;
    let so = match &ended {
        // What goes side by side asks a time more or less than it did when the calls were counted.
        _ if !befell => {
            assert_eq!(
                ended.is_err(),
                verb.fails(),
                "{:?}",
                ended.map_err(|error| told(&error))
            );
            done.unwrap();
            cases::NOT_REACHED
        }
        Ok(()) => {
            done.unwrap();
            "well"
        }
        Err(error) => {
            cases::tell(|| format!("{}: {}", cases::Case::name(case), told(error)));
            let asks = matches!(error.ending(), Ending::Stuck | Ending::Detached);
            let before = verb.is_undone(&town, &session).await;
            let may_ask = asks && undo_was_befallen(&town, &session).await;
            assert!(
                before.is_ok() || may_ask,
                "{}; and the world is neither as before ({}) nor as it was to be ({})",
                told(error),
                before.unwrap_err(),
                done.err().unwrap_or_default(),
            );
            if asks { "with a question" } else { "as before" }
        }
    };

    if ended.is_err() {
        rules.clear();
        let session = verb.session(&town).await;
        recover(&town, &session, verb).await;
    }
    it_served_all_the_time(&town);
    nothing_is_left(&town, &session).await;
    so
}

fn enumerate(what: &str, verbs: &[Verb], others: usize) {
    let towns = Towns::new();
    let cases: Vec<Case<'_>> = verbs.iter().flat_map(|verb| cases_of(&towns, *verb)).collect();
    cases::run(&format!("faults of {what}"), &cases, others);
}

#[test]
fn a_deployment_is_made_or_the_world_is_as_before() {
    enumerate("deployments", &[Verb::First, Verb::Second], 60);
}

#[test]
fn a_deployment_that_cannot_be_healthy_is_undone() {
    enumerate("undone deployments", &[Verb::Mute, Verb::Crashing], 40);
}

#[test]
fn a_deployment_that_changes_the_stack_is_made_or_the_older_release_serves_on() {
    enumerate("deployments that change the stack", &[Verb::Moving], 40);
}

#[test]
fn a_rollback_is_made_or_the_newer_release_serves_on() {
    enumerate("a rollback", &[Verb::Rollback], 40);
}

#[test]
fn a_stack_is_brought_up_and_down_in_the_end() {
    enumerate("a stack's verbs", &[Verb::Up, Verb::Grow, Verb::Down], 80);
}
