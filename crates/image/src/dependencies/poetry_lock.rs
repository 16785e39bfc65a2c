//! `poetry.lock` from version 2.1 of its form on: that one tells for each package when and for which groups it is
//! installed. Older ones leave that to a resolver.
//!
//! Invariant: a lock of another `pyproject.toml` is refused, by the hash that Poetry compares.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use super::content_hash::{SPACED, hash, json as to_json};
use super::first_party::{Local, get, text};
use super::{CHECK_GROUPS, Found, Group, PUBLIC_INDEX, table};
use crate::ImageError;
use crate::packages::{At, Index, Pinned, normal};

pub(super) fn translate(project: &Path, group: Group) -> Result<Found, ImageError> {
    let lock = table(&project.join("poetry.lock"))?.unwrap_or_default();
    let version = text(&lock, &["metadata", "lock-version"]).unwrap_or_default();
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(2)), Some(Ok(minor))) if minor >= 1 => {}
        (Some(Ok(major)), Some(Ok(_))) if major > 2 => {
            return Err(ImageError::packages(
                format!("poetry.lock is of the form {version}, which this version of nuages does not know"),
                Some("update nuages, or set `builder = \"docker\"`".into()),
            ));
        }
        _ => {
            return Err(refuse(
                format!("poetry.lock is of the form {version}, and 2.1 or newer is needed"),
                true,
            ));
        }
    }
    let manifest = table(&project.join("pyproject.toml"))?;
    if let Some(manifest) = &manifest {
        check(&lock, manifest)?;
    }
    let wanted = |name: &str| match group {
        Group::Main => name == "main",
        Group::Checks => name == "main" || is_for_checks(name, manifest.as_ref()),
    };
    let mut found = Found::default();
    let mut named = BTreeSet::new();
    for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        let Some(package) = package.as_table() else { continue };
        let groups = get(package, &["groups"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let groups: Vec<&str> = groups.filter_map(Value::as_str).filter(|name| wanted(name)).collect();
        if groups.is_empty() {
            continue;
        }
        // What is optional belongs to extras alone, and an application is installed without any.
        if get(package, &["optional"]).and_then(Value::as_bool) == Some(true) {
            continue;
        }
        if let Some(index) = one(project, package, marker(package, &groups), &mut found)?
            && named.insert(index.0.clone())
        {
            let (name, url) = index;
            found.indexes.push(Index::Named { name, url });
        }
    }
    Ok(found)
}

fn refuse(why: String, old: bool) -> ImageError {
    let hint = if old {
        "renew it: `pip install --upgrade poetry`, and `poetry lock`"
    } else {
        "renew it: `poetry lock`"
    };
    ImageError::packages(why, Some(hint.into()))
}

/// Poetry installs all groups but the optional ones; of these, those that checks are called by are for us.
fn is_for_checks(name: &str, manifest: Option<&Table>) -> bool {
    let optional = manifest.and_then(|manifest| get(manifest, &["tool", "poetry", "group", name, "optional"]));
    optional.and_then(Value::as_bool) != Some(true) || CHECK_GROUPS.contains(&name)
}

/// One for all groups, or one for each; what any group wants everywhere is wanted everywhere.
fn marker(package: &Table, groups: &[&str]) -> Option<String> {
    match package.get("markers")? {
        Value::String(marker) => Some(marker.clone()),
        Value::Table(each) => {
            let markers: Option<BTreeSet<&str>> = groups.iter().map(|group| each.get(*group)?.as_str()).collect();
            let markers: Vec<&str> = markers?.into_iter().collect();
            Some(match markers.as_slice() {
                [marker] => (*marker).to_owned(),
                several => several
                    .iter()
                    .map(|marker| format!("({marker})"))
                    .collect::<Vec<_>>()
                    .join(" or "),
            })
        }
        _ => None,
    }
}

