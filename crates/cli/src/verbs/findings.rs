//! Findings of a preflight or a look at the machine, for people and for machines.

use nuages_model::{Finding, Level};
use nuages_pipeline::Ending;

use crate::app::App;
use crate::{invocation, screen};

/// Shows all of them, the gravest last, and answers how a verb that only looks ends.
pub(crate) fn show(app: &App, mut findings: Vec<Finding>) -> Ending {
    let worst = findings.iter().map(|finding| finding.level).max();
    if app.json() {
        for finding in &findings {
            screen::record(finding);
        }
    } else {
        findings.sort_by_key(|finding| finding.level);
        for finding in &findings {
            screen::say(&format!(
                "{:<4}  {}: {}",
                finding.level, finding.subject, finding.message
            ));
            if let (Some(proof), true) = (&finding.proof, finding.level != Level::Ok) {
                screen::say(&format!("      seen by {proof}"));
            }
            if let Some(hint) = &finding.hint {
                screen::say(&format!("      hint: {}", invocation::pasteable(hint)));
            }
        }
    }
    if worst == Some(Level::Fail) {
        Ending::Refused
    } else {
        Ending::Done
    }
}
