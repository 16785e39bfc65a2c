//! The one gate to stdout and stderr for what is not an event.
//!
//! Invariant: a reader that closed its pipe ends nothing, and nothing is written between two rows of a live tree: lines
//! wait until the reporter is through, or until somebody who knows that nothing moves shows them. Data that could not be
//! written for another reason is not forgotten.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use comfy_table::{ContentArrangement, Table, presets};
pub(crate) use nuages_saga::moment as time;
use serde::Serialize;

use crate::invocation;

enum Line {
    Data(String),
    Note(String),
}

static WAITING: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// Why data is missing on stdout.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

fn keep(line: Line) {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// A line of data.
pub(crate) fn say(line: &str) {
    keep(Line::Data(line.to_owned()));
}

/// A line of everything else.
pub(crate) fn complain(line: &str) {
    keep(Line::Note(invocation::pasteable(line)));
}

/// Writes what waits.
pub(crate) fn show() {
    let lines = std::mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    for line in lines {
        match line {
            Line::Data(line) => wrote(writeln!(out, "{line}").and_then(|()| out.flush())),
            // Where stderr is gone nobody can be told.
            Line::Note(line) => drop(writeln!(err, "{line}")),
        }
    }
}

/// Takes note of whether data was written. A closed pipe is none of our business: its reader has seen enough.
pub(crate) fn wrote(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Why data is missing on stdout, where it is.
pub(crate) fn lost() -> Option<io::Error> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// An object a line.
pub(crate) fn object<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(line) => say(&line),
        Err(error) => complain(&format!("error: failed to write a line of JSON: {error}")),
    }
}

/// The version of the shapes that [`record`] prints.
const VERSION: u32 = 1;

/// An object a line, with the version of its shape as `v`.
pub(crate) fn record<T: Serialize>(value: &T) {
    #[derive(Serialize)]
    struct Versioned<'a> {
        v: u32,
        #[serde(flatten)]
        fields: &'a serde_json::Map<String, serde_json::Value>,
    }
    let value = serde_json::to_value(value).map(|mut value| {
        invocation::in_hints(&mut value);
        value
    });
    match value {
        Ok(serde_json::Value::Object(fields)) => object(&Versioned {
            v: VERSION,
            fields: &fields,
        }),
        Ok(_) => complain("error: failed to write a line of JSON: it is not an object"),
        Err(error) => complain(&format!("error: failed to write a line of JSON: {error}")),
    }
}

/// A table without lines, as wide as the terminal at the most.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head);
    let width = console::Term::stdout()
        .size_checked()
        .map_or(120, |(_, columns)| columns);
    table.set_width(width.max(60));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        say(line.trim_end());
    }
}
