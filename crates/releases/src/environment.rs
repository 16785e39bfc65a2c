//! The releases of one environment, and which of them serves.
//!
//! Invariant: a release that was recorded is never deleted; its number is never given twice. Records of a world that
//! is gone are kept, and hidden.

use std::fmt;

use jiff::Timestamp;
use nuages_model::{AccountId, AppName, EnvName, Region, ReleaseId, World};
use nuages_saga::Fence;
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

use crate::error::ReleasesError;
use crate::journal;
use crate::release::{Release, ReleaseDraft, ReleaseNumber, ReleaseOutcome, ReleaseRef};
use crate::row;
use crate::store::{Store, Trouble};

/// Which environment of which application, where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnvironmentKey {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
}

impl fmt::Display for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{} in {} of account {}",
            self.app, self.env, self.region, self.account
        )
    }
}

impl EnvironmentKey {
    pub(crate) fn find_or_make(&self, tx: &Transaction<'_>) -> rusqlite::Result<i64> {
        let key = (
            self.account.as_str(),
            self.region.as_str(),
            self.app.as_str(),
            self.env.as_str(),
        );
        let find = "SELECT id FROM environments WHERE account = ?1 AND region = ?2 AND app = ?3 AND env = ?4";
        if let Some(id) = tx.query_row(find, key, |row| row.get(0)).optional()? {
            return Ok(id);
        }
        tx.execute(
            "INSERT INTO environments (account, region, app, env) VALUES (?1, ?2, ?3, ?4)",
            key,
        )?;
        Ok(tx.last_insert_rowid())
    }

    /// All that there are, with the numbers of their rows.
    pub(crate) fn all(connection: &Connection) -> Result<Vec<(i64, Self)>, Trouble> {
        let sql = "SELECT id, account, region, app, env FROM environments ORDER BY app, env, account, region";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let text = |name: &str| row.get::<_, String>(name);
            let key = Self {
                account: row::parse("the account", &text("account")?)?,
                region: row::parse("the region", &text("region")?)?,
                app: row::parse("the application", &text("app")?)?,
                env: row::parse("the environment", &text("env")?)?,
            };
            found.push((row.get("id")?, key));
        }
        Ok(found)
    }
}

/// What became of the records when the environment's world was read from its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorldChange {
    /// It is the recorded one, or the first.
    Same,
    /// It is another one: an emulator lost its state, or the account was rebuilt.
    Changed {
        /// The world that is gone.
        from: World,
        /// So many releases were archived.
        releases: usize,
        /// So many deployments were archived, one that had not ended among them.
        deployments: usize,
        /// A deployment that had not ended was among them.
        unfinished: bool,
    },
}

/// The records of one environment. It is a [`JournalStore`](nuages_saga::JournalStore); clones share the file.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?; let path = folder.path().join("nuages.db");
/// use nuages_releases::{EnvironmentKey, Store};
///
/// let environment = Store::open(&path).await?.environment(EnvironmentKey {
///     account: "123456789012".parse()?,
///     region: "eu-west-1".parse()?,
///     app: "blog".parse()?,
///     env: "staging".parse()?,
/// }).await?;
/// assert!(environment.serving().await?.is_none() && environment.releases(10).await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct EnvironmentStore {
    pub(crate) store: Store,
    pub(crate) id: i64,
    key: EnvironmentKey,
}

impl EnvironmentStore {
    pub(crate) fn new(store: Store, key: EnvironmentKey, id: i64) -> Self {
        Self { store, id, key }
    }

    /// Which environment this is.
    pub fn key(&self) -> &EnvironmentKey {
        &self.key
    }

    /// The file that it is part of.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The world that is recorded.
    pub async fn world(&self) -> Result<Option<World>, ReleasesError> {
        let id = self.id;
        self.store
            .read("read the world", move |connection| recorded_world(connection, id))
            .await
    }

    /// Takes note of the world that the account shows. Where it is another one, all records of the old one are archived.
    pub async fn enter_world(&self, fence: Fence, world: World) -> Result<WorldChange, ReleasesError> {
        let id = self.id;
        self.store
            .write("take note of the world", move |tx, _| {
                journal::require(tx, id, fence)?;
                let known = recorded_world(tx, id)?;
                if known == Some(world) {
                    return Ok(WorldChange::Same);
                }
                let text = world.to_string();
                tx.execute("UPDATE environments SET world = ?2 WHERE id = ?1", (id, &text))?;
                let Some(from) = known else {
                    return Ok(WorldChange::Same);
                };
                tx.execute("UPDATE environments SET serving = NULL WHERE id = ?1", [id])?;
                // A record without a world was made before the first one was known, and may be of the run in hand.
                let old = "WHERE environment = ?1 AND archived = 0 AND world <> ?2";
                let unfinished = tx.query_row(
                    &format!("SELECT count(*) FROM deployments {old} AND ended = 0"),
                    (id, &text),
                    |row| row.get::<_, i64>(0),
                )?;
                let archive = |table: &str| tx.execute(&format!("UPDATE {table} SET archived = 1 {old}"), (id, &text));
                Ok(WorldChange::Changed {
                    from,
                    releases: archive("releases")?,
                    deployments: archive("deployments")?,
                    unfinished: unfinished > 0,
                })
            })
            .await
    }

