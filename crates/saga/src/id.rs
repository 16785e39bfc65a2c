//! Names of deployments and of their steps.
//!
//! Invariant: an id fits every place it becomes part of: journal rows, idempotency tokens, file names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Why an id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {what}")]
pub struct IdError {
    value: String,
    what: &'static str,
}

/// One run of a plan: a deployment, a rollback, a change of infrastructure. Sorts by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentId(Ulid);

impl DeploymentId {
    /// A new one.
    pub fn generate() -> Self {
        Self(Ulid::new())
    }
}

impl FromStr for DeploymentId {
    type Err = IdError;
    fn from_str(value: &str) -> Result<Self, IdError> {
        Ulid::from_string(value).map(Self).map_err(|_| IdError {
            value: value.chars().take(64).collect(),
            what: "a deployment id (26 letters and digits)",
        })
    }
}

/// A step's name within its plan, such as `update-service/web`: 1 to 64 lowercase letters, digits and `-._/:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepId(String);

impl StepId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepId {
    type Err = IdError;
    fn from_str(value: &str) -> Result<Self, IdError> {
        let fits = (1..=64).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._/:".contains(&b));
        if fits {
            Ok(Self(value.to_owned()))
        } else {
            let what = "a step id (1 to 64 lowercase letters, digits and `-._/:`)";
            Err(IdError {
                value: value.chars().take(80).collect(),
                what,
            })
        }
    }
}

macro_rules! text_conversions {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(value: String) -> Result<Self, IdError> {
                value.parse()
            }
        }
        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }
    };
}
text_conversions!(DeploymentId);
text_conversions!(StepId);

// Lowercase, as every other id that a person sees.
impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().to_ascii_lowercase())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
