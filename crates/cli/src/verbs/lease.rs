//! `nuages lease`: who acts on an environment, and taking it from one who cannot give it back.

use jiff::Timestamp;
use nuages_model::EnvName;
use nuages_pipeline::{Ending, PipelineError, Records};
use nuages_releases::EnvironmentStore;
use nuages_saga::{Holder, JournalStore as _, Lease, SagaError, Standing, Summary};
use serde_json::json;

use crate::app::App;
use crate::args::LeaseVerb;
use crate::{ask, screen};

pub(crate) async fn run(app: &App, verb: LeaseVerb) -> Result<Ending, PipelineError> {
    match verb {
        LeaseVerb::Show { env } => show(app, &env.env).await,
        LeaseVerb::Break { env, yes } => break_it(app, &env.env, yes).await,
    }
}

/// The records of an environment, and its lease: neither AWS nor an emulator is asked.
async fn find(app: &App, env: &EnvName) -> Result<(Records, Option<Lease>), PipelineError> {
    let records = app.records(env).await?;
    let lease = match &records.store {
        Some(store) => store.inspect().await.map_err(SagaError::from)?,
        None => None,
    };
    Ok((records, lease))
}

/// What other records say of the environment is not known here.
fn nobody(env: &EnvName, records: &Records) -> String {
    format!("Nobody holds {env}, by the records in {}.", records.path.display())
}

async fn unfinished(store: Option<&EnvironmentStore>) -> Result<Option<Summary>, PipelineError> {
    match store {
        Some(store) => Ok(store.unfinished().await.map_err(SagaError::from)?),
        None => Ok(None),
    }
}

async fn show(app: &App, env: &EnvName) -> Result<Ending, PipelineError> {
    let (records, lease) = find(app, env).await?;
    if app.json() {
        screen::object(&json!({
            "v": 1, "env": env, "lease": lease.as_ref().map(|lease| json!({
                "fence": lease.fence, "holder": lease.holder, "standing": word(standing(lease)),
                "acquired": lease.acquired, "renewed": lease.renewed, "expires": lease.expires,
            })),
        }));
        return Ok(Ending::Done);
    }
    match lease {
        None => screen::say(&nobody(env, &records)),
        Some(lease) => {
            screen::say(&format!("holder    {}", lease.holder));
            screen::say(&format!("state     {}", word(standing(&lease))));
            screen::say(&format!("since     {}", screen::time(lease.acquired)));
            screen::say(&format!("renewed   {}", screen::time(lease.renewed)));
            screen::say(&format!("expires   {}", screen::time(lease.expires)));
        }
    }
    Ok(Ending::Done)
}

async fn break_it(app: &App, env: &EnvName, yes: bool) -> Result<Ending, PipelineError> {
    let (records, lease) = find(app, env).await?;
    let (Some(store), Some(lease)) = (&records.store, lease) else {
        if app.json() {
            broken(env, false, unfinished(records.store.as_ref()).await?.as_ref());
        } else {
            screen::say(&nobody(env, &records));
        }
        return Ok(Ending::Done);
    };
    let question = match standing(&lease) {
        Standing::Held => format!(
            "{} holds {env} and renewed it at {}: it stops at its next step, but a call to AWS that is under way goes on. \
             Take the environment from it?",
            lease.holder,
            screen::time(lease.renewed)
        ),
        Standing::Expired | Standing::HolderDead => {
            format!("{} is gone. Remove its lease on {env}?", lease.holder)
        }
    };
    if !ask::confirm(app, &question, yes).await? {
        screen::complain("Nothing was done.");
        return Ok(Ending::Done);
    }
    store.break_lease().await.map_err(SagaError::from)?;
    let unfinished = unfinished(Some(store)).await?;
    if app.json() {
        broken(env, true, unfinished.as_ref());
        return Ok(Ending::Done);
    }
    screen::say(&format!("{env} is free."));
    if unfinished.is_some() {
        screen::complain(&format!(
            "hint: its deployment is not finished: `nuages resume --env {env}` or `nuages abort --env {env}`"
        ));
    }
    Ok(Ending::Done)
}

fn broken(env: &EnvName, broken: bool, unfinished: Option<&Summary>) {
    let unfinished = unfinished.map(|run| run.deployment);
    screen::object(&json!({"v": 1, "env": env, "broken": broken, "unfinished": unfinished}));
}

fn standing(lease: &Lease) -> Standing {
    lease.standing(Timestamp::now(), &Holder::here("lease"))
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Held => "held",
        Standing::Expired => "expired",
        Standing::HolderDead => "its process is gone",
    }
}
