//! Each reporter on the same runs, with buffers and an in-memory terminal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use jiff::{SignedDuration, Timestamp};
use nuages_model::Note;
use nuages_saga::{ErrorReport, Event, EventKind, Events, MessageLevel, StepError, TaskId, TaskState};
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::resting::Resting;
use super::*;

/// What was written, for the test and for the reporter.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer whose every write fails so.
struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn time(millis: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(millis)
}

fn event(at: i64, task: u64, kind: EventKind) -> Event {
    Event {
        v: nuages_saga::EVENT_VERSION,
        at: time(at),
        task: TaskId(task),
        kind,
    }
}

fn start(at: i64, task: u64, parent: Option<u64>, id: &str, title: &str) -> Event {
    event(
        at,
        task,
        EventKind::TaskStarted {
            parent: parent.map(TaskId),
            id: id.into(),
            title: title.into(),
        },
    )
}

fn note(at: i64, task: u64, note: Note) -> Event {
    event(at, task, EventKind::Note { note })
}

fn line(at: i64, task: u64, text: &str) -> Event {
    note(
        at,
        task,
        Note::Line {
            source: "build".into(),
            text: text.into(),
        },
    )
}

fn bytes(at: i64, task: u64, what: &str, done: u64, total: Option<u64>) -> Event {
    note(
        at,
        task,
        Note::Bytes {
            what: what.into(),
            done,
            total,
        },
    )
}

fn end(at: i64, task: u64, state: TaskState, detail: &str, elapsed_ms: u64) -> Event {
    let detail = Some(detail.to_owned()).filter(|detail| !detail.is_empty());
    event(
        at,
        task,
        EventKind::TaskEnded {
            state,
            detail,
            error: None,
            elapsed_ms,
        },
    )
}

fn fail(at: i64, task: u64, error: &ErrorReport, elapsed_ms: u64) -> Event {
    let kind = EventKind::TaskEnded {
        state: TaskState::Failed,
        detail: None,
        error: Some(error.clone()),
        elapsed_ms,
    };
    event(at, task, kind)
}

fn message(at: i64, level: MessageLevel, text: &str, hint: Option<&str>) -> Event {
    event(
        at,
        0,
        EventKind::Message {
            level,
            text: text.into(),
            hint: hint.map(str::to_owned),
        },
    )
}

/// A deployment as far as its push.
fn until_push() -> Vec<Event> {
    let mut events = vec![
        start(0, 1, None, "deploy", "Deploy blog to local"),
        start(100, 2, Some(1), "infra", "Bring up the stack"),
        note(
            200,
            2,
            Note::Count {
                what: "resources complete".into(),
                done: 3,
                total: 21,
            },
        ),
        end(5100, 2, TaskState::Unchanged, "21 resources", 5000),
        start(5200, 3, Some(1), "build", "Build the image"),
    ];
    events.extend((1..=8).map(|step| {
        line(
            5200 + step * 100,
            3,
            &format!("\x1b[32m#{step}\x1b[0m RUN step {step}\r\n"),
        )
    }));
    events.extend([
        message(
            6100,
            MessageLevel::Warning,
            "the store of this environment is on this machine alone",
            Some("name another with --store"),
        ),
        end(12_200, 3, TaskState::Done, "sha256:3f2a9c1b", 7000),
        start(12_300, 4, Some(1), "push", "Push the image"),
        note(12_400, 4, Note::Status { text: "layers".into() }),
        bytes(12_400, 4, "3f2a9c1b", 0, Some(8_000_000)),
        bytes(12_400, 4, "77d0e1aa", 0, Some(4_000_000)),
        bytes(16_400, 4, "3f2a9c1b", 3_000_000, Some(8_000_000)),
        bytes(16_400, 4, "77d0e1aa", 4_000_000, Some(4_000_000)),
    ]);
    events
}

fn failure() -> ErrorReport {
    let error = StepError::message("CannotPullContainerError: no route to the registry (request 7f3a)")
        .context("the task of `web` stopped before it was healthy")
        .context("failed to deploy blog to local")
        .with_hint("nuages verify --env local");
    ErrorReport::of(&error)
}

fn cause() -> ErrorReport {
    let error = StepError::message("CannotPullContainerError: no route to the registry (request 7f3a)")
        .context("the task of `web` stopped before it was healthy");
    ErrorReport::of(&error)
}

