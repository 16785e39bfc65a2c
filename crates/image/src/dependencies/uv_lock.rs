//! `uv.lock`: uv itself writes it out as a list; whether it is of this `pyproject.toml` is looked at here.
//!
//! `uv lock --check` would tell, but it needs a Python that the project allows on this machine, and often an index.
//!
//! Invariant: a list is only taken from a lock in which everything stands that `pyproject.toml` names, with the same
//! constraints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use super::first_party::get;
use super::requirements_txt::{RequirementsFile, What};
use super::{Group, check_groups, table};
use crate::ImageError;
use crate::packages::{Uv, normal};

/// Where the lock is of another `pyproject.toml`, this is the first package that shows it.
pub(super) fn check(project: &Path) -> Result<(), ImageError> {
    let file = project.join("uv.lock");
    let lock = table(&file)?.unwrap_or_default();
    let Some(manifest) = table(&project.join("pyproject.toml"))? else {
        return Err(ImageError::packages(
            "there is a uv.lock, and no pyproject.toml that it is of",
            Some("add pyproject.toml, or remove uv.lock".into()),
        ));
    };
    match differs(&lock, &manifest) {
        None => Ok(()),
        Some(why) => Err(ImageError::packages(
            format!("uv.lock is out of date: {why}"),
            Some("renew it: `uv lock`".into()),
        )),
    }
}

fn differs(lock: &Table, manifest: &Table) -> Option<String> {
    let dynamic = get(manifest, &["project", "dynamic"]).and_then(Value::as_array);
    let of_a_program = dynamic.is_some_and(|names| names.iter().any(|name| name.as_str() == Some("dependencies")));
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let root = packages.filter_map(Value::as_table).find(|package| {
        let source = package.get("source");
        let at = |kind: &str| source.and_then(|source| source.get(kind)).and_then(Value::as_str) == Some(".");
        at("virtual") || at("editable") || at("directory")
    })?;
    let there = |path: &[&str]| get(root, path).map(locked).unwrap_or_default();
    if !of_a_program {
        let mut asked = named(get(manifest, &["project", "dependencies"]))?;
        let extras = get(manifest, &["project", "optional-dependencies"]).and_then(Value::as_table);
        for items in extras.into_iter().flat_map(Table::values) {
            for (name, constraints) in named(Some(items))? {
                asked.entry(name).or_default().extend(constraints);
            }
        }
        if let Some((_, why)) = first_difference(&asked, &there(&["metadata", "requires-dist"])) {
            return Some(why);
        }
    }
    let groups = manifest.get("dependency-groups").and_then(Value::as_table);
    for (group, items) in groups.into_iter().flatten() {
        let (asked, mut there) = (named(Some(items))?, there(&["metadata", "requires-dev", group]));
        // A group that includes others has what they name, too; those are looked at by themselves.
        if items.as_array().is_some_and(|items| items.iter().any(Value::is_table)) {
            there.retain(|name, _| asked.contains_key(name));
        }
        if let Some((_, why)) = first_difference(&asked, &there) {
            return Some(format!("{why} (in the group {group})"));
        }
    }
    None
}

type Constraints = BTreeMap<String, BTreeSet<String>>;

/// The first package that differs, and how.
fn first_difference(asked: &Constraints, there: &Constraints) -> Option<(String, String)> {
    let mut names = asked.keys().chain(there.keys());
    names.find_map(|name| {
        let why = match (asked.get(name), there.get(name)) {
            (Some(_), None) => format!("it lacks {name}, which pyproject.toml names"),
            (None, _) => format!("it has {name}, which pyproject.toml does not name"),
            // Where a source is named, the lock tells of it in place of versions.
            (Some(asks), Some(has)) if asks != has && !has.is_empty() => {
                format!("pyproject.toml asks for another version of {name}")
            }
            _ => return None,
        };
        Some((name.clone(), why))
    })
}

/// The clauses of a constraint, in no order: `>=5.2, <6` is `<6,>=5.2`.
fn clauses(constraint: &str) -> impl Iterator<Item = String> + '_ {
    let bare = |clause: &str| clause.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    constraint.split(',').map(bare).filter(|clause| !clause.is_empty())
}

/// `None` where it is nothing that can be understood; then uv says so itself.
fn named(items: Option<&Value>) -> Option<Constraints> {
    let mut named = Constraints::new();
    let items = items.and_then(Value::as_array).into_iter().flatten();
    for line in items.filter_map(Value::as_str) {
        let read = RequirementsFile::of_text(line, Path::new("")).ok()?;
        for wanted in read.wanted {
            match wanted.what {
                What::Named { name, constraint } => {
                    named.entry(normal(&name)).or_default().extend(clauses(&constraint));
                }
                What::Addressed { name, .. } => {
                    named.entry(normal(&name)).or_default();
                }
                What::Path { .. } => {}
            }
        }
    }
    Some(named)
}

fn locked(items: &Value) -> Constraints {
    let mut locked = Constraints::new();
    for item in items.as_array().into_iter().flatten() {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        if let Some(name) = text("name") {
            let constraints = locked.entry(normal(name)).or_default();
            constraints.extend(clauses(text("specifier").unwrap_or_default()));
        }
    }
    locked
}

/// What uv makes of it.
pub(super) async fn export(project: &Path, group: Group, uv: &Uv) -> Result<RequirementsFile, ImageError> {
    let mut words = vec![
        "export",
        "--frozen",
        "--no-header",
        "--no-annotate",
        "--quiet",
        "--format",
        "requirements.txt",
    ];
    let manifest = table(&project.join("pyproject.toml"))?.unwrap_or_default();
    let groups = check_groups(&manifest);
    match group {
        Group::Main => words.extend(["--no-dev", "--no-default-groups"]),
        Group::Checks => words.extend(groups.iter().flat_map(|group| ["--group", group.as_str()])),
    }
    let said = uv.run(&words, project, "uv could not read uv.lock").await?;
    RequirementsFile::of_text(&said, project)
}
