//! `nuages rollback`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError, RollbackOptions};

use crate::app::App;

pub(crate) async fn run(
    app: &App,
    env: &EnvName,
    to: Option<String>,
    code_only: bool,
) -> Result<Ending, PipelineError> {
    let session = app.open_existing(&app.project()?, env).await?;
    let options = RollbackOptions { to, code_only };
    let deployed = nuages_pipeline::rollback(&session, &options, &app.ui).await?;
    super::deploy::show(app, &deployed, "serves again");
    Ok(Ending::Done)
}
