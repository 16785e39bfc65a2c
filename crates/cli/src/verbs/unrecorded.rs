//! What is said where nothing is on record: that nothing serves is said only where that was seen.

use nuages_model::EnvName;
use nuages_pipeline::{OTHER_STORE, Records};
use nuages_saga::MessageLevel;

use crate::app::App;
use crate::screen;

/// Says why a list of an environment is empty. `before` says what shows the records of one that is gone.
pub(super) async fn tell(app: &App, env: &EnvName, records: &Records, before: Option<&str>) {
    let (events, path) = (&app.ui.events, records.path.display());
    match app.serving_now(env).await {
        Some(Ok(running)) if running.is_empty() => {
            if !app.json() {
                screen::complain(&match before {
                    None => format!("nothing was deployed to {env} yet"),
                    Some(before) => format!("nothing is deployed to {env} now; {before}"),
                });
            }
        }
        Some(Ok(running)) => {
            let running = nuages_pipeline::sentence(&running);
            let text = format!("`{env}` serves, and {path} has no record of it: {running}");
            events.message(MessageLevel::Warning, text, Some(OTHER_STORE.to_owned()));
        }
        Some(Err(error)) => {
            let text = format!("{path} has no record of `{env}`, and what serves there cannot be seen: {error}");
            events.message(MessageLevel::Warning, text, error.hint());
        }
        None => {
            let text = format!("{path} has no record of what was done in `{env}`");
            events.message(MessageLevel::Info, text, None);
        }
    }
}
