//! `strategy`: how a new release takes the place of the old one.
//!
//! Invariant: only `rolling` leaves this crate; the others are read, checked and refused until they are carried out.

use std::time::Duration;

use serde::Serialize;

use crate::node::{Span, Value};
use crate::reader::{Field, Section};

/// How a new release takes the place of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// Task by task; ECS's circuit breaker goes back where the new ones do not become healthy.
    #[default]
    Rolling,
}

const KINDS: [(&str, Kind); 4] = [
    ("rolling", Kind::Rolling),
    ("blue-green", Kind::BlueGreen),
    ("canary", Kind::Canary),
    ("linear", Kind::Linear),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rolling,
    BlueGreen,
    Canary,
    Linear,
}

pub(crate) fn read(field: Option<Field<'_>>) -> Strategy {
    let Some(field) = field else { return Strategy::default() };
    // A word alone, or a table with `kind` and what belongs to it.
    let (kind, said) = if let Value::Text(_) = field.node.value {
        (field.choice(&KINDS), field.node.span.clone())
    } else {
        match field.section("strategy") {
            Some(section) => table(section),
            None => return Strategy::default(),
        }
    };
    if let Some(kind) = kind.filter(|kind| *kind != Kind::Rolling) {
        let name = KINDS
            .iter()
            .find(|(_, known)| *known == kind)
            .map_or("", |(name, _)| name);
        field.notes.add(
            crate::problem::Problem::new(format!("the strategy \"{name}\" cannot be carried out yet"))
                .at(&said, "not in this version")
                .help("strategy = \"rolling\"")
                .unsupported(),
        );
    }
    Strategy::Rolling
}

fn table(mut section: Section<'_>) -> (Option<Kind>, Span) {
    let field = section.require("kind", "kind = \"rolling\"");
    let said = field.map_or_else(|| section.span.clone(), |field| field.node.span.clone());
    let kind = field.and_then(|field| field.choice(&KINDS));
    let hour = Duration::from_hours(1);
    if matches!(kind, Some(Kind::Canary | Kind::Linear)) {
        section
            .require("percent", "percent = 10")
            .and_then(|field| field.number(1..=99));
    }
    if matches!(kind, Some(Kind::Canary | Kind::Linear | Kind::BlueGreen)) {
        section
            .get("bake")
            .and_then(|field| field.duration(Duration::ZERO..=24 * hour));
        section.get("alarms").and_then(|field| field.texts());
    }
    if kind.is_some() {
        section.finish();
    }
    (kind, said)
}
