//! Arguments that were not understood: clap's words, for people and for machines.
//!
//! Invariant: `--json` and `--project` count although the line as a whole could not be read.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use nuages_config::Project;
use nuages_pipeline::{Ending, PipelineError};

use crate::report::{Choice, Color, Surroundings, error as words};
use crate::{outcome, screen};

/// Says what clap says: help and version as they are, mistakes with what would be right.
pub(crate) fn tell(error: &clap::Error, args: &[OsString]) -> Ending {
    if !error.use_stderr() {
        screen::wrote(error.print());
        return outcome::complete(Ending::Done);
    }
    // clap's own code for a mistake is 2, which here means "the plan has changes".
    let ending = Ending::BadInput;
    let environments = names_environment(error).then(|| environments(args)).flatten();
    if said(args, "--json") {
        let choice = Choice {
            json: true,
            ..Choice::default()
        };
        outcome::explain(&as_problem(error, environments), ending, choice);
        return ending;
    }
    let _ = error.print();
    if let Some(environments) = environments {
        let style = Surroundings::of_process().style(Color::Auto);
        screen::complain(&words::hint(&environments, style));
    }
    screen::show();
    ending
}

/// Whether the mistake is about `--env`: it is missing, has no value, or one that is no name.
fn names_environment(error: &clap::Error) -> bool {
    let is = |name: &str| name.starts_with("--env ");
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => is(name),
        Some(ContextValue::Strings(names)) => names.iter().any(|name| is(name)),
        _ => false,
    }
}

/// What `--env` can be, where a `nuages.toml` says so.
fn environments(args: &[OsString]) -> Option<String> {
    let dir = value_of(args, "--project")
        .or_else(|| std::env::var_os("NUAGES_PROJECT").filter(|dir| !dir.is_empty()))
        .map(PathBuf::from);
    let project = match dir {
        Some(dir) => Project::open(&dir),
        None => Project::find(Path::new(".")),
    };
    let project = project.ok()?;
    let names: Vec<String> = project.file.environments().map(|name| format!("`{name}`")).collect();
    Some(match names.as_slice() {
        [only] => format!("nuages.toml has one environment, {only}"),
        names => format!("the environments in nuages.toml are {}", names.join(", ")),
    })
}

/// clap's message and its advice, as an error of ours.
fn as_problem(error: &clap::Error, environments: Option<String>) -> PipelineError {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    ) {
        return PipelineError::Arguments {
            what: "no verb is named".into(),
            hint: Some(VERBS.into()),
        };
    }
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let what = parts.next().unwrap_or_default();
    let what = one_line(what.strip_prefix("error: ").unwrap_or(what));
    let (mut tip, mut usage) = (None, None);
    for part in parts {
        let part = part.trim();
        if let Some(text) = part.strip_prefix("tip: ") {
            tip = Some(one_line(text));
        } else if let Some(text) = part.strip_prefix("Usage: ") {
            usage = Some(format!("usage: {}", one_line(text)));
        }
    }
    let verbs = (error.kind() == ErrorKind::InvalidSubcommand).then(|| VERBS.to_owned());
    PipelineError::Arguments {
        what,
        hint: environments
            .or(tip)
            .or(verbs)
            .or(usage)
            .or_else(|| Some("`--help` says what can be given".into())),
    }
}

const VERBS: &str = "`nuages help` lists the verbs";

/// Lines of a list become one sentence.
fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The words before `--`, which ends the options.
fn options(args: &[OsString]) -> impl Iterator<Item = &OsStr> {
    args.iter()
        .skip(1)
        .map(OsString::as_os_str)
        .take_while(|arg| *arg != "--")
}

fn said(args: &[OsString], flag: &str) -> bool {
    options(args).any(|arg| arg == flag)
}

/// The value of an option in a line of arguments that may not be readable.
pub(crate) fn value_of(args: &[OsString], name: &str) -> Option<OsString> {
    let mut args = options(args);
    while let Some(arg) = args.next() {
        if arg == name {
            return args.next().map(OsStr::to_owned);
        }
        let value = arg.to_str().and_then(|arg| arg.strip_prefix(name)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    fn told(line: &str) -> (String, String) {
        let args: Vec<&str> = line.split(' ').collect();
        let error = Cli::try_parse_from(args).unwrap_err();
        match as_problem(&error, None) {
            PipelineError::Arguments { what, hint } => (what, hint.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_mistake_is_a_sentence_and_what_would_be_right() {
        for (line, what, hint) in [
            (
                "nuages deploy",
                "the following required arguments were not provided: --env <NAME>",
                "usage: nuages deploy --env <NAME>",
            ),
            (
                "nuages deploy --env",
                "a value is required for '--env <NAME>' but none was supplied",
                "`--help` says what can be given",
            ),
            (
                "nuages status --env local --colour",
                "unexpected argument '--colour' found",
                "a similar argument exists: '--color'",
            ),
            (
                "nuages status --env local --color pink",
                "invalid value 'pink' for '--color <WHEN>' [possible values: auto, always, never]",
                "`--help` says what can be given",
            ),
            (
                "nuages stauts",
                "unrecognized subcommand 'stauts'",
                "a similar subcommand exists: 'status'",
            ),
            (
                "nuages frobnicate",
                "unrecognized subcommand 'frobnicate'",
                "`nuages help` lists the verbs",
            ),
            ("nuages", "no verb is named", "`nuages help` lists the verbs"),
            ("nuages --json", "no verb is named", "`nuages help` lists the verbs"),
        ] {
            assert_eq!(told(line), (what.to_owned(), hint.to_owned()), "{line}");
        }
    }

    #[test]
    fn only_the_mistakes_of_the_environment_name_the_environments() {
        for (line, about) in [
            ("nuages deploy", true),
            ("nuages deploy --env", true),
            ("nuages deploy --env Bad!", true),
            ("nuages infra up", true),
            ("nuages deploy --env local --colour", false),
            ("nuages logs --env local --since", false),
            ("nuages frobnicate", false),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(names_environment(&error), about, "{line}");
        }
    }

    #[test]
    fn options_are_found_in_a_line_that_cannot_be_read() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(said(&args("nuages deploy --colour --json"), "--json"));
        assert!(!said(&args("nuages run -- x --json"), "--json"));
        for line in ["nuages deploy --project a/b", "nuages --project=a/b deploy"] {
            assert_eq!(value_of(&args(line), "--project"), Some("a/b".into()), "{line}");
        }
        assert_eq!(value_of(&args("nuages deploy --projects x"), "--project"), None);
    }
}
