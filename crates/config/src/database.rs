//! `[database]`: the managed database of an environment.
//!
//! Invariant: storage and retention are within what RDS takes for PostgreSQL.

use serde::Serialize;

use crate::reader::{Field, Section};
use crate::words::shown;

/// The managed database of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// What it is.
    pub engine: Engine,
    /// The engine's major version, or major and minor, such as `17` or `17.4`.
    pub version: String,
    /// The instance class, such as `db.t4g.micro`.
    pub class: String,
    /// Gigabytes.
    pub storage: u32,
    /// With a standby in another zone.
    pub multi_az: bool,
    /// Cannot be deleted before this is lifted.
    pub deletion_protection: bool,
    /// Days that automatic backups are kept.
    pub backup_retention: u32,
}

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
}

impl Engine {
    /// As `nuages.toml` and RDS write it.
    pub fn as_str(self) -> &'static str {
        "postgres"
    }
}

impl Database {
    /// The major version alone.
    pub fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or(&self.version)
    }

    pub(crate) fn read(section: Option<Section<'_>>, emulated: bool) -> Option<Self> {
        let mut section = section?;
        let engine = section
            .require("engine", "engine = \"postgres\"")
            .and_then(|field| engine(&field));
        let version = section
            .get("version")
            .map_or_else(|| Some("17".to_owned()), |field| version(&field));
        let class = section
            .get("class")
            .map_or_else(|| Some("db.t4g.micro".to_owned()), |field| class(&field));
        let storage = section
            .get("storage")
            .map_or(Some(20), |field| field.number(20..=65_536));
        let multi_az = section.get("multi_az").and_then(|field| field.flag()).unwrap_or(false);
        let deletion_protection = section
            .get("deletion_protection")
            .and_then(|field| field.flag())
            .unwrap_or(!emulated);
        let backup_retention = section
            .get("backup_retention")
            .map_or(Some(7), |field| field.number(0..=35));
        section.finish();
        Some(Self {
            engine: engine?,
            version: version?,
            class: class?,
            storage: storage?,
            multi_az,
            deletion_protection,
            backup_retention: backup_retention?,
        })
    }
}

fn engine(field: &Field<'_>) -> Option<Engine> {
    match field.text()? {
        "mysql" | "mariadb" | "aurora" | "aurora-postgresql" | "aurora-mysql" | "oracle" => {
            field.notes.add(
                field
                    .problem("nuages manages PostgreSQL only", "not in this version")
                    .help("engine = \"postgres\"; or no [database], and DATABASE_URL as a secret of your own"),
            );
            None
        }
        "postgresql" | "pg" => {
            field.notes.add(
                field
                    .problem("PostgreSQL is written \"postgres\"", "here")
                    .help("engine = \"postgres\""),
            );
            None
        }
        _ => field.choice(&[("postgres", Engine::Postgres)]),
    }
}

fn version(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let mut parts = text.splitn(2, '.');
    let major = parts.next().and_then(|major| major.parse::<u32>().ok());
    let minor_ok = parts
        .next()
        .is_none_or(|minor| minor.len() <= 2 && minor.parse::<u32>().is_ok());
    if minor_ok && major.is_some_and(|major| (13..=18).contains(&major)) {
        return Some(text.to_owned());
    }
    field.notes.add(
        field
            .problem(
                format!("`{}` is not a version of PostgreSQL that nuages knows", shown(text)),
                "13 to 18",
            )
            .help("version = \"17\", or with the minor version, \"17.4\""),
    );
    None
}

fn class(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let parts: Vec<&str> = text.split('.').collect();
    let word = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if parts.len() == 3 && parts[0] == "db" && parts[1..].iter().all(|part| word(part)) {
        return Some(text.to_owned());
    }
    field.notes.add(
        field
            .problem(format!("`{}` is not an RDS instance class", shown(text)), "here")
            .help("for example \"db.t4g.micro\""),
    );
    None
}