fn until_failure() -> Vec<Event> {
    let mut events = until_push();
    events.extend([
        end(17_300, 4, TaskState::Done, "2 layers", 5000),
        start(17_400, 5, Some(1), "services", "Roll out"),
        start(17_400, 6, Some(5), "service/web", "Update the service web"),
        note(
            17_500,
            6,
            Note::Count {
                what: "tasks healthy".into(),
                done: 0,
                total: 2,
            },
        ),
        line(20_000, 6, "Traceback (most recent call last):"),
        line(20_000, 6, "ModuleNotFoundError: No module named 'blog.wsgi'"),
        fail(30_000, 6, &cause(), 12_600),
        fail(30_100, 5, &cause(), 12_700),
        start(30_200, 7, Some(1), "undo/service/web", "Undo: update the service web"),
        end(32_200, 7, TaskState::Undone, "", 2000),
        fail(32_300, 1, &failure(), 32_300),
        event(
            32_400,
            0,
            EventKind::Data {
                name: "log".into(),
                value: json!("/var/log/x"),
            },
        ),
    ]);
    events
}

/// What a terminal of this size shows after these events, and stdout.
fn screen(rows: u16, columns: u16, events: &[Event], now: i64) -> (String, String) {
    let term = InMemoryTerm::new(rows, columns);
    let out = Buffer::default();
    let target = ProgressDrawTarget::term_like(Box::new(Resting::new(term.clone())));
    let mut tty = Tty::new(
        Box::new(out.clone()),
        Style::new(false),
        target,
        Box::new(move || (rows, columns)),
    );
    for event in events {
        tty.event(event);
        // As often as it likes: what is drawn again must not leave traces.
        tty.tick(event.at);
    }
    tty.tick(time(now));
    let shown = term.contents();
    drop(tty);
    (shown, out.text())
}

/// The terminal echoes `^C` where its cursor stands.
#[test]
fn a_key_that_is_echoed_leaves_no_row_of_an_earlier_frame() {
    let term = InMemoryTerm::new(24, 80);
    let target = ProgressDrawTarget::term_like(Box::new(Resting::new(term.clone())));
    let size = || (24, 80);
    let mut tty = Tty::new(Box::new(Buffer::default()), Style::new(false), target, Box::new(size));
    for event in &until_push() {
        tty.event(event);
    }
    tty.tick(time(16_000));
    let before = term.contents();
    assert!(before.contains("Push the image"), "{before}");
    indicatif::TermLike::write_str(&term, "^C").unwrap();
    tty.tick(time(16_400));
    let after = term.contents();
    assert_eq!(after.matches("Push the image").count(), 1, "{after}");
    assert!(!after.contains("^C"), "{after}");
    assert_eq!(after.lines().count(), before.lines().count(), "{after}");

    // What is printed for good is written over by nothing.
    let done = [
        end(17_300, 4, TaskState::Done, "2 layers", 5000),
        end(17_400, 1, TaskState::Done, "release 01k9", 17_400),
    ];
    for event in &done {
        tty.event(event);
    }
    let printed = term.contents();
    tty.finish().unwrap();
    indicatif::TermLike::write_str(&term, "$ ").unwrap();
    let lines = |text: &str| text.lines().map(str::trim_end).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&term.contents())[..lines(&printed).len()], lines(&printed));
    assert_eq!(lines(&term.contents()).last().unwrap(), "$");
}

fn plain(events: &[Event], quiet: bool, style: Style) -> (String, String) {
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut plain = Plain::new(Box::new(out.clone()), Box::new(err.clone()), style, quiet);
    for event in events {
        plain.event(event);
        plain.tick(event.at);
    }
    plain.finish().unwrap();
    (out.text(), err.text())
}

#[test]
fn a_tree_while_it_pushes() {
    insta::assert_snapshot!("tty_push_80", screen(24, 80, &until_push(), 16_400).0);
}

#[test]
fn a_tree_while_it_builds() {
    let events: Vec<Event> = until_push()
        .into_iter()
        .take_while(|event| event.at < time(12_000))
        .collect();
    insta::assert_snapshot!("tty_build_80", screen(24, 80, &events, 8_000).0);
}

#[test]
fn a_tree_on_a_small_terminal() {
    let (shown, _) = screen(4, 34, &until_push(), 16_400);
    assert!(shown.lines().count() <= 4, "{shown}");
    insta::assert_snapshot!("tty_push_small", shown);
}

#[test]
fn a_tree_that_failed() {
    let (shown, out) = screen(40, 80, &until_failure(), 33_000);
    insta::assert_snapshot!("tty_failed_80", shown);
    assert_eq!(out, "/var/log/x\n");
}

#[test]
fn a_tree_that_is_done() {
    let mut events = until_push();
    events.extend([
        end(17_300, 4, TaskState::Done, "2 layers", 5000),
        end(17_400, 1, TaskState::Done, "release 01k9", 17_400),
    ]);
    insta::assert_snapshot!("tty_done_80", screen(24, 80, &events, 18_000).0);
}