    /// Records a release under the next number. One that was recorded before keeps its number and time, so that a
    /// repetition changes nothing else.
    pub async fn record(&self, fence: Fence, draft: ReleaseDraft) -> Result<Release, ReleasesError> {
        let id = self.id;
        self.store
            .write("record the release", move |tx, now| {
                journal::require(tx, id, fence)?;
                row::put(tx, id, now, &draft)?;
                written(tx, id, ReleaseRef::Id(draft.id))
            })
            .await
    }

    /// Records a release as healthy and as the one that serves.
    pub async fn record_serving(&self, fence: Fence, mut draft: ReleaseDraft) -> Result<Release, ReleasesError> {
        let id = self.id;
        draft.outcome = ReleaseOutcome::Healthy;
        self.store
            .write("record the release", move |tx, now| {
                journal::require(tx, id, fence)?;
                row::put(tx, id, now, &draft)?;
                serve(tx, id, Some(draft.id))?;
                written(tx, id, ReleaseRef::Id(draft.id))
            })
            .await
    }

    /// Says how a release stands.
    pub async fn mark(&self, fence: Fence, release: ReleaseId, outcome: ReleaseOutcome) -> Result<(), ReleasesError> {
        let id = self.id;
        self.store
            .write("mark the release", move |tx, _| {
                journal::require(tx, id, fence)?;
                mark(tx, id, release, outcome)
            })
            .await
    }

    /// Says which release serves, if any does.
    pub async fn set_serving(&self, fence: Fence, release: Option<ReleaseId>) -> Result<(), ReleasesError> {
        let id = self.id;
        self.store
            .write("say which release serves", move |tx, _| {
                journal::require(tx, id, fence)?;
                serve(tx, id, release)
            })
            .await
    }

    /// Takes note that the environment was taken down: nothing serves, and its world is gone with all that was recorded
    /// of it. Answers how many releases were archived.
    pub async fn taken_down(&self, fence: Fence) -> Result<usize, ReleasesError> {
        let id = self.id;
        self.store
            .write("take note that the environment is gone", move |tx, _| {
                journal::require(tx, id, fence)?;
                tx.execute(
                    "UPDATE environments SET serving = NULL, world = NULL WHERE id = ?1",
                    [id],
                )?;
                let archive = |table: &str| {
                    let sql = format!("UPDATE {table} SET archived = 1 WHERE environment = ?1 AND archived = 0");
                    tx.execute(&sql, [id])
                };
                archive("deployments")?;
                Ok(archive("releases")?)
            })
            .await
    }

    /// Records a rollback: `to` serves, and `from` was gone back from.
    pub async fn rolled_back(&self, fence: Fence, from: ReleaseId, to: ReleaseId) -> Result<(), ReleasesError> {
        let id = self.id;
        self.store
            .write("record the rollback", move |tx, _| {
                journal::require(tx, id, fence)?;
                if from != to {
                    mark(tx, id, from, ReleaseOutcome::RolledBackFrom)?;
                }
                mark(tx, id, to, ReleaseOutcome::Healthy)?;
                serve(tx, id, Some(to))
            })
            .await
    }

    /// The release that serves, by the record.
    pub async fn serving(&self) -> Result<Option<Release>, ReleasesError> {
        let id = self.id;
        self.store
            .read("find the serving release", move |connection| serving(connection, id))
            .await
    }

