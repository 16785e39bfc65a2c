//! IAM policy documents as types.
//!
//! Invariant: a statement lists each action by its full name; wildcards in actions are not written by nuages.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::template::Text;

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// Who a trust policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Principal {
    #[serde(rename = "AWS")]
    Aws(String),
    Service(String),
    Federated(String),
}

/// Operator → key → values.
pub(crate) type Conditions = BTreeMap<String, BTreeMap<String, Vec<Text>>>;

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement {
    pub(crate) sid: String,
    pub(crate) effect: Effect,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) principal: Option<Principal>,
    pub(crate) action: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource: Vec<Text>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) condition: Conditions,
}

impl Statement {
    pub(crate) fn allow<T: Into<Text>>(sid: &str, actions: &[&str], resources: impl IntoIterator<Item = T>) -> Self {
        Self {
            sid: sid.to_owned(),
            effect: Effect::Allow,
            principal: None,
            action: actions.iter().map(|&a| a.to_owned()).collect(),
            resource: resources.into_iter().map(Into::into).collect(),
            condition: Conditions::new(),
        }
    }

    pub(crate) fn deny<T: Into<Text>>(sid: &str, actions: &[&str], resources: impl IntoIterator<Item = T>) -> Self {
        Self {
            effect: Effect::Deny,
            ..Self::allow(sid, actions, resources)
        }
    }

    /// A statement of a trust policy.
    pub(crate) fn trust(sid: &str, principal: Principal, action: &str) -> Self {
        Self {
            principal: Some(principal),
            ..Self::allow::<Text>(sid, &[action], [])
        }
    }

    pub(crate) fn when<T: Into<Text>>(
        mut self,
        operator: &str,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.condition
            .entry(operator.to_owned())
            .or_default()
            .insert(key.to_owned(), values);
        self
    }
}

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    pub(crate) statement: Vec<Statement>,
}

impl Document {
    pub(crate) const fn new(statement: Vec<Statement>) -> Self {
        Self {
            version: "2012-10-17",
            statement,
        }
    }
}

impl Document {
    /// The document as JSON, indented for people.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The document as compact JSON: IAM counts its characters without white space.
    pub fn to_compact_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A document as IAM answers it: JSON, percent-encoded. None where it is neither.
pub(crate) fn decode(text: &str) -> Option<serde_json::Value> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    serde_json::from_str(&text).ok()
}
