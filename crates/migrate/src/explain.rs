//! Finds the one cause that explains how a task ended.
//!
//! Invariant: the nearest witness speaks. Where the container never ran, the platform; where the driver reported, the
//! driver; where Python died without it, the last line of its traceback; and only then an exit code.

use crate::report::{DriverFailure, MissingModule, Outcome};

/// Cause and hint.
pub(crate) fn explain(driver: Option<&DriverFailure>, outcome: &Outcome, probe: bool) -> (String, Option<String>) {
    if let Some(failure) = driver {
        return (cause_of(failure), hint_for(failure, probe));
    }
    let platform = outcome.reason.as_ref().or(outcome.stopped_reason.as_ref());
    let Some(code) = outcome.exit_code else {
        let why = platform.cloned().or_else(|| outcome.stop_code.clone());
        let why = why.unwrap_or_else(|| "the platform does not say why".into());
        return (format!("the container never ran: {why}"), None);
    };
    if code == 137 || outcome.reason.as_deref().is_some_and(|r| r.contains("OutOfMemory")) {
        let why = platform.map(|r| format!(" ({r})")).unwrap_or_default();
        return (
            format!("the container was killed{why}"),
            Some("give the service more `memory`, or split the migration's work into batches".into()),
        );
    }
    if let Some(line) = outcome.log_tail.iter().rev().find(|line| is_exception(line)) {
        return (line.trim().to_owned(), hint_for_exception(line));
    }
    match code {
        126 | 127 => (
            format!("the image cannot run the interpreter (exit code {code})"),
            Some("[migrations] command must name a Python that is in the image".into()),
        ),
        code => {
            let last = outcome.log_tail.iter().rev().find(|line| !line.trim().is_empty());
            let last = last
                .map(|line| format!("; its last line was: {}", line.trim()))
                .unwrap_or_default();
            (format!("the container ended with exit code {code}{last}"), None)
        }
    }
}

fn cause_of(failure: &DriverFailure) -> String {
    let message = first_sentence(&failure.message);
    let place = match (&failure.migration, &failure.alias) {
        (Some(migration), Some(alias)) => format!("{migration} on {alias}: "),
        (None, Some(alias)) => format!("{alias}: "),
        _ => String::new(),
    };
    // The driver's own sentences need no class.
    if failure.error == "Stop" || failure.kind == "exit" || failure.error == "CommandError" {
        return format!("{place}{message}");
    }
    let state = failure.sqlstate.as_ref().map(|s| format!(" {s}")).unwrap_or_default();
    format!("{place}{}{state}: {message}", failure.error)
}

