//! Death at every point: before a call is sent, after its effect and before its answer, and at every write of the
//! records, the journal's among them.
//!
//! Invariant: another process finishes what was begun, or undoes it, whichever a person wants; and death in the middle of
//! that is no other.

use std::pin::pin;
use std::time::Duration;

use nuages_testkit::clock::on_paused_time;
use nuages_testkit::faults::{Fault, When};
use tokio::time::timeout;

use super::cases;
use super::faults::{calls, telling};
use super::judge::{it_served_all_the_time, nothing_is_left, settle, told};
use super::town::Town;
use super::verbs::{Towns, Verb, recover};
use crate::steps::site::scripted::with_pages;
use crate::{PipelineError, Session, Ui};

/// Nothing takes longer.
const LIMIT: Duration = Duration::from_hours(8);

/// A lease whose holder says nothing more is free after this.
const LEASE: Duration = Duration::from_secs(31);

/// Where a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Before it sends this call.
    Sending(usize),
    /// After this call had its effect, and before its answer.
    Sent(usize),
    /// Before this write of its records.
    Writing(usize),
}

/// What befalls what is done afterwards, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It dies there.
    Dies(Point),
    /// This fault befalls this call of it, and its repetitions.
    Befallen(usize, Fault),
}

/// What is done afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Resume,
    Abort,
}

#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    towns: &'a Towns,
    verb: Verb,
    point: Point,
    way: Way,
    again: Option<Again>,
}

impl cases::Case for Case<'_> {
    fn name(&self) -> String {
        let Self {
            verb,
            point,
            way,
            again,
            ..
        } = self;
        let again = match again {
            None => String::new(),
            Some(Again::Dies(point)) => format!(", which dies at {point:?}"),
            Some(Again::Befallen(call, fault)) => format!(" with {fault:?} of its call {call}"),
        };
        format!("{verb:?}: death at {point:?}, then {way:?}{again}")
    }

    fn always(&self) -> bool {
        false
    }

    fn run(&self) -> &'static str {
        on_paused_time(dies(self))
    }
}

/// Runs work until it dies there; its answer where it ended before.
async fn until<T>(town: &Town, point: Point, work: impl Future<Output = T>) -> Option<T> {
    let rules = town.account.rules();
    let hits = rules.hits().len() + 1;
    match point {
        Point::Sending(call) => rules.add(When::Nth(call + rules.calls().len()), Fault::Hang),
        Point::Sent(call) => rules.add(When::Nth(call + rules.calls().len()), Fault::Unanswered),
        Point::Writing(write) => town.writes.stop_before(write),
    }
    let ended = {
        let work = pin!(work);
        tokio::select! {
            biased;
            () = rules.befallen(hits) => None,
            () = town.writes.stopped() => None,
            ended = work => Some(ended),
        }
    };
    rules.clear();
    town.writes.go_on();
    ended
}

/// How often a verb writes into its records.
fn writes(towns: &Towns, verb: Verb) -> usize {
    on_paused_time(async {
        let town = towns.before(verb);
        let session = verb.session(&town).await;
        let before = town.writes.made();
        with_pages(town.pages(), verb.run(&session)).await.ok();
        town.writes.made() - before
    })
}

/// Whether there was anything to finish.
async fn finish(session: &Session, way: Way) -> Result<bool, PipelineError> {
    let ui = Ui::silent();
    let ended = match way {
        Way::Resume => crate::resume(session, &ui).await?,
        Way::Abort => crate::abort(session, &ui).await?,
    };
    Ok(ended.is_some())
}

