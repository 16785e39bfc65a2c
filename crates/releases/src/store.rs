//! The store's file: opened, brought forward, and used from a thread where blocking does no harm.
//!
//! Invariant: every write is one transaction that takes the write lock first, so that what it read still holds when it
//! writes, whichever process writes beside it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::environment::{EnvironmentKey, EnvironmentStore};
use crate::error::ReleasesError;
use crate::place::is_there;
use crate::schema;

/// How the store waits, and what time it is.
#[derive(Clone)]
pub struct StoreOptions {
    /// How long to wait for another process that writes.
    pub busy_timeout: Duration,
    /// What time it is, for leases and records.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("busy_timeout", &self.busy_timeout)
            .finish_non_exhaustive()
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(10),
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// A store in an `SQLite` file. Clones share one connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?; let project = folder.path();
/// use nuages_releases::{Store, location};
///
/// let store = Store::open(&location(project, None)).await?;
/// store.remember("checks", "sha256:3f2a", &serde_json::json!({"passed": true})).await?;
/// assert_eq!(store.recall("checks", "sha256:3f2a").await?, Some(serde_json::json!({"passed": true})));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    options: StoreOptions,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the file, and makes it, its folder, and in a new folder a `.gitignore`, where they are missing: readable by this user alone.
    pub async fn open(path: &Path) -> Result<Self, ReleasesError> {
        Self::open_with(path, StoreOptions::default()).await
    }

    /// As [`open`](Self::open), with other options.
    pub async fn open_with(path: &Path, options: StoreOptions) -> Result<Self, ReleasesError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let connection = connect(&path, options.busy_timeout)?;
            Ok(Self {
                inner: Arc::new(Inner {
                    path,
                    options,
                    connection: Mutex::new(connection),
                }),
            })
        });
        opened.await.map_err(ReleasesError::Stopped)?
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The records of one environment.
    pub async fn environment(&self, key: EnvironmentKey) -> Result<EnvironmentStore, ReleasesError> {
        let of = key.clone();
        let id = self
            .write("find the environment", move |tx, _| Ok(of.find_or_make(tx)?))
            .await?;
        Ok(EnvironmentStore::new(self.clone(), key, id))
    }

    /// Every environment that it has records of, for whoever knows the store and not the environment.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?; let path = folder.path().join("nuages.db");
    /// let store = nuages_releases::Store::open(&path).await?;
    /// assert!(store.environments().await?.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn environments(&self) -> Result<Vec<EnvironmentStore>, ReleasesError> {
        let known = self.read("list the environments", EnvironmentKey::all).await?;
        let known = known.into_iter();
        Ok(known
            .map(|(id, key)| EnvironmentStore::new(self.clone(), key, id))
            .collect())
    }

    /// Keeps a result that is known by what went into it: a check's by image and inputs, a probe's by image.
    pub async fn remember<T: Serialize + Sync>(&self, kind: &str, key: &str, value: &T) -> Result<(), ReleasesError> {
        let (kind, key, value) = (kind.to_owned(), key.to_owned(), json("a remembered result", value)?);
        self.write("remember a result", move |tx, now| {
            tx.execute(
                "INSERT INTO remembered (kind, key, value, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (kind, key) DO UPDATE SET value = ?3, at = ?4",
                (kind, key, value, now.as_millisecond()),
            )?;
            Ok(())
        })
        .await
    }

    /// A result that was kept. One that no longer reads as `T` is as good as none.
    pub async fn recall<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Result<Option<T>, ReleasesError> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        let found: Option<String> = self
            .read("recall a result", move |connection| {
                let sql = "SELECT value FROM remembered WHERE kind = ?1 AND key = ?2";
                Ok(connection.query_row(sql, (kind, key), |row| row.get(0)).optional()?)
            })
            .await?;
        Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Forgets what was kept before this time, and says how much.
    pub async fn forget(&self, before: Timestamp) -> Result<usize, ReleasesError> {
        self.write("forget old results", move |tx, _| {
            Ok(tx.execute("DELETE FROM remembered WHERE at < ?1", [before.as_millisecond()])?)
        })
        .await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, ReleasesError> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || {
            let connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection).map_err(|trouble| trouble.at(what, &inner.path))
        });
        done.await.map_err(ReleasesError::Stopped)?
    }

    /// Cut off while it waits, a write may still happen: the blocking thread finishes what it began.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, ReleasesError> {
        self.commit(what, work, true).await
    }

    /// As [`write`](Self::write), for what must be quick and nobody misses in a copy of the file.
    pub(crate) async fn write_to_log<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, ReleasesError> {
        self.commit(what, work, false).await
    }

    async fn commit<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<T, Trouble> + Send + 'static,
        into_the_file: bool,
    ) -> Result<T, ReleasesError> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let run = || {
                let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                // Read under the write lock: it may have taken a while to get it.
                let result = work(&tx, (inner.options.clock)())?;
                tx.commit()?;
                // Whoever copies the file of a process that died may forget the log beside it, and would have older
                // records. What cannot be moved now, beside a reader, goes with the next write.
                if into_the_file
                    && let Err(error) =
                        connection.pragma_update_and_check(None, "wal_checkpoint", "PASSIVE", |_| Ok(()))
                {
                    tracing::debug!(%error, "the store's log was not moved into its file");
                }
                Ok(result)
            };
            run().map_err(|trouble: Trouble| trouble.at(what, &inner.path))
        });
        done.await.map_err(ReleasesError::Stopped)?
    }
}

/// What can go wrong inside a transaction.
pub(crate) enum Trouble {
    Sql(rusqlite::Error),
    Refused(ReleasesError),
}

impl Trouble {
    fn at(self, what: &'static str, path: &Path) -> ReleasesError {
        match self {
            Self::Sql(source) => schema::damage(path, what, source),
            Self::Refused(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<ReleasesError> for Trouble {
    fn from(error: ReleasesError) -> Self {
        Self::Refused(error)
    }
}

pub(crate) fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, ReleasesError> {
    serde_json::to_string(value).map_err(|source| ReleasesError::Field {
        what,
        source: Box::new(source),
    })
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, ReleasesError> {
    is_there(path)?;
    make_private(path).map_err(|source| ReleasesError::Create {
        path: path.to_owned(),
        source,
    })?;
    let sql = |source| schema::damage(path, "open the store", source);
    let mut connection = Connection::open(path).map_err(sql)?;
    connection.busy_timeout(busy_timeout).map_err(sql)?;
    // A journal entry that was acknowledged must survive a loss of power.
    connection.pragma_update(None, "synchronous", "FULL").map_err(sql)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(sql)?;
    schema::bring_forward(&mut connection, path)?;
    wal(&connection, busy_timeout).map_err(sql)?;
    Ok(connection)
}

/// Readers and one writer side by side. The change of mode does not wait for other processes by itself.
fn wal(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let began = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                ) && began.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        // A folder of ours within somebody's repository: none of it is to be committed.
        fs::write(folder.join(".gitignore"), "*\n")?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // SQLite gives its companion files the mode of this one.
        _ => Ok(()),
    }
}
