//! `nuages doctor`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError};

use crate::app::App;

pub(crate) async fn run(app: &App, env: Option<&EnvName>) -> Result<Ending, PipelineError> {
    let project = app.project();
    let findings = nuages_pipeline::doctor(project.as_ref(), env).await?;
    Ok(super::findings::show(app, findings))
}