async fn dies(case: &Case<'_>) -> &'static str {
    let verb = case.verb;
    let town = case.towns.before(verb);
    for service in verb.served() {
        town.account.ecs().watch(service);
    }
    let session = verb.session(&town).await;
    until(&town, case.point, with_pages(town.pages(), verb.run(&session))).await;
    drop(session);
    tokio::time::sleep(LEASE).await;
    match case.again {
        None => {}
        Some(Again::Dies(point)) => {
            let session = verb.session(&town).await;
            until(&town, point, with_pages(town.pages(), finish(&session, case.way))).await;
            drop(session);
            tokio::time::sleep(LEASE).await;
        }
        Some(Again::Befallen(call, fault)) => {
            let session = verb.session(&town).await;
            let rules = town.account.rules();
            rules.add(When::Call(call + rules.calls().len()), fault);
            let finished = timeout(LIMIT, with_pages(town.pages(), finish(&session, case.way))).await;
            finished.expect("it did not end").ok();
            rules.clear();
            settle().await;
        }
    }

    let session = verb.session(&town).await;
    let finished = timeout(LIMIT, with_pages(town.pages(), finish(&session, case.way))).await;
    let finished = finished.expect("it did not end");
    settle().await;
    let (done, undone) = (
        verb.is_done(&town, &session).await,
        verb.is_undone(&town, &session).await,
    );
    let so = match (case.way, &finished) {
        // It had not begun, or had ended; a stack's verb leaves nothing to finish.
        (_, Ok(false)) => {
            assert!(done.is_ok() || undone.is_ok(), "{done:?} {undone:?}");
            "with nothing to finish"
        }
        (Way::Resume, Ok(true)) => {
            done.unwrap();
            "finished"
        }
        (Way::Abort, Ok(true)) => {
            undone.unwrap();
            "undone"
        }
        (_, Err(error)) => {
            assert!(matches!(error, PipelineError::Undone { .. }), "{}", told(error));
            undone.unwrap();
            "undone"
        }
    };
    recover(&town, &session, verb).await;
    it_served_all_the_time(&town);
    nothing_is_left(&town, &session).await;
    so
}

/// The points at which a verb may die.
fn points(towns: &Towns, verb: Verb) -> Vec<Point> {
    let calls = calls(towns, verb);
    let calls = telling(&calls).into_iter();
    let calls = calls.flat_map(|(call, _)| [Point::Sending(call), Point::Sent(call)]);
    calls.chain((0..writes(towns, verb)).map(Point::Writing)).collect()
}

/// What befalls what is done afterwards, at one point after the other.
const AFTERWARDS: [Again; 12] = [
    Again::Dies(Point::Sending(1)),
    Again::Befallen(1, Fault::ServerError),
    Again::Dies(Point::Writing(4)),
    Again::Befallen(2, Fault::LostAnswer),
    Again::Dies(Point::Sent(2)),
    Again::Befallen(3, Fault::Throttle),
    Again::Dies(Point::Writing(7)),
    Again::Befallen(4, Fault::LostAnswer),
    Again::Dies(Point::Sent(4)),
    Again::Befallen(5, Fault::Malformed),
    Again::Dies(Point::Writing(10)),
    Again::Befallen(8, Fault::Hang),
];

/// Death of a verb at each point, and something that befalls what is done afterwards.
fn cases_of(towns: &Towns, verb: Verb) -> Vec<Case<'_>> {
    let at_each = |(point, befalls): (Point, Again)| {
        let case = |way, again| Case {
            towns,
            verb,
            point,
            way,
            again,
        };
        [Way::Resume, Way::Abort]
            .map(|way| [case(way, None), case(way, Some(befalls))])
            .concat()
    };
    let points = points(towns, verb).into_iter();
    points.zip(AFTERWARDS.into_iter().cycle()).flat_map(at_each).collect()
}

fn enumerate(what: &str, verbs: &[Verb], drawn: usize) {
    let towns = Towns::new();
    let cases: Vec<Case<'_>> = verbs.iter().flat_map(|verb| cases_of(&towns, *verb)).collect();
    cases::run(&format!("deaths of {what}"), &cases, drawn);
}

#[test]
fn a_deployment_that_died_is_finished_or_undone() {
    enumerate("deployments", &[Verb::First, Verb::Second, Verb::Mute], 80);
}

#[test]
fn a_deployment_that_died_around_a_change_of_the_stack_is_finished_or_undone() {
    enumerate("deployments that change the stack", &[Verb::Moving], 40);
}

#[test]
fn a_rollback_that_died_is_finished_or_undone() {
    enumerate("a rollback", &[Verb::Rollback], 40);
}

#[test]
fn a_stack_s_verb_that_died_is_repeated() {
    enumerate("a stack's verbs", &[Verb::Grow, Verb::Down], 40);
}
