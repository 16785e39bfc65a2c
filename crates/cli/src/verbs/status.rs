//! `nuages status`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, EnvironmentStatus, OTHER_STORE, PipelineError};
use serde_json::json;

use super::releases::commit;
use crate::app::App;
use crate::{invocation, screen};

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
    let left: Vec<_> = status
        .left_behind
        .iter()
        .map(|left| json!({"app": left.app(), "project": left.project().display().to_string(), "remove_with": left.remove_with()}))
        .collect();
    json!({
        "v": 1, "env": env, "stack": status.stack, "url": status.url.as_ref().map(url::Url::as_str),
        "release": status.serving.as_ref().map(|release| release.number),
        "image": status.serving.as_ref().map(|release| release.image_reference.clone()),
        "services": services,
        "unfinished": status.unfinished.as_ref().map(|open| open.deployment),
        "held_by": status.under_way.as_ref().map(|work| work.lease.holder.to_string()),
        "held_since": status.under_way.as_ref().map(|work| work.lease.acquired),
        "left_behind": left,
        "deploying": status.under_way.as_ref().and_then(|work| work.run.as_ref()).map(|run| run.deployment),
    })
}

/// What is being done, and what was left undone.
fn work(status: &EnvironmentStatus) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(work) = &status.under_way {
        let lease = &work.lease;
        let since = screen::time(lease.acquired);
        let run = work.run.as_ref();
        let run = run.map_or_else(String::new, |run| format!("{} {}, ", run.operation, run.deployment));
        lines.push(("under way", format!("{run}by {} since {since}", lease.holder)));
    }
    if let Some(open) = &status.unfinished {
        let text = format!(
            "{} {} was interrupted: `nuages resume` or `nuages abort`",
            open.operation, open.deployment
        );
        lines.push(("unfinished", invocation::pasteable(&text)));
    }
    lines
}

fn show(env: &EnvName, status: &EnvironmentStatus) {
    let none = || "none".to_owned();
    screen::say(&format!("environment  {env}"));
    screen::say(&format!("stack        {}", status.stack.clone().unwrap_or_else(none)));
    // What runs and is not on record here is on record elsewhere.
    let runs = status.services.iter().any(|service| service.state.exists());
    let unrecorded = || if runs { "none on record here".to_owned() } else { none() };
    let release = status.serving.as_ref().map_or_else(unrecorded, |release| {
        let commit = commit(release, " with changes that were not committed");
        let made = screen::time(release.created);
        format!("{} of {made} by {} {commit}", release.number, release.created_by)
            .trim_end()
            .to_owned()
    });
    screen::say(&format!("release      {release}"));
    if let Some(url) = &status.url {
        screen::say(&format!("url          {url}"));
    }
    for (title, text) in work(status) {
        screen::say(&format!("{title:12} {text}"));
    }
    services(status);
    if runs && status.serving.is_none() {
        screen::complain(&format!("hint: {OTHER_STORE}"));
    }
    for left in &status.left_behind {
        screen::say("");
        screen::say(&format!("left behind  {left}"));
        screen::say(&format!("             {}", invocation::pasteable(&left.hint())));
    }
}

fn services(status: &EnvironmentStatus) {
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
