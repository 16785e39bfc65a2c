//! Finds the one cause that explains how a task ended.
//!
//! Invariant: the nearest witness speaks. Where the container never ran, the platform; where the driver reported, the
//! driver; where Python died without it, the last line of its traceback; and only then an exit code.

use crate::report::{DriverFailure, Outcome};

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
        "42P01" | "42703" => {
            "mend the migration and deploy again; if the name is right, the database's recorded history is not its true one"
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
        "ModuleNotFoundError" | "ImportError" => "the image lacks that module: add it to the project's requirements",
        "ImproperlyConfigured" | "KeyError" => "a setting or environment variable is missing: see [env] and [secrets]",
        _ => return None,
    };
    Some(text.to_owned())
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
            migration: None,
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
