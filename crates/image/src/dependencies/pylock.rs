//! `pylock.toml`, the form of a lock that all tools share (`PyPA` specification "pylock.toml").
//!
//! Invariant: a package is taken at its version with the hashes of all its files, so that `uv` may choose among them.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::first_party::{Local, get, text};
use super::{Found, Group, check_groups, table};
use crate::ImageError;
use crate::packages::{At, Pinned, normal};

pub(super) fn translate(project: &Path, group: Group) -> Result<Found, ImageError> {
    let lock = table(&project.join("pylock.toml"))?.unwrap_or_default();
    let version = text(&lock, &["lock-version"]).unwrap_or_default();
    if !version.starts_with("1.") {
        return Err(ImageError::packages(
            format!("pylock.toml is of the form {version}, and 1.0 is known"),
            Some("update nuages, or write the lock anew in the form 1.0".into()),
        ));
    }
    let mut found = Found::default();
    for package in lock.get("packages").and_then(Value::as_array).into_iter().flatten() {
        if let Some(package) = package.as_table() {
            one(project, package, &mut found)?;
        }
    }
    if group == Group::Checks {
        // The file is of one set of groups; another one may stand beside it.
        let manifest = table(&project.join("pyproject.toml"))?.unwrap_or_default();
        for name in check_groups(&manifest) {
            let more = table(&project.join(format!("pylock.{name}.toml")))?;
            let packages = more
                .as_ref()
                .and_then(|lock| lock.get("packages"))
                .and_then(Value::as_array);
            for package in packages.into_iter().flatten().filter_map(Value::as_table) {
                let name = text(package, &["name"]).map(|name| normal(&name));
                if !found.packages.iter().any(|other| Some(&other.name) == name.as_ref()) {
                    one(project, package, &mut found)?;
                }
            }
        }
    }
    Ok(found)
}

fn one(project: &Path, package: &Table, found: &mut Found) -> Result<(), ImageError> {
    let refuse = |why: String| ImageError::packages(why, Some("write pylock.toml anew".into()));
    let name = text(package, &["name"]).ok_or_else(|| refuse("a package in pylock.toml has no name".into()))?;
    let place = format!("{name} in pylock.toml");
    if let Some(path) = text(package, &["directory", "path"]) {
        found.local.push(Local::within(project, &project.join(path), &place)?);
        return Ok(());
    }
    let mut files: Vec<&Value> = get(package, &["wheels"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    files.extend(package.get("sdist"));
    let archive = package.get("archive");
    files.extend(archive);
    let hash = |file: &&Value| Some(format!("sha256:{}", file.get("hashes")?.get("sha256")?.as_str()?));
    let hashes: BTreeSet<String> = files.iter().filter_map(hash).collect();
    let at = if let Some(commit) = text(package, &["vcs", "commit-id"]) {
        let url = text(package, &["vcs", "url"]).unwrap_or_default();
        if text(package, &["vcs", "type"]).as_deref() != Some("git") || url.is_empty() {
            return Err(refuse(format!("{place} comes from a repository that is none of git")));
        }
        let folder = text(package, &["vcs", "subdirectory"]).map(|folder| format!("#subdirectory={folder}"));
        At::Commit(format!("git+{url}@{commit}{}", folder.unwrap_or_default()))
    } else if let Some(url) = archive.and_then(|archive| archive.get("url")).and_then(Value::as_str) {
        At::File(url.to_owned())
    } else if let Some(path) = archive.and_then(|archive| archive.get("path")).and_then(Value::as_str) {
        At::Wheel(Local::within(project, &project.join(path), &place)?.path)
    } else {
        At::Version(text(package, &["version"]).ok_or_else(|| refuse(format!("{place} has no version")))?)
    };
    if hashes.is_empty() && !matches!(at, At::Commit(_)) {
        return Err(refuse(format!("{place} has no hash")));
    }
    found.packages.push(Pinned {
        name: normal(&name),
        at,
        marker: text(package, &["marker"]),
        hashes: if archive.is_none() && package.get("vcs").is_some() {
            BTreeSet::new()
        } else {
            hashes
        },
    });
    Ok(())
}
