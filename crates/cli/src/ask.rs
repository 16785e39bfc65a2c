//! Asking before something is destroyed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use nuages_pipeline::PipelineError;
use nuages_saga::Level;

use crate::app::App;

/// Whether the person agrees. Without a terminal only `--yes` does.
pub(crate) async fn confirm(app: &App, question: &str, yes: bool) -> Result<bool, PipelineError> {
    if yes {
        return Ok(true);
    }
    app.settle().await;
    if !std::io::stdin().is_terminal() {
        return Err(PipelineError::Arguments {
            what: format!("nobody can answer without a terminal: {question}"),
            hint: Some("`--yes` answers yes".into()),
        });
    }
    let mut err = std::io::stderr().lock();
    let asked = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    asked.map_err(|e| PipelineError::machine("ask", e))?;
    drop(err);
    // Nobody can stop a thread that reads; the process ends without it.
    let reading = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = tokio::select! {
        answer = reading => answer,
        () = app.ui.cancel.at_least(Level::Graceful) => {
            return Err(PipelineError::Cancelled {
                serves: None,
                changed: false,
                cut_off: None,
            });
        }
    };
    let answer = answer
        .map_err(std::io::Error::from)
        .and_then(|answer| answer)
        .map_err(|e| PipelineError::machine("read the answer", e))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
