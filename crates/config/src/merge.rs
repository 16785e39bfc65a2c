//! One environment's keys laid over the shared ones.
//!
//! Invariant: a table is merged key by key and anything else is replaced whole. So is a table that says *one of several
//! things* (a secret's source, a strategy): half of each would be neither.

use crate::node::{Entry, Node, Table, Value};

/// Pairs of which a file says one: where the environment says one of them, the other's shared value gives way.
const RIVALS: [(&str, &str); 2] = [("domain", "insecure_http"), ("insecure_http", "domain")];

/// The shared part of the file, without `environments`, under the keys of one environment.
pub(crate) fn overlay(shared: &Table, environment: &Table) -> Table {
    let mut base: Table = shared
        .iter()
        .filter(|(key, _)| *key != "environments")
        .map(clone_entry)
        .collect();
    for (said, gives_way) in RIVALS {
        if environment.contains_key(said) {
            base.remove(gives_way);
        }
    }
    // An emulator has neither the domain's zone nor its certificate, and `local` inherits what is meant for the cloud.
    if environment.contains_key("emulator") || environment.contains_key("insecure_http") {
        base.remove("domain");
        base.remove("hosted_zone");
    }
    // A plain variable here may be a secret there.
    for (said, gives_way) in [("env", "secrets"), ("secrets", "env")] {
        let Some(names) = environment.get(said).and_then(|entry| entry.node.as_table()) else {
            continue;
        };
        if let Some(Entry {
            node: Node {
                value: Value::Table(table),
                ..
            },
            ..
        }) = base.get_mut(gives_way)
        {
            table.retain(|name, _| !names.contains_key(name));
        }
    }
    lay(&mut base, environment, &mut Vec::new());
    base
}

fn clone_entry((key, entry): (&String, &Entry)) -> (String, Entry) {
    (key.clone(), entry.clone())
}

fn lay<'k>(base: &mut Table, over: &'k Table, path: &mut Vec<&'k str>) {
    for (key, entry) in over {
        path.push(key);
        match (base.get_mut(key).map(|entry| &mut entry.node.value), &entry.node.value) {
            (Some(Value::Table(below)), Value::Table(above)) if !replaced_whole(path) => lay(below, above, path),
            _ => {
                base.insert(key.clone(), entry.clone());
            }
        }
        path.pop();
    }
}

fn replaced_whole(path: &[&str]) -> bool {
    matches!(path, ["secrets", _] | ["strategy"])
}
