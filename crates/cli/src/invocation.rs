//! How this command was called, and so how a command in a hint must read to work where it is pasted.
//!
//! Every crate writes `nuages VERB …` in backticks. Here, and nowhere else, it becomes what this person has to type: the
//! words that started this process, the environment that it is about, and the store and the project that they named.
//!
//! Invariant: what a text says already stays as it is; nothing outside backticks is touched.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::sync::OnceLock;

use clap::CommandFactory as _;
use nuages_model::{EnvName, Note};
use nuages_saga::{ErrorReport, Event, EventKind};
use serde_json::Value;

use crate::args::Cli;
use crate::usage::value_of;

/// Who starts this command for somebody (`cargo xtask`) says here what that person typed.
const CALLED_AS: &str = "NUAGES_CALLED_AS";

/// What hints are written with.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    /// What stands before the verb.
    program: String,
    /// The environment that this is about; none where the arguments could not be read, or name none.
    env: Option<EnvName>,
    /// Options of every verb that were given as arguments, ready for a shell. What the surroundings say goes on saying
    /// it for the next command.
    given: Vec<(&'static str, String)>,
}

static THIS: OnceLock<Invocation> = OnceLock::new();

/// Remembers how this process was called.
pub(crate) fn remember(args: &[OsString], env: Option<&EnvName>) {
    let called_as = called_as();
    // Only the first word counts: there is one command line.
    let _ = THIS.set(Invocation::of(args, called_as.as_deref(), env));
}

/// The words that started this process, where somebody else started it for the person.
pub(crate) fn called_as() -> Option<String> {
    std::env::var(CALLED_AS).ok().filter(|words| !words.trim().is_empty())
}

/// The text, with every command in it as this person can paste it.
pub(crate) fn pasteable(text: &str) -> String {
    match THIS.get() {
        Some(this) => this.pasteable(text),
        None => text.to_owned(),
    }
}

/// Whether this option of every verb was given as an argument.
pub(crate) fn names(option: &str) -> bool {
    THIS.get()
        .is_some_and(|this| this.given.iter().any(|(name, _)| *name == option))
}

/// The same for an error.
pub(crate) fn in_report(report: &mut ErrorReport) {
    if let Some(this) = THIS.get() {
        this.in_report(report);
    }
}

/// The same for what is said to the person in an event. What containers and services say stays as they said it.
pub(crate) fn in_event(event: &mut Event) {
    if let Some(this) = THIS.get() {
        this.in_event(event);
    }
}

/// The same for every hint within an object.
pub(crate) fn in_hints(value: &mut Value) {
    if let Some(this) = THIS.get() {
        this.in_hints(value);
    }
}

impl Invocation {
    fn of(args: &[OsString], called_as: Option<&str>, env: Option<&EnvName>) -> Self {
        let typed = args.first().and_then(|program| program.to_str());
        // A program that was not found by its name alone is found again only where it is.
        let by_path = typed.filter(|typed| typed.contains(['/', '\\']));
        let program = match (called_as, by_path) {
            (Some(words), _) => words.to_owned(),
            (None, Some(path)) => quoted(path),
            (None, None) => "nuages".to_owned(),
        };
        let given = ["--store", "--project"].into_iter().filter_map(|name| {
            let value = value_of(args, name)?;
            Some((name, quoted(value.to_str()?)))
        });
        Self {
            program,
            env: env.cloned(),
            given: given.collect(),
        }
    }

    fn pasteable(&self, text: &str) -> String {
        const OPENING: &str = "`nuages ";
        let mut told = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(OPENING) {
            let words = &rest[at + OPENING.len()..];
            let Some(end) = words.find('`') else { break };
            told.push_str(&rest[..=at]);
            told.push_str(&self.command(&words[..end]));
            told.push('`');
            rest = &words[end + 1..];
        }
        told.push_str(rest);
        told
    }

    fn in_report(&self, report: &mut ErrorReport) {
        let texts = std::iter::once(&mut report.message).chain(&mut report.causes);
        for text in texts.chain(&mut report.hint) {
            *text = self.pasteable(text);
        }
    }

