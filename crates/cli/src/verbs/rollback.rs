//! `nuages rollback`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, OpenOptions, PipelineError, RollbackOptions, Session};

use crate::app::App;

pub(crate) async fn run(
    app: &App,
    env: &EnvName,
    to: Option<String>,
    code_only: bool,
) -> Result<Ending, PipelineError> {
    let session = open_existing(app, env).await?;
    let options = RollbackOptions { to, code_only };
    let deployed = nuages_pipeline::rollback(&session, &options, &app.ui).await?;
    super::deploy::show(app, &deployed, "serves again");
    Ok(Ending::Done)
}

/// Opens an environment that must be there: an emulator that was stopped is started, and none is made.
pub(super) async fn open_existing(app: &App, env: &EnvName) -> Result<Session, PipelineError> {
    let options = OpenOptions {
        make_emulator: false,
        ..app.options(env)
    };
    Session::open(&app.project()?, &options, &app.ui).await
}