fn first_sentence(message: &str) -> String {
    const MOST: usize = 400;
    match message.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

fn hint_for(failure: &DriverFailure, probe: bool) -> Option<String> {
    if let Some(missing) = &failure.missing {
        return Some(hint_for_module(missing));
    }
    if lacks_a_table(failure) {
        return Some(hint_for_table(failure).to_owned());
    }
    let by_state = failure.sqlstate.as_deref().and_then(hint_for_state);
    if by_state.is_some() {
        return by_state.map(str::to_owned);
    }
    let text = match failure.kind.as_str() {
        "locked" => "wait until the other migration has ended, then run this again",
        "lock-lost" => {
            "give the migrations a direct connection to the database: a proxy that pools transactions, or a migration \
             that closes its connection, loses the lock"
        }
        "no-database" => "[migrations] databases names aliases of the settings' DATABASES",
        "no-manage" => {
            "the image must hold manage.py in its WORKDIR: COPY it in the Dockerfile, and see that .dockerignore leaves it in"
        }
        "no-django" => "install Django for the `python` that is first on the image's PATH",
        "stopped" | "incomplete" => "run it again: what was applied stays applied",
        "exit" => "look for a sys.exit() in the settings, in an AppConfig.ready or in a migration",
        "connect" if failure.vendor.as_deref() == Some("sqlite") => {
            "the settings choose SQLite, and a task keeps no file: let them read DATABASE_URL, which [database] and \
             `DATABASE_URL = { from = \"database\" }` in [secrets] give"
        }
        "connect" if failure.sqlstate.is_none() => {
            "check DATABASE_URL, and that the task's security group may reach the database"
        }
        "migration" | "migrate" if failure.error == "CommandError" && failure.message.contains("--merge") => {
            "run `makemigrations --merge` and commit its result"
        }
        "migrate" if failure.error == "InconsistentMigrationHistory" => {
            "the database was migrated by code with another order; `showmigrations` in both shows where they part"
        }
        "setup" => {
            return hint_for_exception(&failure.error).or_else(|| {
                Some("the application does not start with the release's settings; the log has the traceback".into())
            });
        }
        "migration" if !probe => {
            "mend the migration and deploy again: an atomic migration that failed left nothing behind"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// In PostgreSQL's codes, in MySQL's number, and in the words of SQLite, which has neither.
fn lacks_a_table(failure: &DriverFailure) -> bool {
    let says = |beginning: &str| failure.message.starts_with(beginning);
    matches!(failure.sqlstate.as_deref(), Some("42P01" | "42703"))
        || failure.error == "ProgrammingError" && says("(1146,")
        || failure.error == "OperationalError" && (says("no such table") || says("no such column") || says("(1054,"))
}

fn hint_for_table(failure: &DriverFailure) -> &'static str {
    if failure.migration.is_some() {
        "it is not there when this migration runs: correct the name, or add the migration that makes it to \
         `dependencies`; where one should have made it already, it was recorded (`migrate --fake`) and never run"
    } else {
        "code outside the migrations asks for it before they have run: look for a query at import time (a form's choices, \
         urls.py, AppConfig.ready, a signal's receiver), and move it to where it is needed"
    }
}

fn hint_for_module(missing: &MissingModule) -> String {
    let module = &missing.module;
    let there = missing
        .nearest()
        .map_or_else(|| ".".to_owned(), |near| format!("; did you mean `{near}`?"));
    if missing.is_settings() {
        return format!(
            "the settings module `{module}` is not in the image{there} Correct DJANGO_SETTINGS_MODULE in [env], or see that \
             .dockerignore leaves the file in"
        );
    }
    match module.rsplit_once('.') {
        Some((package, _)) => format!(
            "`{package}` is in the image, and `{module}` is not{there} Correct the name, see that .dockerignore leaves the \
             file in, or require a version of the package that has it"
        ),
        None => NOT_INSTALLED.to_owned(),
    }
}

const NOT_INSTALLED: &str = "the image lacks that module: add it to the project's requirements";

/// PostgreSQL's codes (PostgreSQL documentation, appendix A) that a migration meets.
fn hint_for_state(state: &str) -> Option<&'static str> {
    Some(match state {
        "55P03" => {
            "another session held the table for longer than [migrations] lock_timeout; run it again when it is quiet, \
             or end that session"
        }
        "40P01" => "it met another session's locks in the opposite order; run it again",
        "42P07" | "42701" | "42710" => {
            "the database has it already: somebody made it by hand, or a migration without a transaction was \
             interrupted; compare the two, then `migrate --fake` that one"
        }
        "23502" | "23505" | "23503" | "23514" => {
            "rows that exist break the new constraint; clean them in a data migration before it"
        }
        "53300" => "the server has no free connection; scale something down, or raise max_connections",
        "28P01" | "28000" => "the database refused the user or the password of DATABASE_URL",
        "3D000" => "the server has no database of the name in DATABASE_URL",
        "42501" => "the database's user lacks a right that the migration needs",
        "53100" => "the database's disk is full",
        "25006" => "the database (or this session) is read-only: a replica, or a probe that tried to write",
        _ => return None,
    })
}

fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or(line);
    !line.starts_with(' ')
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
        && (name.ends_with("Error")
            || name.ends_with("Exception")
            || name.rsplit('.').next() == Some("ImproperlyConfigured"))
}

fn hint_for_exception(line: &str) -> Option<String> {
    let name = line.split(':').next().unwrap_or(line);
    let text = match name.rsplit('.').next().unwrap_or(name) {
        "ModuleNotFoundError" => return Some(hint_for_module(&named_by(line))),
        "ImportError" => {
            "the module is there, and not what is imported from it: require the version that the project is developed with"
        }
        "ImproperlyConfigured" | "KeyError" => "a setting or environment variable is missing: see [env] and [secrets]",
        _ => return None,
    };
    Some(text.to_owned())
}

/// All that a traceback's last line tells of a module.
fn named_by(line: &str) -> MissingModule {
    let module = line.split('\'').nth(1).unwrap_or_default();
    MissingModule {
        module: module.to_owned(),
        settings: None,
        near: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(exit_code: Option<i32>, reason: Option<&str>, tail: &[&str]) -> Outcome {
        Outcome {
            exit_code,
            reason: reason.map(str::to_owned),
            stop_code: Some("EssentialContainerExited".into()),
            stopped_reason: None,
            log_tail: tail.iter().map(|l| (*l).to_owned()).collect(),
        }
    }

    fn failure(kind: &str, error: &str, message: &str) -> DriverFailure {
        DriverFailure {
            kind: kind.into(),
            error: error.into(),
            message: message.into(),
            sqlstate: None,
            alias: Some("default".into()),
            vendor: Some("postgresql".into()),
            migration: None,
            missing: None,
        }
    }

    #[test]
    fn a_container_that_never_ran() {
        let (cause, _) = explain(
            None,
            &outcome(None, Some("CannotPullContainerError: no such image"), &[]),
            false,
        );
        assert_eq!(
            cause,
            "the container never ran: CannotPullContainerError: no such image"
        );
        assert!(
            explain(None, &outcome(None, None, &[]), false)
                .0
                .contains("EssentialContainerExited")
        );
    }

    #[test]
    fn memory_before_the_traceback() {
        let tail = ["Traceback (most recent call last):", "MemoryError: no"];
        let (cause, hint) = explain(
            None,
            &outcome(Some(137), Some("OutOfMemoryError: killed"), &tail),
            false,
        );
        assert_eq!(cause, "the container was killed (OutOfMemoryError: killed)");
        assert!(hint.unwrap().contains("memory"));
    }

    #[test]
    fn a_traceback_without_a_report() {
        let tail = [
            "  File \"x\", line 1",
            "ModuleNotFoundError: No module named 'psycopg'",
            "",
            "bye",
        ];
        let (cause, hint) = explain(None, &outcome(Some(1), None, &tail), false);
        assert_eq!(cause, "ModuleNotFoundError: No module named 'psycopg'");
        assert!(hint.unwrap().contains("requirements"));
    }

    #[test]
    fn bare_codes() {
        assert!(
            explain(None, &outcome(Some(127), None, &["sh: python: not found"]), false)
                .0
                .contains("127")
        );
        let (cause, _) = explain(None, &outcome(Some(3), None, &["boom", " "]), false);
        assert_eq!(cause, "the container ended with exit code 3; its last line was: boom");
    }

    #[test]
    fn the_drivers_word() {
        let mut driver = failure("migration", "IntegrityError", "column \"slug\" contains null values");
        driver.migration = Some("blog.0004_slug".into());
        driver.sqlstate = Some("23502".into());
        let (cause, hint) = explain(Some(&driver), &outcome(Some(1), None, &[]), false);
        assert_eq!(
            cause,
            "blog.0004_slug on default: IntegrityError 23502: column \"slug\" contains null values"
        );
        assert!(hint.unwrap().contains("data migration"));
        let (cause, hint) = explain(
            Some(&failure("locked", "Stop", "held")),
            &outcome(Some(75), None, &[]),
            false,
        );
        assert_eq!(cause, "default: held");
        assert!(hint.is_some());
    }

    #[test]
    fn a_missing_table_is_the_migrations_or_somebody_elses() {
        let hint = |driver: &DriverFailure| explain(Some(driver), &outcome(Some(1), None, &[]), false).1.unwrap();
        let mut postgres = failure("migrate", "ProgrammingError", "relation \"tag\" does not exist");
        postgres.sqlstate = Some("42P01".into());
        let sqlite = failure("migrate", "OperationalError", "no such table: tag");
        for mut driver in [postgres, sqlite] {
            assert!(hint(&driver).contains("import time"), "{}", hint(&driver));
            driver.kind = "migration".into();
            driver.migration = Some("blog.0004_tags".into());
            assert!(hint(&driver).contains("`dependencies`"), "{}", hint(&driver));
        }
    }

    #[test]
    fn a_file_that_sqlite_cannot_open_is_no_matter_of_security_groups() {
        let mut driver = failure("connect", "OperationalError", "unable to open database file");
        driver.vendor = Some("sqlite".into());
        let (_, hint) = explain(Some(&driver), &outcome(Some(1), None, &[]), true);
        let hint = hint.unwrap();
        assert!(
            hint.contains("DATABASE_URL") && !hint.contains("security group"),
            "{hint}"
        );
    }

    #[test]
    fn a_module_of_a_package_that_is_there_is_no_requirement() {
        let tail = ["ModuleNotFoundError: No module named 'blog.wsgy'"];
        let (_, hint) = explain(None, &outcome(Some(1), None, &tail), false);
        let hint = hint.unwrap();
        assert!(
            hint.starts_with("`blog` is in the image, and `blog.wsgy` is not."),
            "{hint}"
        );
        let tail = ["ImportError: cannot import name 'x' from 'y' (/y.py)"];
        let (_, hint) = explain(None, &outcome(Some(1), None, &tail), false);
        assert!(!hint.unwrap().contains("lacks that module"));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let driver = failure("migrate", "Oops", &"é".repeat(5000));
        assert!(
            explain(Some(&driver), &outcome(Some(1), None, &[]), false)
                .0
                .chars()
                .count()
                < 450
        );
    }
}
