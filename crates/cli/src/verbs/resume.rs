//! `nuages resume` and `nuages abort`.

use std::path::Path;

use nuages_model::EnvName;
use nuages_pipeline::{Ended, Ending, Environment, PipelineError};
use nuages_saga::MessageLevel;

use super::deploy::show;
use crate::app::App;

pub(crate) async fn resume(app: &App, env: &EnvName, deployment: Option<&str>) -> Result<Ending, PipelineError> {
    let environment = app.interrupted(env, deployment).await?;
    let ended = match &environment {
        Some(environment) => nuages_pipeline::resume(environment, &app.ui).await?,
        None => None,
    };
    let nothing = nothing(app, environment.as_ref(), "resume");
    Ok(told(app, ended.as_ref(), "is finished", nothing))
}

pub(crate) async fn abort(app: &App, env: &EnvName, deployment: Option<&str>) -> Result<Ending, PipelineError> {
    let environment = app.interrupted(env, deployment).await?;
    let ended = match &environment {
        Some(environment) => nuages_pipeline::abort(environment, &app.ui).await?,
        None => None,
    };
    let nothing = nothing(app, environment.as_ref(), "undo");
    Ok(told(app, ended.as_ref(), "is undone", nothing))
}

/// What is said where no run is on record: what others have on record is not known here.
fn nothing(app: &App, environment: Option<&Environment>, what: &str) -> String {
    let path = environment.map(|environment| environment.store.store().path());
    let path = path.or(app.global.store.as_deref()).unwrap_or(Path::new(".nuages"));
    format!(
        "nothing was interrupted, by the records in {}: there is nothing to {what}",
        path.display()
    )
}

/// What was run and how it ended, and what serves now.
fn told(app: &App, ended: Option<&Ended>, how: &str, nothing: String) -> Ending {
    let text = match ended {
        Some(Ended { run, .. }) => format!("{} {} {how}", run.operation, run.deployment),
        None => nothing,
    };
    app.ui.events.message(MessageLevel::Info, text, None);
    if let Some(serves) = ended.and_then(|ended| ended.serves.as_ref()) {
        show(app, serves, "serves");
    }
    Ending::Done
}
