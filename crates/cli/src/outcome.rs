//! The last words of a verb that did not end well.
//!
//! Invariant: they come after everything else, and to machines as one object on stdout.

use nuages_pipeline::{Ending, PipelineError};

use crate::report::{Choice, LastWords, Surroundings, configuration, error};
use crate::screen;

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
    let _ = error::write(&mut std::io::stderr().lock(), &problem.report(), style);
}

/// What stands above the error: evidence, and commands to copy.
fn before(problem: &PipelineError) -> Vec<String> {
    match problem {
        PipelineError::Stuck { steps, .. } => {
            let mut lines = vec!["These commands finish by hand what could not be undone:".to_owned()];
            for step in steps {
                lines.push(format!("  # {}: {}", step.step, step.error.message));
                lines.extend(step.by_hand.iter().map(|command| format!("  {command}")));
            }
            lines
        }
        PipelineError::Checks { tail, .. } => quoted(tail),
        PipelineError::Image(error) => quoted(error.tail()),
        _ => Vec::new(),
    }
}

/// The last lines of what failed.
fn quoted(tail: &[String]) -> Vec<String> {
    const LINES: usize = 30;
    tail[tail.len().saturating_sub(LINES)..]
        .iter()
        .map(|line| format!("  │ {line}"))
        .collect()
}