#[test]
fn no_line_is_wider_than_the_terminal_and_none_too_many() {
    let mut state = state::State::default();
    for event in &until_push() {
        state.follow(event);
    }
    for columns in 1..120 {
        for rows in [1, 2, 3, 5, 10, 24] {
            let canvas = tree::Canvas {
                columns,
                rows,
                style: Style::new(true),
                now: time(20_000),
            };
            let lines = tree::frame(&state, canvas);
            assert!(lines.len() <= rows.saturating_sub(1).max(1), "{rows} rows: {lines:#?}");
            assert!(
                lines
                    .iter()
                    .all(|line| console::measure_text_width(line) < columns.max(2)),
                "{columns}: {lines:#?}"
            );
        }
    }
}

#[test]
fn many_ended_tasks_become_a_count() {
    let mut events = vec![start(0, 1, None, "infra", "Bring up the stack")];
    for task in 2..60 {
        events.push(start(0, task, Some(1), "r", &format!("Resource {task}")));
        events.push(end(10, task, TaskState::Done, "", 10));
    }
    let (shown, _) = screen(24, 80, &events, 100);
    assert!(
        shown.contains("46 more done") && shown.contains("Resource 59") && !shown.contains("Resource 47 "),
        "{shown}"
    );
}

#[test]
fn lines_for_logs() {
    let (out, err) = plain(&until_failure(), false, Style::new(false));
    insta::assert_snapshot!("plain_failed", err);
    assert_eq!(out, "/var/log/x\n");
}

#[test]
fn quiet_lines_are_problems_alone() {
    insta::assert_snapshot!("plain_quiet", plain(&until_failure(), true, Style::new(false)).1);
}

#[test]
fn colour_changes_no_word() {
    let (_, without) = plain(&until_failure(), false, Style::new(false));
    let (_, with) = plain(&until_failure(), false, Style::new(true));
    assert_ne!(without, with);
    assert_eq!(console::strip_ansi_codes(&with), without);
}

#[test]
fn a_silent_log_has_a_heartbeat() {
    let err = Buffer::default();
    let mut plain = Plain::new(Box::new(io::sink()), Box::new(err.clone()), Style::new(false), false);
    for event in until_push() {
        plain.event(&event);
    }
    let before = err.text().len();
    plain.tick(time(16_400 + 12_000));
    assert_eq!(err.text().len(), before, "the last line is not thirty seconds old");
    plain.tick(time(12_400 + 30_000));
    plain.tick(time(12_400 + 30_100));
    assert_eq!(
        &err.text()[before..],
        "[  42.4s] Push the image: still running, 30.1s, 7.0 of 12.0 MB (58%), 21.4s left, layers\n"
    );
    plain.tick(time(12_400 + 60_000));
    assert_eq!(err.text()[before..].lines().count(), 2);
}

#[test]
fn json_is_an_event_a_line() {
    let out = Buffer::default();
    let mut json = Json::new(Box::new(out.clone()));
    let events = until_failure();
    for event in &events {
        json.event(event);
    }
    json.finish().unwrap();
    let read: Vec<Event> = out
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read, events);
}

#[test]
fn a_closed_pipe_stops_nothing() {
    for (kind, tells) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
        let choice = Choice {
            json: true,
            ..Choice::default()
        };
        for choice in [choice, Choice::default()] {
            let mut reporter = choose(
                choice,
                Surroundings::default(),
                Box::new(Closed(kind)),
                Box::new(Closed(kind)),
            );
            for event in &until_failure() {
                reporter.event(event);
            }
            reporter.tick(time(100_000));
            assert_eq!(reporter.finish().is_err(), tells, "{kind:?}");
        }
        assert_eq!(
            error::write(&mut Closed(kind), &failure(), Style::new(false)).is_err(),
            tells
        );
    }
}