    /// Where else this application's environment of this name serves, by the record: the same account, other regions.
    pub async fn serving_elsewhere(&self) -> Result<Vec<(Region, ReleaseNumber)>, ReleasesError> {
        let id = self.id;
        self.store
            .read("look for the environment in other regions", move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT other.region, releases.number FROM environments here
                     JOIN environments other ON (other.account, other.app, other.env) = (here.account, here.app, here.env)
                        AND other.id <> here.id
                     JOIN releases ON releases.id = other.serving
                     WHERE here.id = ?1 ORDER BY other.region",
                )?;
                let mut rows = statement.query([id])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let region = row::parse("the region", &row.get::<_, String>(0)?)?;
                    found.push((region, ReleaseNumber::new(row.get(1)?)));
                }
                Ok(found)
            })
            .await
    }

    /// The latest release that is recorded as healthy.
    pub async fn last_healthy(&self) -> Result<Option<Release>, ReleasesError> {
        let id = self.id;
        self.store
            .read("find the last healthy release", move |connection| {
                healthy_before(connection, id, i64::MAX)
            })
            .await
    }

    /// Where a rollback goes: the latest healthy release before the one that serves.
    pub async fn rollback_target(&self) -> Result<Option<Release>, ReleasesError> {
        let id = self.id;
        self.store
            .read("find the release to go back to", move |connection| {
                match serving(connection, id)? {
                    Some(serving) => healthy_before(connection, id, serving.number.get().into()),
                    None => healthy_before(connection, id, i64::MAX),
                }
            })
            .await
    }

    /// A release, archived or not.
    pub async fn release(&self, which: ReleaseRef) -> Result<Option<Release>, ReleasesError> {
        let id = self.id;
        self.store
            .read("find the release", move |connection| find(connection, id, which))
            .await
    }

    /// The releases of this world, the latest first.
    pub async fn releases(&self, limit: usize) -> Result<Vec<Release>, ReleasesError> {
        self.page(limit, false).await
    }

    /// The releases of all worlds, the latest first.
    pub async fn releases_of_all_worlds(&self, limit: usize) -> Result<Vec<Release>, ReleasesError> {
        self.page(limit, true).await
    }

    async fn page(&self, limit: usize, archived: bool) -> Result<Vec<Release>, ReleasesError> {
        let (id, limit) = (self.id, i64::try_from(limit).unwrap_or(i64::MAX));
        self.store
            .read("list the releases", move |connection| {
                let tail = "environment = ?1 AND archived <= ?2 ORDER BY number DESC LIMIT ?3";
                row::select(connection, tail, (id, i64::from(archived), limit))
            })
            .await
    }
}

fn recorded_world(connection: &Connection, environment: i64) -> Result<Option<World>, Trouble> {
    let text: Option<String> =
        connection.query_row("SELECT world FROM environments WHERE id = ?1", [environment], |row| {
            row.get(0)
        })?;
    row::parse_optional("the world", text)
}

fn serving(connection: &Connection, environment: i64) -> Result<Option<Release>, Trouble> {
    let tail = "id = (SELECT serving FROM environments WHERE id = ?1)";
    Ok(row::select(connection, tail, [environment])?.pop())
}

fn healthy_before(connection: &Connection, environment: i64, number: i64) -> Result<Option<Release>, Trouble> {
    let tail = "environment = ?1 AND archived = 0 AND outcome = 'healthy' AND number < ?2 ORDER BY number DESC LIMIT 1";
    Ok(row::select(connection, tail, (environment, number))?.pop())
}

fn find(connection: &Connection, environment: i64, which: ReleaseRef) -> Result<Option<Release>, Trouble> {
    let mut found = match which {
        ReleaseRef::Id(id) => row::select(
            connection,
            "environment = ?1 AND id = ?2",
            (environment, id.to_string()),
        )?,
        ReleaseRef::Number(number) => row::select(
            connection,
            "environment = ?1 AND number = ?2",
            (environment, number.get()),
        )?,
    };
    Ok(found.pop())
}

fn written(connection: &Connection, environment: i64, which: ReleaseRef) -> Result<Release, Trouble> {
    // It was written in this very transaction.
    find(connection, environment, which)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
}

fn mark(tx: &Transaction<'_>, environment: i64, release: ReleaseId, outcome: ReleaseOutcome) -> Result<(), Trouble> {
    let sql = "UPDATE releases SET outcome = ?3 WHERE environment = ?1 AND id = ?2";
    match tx.execute(sql, (environment, release.to_string(), outcome.as_str()))? {
        0 => Err(ReleasesError::NoSuchRelease(release).into()),
        _ => Ok(()),
    }
}

fn serve(tx: &Transaction<'_>, environment: i64, release: Option<ReleaseId>) -> Result<(), Trouble> {
    if let Some(release) = release
        && find(tx, environment, ReleaseRef::Id(release))?.is_none()
    {
        return Err(ReleasesError::NoSuchRelease(release).into());
    }
    let text = release.map(|release| release.to_string());
    tx.execute(
        "UPDATE environments SET serving = ?2 WHERE id = ?1",
        (environment, text),
    )?;
    Ok(())
}

pub(crate) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
