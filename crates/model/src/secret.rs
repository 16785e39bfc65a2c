//! Values that must not be seen.
//!
//! Invariant: a [`Secret`] prints as `[redacted]` and cannot be serialised; whoever needs the value says
//! [`expose`](Secret::expose), which can be searched for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Arn;

/// A value that is never printed.
///
/// ```
/// let password = nuages_model::Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{password:?} {password}"), "[redacted] [redacted]");
/// assert_eq!(password.expose(), "hunter2");
/// ```
///
/// It cannot be serialised by accident:
///
/// ```compile_fail
/// serde_json::to_string(&nuages_model::Secret::new(1)).unwrap();
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every use is a place to review.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, taken out.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a secret's value stands, without the value: what plans and journals may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretVersion {
    /// The secret's full ARN.
    pub arn: Arn,
    /// The key within a JSON secret; none for a plain one.
    pub key: Option<String>,
    /// The version that was current when it was read.
    pub version_id: Option<String>,
}

impl SecretVersion {
    /// What a task definition's `valueFrom` holds: `ARN`, or `ARN:KEY::` for one key of a JSON secret
    /// (Amazon ECS developer guide, "Pass Secrets Manager secrets through environment variables").
    pub fn value_from(&self) -> String {
        match &self.key {
            Some(key) => format!("{}:{key}::", self.arn),
            None => self.arn.to_string(),
        }
    }
}
