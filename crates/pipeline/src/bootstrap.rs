//! What a person with rights makes once in an account, so that whoever deploys writes nothing in IAM.
//!
//! Invariant: nothing is made before the person has seen what.

use nuages_config::Config;
use nuages_infra::policies::GithubEnvironment;
use nuages_infra::{Bootstrap, Item};

use crate::error::PipelineError;
use crate::session::Session;
use crate::stack;
use crate::ui::Ui;

/// Refuses an environment that is in no account, for which nobody needs roles: before anything is started for it.
pub fn bootstrap_applies(config: &Config) -> Result<(), PipelineError> {
    if config.emulator.is_none() {
        return Ok(());
    }
    let env = &config.env.name;
    Err(PipelineError::refused(
        format!("`{env}` runs in an emulator on this machine: there is no account to prepare"),
        "for an environment with an `account` in nuages.toml, `nuages infra bootstrap --env NAME` prints what its \
         administrator gives",
    ))
}

/// The roles and policies of the environment; with a repository, `OWNER/NAME`, its runners at GitHub may deploy.
pub async fn infra_bootstrap(session: &Session, repository: Option<&str>) -> Result<Bootstrap, PipelineError> {
    bootstrap_applies(&session.config)?;
    let github = repository.map(|repository| github(session, repository)).transpose()?;
    let domain = stack::domain(session).await?;
    let place = stack::place(session, domain.map(|domain| domain.hosted_zone_id));
    Ok(Bootstrap::new(&session.aws, place, github.as_ref()))
}

fn github(session: &Session, repository: &str) -> Result<GithubEnvironment, PipelineError> {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !repository
        .split_once('/')
        .is_some_and(|(owner, name)| part(owner) && part(name))
    {
        return Err(PipelineError::Arguments {
            what: format!("`{repository}` is not a repository at GitHub"),
            hint: Some("OWNER/NAME, as its address has it".into()),
        });
    }
    Ok(GithubEnvironment {
        repository: repository.to_owned(),
        environment: session.config.env.name.to_string(),
    })
}

/// How each thing stands in the account. Changes nothing.
pub async fn bootstrap_look(bootstrap: &Bootstrap) -> Result<Vec<Item>, PipelineError> {
    bootstrap.look().await.map_err(PipelineError::Bootstrap)
}

/// Makes what is missing and changes what differs. What was made before a failure stays; repeating it goes on.
pub async fn bootstrap_apply(bootstrap: &Bootstrap, items: &[Item], ui: &Ui) -> Result<(), PipelineError> {
    let task = ui.events.task("bootstrap", "Roles and policies");
    for item in items {
        if let Err(error) = bootstrap.put(item).await {
            let error = PipelineError::Bootstrap(error);
            task.failed_with(error.report());
            return Err(error);
        }
    }
    task.done(format!("{} as they should be", items.len()));
    Ok(())
}
