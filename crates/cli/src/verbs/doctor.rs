//! `nuages doctor`.

use nuages_model::EnvName;
use nuages_pipeline::{DoctorOptions, Ending, PipelineError};

use crate::app::{App, in_ci};

pub(crate) async fn run(app: &App, env: Option<&EnvName>) -> Result<Ending, PipelineError> {
    let project = app.project();
    let options = DoctorOptions {
        env,
        store: app.global.store.as_deref(),
        ci: in_ci(),
    };
    let findings = nuages_pipeline::doctor(project.as_ref(), options).await?;
    Ok(super::findings::show(app, findings))
}
