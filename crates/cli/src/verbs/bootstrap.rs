//! `nuages infra bootstrap`.

use nuages_infra::{Bootstrap, Item, Standing};
use nuages_pipeline::{Ending, PipelineError, Session};
use nuages_saga::MessageLevel;
use serde_json::json;

use crate::app::App;
use crate::{ask, screen};

/// Prints the documents, for a person who puts them into IAM in a way of their own.
pub(crate) fn print(app: &App, bootstrap: &Bootstrap) -> Result<Ending, PipelineError> {
    for document in bootstrap.documents() {
        let value =
            serde_json::to_value(&document.document).map_err(|e| PipelineError::machine("print a policy", e))?;
        if app.json() {
            screen::object(&json!({"v": 1, "name": document.name, "purpose": document.purpose, "document": value}));
            continue;
        }
        screen::say(&format!("# {}: {}", document.name, document.purpose));
        screen::say(&serde_json::to_string_pretty(&value).unwrap_or_default());
        screen::say("");
    }
    Ok(Ending::Done)
}

/// Shows what is missing or differs, asks, and makes it so.
pub(crate) async fn apply(
    app: &App,
    session: &Session,
    bootstrap: &Bootstrap,
    yes: bool,
) -> Result<Ending, PipelineError> {
    let items = nuages_pipeline::bootstrap_look(bootstrap).await?;
    let open = items.iter().filter(|item| item.standing != Standing::Same).count();
    if open > 0 {
        if !yes {
            for item in &items {
                let word = word(item, ["missing", "differs", "as it should be"]);
                screen::complain(&format!("{word}: {}", item.what));
            }
        }
        let identity = session.aws.identity();
        let (who, account) = (&identity.arn, &identity.account);
        let question = format!("Make or change {open} of these as {who} in account {account}?");
        if !ask::confirm(app, &question, yes).await? {
            app.ui.events.message(MessageLevel::Info, "nothing was done", None);
            return Ok(Ending::Done);
        }
        nuages_pipeline::bootstrap_apply(bootstrap, &items, &app.ui).await?;
    }
    for item in &items {
        let word = word(item, ["made", "changed", "left"]);
        if app.json() {
            screen::object(&json!({"v": 1, "what": item.what, "state": word}));
        } else {
            screen::say(&format!("{word}: {}", item.what));
        }
    }
    if !app.json() {
        screen::complain(&format!("deploy as {}", bootstrap.deployer()));
    }
    Ok(Ending::Done)
}

/// The word for how something stands.
fn word(item: &Item, words: [&'static str; 3]) -> &'static str {
    let [missing, differs, same] = words;
    match item.standing {
        Standing::Missing => missing,
        Standing::Differs => differs,
        Standing::Same => same,
    }
}
