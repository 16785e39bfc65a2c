//! The format of the file, and how an older one becomes the newest.
//!
//! Invariant: a step that was published never changes; a file is brought forward whole or not at all, and one of a
//! newer format, of another program, or damaged is never written.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::error::ReleasesError;

/// SQLite's `application_id` of our files: `nuag` in ASCII.
const APPLICATION: i32 = 0x6e75_6167;

/// One step per format, in order.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// The format that this version writes.
#[expect(clippy::cast_possible_truncation, reason = "there will be few formats")]
pub(crate) const FORMAT: u32 = STEPS.len() as u32;

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get(0))
}

/// Makes sure that the file is ours and of the newest format.
pub(crate) fn bring_forward(connection: &mut Connection, path: &Path) -> Result<(), ReleasesError> {
    judge(connection, path)?;
    if version(connection).map_err(|source| sql(path, source))? == FORMAT {
        return Ok(());
    }
    // Asked again under the write lock: another process may have been faster.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|source| sql(path, source))?;
    judge(&transaction, path)?;
    let forward = || -> rusqlite::Result<()> {
        let from = version(&transaction)?;
        for step in &STEPS[from as usize..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.execute(
            "INSERT INTO meta (name, value) VALUES ('tool', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
            [env!("CARGO_PKG_VERSION")],
        )?;
        Ok(())
    };
    forward()
        .and_then(|()| transaction.commit())
        .map_err(|source| sql(path, source))
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    pragma(connection, "user_version")
}

fn judge(connection: &Connection, path: &Path) -> Result<(), ReleasesError> {
    // In one statement, which sees one state of the file: another process may make it at this very moment.
    let state = "SELECT (SELECT application_id FROM pragma_application_id),
                        (SELECT user_version FROM pragma_user_version),
                        (SELECT count(*) FROM sqlite_schema)";
    // SQLite has the format as a signed number, and whoever comes later may use all of it.
    let format = |row: &rusqlite::Row<'_>| row.get::<_, i32>(1).map(i32::cast_unsigned);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, format(row)?, row.get(2)?));
    let read: rusqlite::Result<(i32, u32, u32)> = connection.query_row(state, (), read);
    let (application, found, tables) = read.map_err(|source| sql(path, source))?;
    match (application, tables) {
        (0, 0) if found == 0 => return Ok(()),
        (APPLICATION, _) => {}
        _ => return Err(ReleasesError::Foreign(path.to_owned())),
    }
    if found > FORMAT {
        let tool = connection.query_row("SELECT value FROM meta WHERE name = 'tool'", (), |row| row.get(0));
        let tool = tool.unwrap_or_else(|_| "of a later version".to_owned());
        return Err(ReleasesError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
            tool,
        });
    }
    // Every file of ours says of which format it is: this one has lost it.
    if found == 0 {
        return Err(ReleasesError::Damaged {
            path: path.to_owned(),
            source: "it does not say of which format it is".into(),
        });
    }
    // The page structure only: of small files it is a matter of a millisecond.
    let check: String = pragma(connection, "quick_check(1)").map_err(|source| sql(path, source))?;
    if check == "ok" {
        Ok(())
    } else {
        Err(ReleasesError::Damaged {
            path: path.to_owned(),
            source: check.into(),
        })
    }
}

fn sql(path: &Path, source: rusqlite::Error) -> ReleasesError {
    damage(path, "open the store", source)
}

/// An error of the database, with damage told apart from everything else.
pub(crate) fn damage(path: &Path, what: &'static str, source: rusqlite::Error) -> ReleasesError {
    use rusqlite::Error;
    // What stands in a column is nothing that was ever written there.
    let strange = matches!(
        source,
        Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::FromSqlConversionFailure(..)
            | Error::Utf8Error(..)
    );
    // `Unknown` is what SQLite says of tables and columns that are missing, and of schemas that it does not know: what
    // is asked is the same each time, and fits the file that was made for it.
    let code = source.sqlite_error_code();
    let damaged = matches!(
        code,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown)
    );
    if strange || damaged {
        return ReleasesError::Damaged {
            path: path.to_owned(),
            source: Box::new(source),
        };
    }
    ReleasesError::Sql {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A published step never changes: files of that format exist. A new format is a new step, with its digest here.
    #[test]
    fn published_steps_stay_as_they_are() {
        let digests: Vec<String> = STEPS
            .iter()
            .map(|step| nuages_model::Digest::of(step.as_bytes()).short().to_owned())
            .collect();
        assert_eq!(digests, ["802380ac1091"]);
    }
}
