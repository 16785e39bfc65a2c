//! `nuages doctor`.

use nuages_pipeline::{Ending, PipelineError};

use crate::app::App;

pub(crate) async fn run(app: &App) -> Result<Ending, PipelineError> {
    let project = app.project();
    let project = project.as_ref().map_err(ToString::to_string);
    let findings = nuages_pipeline::doctor(project).await;
    Ok(super::findings::show(app, findings))
}
