//! `[checks]`: the gates between build and push.
//!
//! Invariant: a check's name fits a file name and a container's name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::build::stage;
use crate::duration;
use crate::problem::Problem;
use crate::reader::Field;
use crate::words::shown;

/// One gate: a command in a fresh container of the image that would be deployed, with a throw-away database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The Dockerfile's stage whose image it runs in; the deployed one where it is not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How long it may take.
    #[serde(serialize_with = "duration::serialize")]
    pub timeout: Duration,
}

const TIMEOUT: Duration = Duration::from_mins(15);
const LONGEST_NAME: usize = 40;

pub(crate) fn read(field: Option<Field<'_>>) -> BTreeMap<String, Check> {
    let mut checks = BTreeMap::new();
    for entry in field.and_then(|field| field.entries()).unwrap_or_default() {
        let name_ok = entry.name.starts_with(|c: char| c.is_ascii_lowercase())
            && entry.name.len() <= LONGEST_NAME
            && entry
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !name_ok {
            entry.notes.add(
                Problem::new(format!("`{}` is not a name for a check", shown(entry.name)))
                    .at(entry.key, "this name")
                    .help(format!(
                        "lowercase letters, digits and `-`, a letter first, at most {LONGEST_NAME} characters"
                    )),
            );
        }
        if let Some(check) = read_one(&entry) {
            checks.insert(entry.name.to_owned(), check);
        }
    }
    checks
}

fn read_one(field: &Field<'_>) -> Option<Check> {
    let mut section = field.section(format!("checks.{}", field.name))?;
    let command = section
        .require("command", "for example command = [\"pytest\", \"-q\"]")
        .and_then(|field| field.command());
    let target = section.get("target").and_then(|field| stage(&field));
    let timeout = section
        .get("timeout")
        .and_then(|field| field.duration(Duration::from_secs(1)..=Duration::from_hours(24)))
        .unwrap_or(TIMEOUT);
    section.finish();
    Some(Check {
        command: command?,
        target,
        timeout,
    })
}
