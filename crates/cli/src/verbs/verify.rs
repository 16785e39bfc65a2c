//! `nuages verify`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError};

use crate::app::App;

pub(crate) async fn run(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.look(env).await?;
    let findings = nuages_pipeline::verify(&session, &app.ui).await?;
    Ok(super::findings::show(app, findings))
}
