//! Releases as rows.
//!
//! Invariant: a row reads back as what was written, or as an error that names the field.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::{Connection, Params, Row, Transaction};
use serde::de::DeserializeOwned;

use crate::environment::time;
use crate::error::ReleasesError;
use crate::release::{Release, ReleaseDraft, ReleaseNumber, ReleaseOutcome};
use crate::store::{Trouble, json};

const COLUMNS: &str = "id, world, archived, number, created, created_by, deployment, parent, outcome, git, image_digest, \
                       image_reference, task_definitions, fingerprint, config_hash, config, secrets, migrations, checks, \
                       builder, url";

/// Writes a release; one that is there keeps its number and time.
pub(crate) fn put(tx: &Transaction<'_>, environment: i64, now: Timestamp, draft: &ReleaseDraft) -> Result<(), Trouble> {
    let text = |value: Option<String>| value;
    tx.execute(
        "INSERT INTO releases (environment, id, world, number, created, created_by, deployment, parent, outcome, git,
            image_digest, image_reference, task_definitions, fingerprint, config_hash, config, secrets, migrations,
            checks, builder, url)
         VALUES (?1, ?2, ?3, (SELECT coalesce(max(number), 0) + 1 FROM releases WHERE environment = ?1), ?4, ?5, ?6, ?7,
            ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
         ON CONFLICT (id) DO UPDATE SET (world, created_by, deployment, parent, outcome, git, image_digest,
            image_reference, task_definitions, fingerprint, config_hash, config, secrets, migrations, checks, builder,
            url) = (excluded.world, excluded.created_by, excluded.deployment, excluded.parent, excluded.outcome,
            excluded.git, excluded.image_digest, excluded.image_reference, excluded.task_definitions,
            excluded.fingerprint, excluded.config_hash, excluded.config, excluded.secrets, excluded.migrations,
            excluded.checks, excluded.builder, excluded.url)",
        rusqlite::params![
            environment,
            draft.id.to_string(),
            draft.world.map(|world| world.to_string()),
            now.as_millisecond(),
            draft.created_by,
            draft.deployment.map(|deployment| deployment.to_string()),
            draft.parent.map(|parent| parent.to_string()),
            draft.outcome.as_str(),
            text(draft.git.as_ref().map(|git| json("the commit", git)).transpose()?),
            draft.image_digest.as_str(),
            draft.image_reference.to_string(),
            json("the task definitions", &draft.task_definitions)?,
            draft.fingerprint,
            draft.config_hash,
            json("the configuration", &draft.config)?,
            json("the secrets", &draft.secrets)?,
            json("the migrations", &draft.migrations)?,
            json("the checks", &draft.checks)?,
            draft.builder,
            draft.url,
        ],
    )?;
    Ok(())
}

/// The releases that a condition selects.
pub(crate) fn select(connection: &Connection, tail: &str, params: impl Params) -> Result<Vec<Release>, Trouble> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM releases WHERE {tail}"))?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(release(row)?);
    }
    Ok(found)
}

fn release(row: &Row<'_>) -> Result<Release, Trouble> {
    let git: Option<String> = row.get("git")?;
    let draft = ReleaseDraft {
        id: parse("the id", &row.get::<_, String>("id")?)?,
        created_by: row.get("created_by")?,
        deployment: parse_optional("the deployment", row.get("deployment")?)?,
        parent: parse_optional("the parent", row.get("parent")?)?,
        world: parse_optional("the world", row.get("world")?)?,
        outcome: outcome(&row.get::<_, String>("outcome")?)?,
        git: git.map(|text| unjson("the commit", &text)).transpose()?,
        image_digest: parse("the image's digest", &row.get::<_, String>("image_digest")?)?,
        image_reference: parse("the image", &row.get::<_, String>("image_reference")?)?,
        task_definitions: unjson("the task definitions", &row.get::<_, String>("task_definitions")?)?,
        fingerprint: row.get("fingerprint")?,
        config_hash: row.get("config_hash")?,
        config: unjson("the configuration", &row.get::<_, String>("config")?)?,
        secrets: unjson("the secrets", &row.get::<_, String>("secrets")?)?,
        migrations: unjson("the migrations", &row.get::<_, String>("migrations")?)?,
        checks: unjson("the checks", &row.get::<_, String>("checks")?)?,
        builder: row.get("builder")?,
        url: row.get("url")?,
    };
    Ok(Release {
        number: ReleaseNumber::new(row.get("number")?),
        created: time(row.get("created")?),
        archived: row.get("archived")?,
        draft,
    })
}

fn field<E: Into<Box<dyn std::error::Error + Send + Sync>>>(what: &'static str, source: E) -> Trouble {
    ReleasesError::Field {
        what,
        source: source.into(),
    }
    .into()
}

fn outcome(text: &str) -> Result<ReleaseOutcome, Trouble> {
    [
        ReleaseOutcome::Healthy,
        ReleaseOutcome::Failed,
        ReleaseOutcome::Interrupted,
        ReleaseOutcome::RolledBackFrom,
    ]
    .into_iter()
    .find(|outcome| outcome.as_str() == text)
    .ok_or_else(|| field("the outcome", format!("`{text}` is not an outcome")))
}

pub(crate) fn parse<T>(what: &'static str, text: &str) -> Result<T, Trouble>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error: T::Err| field(what, error))
}

pub(crate) fn parse_optional<T>(what: &'static str, text: Option<String>) -> Result<Option<T>, Trouble>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.map(|text| parse(what, &text)).transpose()
}

fn unjson<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| field(what, error))
}
