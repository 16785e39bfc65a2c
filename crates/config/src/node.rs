//! The file as a tree in which every key and every value knows where it stands.
//!
//! Invariant: spans are byte ranges of the file's text, also after one tree was laid over another.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) type Span = Range<usize>;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// `None` where the number does not fit.
    Integer(Option<i64>),
    Boolean(bool),
    /// A float or a date: no key takes one.
    Other(&'static str),
    Array(Vec<Node>),
    Table(Table),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Span,
    pub(crate) node: Node,
}

pub(crate) type Table = BTreeMap<String, Entry>;

impl Node {
    pub(crate) fn of_table(table: &Spanned<DeTable<'_>>) -> Self {
        Self {
            span: table.span(),
            value: Value::Table(entries(table.get_ref())),
        }
    }

    fn of_value(value: &Spanned<DeValue<'_>>) -> Self {
        let span = value.span();
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let digits = number.as_str().trim_start_matches('+');
                Value::Integer(i64::from_str_radix(digits, number.radix()).ok())
            }
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::Array(items.iter().map(Self::of_value).collect()),
            DeValue::Table(table) => Value::Table(entries(table)),
        };
        Self { span, value }
    }

    /// What it is, for an error message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Other(what) => what,
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}

fn entries(table: &DeTable<'_>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            (
                key.get_ref().to_string(),
                Entry {
                    key: key.span(),
                    node: Node::of_value(value),
                },
            )
        })
        .collect()
}
