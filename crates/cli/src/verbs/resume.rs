//! `nuages resume` and `nuages abort`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError};
use nuages_saga::MessageLevel;

use crate::app::App;

pub(crate) async fn resume(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.open(env).await?;
    let text = match nuages_pipeline::resume(&session, &app.ui).await? {
        Some(done) => format!("{} {} is finished", done.operation, done.deployment),
        None => "nothing was interrupted: there is nothing to resume".to_owned(),
    };
    app.ui.events.message(MessageLevel::Info, text, None);
    Ok(Ending::Done)
}

pub(crate) async fn abort(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.open(env).await?;
    let text = match nuages_pipeline::abort(&session, &app.ui).await? {
        Some(done) => format!("{} {} is undone", done.operation, done.deployment),
        None => "nothing was interrupted: there is nothing to undo".to_owned(),
    };
    app.ui.events.message(MessageLevel::Info, text, None);
    Ok(Ending::Done)
}
