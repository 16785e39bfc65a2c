//! How plans and journal entries are written down: JSON with a format version around it.
//!
//! Invariant: text of a newer format is told apart from damaged text, and neither reads as something else.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::version;

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT: u64 = 1;

/// What to do about records that are not what was written.
pub(crate) const DAMAGED: &str =
    "nothing was changed; put back a backup of the store, then `nuages resume` or `nuages abort`";

/// Why stored text could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer version of the tool wrote it.
    #[error("the stored {what} has format {found}, and this version reads up to {FORMAT}")]
    Newer {
        /// What was read.
        what: &'static str,
        /// The format found.
        found: u64,
        /// The version of the tool that wrote it, where it stands where this version looks for it.
        tool: Option<String>,
    },
    /// It is not what was written.
    #[error("the stored {what} is damaged")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// Where it stopped making sense.
        #[source]
        source: serde_json::Error,
    },
}

impl DecodeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Newer { tool, .. } => Some(version::install(tool.as_deref().unwrap_or_default(), "wrote it")),
            Self::Damaged { .. } => Some(DAMAGED.into()),
        }
    }
}

pub(crate) fn encode<T: Serialize>(what: &'static str, value: &T) -> String {
    // Maps with text keys and no foreign serialisers: this cannot fail; an empty body would read as damaged.
    let body = serde_json::to_value(value).unwrap_or(Value::Null);
    json!({ "format": FORMAT, what: body }).to_string()
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DecodeError> {
    let damaged = |source| DecodeError::Damaged { what, source };
    let mut value: Value = serde_json::from_str(text).map_err(damaged)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(found) if found > FORMAT => {
            let tool = value.pointer(&format!("/{what}/tool")).and_then(Value::as_str);
            let tool = tool.map(str::to_owned);
            return Err(DecodeError::Newer { what, found, tool });
        }
        Some(FORMAT) => {}
        _ => return Err(damaged(serde::de::Error::custom("it has no known `format`"))),
    }
    let body = value.get_mut(what).map(Value::take).unwrap_or_default();
    serde_json::from_value(body).map_err(damaged)
}
