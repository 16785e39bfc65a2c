//! `nuages status`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, EnvironmentStatus, PipelineError};
use serde_json::json;

use super::releases::commit;
use crate::app::App;
use crate::screen;

pub(crate) async fn run(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.look(env).await?;
    let status = nuages_pipeline::status(&session).await?;
    if app.json() {
        screen::object(&as_json(env, &status));
    } else {
        show(env, &status);
    }
    Ok(Ending::Done)
}

fn as_json(env: &EnvName, status: &EnvironmentStatus) -> serde_json::Value {
    let services: Vec<_> = status
        .services
        .iter()
        .map(|service| {
            json!({
                "name": service.state.name, "state": service.word(), "running": service.state.running,
                "desired": service.state.settings.desired, "task_definition": service.state.settings.task_definition,
            })
        })
        .collect();
    json!({
        "v": 1, "env": env, "stack": status.stack, "url": status.url.as_ref().map(url::Url::as_str),
        "release": status.serving.as_ref().map(|release| release.number),
        "image": status.serving.as_ref().map(|release| release.image_reference.clone()),
        "services": services,
        "unfinished": status.unfinished.as_ref().map(|open| open.deployment),
        "held_by": status.lease.as_ref().map(|lease| lease.holder.to_string()),
    })
}

fn show(env: &EnvName, status: &EnvironmentStatus) {
    let none = || "none".to_owned();
    screen::say(&format!("environment  {env}"));
    screen::say(&format!("stack        {}", status.stack.clone().unwrap_or_else(none)));
    let release = status.serving.as_ref().map_or_else(none, |release| {
        let commit = commit(release);
        let made = screen::time(release.created);
        format!("{} of {made} by {} {commit}", release.number, release.created_by)
            .trim_end()
            .to_owned()
    });
    screen::say(&format!("release      {release}"));
    if let Some(url) = &status.url {
        screen::say(&format!("url          {url}"));
    }
    if let Some(open) = &status.unfinished {
        screen::say(&format!(
            "unfinished   {} {}: `nuages resume --env {env}` or `nuages abort --env {env}`",
            open.operation, open.deployment
        ));
    }
    if status.services.is_empty() {
        return;
    }
    screen::say("");
    let rows = status.services.iter().map(|service| {
        let state = &service.state;
        let healthy = service.targets.iter().filter(|target| target.is_healthy()).count();
        [
            state.name.clone(),
            service.word().to_owned(),
            format!("{}/{}", state.running, state.settings.desired),
            if service.targets.is_empty() {
                String::new()
            } else {
                format!("{healthy}/{}", service.targets.len())
            },
            state
                .settings
                .task_definition
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
        ]
    });
    screen::table(["SERVICE", "STATE", "TASKS", "HEALTHY", "TASK DEFINITION"], rows);
}
