//! The last words of a verb that did not end well.

use nuages_config::ConfigError;
use nuages_pipeline::{Ending, PipelineError};
use nuages_saga::{Events, MessageLevel};

use crate::report::{Choice, Surroundings, error};
use crate::screen;

/// Says what failed, why, and what to do next; answers how it ended.
pub(crate) fn explain(problem: &PipelineError, choice: Choice, events: &Events) -> Ending {
    let report = problem.report();
    if choice.json {
        let mut text = report.message.clone();
        for cause in &report.causes {
            text.push_str(": ");
            text.push_str(cause);
        }
        events.message(MessageLevel::Error, text, report.hint);
        return problem.ending();
    }
    let surroundings = Surroundings::of_process();
    let style = surroundings.style(choice.color);
    // The configuration's problems point at lines of the file; each carries its own help.
    if let PipelineError::Config(errors) | PipelineError::Project(ConfigError::Invalid(errors)) = problem {
        let width = console::Term::stderr()
            .size_checked()
            .map_or(100, |(_, columns)| usize::from(columns));
        screen::complain(errors.render(width, style.has_color()).trim_end());
    } else {
        for line in before(problem) {
            screen::complain(&line);
        }
        screen::show();
        // Where stderr is gone nobody can be told.
        let _ = error::write(&mut std::io::stderr().lock(), &report, style);
    }
    screen::show();
    problem.ending()
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
