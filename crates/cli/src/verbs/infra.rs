//! `nuages infra`.

use nuages_config::ConfigError;
use nuages_model::EnvName;
use nuages_pipeline::{Ending, LeftBehind, PipelineError};
use nuages_saga::MessageLevel;
use serde_json::json;

use crate::app::App;
use crate::args::InfraVerb;
use crate::verbs::bootstrap;
use crate::{ask, screen};

pub(crate) async fn run(app: &App, verb: InfraVerb) -> Result<Ending, PipelineError> {
    match verb {
        InfraVerb::Plan { env } => plan(app, &env.env).await,
        InfraVerb::Up { env, allow_destroy } => {
            let session = app.open(&env.env).await?;
            nuages_pipeline::infra_up(&session, &allow_destroy.into_iter().collect(), &app.ui).await?;
            Ok(Ending::Done)
        }
        InfraVerb::Down { env, app: named, yes } => {
            if let Some(left) = left_behind(app, &env.env, named.as_deref()).await? {
                return remove(app, &left, yes).await;
            }
            down(app, &env.env, yes).await
        }
        InfraVerb::Drift { env } => drift(app, &env.env).await,
        InfraVerb::Cost { env } => cost(app, &env.env),
        InfraVerb::Bootstrap {
            env,
            repository,
            apply,
            yes,
        } => {
            nuages_pipeline::bootstrap_applies(&app.project()?.environment(&env.env)?)?;
            let session = app.open(&env.env).await?;
            let bootstrap = nuages_pipeline::infra_bootstrap(&session, repository.as_deref()).await?;
            if apply {
                return bootstrap::apply(app, &session, &bootstrap, yes).await;
            }
            session.leave_nothing(&app.ui).await?;
            bootstrap::print(app, &bootstrap)
        }
    }
}

async fn plan(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.open(env).await?;
    let planned = nuages_pipeline::infra_plan(&session, &app.ui).await;
    session.leave_nothing(&app.ui).await?;
    let plan = planned?;
    for change in &plan.changes {
        if app.json() {
            screen::object(&json!({"v": 1, "change": change.to_string()}));
        } else {
            screen::say(&change.to_string());
        }
    }
    if plan.none && !app.json() {
        screen::say("Nothing would change.");
    }
    Ok(if plan.none { Ending::Done } else { Ending::Changes })
}

/// A local emulator that is meant, and that no project answers for: under a name that is given, or in a folder that is
/// named and is no project with this environment any more.
async fn left_behind(app: &App, env: &EnvName, named: Option<&str>) -> Result<Option<LeftBehind>, PipelineError> {
    let project = app.project();
    let folder = match (&project, &app.global.project) {
        (Ok(project), _) if named.is_some() || !project.file.environments().any(|known| known == env) => &project.dir,
        (Err(PipelineError::Project(ConfigError::NotFound { .. } | ConfigError::Read { .. })), Some(folder)) => folder,
        _ => return Ok(None),
    };
    let found = nuages_pipeline::left_behind_in(folder, env, named).await?;
    match (found, named) {
        (None, Some(named)) => Err(PipelineError::Arguments {
            what: format!("no local emulator of `{named}` was left behind in {}", folder.display()),
            hint: Some("`nuages doctor` lists those that were".into()),
        }),
        (found, _) => Ok(found),
    }
}

async fn remove(app: &App, left: &LeftBehind, yes: bool) -> Result<Ending, PipelineError> {
    if !ask::confirm(app, &format!("Remove {left}, with its database?"), yes).await? {
        app.ui.events.message(MessageLevel::Info, "nothing was done", None);
        return Ok(Ending::Done);
    }
    nuages_pipeline::remove_left_behind(left, &app.ui).await?;
    app.ui
        .events
        .message(MessageLevel::Info, format!("{left}, is removed"), None);
    Ok(Ending::Done)
}

async fn down(app: &App, env: &EnvName, yes: bool) -> Result<Ending, PipelineError> {
    let project = app.project()?;
    // Settings first: nobody should agree to take down what is not there.
    let config = project.environment(env)?;
    let what = if config.emulator.is_some() {
        "with its database"
    } else {
        "; snapshots and secrets are kept"
    };
    let question = format!("Take down the environment {env} of {} {what}?", config.app.name);
    let agreed = ask::confirm(app, &question, yes);
    let Some(down) = nuages_pipeline::infra_down(&project, &app.options(env), agreed, &app.ui).await? else {
        app.ui.events.message(MessageLevel::Info, "nothing was done", None);
        return Ok(Ending::Done);
    };
    for kept in &down.retained {
        if app.json() {
            screen::object(&json!({"v": 1, "kept": kept.what, "remove_with": kept.command}));
        } else {
            screen::say(&format!("kept: {}; remove it with: {}", kept.what, kept.command));
        }
    }
    let text = if down.existed {
        format!("{env} is down")
    } else {
        format!("there is no environment {env}: nothing was taken down")
    };
    app.ui.events.message(MessageLevel::Info, text, None);
    Ok(Ending::Done)
}

async fn drift(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let session = app.look(env).await?;
    let drift = nuages_pipeline::infra_drift(&session, &app.ui).await?;
    for resource in &drift {
        if app.json() {
            screen::record(resource);
            continue;
        }
        let state = if resource.deleted { "is gone" } else { "differs" };
        screen::say(&format!("{} ({}) {state}", resource.logical_id, resource.resource_type));
        for difference in &resource.differences {
            let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            screen::say(&format!(
                "  {}: {} → {}",
                difference.path,
                show(&difference.expected),
                show(&difference.actual)
            ));
        }
    }
    Ok(if drift.is_empty() {
        Ending::Done
    } else {
        Ending::Changes
    })
}

fn cost(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let estimate = nuages_pipeline::infra_cost(&app.project()?.environment(env)?);
    if app.json() {
        screen::record(&estimate);
        return Ok(Ending::Done);
    }
    if estimate.lines.is_empty() {
        for line in &estimate.assumptions {
            screen::say(line);
        }
        return Ok(Ending::Done);
    }
    let rows = estimate.lines.iter().map(|line| {
        let monthly = line
            .monthly
            .map_or_else(|| "not in the table".to_owned(), |monthly| monthly.to_string());
        [line.what.clone(), line.basis.clone(), monthly]
    });
    screen::table(["WHAT", "COUNTED AS", "A MONTH"], rows);
    screen::say(&format!(
        "total {} a month ({}, list prices of {})",
        estimate.total, estimate.region, estimate.prices_of
    ));
    for assumption in &estimate.assumptions {
        screen::say(&format!("  {assumption}"));
    }
    Ok(Ending::Done)
}
