//! `Pipfile.lock`, as pipenv writes it.
//!
//! Invariant: a lock of another `Pipfile` is refused, by the hash that pipenv compares. A package without a hash is
//! refused, too.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};
use toml::Table;

use super::content_hash::{DENSE, hash, json as to_json};
use super::first_party::Local;
use super::requirements_txt::exact;
use super::{Found, Group, PUBLIC_INDEX, read, table};
use crate::ImageError;
use crate::packages::{At, Index, Pinned, normal};

/// The only form that pipenv has written since 2017.
const SPEC: u64 = 6;

/// A marker may stand as names of its own.
const MARKERS: [&str; 11] = [
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_version",
    "python_full_version",
    "implementation_name",
    "implementation_version",
];

pub(super) fn translate(project: &Path, group: Group) -> Result<Found, ImageError> {
    let file = project.join("Pipfile.lock");
    let lock: Value = serde_json::from_str(&read(&file)?).map_err(|error| refuse(format!("Pipfile.lock: {error}")))?;
    let meta = &lock["_meta"];
    if meta["pipfile-spec"].as_u64() != Some(SPEC) {
        return Err(refuse(format!(
            "Pipfile.lock is of the form {}, and {SPEC} is known",
            meta["pipfile-spec"]
        )));
    }
    if let Some(pipfile) = table(&project.join("Pipfile"))? {
        check(&lock, &pipfile)?;
    }
    let mut found = Found::default();
    // `$NAME` and `${NAME}` stand for variables; uv knows the second form.
    for source in meta["sources"].as_array().into_iter().flatten() {
        if let Some(url) = source["url"].as_str() {
            let option = if found.indexes.is_empty() {
                "--index-url"
            } else {
                "--extra-index-url"
            };
            found.indexes.push(Index::Line(format!("{option} {}", braced(url))));
        }
    }
    // pipenv's word for the usual one is no wish.
    found
        .indexes
        .retain(|index| *index != Index::Line(format!("--index-url {PUBLIC_INDEX}")));
    let sections: &[&str] = match group {
        Group::Main => &["default"],
        Group::Checks => &["default", "develop"],
    };
    let mut names = BTreeSet::new();
    for section in sections {
        for (name, entry) in lock[section].as_object().into_iter().flatten() {
            if names.insert(normal(name)) {
                package(project, name, entry, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn refuse(why: impl Into<String>) -> ImageError {
    ImageError::packages(why, Some("renew it: `pipenv lock`".into()))
}

fn package(project: &Path, name: &str, entry: &Value, found: &mut Found) -> Result<(), ImageError> {
    let text = |key: &str| entry[key].as_str();
    let place = format!("{name} in Pipfile.lock");
    let mut markers: Vec<String> = text("markers")
        .map(|marker| format!("({marker})"))
        .into_iter()
        .collect();
    markers.extend(MARKERS.iter().filter_map(|key| Some(format!("{key} {}", text(key)?))));
    let marker = match (markers.len(), text("markers")) {
        (0, _) => None,
        (1, Some(marker)) => Some(marker.to_owned()),
        _ => Some(markers.join(" and ")),
    };
    let hashes = entry["hashes"].as_array().into_iter().flatten();
    let hashes: BTreeSet<String> = hashes.filter_map(|hash| hash.as_str().map(str::to_owned)).collect();
    if let Some(path) = text("path").or_else(|| text("file").filter(|file| !file.contains("://"))) {
        found.local.push(Local::within(project, &project.join(path), &place)?);
        return Ok(());
    }
    let at = if let Some(repository) = text("git") {
        let commit = text("ref").filter(|commit| commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()));
        let commit = commit.ok_or_else(|| refuse(format!("{place} has no commit")))?;
        let repository = repository.strip_prefix("git+").unwrap_or(repository);
        let folder = text("subdirectory").map(|folder| format!("#subdirectory={folder}"));
        At::Commit(format!(
            "git+{}@{commit}{}",
            braced(repository),
            folder.unwrap_or_default()
        ))
    } else if let Some(address) = text("file") {
        At::File(braced(address))
    } else {
        let version = text("version").and_then(exact);
        At::Version(
            version
                .ok_or_else(|| refuse(format!("{place} has no version")))?
                .to_owned(),
        )
    };
    if hashes.is_empty() && !matches!(at, At::Commit(_)) {
        return Err(refuse(format!("{place} has no hash")));
    }
    found.packages.push(Pinned {
        name: normal(name),
        at,
        marker,
        hashes,
    });
    Ok(())
}

/// `$NAME` as `${NAME}`.
fn braced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        if end > 0 {
            out.push_str("${");
            out.push_str(&rest[..end]);
            out.push('}');
        } else {
            out.push('$');
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Whether it is of this `Pipfile`.
fn check(lock: &Value, pipfile: &Table) -> Result<(), ImageError> {
    let Some(own) = to_json(pipfile) else { return Ok(()) };
    let empty = || Value::Object(Map::new());
    let get = |name: &str| own.get(name).cloned();
    let usual = || json!([{ "name": "pypi", "url": PUBLIC_INDEX, "verify_ssl": true }]);
    let mut data = json!({
        "_meta": {
            "sources": get("source").unwrap_or_else(usual),
            "requires": get("requires").unwrap_or_else(empty),
        },
        "default": get("packages").unwrap_or_else(empty),
        "develop": get("dev-packages").unwrap_or_else(empty),
    });
    let known = [
        "source",
        "packages",
        "dev-packages",
        "requires",
        "scripts",
        "pipfile",
        "pipenv",
        "default",
        "develop",
    ];
    for (name, value) in own.as_object().into_iter().flatten() {
        if !known.contains(&name.as_str()) {
            data[name] = value.clone();
        }
    }
    if lock["_meta"]["hash"]["sha256"].as_str() == Some(hash(&data, DENSE).as_str()) {
        return Ok(());
    }
    let sections = [("packages", "default"), ("dev-packages", "develop")];
    let missing = sections.iter().find_map(|(of_pipfile, of_lock)| {
        let there: BTreeSet<String> = lock[of_lock].as_object()?.keys().map(|name| normal(name)).collect();
        let names = own.get(*of_pipfile)?.as_object()?.keys();
        names.map(|name| normal(name)).find(|name| !there.contains(name))
    });
    Err(refuse(match missing {
        Some(name) => format!("Pipfile.lock is out of date: it lacks {name}, which Pipfile names"),
        None => "Pipfile.lock is out of date: Pipfile was changed since".to_owned(),
    }))
}
