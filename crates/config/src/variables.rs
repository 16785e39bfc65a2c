//! `[env]`: plain environment variables of every container.
//!
//! Invariant: a name is one that a POSIX shell can say.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::reader::Field;
use crate::words::shown;

pub(crate) fn read(field: Option<Field<'_>>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for entry in field.and_then(|field| field.entries()).unwrap_or_default() {
        let named = check_name(&entry);
        let Some(text) = entry.text() else { continue };
        if text.contains('\0') {
            entry
                .notes
                .add(entry.problem("an environment variable cannot contain the character NUL", "here"));
        } else if named {
            variables.insert(entry.name.to_owned(), text.to_owned());
        }
    }
    variables
}

/// Notes a key that cannot be the name of an environment variable.
pub(crate) fn check_name(field: &Field<'_>) -> bool {
    let valid = field.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && field.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        let mut problem = Problem::new(format!(
            "`{}` is not the name of an environment variable",
            shown(field.name)
        ))
        .at(field.key, "letters, digits and `_`, no digit first");
        let mended: String = field
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        if mended.starts_with(|c: char| c.is_ascii_alphabetic()) {
            problem = problem.help(format!("did you mean `{}`?", shown(&mended)));
        }
        field.notes.add(problem);
    }
    valid
}
