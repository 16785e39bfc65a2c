//! Whether a check that runs tests ran any.
//!
//! Invariant: only a runner's own words count: unittest's (and so Django's) last line, pytest's exit code.

/// pytest's exit code where it collected nothing.
const PYTEST_COLLECTED_NONE: i64 = 5;

/// Whether the runner says that it ran no test. unittest and Django end well then, and a gate that looked at nothing would
/// be open.
pub(crate) fn none(command: &[String], exit_code: i64, tail: &[String]) -> bool {
    if is_pytest(command) {
        return exit_code == PYTEST_COLLECTED_NONE;
    }
    let counts: Vec<u64> = tail.iter().filter_map(|line| ran(line)).collect();
    !counts.is_empty() && counts.iter().all(|count| *count == 0)
}

/// Whether a command runs pytest.
pub(crate) fn is_pytest(command: &[String]) -> bool {
    let program = command
        .first()
        .map(|program| program.rsplit('/').next().unwrap_or(program));
    program == Some("pytest") || command.windows(2).any(|pair| pair[0] == "-m" && pair[1] == "pytest")
}

/// How many tests a line of unittest's says that it ran: `Ran 3 tests in 0.012s`.
fn ran(line: &str) -> Option<u64> {
    let (count, rest) = line.trim().strip_prefix("Ran ")?.split_once(' ')?;
    let in_seconds = rest
        .strip_prefix("tests in ")
        .or_else(|| rest.strip_prefix("test in "))?;
    in_seconds.ends_with('s').then(|| count.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn said(command: &str, exit_code: i64, tail: &str) -> bool {
        let tail: Vec<String> = tail.lines().map(str::to_owned).collect();
        none(&words(command), exit_code, &tail)
    }

    #[test]
    fn djangos_runner_says_that_it_ran_none_and_ends_well() {
        let django = "python manage.py test --noinput";
        let none = "Found 0 test(s).\nSystem check identified no issues (0 silenced).\n\n\
                    ----------------------------------------------------------------------\nRan 0 tests in 0.000s\n";
        assert!(said(django, 0, &format!("{none}\nOK")));
        assert!(said(django, 0, &format!("{none}\nNO TESTS RAN")), "Python 3.12");
        for some in [
            "Ran 1 test in 0.002s\n\nOK",
            "Ran 12 tests in 1.250s\n\nOK (skipped=12)",
        ] {
            assert!(!said(django, 0, some), "{some}");
        }
        assert!(
            !said("sh -c a;b", 0, &format!("Ran 3 tests in 0.1s\n{none}")),
            "one of two had some"
        );
        assert!(!said("ruff check .", 0, "All checks passed!"));
        assert!(!said("cat log", 0, "he Ran 0 tests in vain"));
    }

    #[test]
    fn pytest_says_it_with_its_exit_code() {
        for command in ["pytest -q", "/opt/venv/bin/pytest", "python -m pytest"] {
            assert!(said(command, 5, "no tests ran in 0.01s"), "{command}");
            assert!(
                !said(command, 0, "no tests ran in 0.01s"),
                "a plugin was told that none is well"
            );
        }
        assert!(!said("make test", 5, "no tests ran in 0.01s"));
    }
}
