//! `nuages deploy`.

use nuages_model::EnvName;
use nuages_pipeline::{CheckOptions, DeployOptions, Deployed, Ending, PipelineError};
use nuages_saga::MessageLevel;
use serde_json::json;

use crate::app::App;

pub(crate) async fn run(
    app: &App,
    env: &EnvName,
    skip_checks: Option<String>,
    again: bool,
    force: bool,
    allow_destroy: Vec<String>,
) -> Result<Ending, PipelineError> {
    if skip_checks.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err(PipelineError::Arguments {
            what: "--skip-checks needs a reason: it is recorded with the release".into(),
            hint: Some("for example --skip-checks 'hotfix, tests are red for another reason'".into()),
        });
    }
    let session = app.open_to_build(env).await?;
    let options = DeployOptions {
        checks: CheckOptions {
            skip: skip_checks,
            again,
        },
        allow_destroy: allow_destroy.into_iter().collect(),
        force,
    };
    let deployed = nuages_pipeline::deploy(&session, &options, &app.ui).await?;
    show(
        app,
        &deployed,
        if deployed.changed {
            "serves"
        } else {
            "serves already: nothing changed"
        },
    );
    Ok(Ending::Done)
}

/// The result: the release, and where it is.
pub(crate) fn show(app: &App, deployed: &Deployed, what: &str) {
    let release = &deployed.release;
    let events = &app.ui.events;
    events.message(MessageLevel::Info, format!("{} {what}", release.number), None);
    events.data(
        "release",
        json!({"number": release.number, "id": release.id, "image": release.image_reference, "changed": deployed.changed}),
    );
    if let Some(url) = &deployed.url {
        events.data("url", json!(url.as_str()));
    }
}
