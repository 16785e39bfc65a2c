//! `strategy`: how a new release takes the place of the old one.
//!
//! Invariant: only `rolling` leaves this crate. The others are refused by their kind alone: nobody is asked to mend the
//! details of what has no code.

use serde::Serialize;

use crate::node::Value;
use crate::reader::{Field, Section, Word};

/// How a new release takes the place of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// Task by task; ECS's circuit breaker goes back where the new ones do not become healthy.
    #[default]
    Rolling,
}

const KINDS: [(&str, Word<()>); 4] = [
    ("rolling", Word::Now(())),
    ("blue-green", Word::Later),
    ("canary", Word::Later),
    ("linear", Word::Later),
];

pub(crate) fn read(field: Option<Field<'_>>) -> Strategy {
    match field {
        // A word alone, or a table with `kind` and what belongs to it.
        Some(field) if matches!(field.node.value, Value::Text(_)) => {
            kind(&field);
        }
        Some(field) => {
            if let Some(section) = field.section("strategy") {
                table(section);
            }
        }
        None => {}
    }
    Strategy::Rolling
}

fn table(mut section: Section<'_>) {
    let field = section.require("kind", "kind = \"rolling\"");
    if field.and_then(|field| kind(&field)) == Some(Word::Now(())) {
        section.finish();
    }
}

fn kind(field: &Field<'_>) -> Option<Word<()>> {
    let kind = field.choice_or_later(&KINDS)?;
    if kind == Word::Later {
        let name = field.text().unwrap_or_default();
        field.refuse_for_now(
            format!("the strategy \"{name}\" has no code yet"),
            "strategy = \"rolling\"",
        );
    }
    Some(kind)
}