    fn in_event(&self, event: &mut Event) {
        match &mut event.kind {
            EventKind::Message { text, hint, .. } => {
                for text in std::iter::once(text).chain(hint) {
                    *text = self.pasteable(text);
                }
            }
            EventKind::Note {
                note: Note::Warning { text },
            } => *text = self.pasteable(text),
            EventKind::TaskEnded { error: Some(error), .. } => self.in_report(error),
            _ => {}
        }
    }

    fn in_hints(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "hint" => *text = self.pasteable(text),
                        other => self.in_hints(other),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.in_hints(item)),
            _ => {}
        }
    }

    /// `resume` becomes `nuages resume --env local --store records`.
    fn command(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let cli = Cli::command();
        let (mut verb, mut length) = (&cli, 0);
        while let Some(next) = words.get(length).and_then(|word| verb.find_subcommand(word)) {
            (verb, length) = (next, length + 1);
        }
        let (path, rest) = words.split_at(length);
        let says = |name: &str| {
            let is = |word: &&str| {
                word.strip_prefix(name)
                    .is_some_and(|after| after.is_empty() || after.starts_with('='))
            };
            rest.iter().any(is)
        };
        let mut command = self.program.clone();
        let mut add = |words: &[&str]| {
            for word in words {
                let _ = write!(command, " {word}");
            }
        };
        add(path);
        let needs_env = |argument: &clap::Arg| argument.get_id() == "env" && argument.is_required_set();
        let about_one = verb.get_arguments().any(needs_env);
        if let Some(env) = self.env.as_ref().filter(|_| about_one && !says("--env") && !says("-e")) {
            add(&["--env", env.as_str()]);
        }
        add(rest);
        // A command that names a store of its own is meant for that one alone.
        if (about_one || verb.get_name() == "doctor") && !says("--store") {
            for (name, value) in self.given.iter().filter(|(name, _)| !says(name)) {
                add(&[name, value]);
            }
        }
        command
    }
}

