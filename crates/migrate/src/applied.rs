//! Which migrations a database has, and what lies between two such sets.
//!
//! Invariant: a squashed migration and the migrations it replaces are the same thing here, so that squashing or pruning
//! history is never taken for a change of the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The migrations applied to each database (by its alias in `DATABASES`), as recorded with a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppliedSet {
    /// By alias.
    pub databases: BTreeMap<String, DatabaseSet>,
}

/// The migrations applied to one database, and what the code that was asked knows about them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseSet {
    /// Applied migrations by app: the rows of `django_migrations`.
    pub applied: BTreeMap<String, BTreeSet<String>>,
    /// The last migrations of each app in the release's code.
    #[serde(default)]
    pub leaves: BTreeMap<String, BTreeSet<String>>,
    /// Squashed migrations, `app.name`, and what each stands for.
    #[serde(default)]
    pub replaces: BTreeMap<String, Vec<String>>,
}

/// One migration that one set has and the other has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MigrationChange {
    /// The database's alias.
    pub alias: String,
    /// The app's label.
    pub app: String,
    /// The migration's name.
    pub name: String,
    /// Whether it came or went.
    pub change: Change,
}

/// Whether a migration came or went between two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// In the second set only.
    Applied,
    /// In the first set only.
    Unapplied,
}

impl fmt::Display for MigrationChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            Change::Applied => '+',
            Change::Unapplied => '-',
        };
        write!(f, "{sign} {}.{} on {}", self.app, self.name, self.alias)
    }
}

impl DatabaseSet {
    fn names(&self) -> BTreeSet<String> {
        self.applied
            .iter()
            .flat_map(|(app, names)| names.iter().map(move |name| format!("{app}.{name}")))
            .collect()
    }
}

/// Replaces every squashed migration by what it stands for, as far as either side knows it. Squashes of squashes too.
fn expand(names: &BTreeSet<String>, replaces: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut expanded = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut left: Vec<&String> = names.iter().collect();
    while let Some(name) = left.pop() {
        if !seen.insert(name) {
            continue;
        }
        match replaces.get(name) {
            Some(originals) if !originals.is_empty() => left.extend(originals),
            _ => {
                expanded.insert(name.clone());
            }
        }
    }
    expanded
}

/// The migrations that separate two sets, squashes taken for what they replace. A database that one side did not record
/// is compared as an empty one.
///
/// ```
/// use nuages_migrate::{AppliedSet, changed_between};
/// assert!(changed_between(&AppliedSet::default(), &AppliedSet::default()).is_empty());
/// ```
pub fn changed_between(from: &AppliedSet, to: &AppliedSet) -> Vec<MigrationChange> {
    let empty = DatabaseSet::default();
    let aliases: BTreeSet<&String> = from.databases.keys().chain(to.databases.keys()).collect();
    let mut changes = Vec::new();
    for alias in aliases {
        let old = from.databases.get(alias).unwrap_or(&empty);
        let new = to.databases.get(alias).unwrap_or(&empty);
        let mut replaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (squash, originals) in old.replaces.iter().chain(&new.replaces) {
            replaces
                .entry(squash.clone())
                .or_default()
                .extend(originals.iter().cloned());
        }
        let (old, new) = (expand(&old.names(), &replaces), expand(&new.names(), &replaces));
        let one = |full: &String, change| {
            // App labels have no dot, so the first one ends the label.
            let (app, name) = full.split_once('.').unwrap_or((full, ""));
            MigrationChange {
                alias: alias.clone(),
                app: app.to_owned(),
                name: name.to_owned(),
                change,
            }
        };
        changes.extend(old.difference(&new).map(|full| one(full, Change::Unapplied)));
        changes.extend(new.difference(&old).map(|full| one(full, Change::Applied)));
    }
    changes
}

/// Whether two sets stand for the same schema, as far as migrations tell.
///
/// ```
/// use nuages_migrate::{AppliedSet, same_schema};
/// assert!(same_schema(&AppliedSet::default(), &AppliedSet::default()));
/// ```
pub fn same_schema(a: &AppliedSet, b: &AppliedSet) -> bool {
    changed_between(a, b).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(names: &[&str], replaces: &[(&str, &[&str])]) -> AppliedSet {
        let mut database = DatabaseSet::default();
        for full in names {
            let (app, name) = full.split_once('.').unwrap();
            database
                .applied
                .entry(app.to_owned())
                .or_default()
                .insert(name.to_owned());
        }
        for (squash, originals) in replaces {
            database.replaces.insert(
                (*squash).to_owned(),
                originals.iter().map(|o| (*o).to_owned()).collect(),
            );
        }
        AppliedSet {
            databases: BTreeMap::from([("default".to_owned(), database)]),
        }
    }

    fn shown(from: &AppliedSet, to: &AppliedSet) -> Vec<String> {
        changed_between(from, to).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_directions() {
        let changes = shown(
            &set(&["blog.0001", "blog.0002"], &[]),
            &set(&["blog.0001", "blog.0003"], &[]),
        );
        assert_eq!(changes, ["- blog.0002 on default", "+ blog.0003 on default"]);
    }

    #[test]
    fn a_recorded_squash_is_no_change() {
        let squash: &[(&str, &[&str])] = &[("blog.0001_squashed_0002", &["blog.0001", "blog.0002"])];
        let before = set(&["blog.0001", "blog.0002"], &[]);
        assert_eq!(
            shown(
                &before,
                &set(&["blog.0001", "blog.0002", "blog.0001_squashed_0002"], squash)
            ),
            [""; 0]
        );
        // A fresh or pruned database has the squash alone.
        assert_eq!(shown(&before, &set(&["blog.0001_squashed_0002"], squash)), [""; 0]);
        assert_eq!(
            shown(&set(&["blog.0001"], &[]), &set(&["blog.0001_squashed_0002"], squash)),
            ["+ blog.0002 on default"]
        );
    }

    #[test]
    fn squashes_of_squashes_and_circles_end() {
        let nested: &[(&str, &[&str])] = &[("a.s2", &["a.s1", "a.3"]), ("a.s1", &["a.1", "a.2"])];
        assert!(same_schema(&set(&["a.1", "a.2", "a.3"], &[]), &set(&["a.s2"], nested)));
        let circle: &[(&str, &[&str])] = &[("a.x", &["a.y"]), ("a.y", &["a.x"])];
        assert!(same_schema(&set(&["a.x"], circle), &set(&["a.y"], circle)));
    }

    #[test]
    fn another_database_counts() {
        let mut two = set(&["blog.0001"], &[]);
        let one = two.clone();
        two.databases
            .insert("stats".into(), set(&["hits.0001"], &[]).databases["default"].clone());
        assert_eq!(shown(&one, &two), ["+ hits.0001 on stats"]);
    }

    proptest! {
        #[test]
        fn swapping_swaps_the_signs(
            a in proptest::collection::btree_set("[ab]\\.[0-9]", 0..8),
            b in proptest::collection::btree_set("[ab]\\.[0-9]", 0..8),
        ) {
            let refs = |s: &BTreeSet<String>| s.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
            let (a, b) = (refs(&a), refs(&b));
            let a = set(&a.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
            let b = set(&b.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
            let there = changed_between(&a, &b);
            let back = changed_between(&b, &a);
            prop_assert_eq!(there.len(), back.len());
            prop_assert_eq!(there.is_empty(), a == b);
            for change in there {
                let turned = match change.change { Change::Applied => Change::Unapplied, Change::Unapplied => Change::Applied };
                let turned = MigrationChange { change: turned, ..change };
                prop_assert!(back.contains(&turned));
            }
        }
    }
}
