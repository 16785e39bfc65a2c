//! `[migrations]`: how the schema is changed in a deployment.
//!
//! Invariant: a lock is waited for at most a minute: longer, and the site stands still behind the waiting migration.

use std::time::Duration;

use serde::Serialize;

use crate::duration;
use crate::problem::Problem;
use crate::reader::{Field, Section, Word};
use crate::words::shown;

/// How the schema is changed in a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrations {
    /// Django's names of the databases to migrate, in this order.
    pub databases: Vec<String>,
    /// How long a statement may wait for a lock.
    #[serde(serialize_with = "duration::serialize")]
    pub lock_timeout: Duration,
    /// What is saved before the schema changes.
    pub backup: Backup,
}

/// What is saved before the schema changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Backup {
    /// What the database has by itself: RDS's automated backups.
    Auto,
    /// Nothing is asked for.
    None,
}

impl Default for Migrations {
    fn default() -> Self {
        Self {
            databases: vec!["default".to_owned()],
            lock_timeout: Duration::from_secs(2),
            backup: Backup::Auto,
        }
    }
}

impl Migrations {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let default = Self::default();
        let Some(mut section) = section else { return default };
        let databases = section.get("databases").and_then(|field| databases(&field));
        let lock_timeout = section
            .get("lock_timeout")
            .and_then(|field| field.duration(Duration::from_millis(100)..=Duration::from_mins(1)));
        let backup = section.get("backup").and_then(|field| backup(&field));
        section.finish();
        Self {
            databases: databases.unwrap_or(default.databases),
            lock_timeout: lock_timeout.unwrap_or(default.lock_timeout),
            backup: backup.unwrap_or(default.backup),
        }
    }
}

fn backup(field: &Field<'_>) -> Option<Backup> {
    let choices = [
        ("auto", Word::Now(Backup::Auto)),
        ("rds-snapshot", Word::Later),
        ("pg-dump", Word::Later),
        ("none", Word::Now(Backup::None)),
    ];
    match field.choice_or_later(&choices)? {
        Word::Now(backup) => Some(backup),
        Word::Later => {
            field.refuse_for_now(
                "a backup of its own before migrations has no code yet",
                "backup = \"auto\" goes by RDS's automated backups, which [database] backup_retention keeps",
            );
            None
        }
    }
}

fn databases(field: &Field<'_>) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let items = field.items()?;
    if items.is_empty() {
        field.notes.add(
            field
                .problem("`databases` names no database", "empty")
                .help("databases = [\"default\"], Django's own name"),
        );
    }
    for item in items {
        let Some(name) = item.words() else { continue };
        if names.iter().any(|known| known == name) {
            item.notes.add(
                Problem::new(format!("the database `{}` is named twice", shown(name)))
                    .at(&item.node.span, "again here"),
            );
        } else {
            names.push(name.to_owned());
        }
    }
    (!names.is_empty()).then_some(names)
}