/// As a shell takes it for one word.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./\\:@%+=,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use nuages_saga::{EVENT_VERSION, MessageLevel, TaskId, TaskState};

    use super::*;

    fn called(line: &str, called_as: Option<&str>, env: Option<&str>) -> Invocation {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let env: Option<EnvName> = env.map(|env| env.parse().unwrap());
        Invocation::of(&args, called_as, env.as_ref())
    }

    #[test]
    fn a_command_gets_the_environment_that_it_lacks_and_keeps_the_one_it_has() {
        let this = called("nuages deploy --env local", None, Some("local"));
        for (text, told) in [
            (
                "continue with `nuages resume`",
                "continue with `nuages resume --env local`",
            ),
            (
                "see `nuages logs --one-off`, or `nuages lease show`.",
                "see `nuages logs --env local --one-off`, or `nuages lease show --env local`.",
            ),
            (
                "`nuages infra up --allow-destroy Database`",
                "`nuages infra up --env local --allow-destroy Database`",
            ),
            ("`nuages deploy --env staging`", "`nuages deploy --env staging`"),
            ("`nuages deploy --env=staging`", "`nuages deploy --env=staging`"),
            ("`nuages status -e staging`", "`nuages status -e staging`"),
            // These need no environment.
            (
                "`nuages init DIR` or `nuages doctor`",
                "`nuages init DIR` or `nuages doctor`",
            ),
            ("`nuages help` lists the verbs", "`nuages help` lists the verbs"),
            ("`nuages secrets set NAME`", "`nuages secrets set NAME`"),
            // None of these is a command.
            ("nuages resume", "nuages resume"),
            ("`nuages` resumes", "`nuages` resumes"),
            ("cut off in `nuages resume", "cut off in `nuages resume"),
            (
                "a lone ` before `nuages resume`",
                "a lone ` before `nuages resume --env local`",
            ),
        ] {
            assert_eq!(this.pasteable(text), told);
        }
    }

    #[test]
    fn what_was_named_in_the_arguments_is_named_again() {
        let this = called(
            "nuages --project ../blog status --env=x --store=/mnt/my.db",
            None,
            Some("x"),
        );
        assert_eq!(
            this.pasteable("`nuages resume`, `nuages doctor`, `nuages init DIR`"),
            "`nuages resume --env x --store /mnt/my.db --project ../blog`, \
             `nuages doctor --store /mnt/my.db --project ../blog`, `nuages init DIR`"
        );
        let other = "`nuages resume --env y --store '/srv/a b' 01H`";
        assert_eq!(this.pasteable(other), other, "another store's command is whole");
        let args = ["nuages", "status", "--store", "it's here"].map(OsString::from);
        let this = Invocation::of(&args, None, None);
        assert_eq!(
            this.pasteable("`nuages abort`"),
            r"`nuages abort --store 'it'\''s here'`"
        );
    }

    #[test]
    fn the_program_is_the_one_that_was_called() {
        for (line, called_as, told) in [
            ("nuages status", None, "`nuages abort --env x`"),
            (
                "target/debug/nuages status",
                None,
                "`target/debug/nuages abort --env x`",
            ),
            ("/a/nuages status", Some("cargo xtask"), "`cargo xtask abort --env x`"),
        ] {
            assert_eq!(called(line, called_as, Some("x")).pasteable("`nuages abort`"), told);
        }
        let this = called("/a/nuages frobnicate", Some("cargo xtask"), None);
        assert_eq!(this.pasteable("`nuages help` lists"), "`cargo xtask help` lists");
    }

    /// Nobody looks through every text for what it lacks: every verb is completed, whichever there will be.
    #[test]
    fn every_command_that_can_be_completed_can_be_read() {
        use clap::Parser as _;
        fn verbs(of: &clap::Command, path: &str, found: &mut Vec<String>) {
            for verb in of.get_subcommands() {
                let path = format!("{path} {}", verb.get_name());
                if verb.has_subcommands() {
                    verbs(verb, &path, found);
                } else {
                    // What has to be named is named in a command that can be pasted: here, an image.
                    let needed = verb.get_positionals().filter(|argument| argument.is_required_set());
                    found.push(path + &" oci:x".repeat(needed.count()));
                }
            }
        }
        let mut all = Vec::new();
        verbs(&Cli::command(), "nuages", &mut all);
        assert!(all.len() > 15, "{all:?}");
        let this = called("nuages status --store /mnt/x", None, Some("local"));
        for command in all {
            let told = this.pasteable(&format!("`{command}`"));
            let words: Vec<&str> = told.trim_matches('`').split(' ').collect();
            assert!(Cli::try_parse_from(&words).is_ok(), "{told}");
        }
    }

    #[test]
    fn what_is_said_to_the_person_is_completed_and_what_others_say_is_not() {
        let this = called("nuages status", None, Some("local"));
        let mut value = serde_json::json!({
            "text": "`nuages resume`", "hint": null,
            "findings": [{"hint": "`nuages resume`"}], "error": {"hint": "`nuages abort`"},
        });
        this.in_hints(&mut value);
        assert_eq!(
            value,
            serde_json::json!({
                "text": "`nuages resume`", "hint": null,
                "findings": [{"hint": "`nuages resume --env local`"}], "error": {"hint": "`nuages abort --env local`"},
            })
        );

        let text = || "see `nuages logs`".to_owned();
        let said = |kind: EventKind| {
            let mut event = Event {
                v: EVENT_VERSION,
                at: jiff::Timestamp::UNIX_EPOCH,
                task: TaskId(0),
                kind,
            };
            this.in_event(&mut event);
            serde_json::to_string(&event).unwrap().matches("--env local").count()
        };
        let error = ErrorReport {
            message: text(),
            causes: vec![text()],
            hint: Some(text()),
        };
        let ended = EventKind::TaskEnded {
            state: TaskState::Failed,
            detail: None,
            error: Some(error),
            elapsed_ms: 0,
        };
        let message = EventKind::Message {
            level: MessageLevel::Warning,
            text: text(),
            hint: Some(text()),
        };
        let warning = EventKind::Note {
            note: Note::Warning { text: text() },
        };
        let line = EventKind::Note {
            note: Note::Line {
                source: "web".into(),
                text: text(),
            },
        };
        assert_eq!([ended, message, warning, line].map(said), [3, 2, 1, 0]);
    }
}
