//! The journal refuses what cannot have happened.

use nuages_saga::{
    DecodeError, DeploymentId, End, Entry, ErrorReport, Holder, Journal, JournalEvent, Mode, Plan, Reversal, StepEvent,
    StepId, StepState, StoredPlan, UndoReason,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sim::{Fails, Kind, acts, id, plan};

fn two_stages() -> Plan {
    plan()
        .stage(
            "one",
            [acts("a", Kind::Set, Fails::Never), acts("b", Kind::Set, Fails::Never)],
        )
        .stage("two", [acts("c", Kind::Set, Fails::Never)])
}

fn report() -> ErrorReport {
    ErrorReport {
        message: "no".into(),
        causes: vec![],
        hint: None,
    }
}

fn step(step: &str, happened: StepEvent) -> JournalEvent {
    JournalEvent::Step {
        step: id(step),
        happened,
    }
}

fn intent(of: &str, attempt: u32) -> JournalEvent {
    step(
        of,
        StepEvent::Intent {
            attempt,
            before: json!(0),
        },
    )
}

fn applied(of: &str) -> JournalEvent {
    step(of, StepEvent::Applied { after: json!(1) })
}

fn started() -> JournalEvent {
    JournalEvent::Started {
        holder: Holder::here("test"),
        mode: Mode::Run,
        tool: "0.1.0".into(),
    }
}

fn undo() -> JournalEvent {
    JournalEvent::UndoBegan {
        reason: UndoReason::Aborted,
    }
}

fn failed(of: &str, clean: bool) -> JournalEvent {
    step(of, StepEvent::Failed { clean, error: report() })
}

fn stuck(of: &str) -> JournalEvent {
    step(
        of,
        StepEvent::Stuck {
            error: report(),
            by_hand: vec![],
        },
    )
}

fn kept(of: &str) -> JournalEvent {
    step(
        of,
        StepEvent::Kept {
            reversal: Reversal::ForwardOnly,
        },
    )
}

fn ended(end: End) -> JournalEvent {
    JournalEvent::Ended { end }
}

/// A journal with these events, of which the last may be refused.
fn write(events: &[JournalEvent]) -> Result<Journal, String> {
    let plan = two_stages();
    let mut journal = Journal::new(plan.clone());
    let planned = JournalEvent::Planned {
        plan: StoredPlan::of(&plan).digest(),
    };
    let all = std::iter::once(planned)
        .chain(std::iter::once(started()))
        .chain(events.iter().cloned());
    let count = events.len() + 2;
    for (number, event) in all.enumerate() {
        match journal.next(event) {
            Ok(entry) => journal.accept(&entry).unwrap(),
            Err(illegal) if number == count - 1 => return Err(illegal.to_string()),
            Err(illegal) => panic!("event {number} of {events:?}: {illegal}"),
        }
    }
    Ok(journal)
}

#[test]
fn refuses_what_cannot_follow() {
    let restored = || End::Restored { kept: vec![] };
    let all_applied = || {
        vec![
            intent("a", 1),
            applied("a"),
            intent("b", 1),
            applied("b"),
            intent("c", 1),
            applied("c"),
        ]
    };
    let after = |mut events: Vec<JournalEvent>, last: JournalEvent| {
        events.push(last);
        events
    };
    let cases: Vec<(Vec<JournalEvent>, &str)> = vec![
        (vec![intent("c", 1)], "an earlier stage is not complete"),
        (vec![intent("a", 2)], "the attempt is not the next one"),
        (
            vec![intent("a", 1), intent("a", 2)],
            "the step may have been applied already",
        ),
        (vec![applied("a")], "there is no attempt whose outcome is open"),
        (
            vec![intent("a", 1), applied("a"), applied("a")],
            "there is no attempt whose outcome is open",
        ),
        (vec![failed("a", false)], "there is no attempt whose outcome is open"),
        (vec![failed("a", true), intent("b", 1)], "a step has failed"),
        (
            vec![intent("a", 1), step("a", StepEvent::UndoStarted)],
            "the deployment is not being undone",
        ),
        (
            vec![intent("a", 1), undo(), step("a", StepEvent::UndoStarted)],
            "there is nothing to undo",
        ),
        (
            vec![intent("a", 1), applied("a"), undo(), step("a", StepEvent::Undone)],
            "its undo was not started",
        ),
        (
            vec![intent("a", 1), applied("a"), undo(), stuck("a")],
            "its undo was not started",
        ),
        (vec![undo(), undo()], "the undo has begun already"),
        (vec![undo(), intent("a", 1)], "the deployment is being undone"),
        (vec![undo(), ended(End::Finished)], "it is being undone"),
        (vec![ended(End::Finished)], "not every step was applied"),
        (vec![ended(restored())], "its undo has not begun"),
        (
            vec![intent("a", 1), undo(), ended(restored())],
            "not every step was undone",
        ),
        (
            vec![intent("a", 1), ended(End::Refused { error: report() })],
            "something was done",
        ),
        (vec![undo(), ended(restored()), undo()], "the deployment has ended"),
        (
            vec![undo(), ended(End::Restored { kept: vec![id("a")] })],
            "these are not the steps that were kept",
        ),
        (vec![step("x", StepEvent::NotDone)], "the plan has no such step"),
        (after(all_applied(), kept("c")), "the deployment is not being undone"),
        (
            [all_applied(), vec![undo(), step("a", StepEvent::UndoStarted)]].concat(),
            "a later stage is not undone",
        ),
        (
            vec![
                intent("a", 1),
                step("a", StepEvent::NotDone),
                step(
                    "a",
                    StepEvent::Intent {
                        attempt: 2,
                        before: json!("read again"),
                    },
                ),
            ],
            "`before` was read again",
        ),
    ];
    for (events, why) in cases {
        let refused = write(&events).expect_err(why);
        assert!(refused.ends_with(why), "{refused}, not {why}");
    }
    write(&after(all_applied(), ended(End::Finished))).unwrap();
    write(&[
        intent("a", 1),
        step("a", StepEvent::NotDone),
        intent("a", 2),
        applied("a"),
    ])
    .unwrap();
}

#[test]
fn the_first_entry_stores_the_plan() {
    let journal = Journal::new(two_stages());
    assert!(
        journal
            .next(started())
            .unwrap_err()
            .to_string()
            .ends_with("no plan is stored yet")
    );
    let mut journal = Journal::new(two_stages());
    let planned = journal
        .next(JournalEvent::Planned {
            plan: nuages_model::Digest::of(b""),
        })
        .unwrap();
    journal.accept(&planned).unwrap();
    assert!(
        journal
            .next(intent("a", 1))
            .unwrap_err()
            .to_string()
            .ends_with("no process has started")
    );
    let gap = Entry { position: 5, ..planned };
    assert!(
        journal
            .accept(&gap)
            .unwrap_err()
            .to_string()
            .ends_with("the next position is 1")
    );
}

fn event() -> impl Strategy<Value = JournalEvent> {
    let of = prop_oneof![Just("a"), Just("b"), Just("c"), Just("x")];
    prop_oneof![
        1 => Just(started()),
        1 => Just(undo()),
        1 => Just(ended(End::Finished)),
        1 => Just(ended(End::Restored { kept: vec![] })),
        1 => Just(ended(End::Refused { error: report() })),
        4 => (of.clone(), 1_u32..4).prop_map(|(of, attempt)| intent(of, attempt)),
        12 => (of, 0..8_u8).prop_map(|(of, what)| match what {
            0 => applied(of),
            1 => failed(of, true),
            2 => failed(of, false),
            3 => step(of, StepEvent::NotDone),
            4 => step(of, StepEvent::UndoStarted),
            5 => step(of, StepEvent::Undone),
            6 => stuck(of),
            _ => step(of, StepEvent::Satisfied { after: Value::Null }),
        }),
    ]
}

fn is_alive(state: StepState) -> bool {
    matches!(
        state,
        StepState::Intended | StepState::Applied | StepState::FailedUnknown | StepState::Undoing | StepState::Stuck
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is offered, what was accepted makes sense.
    #[test]
    fn whatever_is_offered_the_accepted_makes_sense(events in prop::collection::vec(event(), 0..80)) {
        let plan = two_stages();
        let mut journal = Journal::new(plan.clone());
        let mut entries = Vec::new();
        let planned = JournalEvent::Planned { plan: StoredPlan::of(&plan).digest() };
        for event in [planned, started()].into_iter().chain(events) {
            let before = journal.clone();
            if let Ok(entry) = journal.next(event.clone()) {
                journal.accept(&entry).unwrap();
                entries.push(entry);
            } else {
                prop_assert_eq!(before.position(), journal.position(), "a refusal changes nothing");
            }
            let state = |step: &str| journal.step(&id(step)).unwrap().state;
            // The second stage is never begun before the first is complete, nor the first undone before the second.
            if is_alive(state("c")) {
                for earlier in ["a", "b"] {
                    prop_assert!(state(earlier).is_complete(), "{:?} while c is {:?}", state(earlier), state("c"));
                }
            }
            // What was about to be applied has its `before`.
            for record in journal.steps().values() {
                prop_assert!(record.attempt == 0 || record.before.is_some());
            }
        }
        // What was written folds to the same, through text too.
        let read: Vec<Entry> = entries.iter().map(|entry| Entry::decode(&entry.encode()).unwrap()).collect();
        prop_assert_eq!(&read, &entries);
        let folded = Journal::fold(plan, &read).unwrap();
        prop_assert_eq!(folded.steps(), journal.steps());
        prop_assert_eq!(folded.phase(), journal.phase());
        // Any entry left out is noticed.
        if entries.len() > 1 {
            let gap: Vec<Entry> = read.iter().enumerate().filter(|(n, _)| *n != entries.len() / 2).map(|(_, e)| e.clone()).collect();
            prop_assert!(gap.len() == entries.len() / 2 || Journal::fold(two_stages(), &gap).is_err());
        }
    }

    #[test]
    fn nothing_that_is_read_panics(text in ".{0,200}", mut bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert!(Entry::decode(&text).is_err());
        let mut entry = Entry { position: 3, at: jiff::Timestamp::UNIX_EPOCH, event: intent("a", 1) }.encode().into_bytes();
        for (index, byte) in bytes.iter_mut().enumerate() {
            let place = (usize::from(*byte) * 7 + index) % entry.len();
            entry[place] = byte.wrapping_add(1);
        }
        let _ = Entry::decode(&String::from_utf8_lossy(&entry));
        let stored = StoredPlan { deployment: plan().deployment, text };
        prop_assert!(stored.plan().is_err());
    }
}

#[test]
fn newer_is_told_apart_from_damaged() {
    let entry = Entry {
        position: 0,
        at: jiff::Timestamp::UNIX_EPOCH,
        event: started(),
    };
    let text = entry.encode();
    assert_eq!(Entry::decode(&text).unwrap(), entry);
    let newer = text.replace(r#""format":1"#, r#""format":2"#);
    assert!(matches!(
        Entry::decode(&newer),
        Err(DecodeError::Newer { found: 2, .. })
    ));
    // Whatever else a later format is like, a plan says who made it.
    let later = StoredPlan {
        deployment: DeploymentId::generate(),
        text: r#"{"format":2,"plan":{"tool":"1.4.0","waves":[]}}"#.into(),
    };
    let hint = later.plan().unwrap_err().hint().unwrap();
    assert!(hint.starts_with("install nuages 1.4.0"), "{hint}");
    for damaged in [
        &text[..text.len() - 1],
        "",
        "{}",
        &text.replace("started", "stared"),
        "null",
        r#"{"format":1}"#,
    ] {
        assert!(
            matches!(Entry::decode(damaged), Err(DecodeError::Damaged { .. })),
            "{damaged}"
        );
    }
}

#[test]
fn a_plan_reads_back_and_refuses_nonsense() {
    let good = two_stages();
    assert_eq!(StoredPlan::of(&good).plan().unwrap(), good);
    let to = |step: &str| nuages_saga::output(&id(step), "/x");
    let with = |params: Value| nuages_saga::StepSpec::new(id("z"), "acts", 1, "Z", params);
    let why = |plan: Plan| plan.validate().unwrap_err().to_string();
    assert_eq!(
        why(plan().stage("s", [with(json!(1))]).stage("t", [with(json!(1))])),
        "two steps are named `z`"
    );
    assert!(why(plan().stage("s", [with(to("y"))])).ends_with("no step has that name"));
    assert!(why(plan().stage("s", [with(to("z"))])).contains("does not stand in an earlier stage"));
    assert!(why(two_stages().stage("s", [with(json!({"$output": 1}))])).contains("malformed"));
    two_stages().stage("s", [with(to("c"))]).validate().unwrap();
    let mut stray = plan();
    stray
        .checks
        .insert(id("q"), nuages_saga::PlannedCheck::Satisfied { after: json!(1) });
    assert!(why(stray).contains("`q`"));
    assert!("A b".parse::<StepId>().is_err());
}
