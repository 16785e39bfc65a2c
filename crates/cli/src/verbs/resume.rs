//! `nuages resume` and `nuages abort`.

use nuages_model::EnvName;
use nuages_pipeline::{Ended, Ending, PipelineError};
use nuages_saga::MessageLevel;

use super::deploy::show;
use crate::app::App;

pub(crate) async fn resume(app: &App, env: &EnvName, deployment: Option<&str>) -> Result<Ending, PipelineError> {
    let ended = match app.interrupted(env, deployment).await? {
        Some(environment) => nuages_pipeline::resume(&environment, &app.ui).await?,
        None => None,
    };
    Ok(told(app, ended.as_ref(), "is finished", "there is nothing to resume"))
}

pub(crate) async fn abort(app: &App, env: &EnvName, deployment: Option<&str>) -> Result<Ending, PipelineError> {
    let ended = match app.interrupted(env, deployment).await? {
        Some(environment) => nuages_pipeline::abort(&environment, &app.ui).await?,
        None => None,
    };
    Ok(told(app, ended.as_ref(), "is undone", "there is nothing to undo"))
}

/// What was run and how it ended, and what serves now.
fn told(app: &App, ended: Option<&Ended>, how: &str, nothing: &str) -> Ending {
    let text = match ended {
        Some(Ended { run, .. }) => format!("{} {} {how}", run.operation, run.deployment),
        None => format!("nothing was interrupted: {nothing}"),
    };
    app.ui.events.message(MessageLevel::Info, text, None);
    if let Some(serves) = ended.and_then(|ended| ended.serves.as_ref()) {
        show(app, serves, "serves");
    }
    Ending::Done
}
