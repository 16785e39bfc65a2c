//! `nuages history`: what was done in a deployment, from its journal alone.

use std::path::Path;

use jiff::Timestamp;
use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError};
use nuages_releases::EnvironmentStore;
use nuages_saga::{Act, End, History, JournalStore as _, Mode, SagaError, Summary};

use super::unrecorded;
use crate::app::App;
use crate::{screen, timeline};

pub(crate) struct Which {
    pub(crate) deployment: Option<String>,
    pub(crate) list: bool,
    pub(crate) all: bool,
    pub(crate) limit: usize,
}

pub(crate) async fn run(app: &App, env: &EnvName, which: Which, page: Option<&Path>) -> Result<Ending, PipelineError> {
    let records = app.records(env).await?;
    let store = &records.store;
    let known = match store {
        // Whoever has an id means that one, wherever it was.
        Some(store) if which.all || which.deployment.is_some() => store.deployments_of_all_worlds(which.limit).await?,
        Some(store) => store.deployments(which.limit).await.map_err(SagaError::from)?,
        None => Vec::new(),
    };
    if known.is_empty() && which.deployment.is_none() {
        let gone = match store {
            Some(store) => !store.deployments_of_all_worlds(1).await?.is_empty(),
            None => false,
        };
        let before = gone.then_some("`nuages history --all` tells what was done before");
        unrecorded::tell(app, env, &records, before).await;
        return Ok(Ending::Done);
    }
    if which.list {
        list(app, &known);
        return Ok(Ending::Done);
    }
    let Some(history) = find(store.as_ref(), &known, which.deployment.as_deref(), env).await? else {
        unrecorded::tell(app, env, &records, None).await;
        return Ok(Ending::Done);
    };
    if let Some(page) = page {
        std::fs::write(page, timeline::page(&history))
            .map_err(|e| PipelineError::machine(format!("write {}", page.display()), e))?;
        screen::complain(&format!("the timeline is in {}", page.display()));
    }
    if app.json() {
        screen::record(&history);
    } else {
        show(&history);
    }
    Ok(Ending::Done)
}

/// The one that was asked for, by its id or the beginning of it; the latest without one.
async fn find(
    store: Option<&EnvironmentStore>,
    known: &[Summary],
    asked: Option<&str>,
    env: &EnvName,
) -> Result<Option<History>, PipelineError> {
    let found = match asked {
        None => known.first().map(|summary| summary.deployment),
        Some(asked) => {
            let begins = |summary: &&Summary| summary.deployment.to_string().starts_with(&asked.to_lowercase());
            let mut fitting = known.iter().filter(begins);
            match (fitting.next(), fitting.next()) {
                (Some(only), None) => Some(only.deployment),
                (first, _) => {
                    let many = if first.is_some() { "more than one" } else { "no" };
                    return Err(PipelineError::Arguments {
                        what: format!("{many} deployment of {env} begins with `{asked}`"),
                        hint: Some(format!("`nuages history --env {env} --list` lists the deployments")),
                    });
                }
            }
        }
    };
    let (Some(store), Some(found)) = (store, found) else {
        return Ok(None);
    };
    let loaded = store.load(found).await.map_err(SagaError::from)?;
    Ok(match loaded {
        None => None,
        Some((stored, entries)) => {
            let plan = stored.plan().map_err(|e| PipelineError::machine("read a plan", e))?;
            Some(History::of(&plan, &entries))
        }
    })
}

fn list(app: &App, known: &[Summary]) {
    if app.json() {
        for summary in known {
            screen::record(summary);
        }
        return;
    }
    let row = |summary: &Summary| {
        [
            summary.deployment.to_string(),
            summary.operation.clone(),
            screen::time(summary.created),
            took(summary.created, Some(summary.updated)),
            end(summary.end.as_ref()).to_owned(),
        ]
    };
    screen::table(
        ["DEPLOYMENT", "OPERATION", "BEGAN", "TOOK", "END"],
        known.iter().map(row),
    );
}

fn show(history: &History) {
    screen::say(&format!(
        "deployment  {} of {} in {}",
        history.deployment, history.app, history.env
    ));
    screen::say(&format!("operation   {}", history.operation));
    screen::say(&format!("began       {}", screen::time(history.began)));
    screen::say(&format!("took        {}", took(history.began, Some(history.last))));
    screen::say(&format!("end         {}", end(history.end.as_ref())));
    for turn in &history.turns {
        let mode = match turn.mode {
            Mode::Run => "run",
            Mode::Resume => "resumed",
            Mode::Abort => "aborted",
        };
        screen::say(&format!(
            "{mode:11} by {} with nuages {} at {}",
            turn.holder,
            turn.tool,
            screen::time(turn.began)
        ));
    }
    screen::say("");
    let row = |act: &Act| {
        let what = match act.attempt {
            None => format!("undo: {}", act.title),
            Some(1) => act.title.clone(),
            Some(attempt) => format!("{} (attempt {attempt})", act.title),
        };
        [
            format!("+{}", took(history.began, Some(act.began))),
            what,
            took(act.began, act.ended),
            act.outcome.word().to_owned(),
        ]
    };
    screen::table(["AT", "STEP", "TOOK", "OUTCOME"], history.acts.iter().map(row));
    for act in &history.acts {
        if let Some(error) = act.outcome.error() {
            screen::say("");
            screen::say(&format!("{} {}: {}", act.title, act.outcome.word(), error.message));
            for cause in &error.causes {
                screen::say(&format!("  caused by: {cause}"));
            }
        }
    }
}

/// How long something took; a dash where its end is not known.
pub(crate) fn took(began: Timestamp, ended: Option<Timestamp>) -> String {
    let Some(ended) = ended else { return "–".to_owned() };
    let seconds = ended.duration_since(began).as_secs_f64().max(0.0);
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        let whole = ended.duration_since(began).as_secs();
        format!("{}m{:02}s", whole / 60, whole % 60)
    }
}

/// How a deployment ended, in a word.
pub(crate) fn end(end: Option<&End>) -> &'static str {
    match end {
        None => "not yet",
        Some(End::Finished) => "finished",
        Some(End::Restored { kept }) if kept.is_empty() => "undone",
        Some(End::Restored { .. }) => "undone, but for what only goes forward",
        Some(End::Refused { .. }) => "refused: the plan did not fit any more",
    }
}
