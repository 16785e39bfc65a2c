//! `nuages build`, `nuages push` and `nuages check`.

use nuages_image::Engine;
use nuages_model::EnvName;
use nuages_pipeline::{CheckOptions, Ending, PipelineError, Session};
use nuages_saga::MessageLevel;
use serde_json::json;

use crate::app::App;

pub(crate) async fn build(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let config = app.project()?.environment(env)?;
    let store = nuages_releases::location(&config.project_dir, app.global.store.as_deref());
    nuages_pipeline::look_at_tree(&config, &store).await?;
    let engine = Engine::connect().await?;
    let built = nuages_pipeline::build(&config, &store, &engine, &app.ui).await?;
    app.ui.events.data("image", json!(built.image.image_id));
    Ok(Ending::Done)
}

pub(crate) async fn check(app: &App, env: &EnvName, again: bool) -> Result<Ending, PipelineError> {
    let session = app.open_to_build(env).await?;
    if session.config.checks.is_empty() {
        app.ui
            .events
            .message(MessageLevel::Info, "there are no [checks] in nuages.toml", None);
        return Ok(Ending::Done);
    }
    let engine = Engine::connect().await?;
    let built = nuages_pipeline::build(&session.config, session.store.store().path(), &engine, &app.ui).await?;
    let options = CheckOptions { skip: None, again };
    nuages_pipeline::check(&session.config, &session.store, &engine, &built, &options, &app.ui).await?;
    Ok(Ending::Done)
}

pub(crate) async fn push(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session: Session = app.open_to_build(env).await?;
    let outputs = nuages_pipeline::infra_up(&session, &std::collections::BTreeSet::new(), &app.ui).await?;
    let engine = Engine::connect().await?;
    let built = nuages_pipeline::build(&session.config, session.store.store().path(), &engine, &app.ui).await?;
    let pushed = nuages_pipeline::push(&session, &outputs, &engine, &built, &app.ui).await?;
    app.ui.events.data("image", json!(pushed.image));
    Ok(Ending::Done)
}
