//! Plans, journals and the lease of one environment.
//!
//! Invariant: every write asks for the fencing token in the transaction in which it writes. A token that is not the
//! current one changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use nuages_saga::{
    DecodeError, DeploymentId, Entry, Fence, Holder, JournalStore, Lease, Standing, StoreError, StoredPlan, Summary,
};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::environment::{EnvironmentStore, time};
use crate::error::ReleasesError;
use crate::store::{Trouble, json};

fn number(fence: Fence) -> i64 {
    i64::try_from(fence.0).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn refused(error: StoreError) -> Trouble {
    Trouble::Refused(error.into())
}

/// Refuses a token that is not the current one.
pub(crate) fn require(tx: &Transaction<'_>, environment: i64, fence: Fence) -> Result<(), Trouble> {
    let sql = "SELECT 1 FROM leases WHERE environment = ?1 AND fence = ?2 AND held = 1";
    match tx.query_row(sql, (environment, number(fence)), |_| Ok(())).optional()? {
        Some(()) => Ok(()),
        None => Err(refused(StoreError::LeaseLost)),
    }
}

fn renew(tx: &Transaction<'_>, environment: i64, fence: Fence, now: Timestamp, ttl: Duration) -> Result<(), Trouble> {
    let sql = "UPDATE leases SET renewed = ?3, expires = ?4 WHERE environment = ?1 AND fence = ?2 AND held = 1";
    let expires = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
    let renewed = (
        environment,
        number(fence),
        now.as_millisecond(),
        expires.as_millisecond(),
    );
    match tx.execute(sql, renewed)? {
        0 => Err(refused(StoreError::LeaseLost)),
        _ => Ok(()),
    }
}

/// The lease as it stands; none where nobody holds it.
fn lease(connection: &Connection, environment: i64) -> Result<Option<Lease>, Trouble> {
    let sql = "SELECT fence, holder, acquired, renewed, expires FROM leases WHERE environment = ?1 AND held = 1";
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, String, i64, i64, i64)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    let Some((fence, holder, acquired, renewed, expires)) =
        connection.query_row(sql, [environment], read).optional()?
    else {
        return Ok(None);
    };
    let holder: Holder = serde_json::from_str(&holder).map_err(|source| ReleasesError::Field {
        what: "the holder of the lease",
        source: Box::new(source),
    })?;
    Ok(Some(Lease {
        fence: Fence(unsigned(fence)),
        holder,
        acquired: time(acquired),
        renewed: time(renewed),
        expires: time(expires),
    }))
}

fn next(tx: &Transaction<'_>, deployment: DeploymentId) -> Result<u64, Trouble> {
    let sql = "SELECT coalesce(max(position) + 1, 0) FROM entries WHERE deployment = ?1";
    Ok(unsigned(tx.query_row(sql, [deployment.to_string()], |row| row.get(0))?))
}

fn insert(tx: &Transaction<'_>, deployment: DeploymentId, entry: &Entry) -> Result<(), Trouble> {
    let expected = next(tx, deployment)?;
    if entry.position != expected {
        return Err(refused(StoreError::Position {
            expected,
            offered: entry.position,
        }));
    }
    let position = i64::try_from(entry.position).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO entries (deployment, position, entry) VALUES (?1, ?2, ?3)",
        (deployment.to_string(), position, entry.encode()),
    )?;
    if entry.event.end().is_some() {
        tx.execute(
            "UPDATE deployments SET ended = 1 WHERE id = ?1",
            [deployment.to_string()],
        )?;
    }
    Ok(())
}

fn load(
    connection: &Connection,
    environment: i64,
    deployment: DeploymentId,
) -> Result<Option<(StoredPlan, Vec<Entry>)>, Trouble> {
    let id = deployment.to_string();
    let sql = "SELECT plan FROM deployments WHERE environment = ?1 AND id = ?2";
    let Some(text) = connection
        .query_row(sql, (environment, &id), |row| row.get(0))
        .optional()?
    else {
        return Ok(None);
    };
    let mut statement =
        connection.prepare_cached("SELECT entry, position FROM entries WHERE deployment = ?1 ORDER BY position")?;
    let mut rows = statement.query([&id])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let (text, position): (String, i64) = (row.get(0)?, row.get(1)?);
        let entry = Entry::decode(&text).map_err(|error| refused(error.into()))?;
        if u64::try_from(position).ok() != Some(entry.position) {
            let why = format!("it stands at position {position}, and says {}", entry.position);
            let source = serde::de::Error::custom(why);
            return Err(refused(DecodeError::Damaged { what: "entry", source }.into()));
        }
        entries.push(entry);
    }
    Ok(Some((StoredPlan { deployment, text }, entries)))
}