/// Takes one package in. The answer is the index that it comes from, where it is another than usual.
fn one(
    project: &Path,
    package: &Table,
    marker: Option<String>,
    found: &mut Found,
) -> Result<Option<(String, String)>, ImageError> {
    let name =
        text(package, &["name"]).ok_or_else(|| refuse("poetry.lock has a package without a name".into(), false))?;
    let place = format!("{name} in poetry.lock");
    let version = text(package, &["version"]).ok_or_else(|| refuse(format!("{place} has no version"), false))?;
    let files = get(package, &["files"]).and_then(Value::as_array).into_iter().flatten();
    let hashes = files.filter_map(|file| file.get("hash")?.as_str().map(str::to_owned));
    let mut pinned = Pinned {
        name: normal(&name),
        at: At::Version(version),
        marker,
        hashes: hashes.collect(),
    };
    let source = |key: &str| text(package, &["source", key]).unwrap_or_default();
    let mut index = None;
    match source("type").as_str() {
        "" => {}
        "legacy" => {
            let url = source("url");
            let usual = url.trim_end_matches('/') == PUBLIC_INDEX;
            index = (!usual).then(|| (source("reference"), url));
        }
        "git" => {
            let commit = source("resolved_reference");
            if commit.len() != 40 || !commit.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(refuse(format!("{place} has no commit"), false));
            }
            let folder = text(package, &["source", "subdirectory"]).map(|folder| format!("#subdirectory={folder}"));
            pinned.at = At::Commit(format!("git+{}@{commit}{}", source("url"), folder.unwrap_or_default()));
            pinned.hashes.clear();
        }
        "url" => pinned.at = At::File(source("url")),
        "directory" => {
            let path = project.join(source("url"));
            found.local.push(Local::within(project, &path, &place)?);
            return Ok(None);
        }
        "file" => pinned.at = At::Wheel(Local::within(project, &project.join(source("url")), &place)?.path),
        other => {
            return Err(refuse(
                format!("{place} comes from `{other}`, which is not known"),
                false,
            ));
        }
    }
    if pinned.hashes.is_empty() && !matches!(pinned.at, At::Commit(_)) {
        return Err(refuse(format!("{place} has no hash"), false));
    }
    found.packages.push(pinned);
    Ok(index)
}

/// Whether it is of this `pyproject.toml`.
fn check(lock: &Table, manifest: &Table) -> Result<(), ImageError> {
    let (Some(said), Some(manifest)) = (text(lock, &["metadata", "content-hash"]), to_json(&relevant(manifest))) else {
        return Ok(());
    };
    if [true, false]
        .iter()
        .any(|groups| hash(&content(&manifest, *groups), SPACED) == said)
    {
        return Ok(());
    }
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let there: BTreeSet<String> = packages
        .filter_map(|package| Some(normal(package.get("name")?.as_str()?)))
        .collect();
    let missing = direct(&manifest).into_iter().find(|name| !there.contains(name));
    let why = match missing {
        Some(name) => format!("poetry.lock is out of date: it lacks {name}, which pyproject.toml names"),
        None => "poetry.lock is out of date: pyproject.toml was changed since".to_owned(),
    };
    Err(refuse(why, false))
}

/// The parts of `pyproject.toml` that Poetry looks at; others may hold what JSON has no word for.
fn relevant(manifest: &Table) -> Table {
    let mut out = Table::new();
    for name in ["project", "dependency-groups"] {
        if let Some(part) = manifest.get(name) {
            out.insert(name.to_owned(), part.clone());
        }
    }
    if let Some(poetry) = get(manifest, &["tool", "poetry"]) {
        out.insert("poetry".to_owned(), poetry.clone());
    }
    out
}

/// What Poetry's hash is of (poetry 2.5, `Locker._get_content_hash`); versions before 2.2 left the groups out.
fn content(manifest: &Json, with_groups: bool) -> Json {
    let pick = |from: &Json, keys: &[&str]| {
        let pairs = keys
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), from.get(*key)?.clone())));
        pairs.collect::<Map<_, _>>()
    };
    let project = pick(
        &manifest["project"],
        &["requires-python", "dependencies", "optional-dependencies"],
    );
    let groups = manifest["dependency-groups"]
        .as_object()
        .filter(|groups| with_groups && !groups.is_empty());
    let mut poetry = pick(
        &manifest["poetry"],
        &["dependencies", "source", "extras", "dev-dependencies", "group"],
    );
    if project.is_empty() && groups.is_none() {
        for key in ["dependencies", "source", "extras", "dev-dependencies"] {
            poetry.entry(key).or_insert(Json::Null);
        }
        return Json::Object(poetry);
    }
    let mut content = Map::new();
    if !project.is_empty() {
        content.insert("project".into(), Json::Object(project));
    }
    if let Some(groups) = groups {
        content.insert("dependency-groups".into(), Json::Object(groups.clone()));
    }
    content.insert("tool".into(), json!({ "poetry": poetry }));
    Json::Object(content)
}

/// The packages that it names itself.
fn direct(manifest: &Json) -> Vec<String> {
    let poetry = &manifest["poetry"];
    let mut tables = vec![&poetry["dependencies"], &poetry["dev-dependencies"]];
    let groups = poetry["group"].as_object().into_iter().flatten();
    tables.extend(groups.map(|(_, group)| &group["dependencies"]));
    let names = tables.into_iter().filter_map(Json::as_object).flat_map(Map::keys);
    let mut names: Vec<String> = names
        .filter(|name| *name != "python")
        .map(|name| normal(name))
        .collect();
    let lines = manifest["project"]["dependencies"].as_array().into_iter().flatten();
    names.extend(lines.filter_map(Json::as_str).map(|line| {
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
        normal(&line[..end.unwrap_or(line.len())])
    }));
    names
}