#[test]
fn the_reporter_fits_its_surroundings() {
    let terminal = Surroundings {
        terminal: true,
        ..Surroundings::default()
    };
    let name = |choice: Choice, surroundings: Surroundings| match choose(
        choice,
        surroundings,
        Box::new(io::sink()),
        Box::new(io::sink()),
    ) {
        Reporter::Tty(_) => "tty",
        Reporter::Plain(_) => "plain",
        Reporter::Json(_) => "json",
    };
    let asked = Choice::default();
    assert_eq!(name(asked, terminal), "tty");
    assert_eq!(name(asked, Surroundings::default()), "plain");
    assert_eq!(name(asked, Surroundings { ci: true, ..terminal }), "plain");
    assert_eq!(name(asked, Surroundings { dumb: true, ..terminal }), "plain");
    assert_eq!(name(Choice { quiet: true, ..asked }, terminal), "plain");
    assert_eq!(name(Choice { json: true, ..asked }, terminal), "json");

    let color = |color: Color, surroundings: Surroundings| surroundings.style(color).has_color();
    assert!(color(Color::Auto, terminal));
    assert!(!color(Color::Auto, Surroundings::default()));
    assert!(!color(
        Color::Auto,
        Surroundings {
            no_color: true,
            ..terminal
        }
    ));
    assert!(color(
        Color::Always,
        Surroundings {
            no_color: true,
            ..Surroundings::default()
        }
    ));
    assert!(!color(Color::Never, terminal));
}

#[test]
fn an_error_is_a_sentence_its_causes_and_a_hint() {
    let shown = error::render(&failure(), Style::new(false));
    assert_eq!(
        shown,
        "error: failed to deploy blog to local\n  \
           caused by: the task of `web` stopped before it was healthy\n  \
           caused by: CannotPullContainerError: no route to the registry (request 7f3a)\n\
         hint: nuages verify --env local\n"
    );
    let error = ErrorReport {
        message: "a\x1b[2J\nb".into(),
        causes: Vec::new(),
        hint: Some("one\ntwo".into()),
    };
    assert_eq!(
        error::render(&error, Style::new(false)),
        "error: a\n       b\nhint: one\n      two\n"
    );
}

#[tokio::test(start_paused = true)]
async fn every_event_is_shown_before_the_end() {
    let (events, received) = Events::channel();
    let err = Buffer::default();
    let reporter = choose(
        Choice::default(),
        Surroundings::default(),
        Box::new(io::sink()),
        Box::new(err.clone()),
    );
    let (barriers, received_barriers) = unbounded_channel();
    let shown = tokio::spawn(drive(received, received_barriers, reporter));
    let task = events.task("build", "Build the image");
    tokio::time::sleep(FRAME * 3).await;
    task.progress().line("build", "step");
    let (send, settled) = oneshot::channel();
    barriers.send(send).unwrap();
    settled.await.unwrap();
    assert!(err.text().contains("build | step"), "shown before the barrier answers");
    task.done("sha256:3f2a");
    drop(events);
    shown.await.unwrap().unwrap();
    let text = err.text();
    assert!(
        text.contains("build | step") && text.contains("Build the image: done in"),
        "{text}"
    );
}

/// Any event, also one that fits no task.
fn any_event() -> impl Strategy<Value = Event> {
    let text = || prop_oneof!["\\PC{0,30}", "[\\x00-\\x1fa-z日本]{0,90}"];
    let kind = prop_oneof![
        (prop::option::of(0u64..6), text()).prop_map(|(parent, title)| EventKind::TaskStarted {
            parent: parent.map(TaskId),
            id: "x".into(),
            title
        }),
        text().prop_map(|text| EventKind::Note {
            note: Note::Line {
                source: "s".into(),
                text
            }
        }),
        ("[ab]", any::<u64>(), prop::option::of(any::<u64>())).prop_map(|(what, done, total)| EventKind::Note {
            note: Note::Bytes { what, done, total }
        }),
        ("[ab]", any::<u64>(), any::<u64>()).prop_map(|(what, done, total)| EventKind::Note {
            note: Note::Count { what, done, total }
        }),
        text().prop_map(|text| EventKind::Note {
            note: Note::Status { text }
        }),
        (text(), prop::option::of(text())).prop_map(|(text, hint)| EventKind::Message {
            level: MessageLevel::Warning,
            text,
            hint
        }),
        (any::<bool>(), text()).prop_map(|(failed, text)| EventKind::TaskEnded {
            state: if failed { TaskState::Failed } else { TaskState::Done },
            detail: Some(text.clone()),
            error: failed.then(|| ErrorReport {
                message: text,
                causes: Vec::new(),
                hint: None
            }),
            elapsed_ms: 1,
        }),
    ];
    (0i64..200_000, 0u64..6, kind).prop_map(|(at, task, kind)| event(at, task, kind))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_events_make_a_reporter_panic(
        events in prop::collection::vec(any_event(), 0..40),
        // The in-memory terminal itself fails on the tiniest sizes; those are tried on the frame alone, above.
        rows in 5u16..30,
        columns in 20u16..100,
    ) {
        let (_, err) = plain(&events, false, Style::new(false));
        prop_assert!(!err.chars().any(|c| c.is_control() && c != '\n'));
        let _ = screen(rows, columns, &events, 200_000);
    }
}
