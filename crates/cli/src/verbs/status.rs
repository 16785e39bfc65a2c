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
        "held_by": status.under_way.as_ref().map(|work| work.lease.holder.to_string()),
        "held_since": status.under_way.as_ref().map(|work| work.lease.acquired),
        "deploying": status.under_way.as_ref().and_then(|work| work.run.as_ref()).map(|run| run.deployment),
    })
}

/// What is being done, and what was left undone.
fn work(env: &EnvName, status: &EnvironmentStatus) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(work) = &status.under_way {
        let lease = &work.lease;
        let since = screen::time(lease.acquired);
        let run = work.run.as_ref();
        let run = run.map_or_else(String::new, |run| format!("{} {}, ", run.operation, run.deployment));
        lines.push(("under way", format!("{run}by {} since {since}", lease.holder)));
    }
    if let Some(open) = &status.unfinished {
        lines.push((
            "unfinished",
            format!(
                "{} {} was interrupted: `nuages resume --env {env}` or `nuages abort --env {env}`",
                open.operation, open.deployment
            ),
        ));
    }
    lines
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
    for (title, text) in work(env, status) {
        screen::say(&format!("{title:12} {text}"));
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
