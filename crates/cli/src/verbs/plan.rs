//! `nuages plan`.

use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError};
use serde_json::json;

use crate::app::App;
use crate::screen;

pub(crate) async fn run(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.open_to_build(env).await?;
    let planned = nuages_pipeline::plan(&session, &app.ui).await;
    session.leave_nothing(&app.ui).await?;
    let plan = planned?;
    let changes: Vec<String> = plan.infra.changes.iter().map(ToString::to_string).collect();
    let ending = if plan.has_changes() {
        Ending::Changes
    } else {
        Ending::Done
    };
    if app.json() {
        screen::object(&json!({
            "v": 1, "changes": plan.has_changes(), "why": plan.why, "infra": changes, "secrets": plan.secrets,
            "checks": plan.checks, "steps": plan.steps, "known_after": plan.known_after,
            "notes": plan.notes,
        }));
        return Ok(ending);
    }
    if ending == Ending::Done {
        screen::say("Nothing would change.");
        return Ok(ending);
    }
    // In the order in which they happen. What is new waits for nothing; what stands changes when the image is there.
    section(
        "Secrets",
        &plan
            .secrets
            .iter()
            .map(|name| format!("+ {name}, generated"))
            .collect::<Vec<_>>(),
    );
    let waits = plan.why.is_some() && !plan.infra.created;
    if !waits {
        section("Environment", &changes);
    }
    if let Some(why) = &plan.why {
        screen::say(&format!("A release would be made; {why}."));
    }
    section("Checks", &plan.checks);
    if waits {
        section("Environment, once the image is built, checked and pushed", &changes);
    }
    section("Services", &plan.steps);
    section("Known later", &plan.known_after);
    section("To know", &plan.notes);
    Ok(ending)
}

fn section(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    screen::say(title);
    for line in lines {
        screen::say(&format!("  {line}"));
    }
}
