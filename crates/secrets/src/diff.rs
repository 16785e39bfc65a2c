//! What separates two sets of values, by name.
//!
//! Invariant: a diff says that values differ, never how.

use std::collections::BTreeMap;
use std::fmt;

use nuages_model::Secret;
use serde::{Deserialize, Serialize};

/// The variables of two environments, compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// In the first only.
    pub only_local: Vec<String>,
    /// In the second only.
    pub only_live: Vec<String>,
    /// In both, with different values.
    pub different: Vec<String>,
    /// In both, with the same value.
    pub same: Vec<String>,
}

impl Diff {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.only_local.is_empty() && self.only_live.is_empty() && self.different.is_empty()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(&String, char)> = Vec::new();
        for (sign, names) in [('+', &self.only_local), ('-', &self.only_live), ('~', &self.different)] {
            lines.extend(names.iter().map(|name| (name, sign)));
        }
        lines.sort();
        lines.iter().try_for_each(|(name, sign)| writeln!(f, "{sign} {name}"))
    }
}

/// Compares local values with live ones.
///
/// ```
/// use nuages_model::Secret;
/// use std::collections::BTreeMap;
///
/// let local = BTreeMap::from([("A".to_owned(), Secret::new("1".to_owned())), ("B".to_owned(), Secret::new("2".to_owned()))]);
/// let live = BTreeMap::from([("A".to_owned(), Secret::new("9".to_owned()))]);
/// assert_eq!(nuages_secrets::diff(&local, &live).to_string(), "~ A\n+ B\n");
/// ```
pub fn diff(local: &BTreeMap<String, Secret<String>>, live: &BTreeMap<String, Secret<String>>) -> Diff {
    let mut diff = Diff::default();
    for (name, value) in local {
        let list = match live.get(name) {
            None => &mut diff.only_local,
            Some(other) if other == value => &mut diff.same,
            Some(_) => &mut diff.different,
        };
        list.push(name.clone());
    }
    diff.only_live = live.keys().filter(|name| !local.contains_key(*name)).cloned().collect();
    diff
}