fn summaries(connection: &Connection, environment: i64, tail: &str, limit: i64) -> Result<Vec<Summary>, Trouble> {
    let sql = format!("SELECT id FROM deployments WHERE environment = ?1 AND {tail} ORDER BY id DESC LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let ids: Vec<String> = statement
        .query_map((environment, limit), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for id in ids {
        let id: DeploymentId = id.parse().map_err(|source| ReleasesError::Field {
            what: "the id of a deployment",
            source: Box::new(source),
        })?;
        if let Some((stored, entries)) = load(connection, environment, id)? {
            let plan = stored.plan().map_err(|error| refused(error.into()))?;
            found.push(Summary::of(&plan, &entries));
        }
    }
    Ok(found)
}

impl EnvironmentStore {
    /// The deployments of all worlds, the latest first.
    pub async fn deployments_of_all_worlds(&self, limit: usize) -> Result<Vec<Summary>, ReleasesError> {
        let (environment, limit) = (self.id, i64::try_from(limit).unwrap_or(i64::MAX));
        self.store
            .read("list the deployments", move |connection| {
                summaries(connection, environment, "archived >= 0", limit)
            })
            .await
    }
}

#[async_trait]
impl JournalStore for EnvironmentStore {
    async fn create(&self, fence: Fence, ttl: Duration, plan: &StoredPlan, first: &Entry) -> Result<(), StoreError> {
        let (environment, plan, first) = (self.id, plan.clone(), first.clone());
        let world = plan.plan()?.world.map(|world| world.to_string());
        let created = self.store.write("store the plan", move |tx, now| {
            renew(tx, environment, fence, now, ttl)?;
            if tx
                .query_row(
                    "SELECT 1 FROM deployments WHERE id = ?1",
                    [plan.deployment.to_string()],
                    |_| Ok(()),
                )
                .optional()?
                == Some(())
            {
                let expected = next(tx, plan.deployment)?;
                return Err(refused(StoreError::Position {
                    expected,
                    offered: first.position,
                }));
            }
            tx.execute(
                "INSERT INTO deployments (id, environment, world, plan) VALUES (?1, ?2, ?3, ?4)",
                (plan.deployment.to_string(), environment, world, &plan.text),
            )?;
            insert(tx, plan.deployment, &first)
        });
        Ok(created.await?)
    }

    async fn append(
        &self,
        fence: Fence,
        ttl: Duration,
        deployment: DeploymentId,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let (environment, entry) = (self.id, entry.clone());
        let appended = self.store.write("write the journal", move |tx, now| {
            renew(tx, environment, fence, now, ttl)?;
            let sql = "SELECT 1 FROM deployments WHERE environment = ?1 AND id = ?2 AND archived = 0";
            match tx
                .query_row(sql, (environment, deployment.to_string()), |_| Ok(()))
                .optional()?
            {
                Some(()) => insert(tx, deployment, &entry),
                None => Err(refused(StoreError::NoSuchDeployment(deployment))),
            }
        });
        Ok(appended.await?)
    }

    async fn load(&self, deployment: DeploymentId) -> Result<Option<(StoredPlan, Vec<Entry>)>, StoreError> {
        let environment = self.id;
        Ok(self
            .store
            .read("read the journal", move |connection| {
                load(connection, environment, deployment)
            })
            .await?)
    }

    async fn deployments(&self, limit: usize) -> Result<Vec<Summary>, StoreError> {
        let (environment, limit) = (self.id, i64::try_from(limit).unwrap_or(i64::MAX));
        let list = self.store.read("list the deployments", move |connection| {
            summaries(connection, environment, "archived = 0", limit)
        });
        Ok(list.await?)
    }

    async fn unfinished(&self) -> Result<Option<Summary>, StoreError> {
        let environment = self.id;
        let open = self.store.read("look for an unfinished deployment", move |connection| {
            summaries(connection, environment, "archived = 0 AND ended = 0", 1)
        });
        Ok(open.await?.pop())
    }

    async fn acquire(&self, holder: &Holder, ttl: Duration) -> Result<Lease, StoreError> {
        let (environment, holder) = (self.id, holder.clone());
        let acquired = self.store.write("take the lease", move |tx, now| {
            if let Some(held) = lease(tx, environment)?
                && held.standing(now, &holder) == Standing::Held
            {
                return Err(refused(StoreError::Held(Box::new(held))));
            }
            let expires = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
            tx.execute(
                "INSERT INTO leases (environment, fence, held, holder, acquired, renewed, expires)
                 VALUES (?1, 1, 1, ?2, ?3, ?3, ?4)
                 ON CONFLICT (environment) DO UPDATE SET fence = fence + 1, held = 1, holder = ?2, acquired = ?3,
                    renewed = ?3, expires = ?4",
                (
                    environment,
                    json("the holder", &holder)?,
                    now.as_millisecond(),
                    expires.as_millisecond(),
                ),
            )?;
            // It was written in this very transaction.
            lease(tx, environment)?.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
        });
        Ok(acquired.await?)
    }

    async fn heartbeat(&self, fence: Fence, ttl: Duration) -> Result<(), StoreError> {
        let environment = self.id;
        Ok(self
            .store
            .write_to_log("renew the lease", move |tx, now| {
                renew(tx, environment, fence, now, ttl)
            })
            .await?)
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        let environment = self.id;
        let released = self.store.write("give the lease back", move |tx, _| {
            tx.execute(
                "UPDATE leases SET held = 0 WHERE environment = ?1 AND fence = ?2",
                (environment, number(fence)),
            )?;
            Ok(())
        });
        Ok(released.await?)
    }

    async fn inspect(&self) -> Result<Option<Lease>, StoreError> {
        let environment = self.id;
        Ok(self
            .store
            .read("look at the lease", move |connection| lease(connection, environment))
            .await?)
    }

    async fn break_lease(&self) -> Result<Option<Lease>, StoreError> {
        let environment = self.id;
        let broken = self.store.write("break the lease", move |tx, _| {
            let held = lease(tx, environment)?;
            tx.execute("UPDATE leases SET held = 0 WHERE environment = ?1", [environment])?;
            Ok(held)
        });
        Ok(broken.await?)
    }
}
