//! The last words of a verb that did not end well.
//!
//! Invariant: they come after everything else, and to machines as one object on stdout.

use nuages_pipeline::{Ending, PipelineError};
use nuages_saga::ErrorReport;

use crate::report::{Choice, Color, LastWords, Surroundings, configuration, error};
use crate::{invocation, screen};

/// Says what failed, why, and what to do next.
pub(crate) fn explain(problem: &PipelineError, ending: Ending, choice: Choice) {
    if choice.json {
        screen::object(&LastWords::of(problem, ending));
        screen::show();
        return;
    }
    let style = Surroundings::of_process().style(choice.color);
    // The configuration's problems point at lines of the file; each carries its own help.
    if let Some(errors) = configuration(problem) {
        let width = console::Term::stderr()
            .size_checked()
            .map_or(100, |(_, columns)| usize::from(columns));
        screen::complain(errors.render(width, style.has_color()).trim_end());
        screen::show();
        return;
    }
    for line in before(problem) {
        screen::complain(&line);
    }
    screen::show();
    // Where stderr is gone nobody can be told.
    let mut report = problem.report();
    invocation::in_report(&mut report);
    let _ = error::write(&mut std::io::stderr().lock(), &report, style);
}

/// How it ended, seen by whoever reads the results: where some of them could not be written, it did not end well,
/// whatever was done.
pub(crate) fn complete(ending: Ending) -> Ending {
    let Some(error) = screen::lost() else { return ending };
    let report = ErrorReport {
        message: "failed to write the results to stdout".to_owned(),
        causes: vec![error.to_string()],
        hint: matches!(ending, Ending::Done | Ending::Changes)
            .then(|| "what was asked for is done; only its output is not whole".to_owned()),
    };
    let style = Surroundings::of_process().style(Color::Auto);
    // Where stderr is gone, too, the exit code says it.
    let _ = error::write(&mut std::io::stderr().lock(), &report, style);
    match ending {
        Ending::Done | Ending::Changes => Ending::Failed,
        other => other,
    }
}

/// Commands to copy, which stand above the error. What failed said why when it did: its last lines are on the screen.
fn before(problem: &PipelineError) -> Vec<String> {
    let PipelineError::Stuck { steps, .. } = problem else {
        return Vec::new();
    };
    let mut lines = vec!["These commands finish by hand what could not be undone:".to_owned()];
    for step in steps {
        lines.push(format!("  # {}: {}", step.step, step.error.message));
        lines.extend(step.by_hand.iter().map(|command| format!("  {command}")));
    }
    lines
}
