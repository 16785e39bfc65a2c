//! References from a step's parameters to the outputs of earlier steps.
//!
//! Invariant: an object with a `$output` key is a reference and nothing else; what it stands for is taken whole, with
//! its type.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::StepId;

/// What the steps that were applied have given, by step.
pub type Outputs = BTreeMap<StepId, Value>;

const KEY: &str = "$output";

/// Why a reference could not be read or followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// It is not `{"$output": "STEP", "pointer": "/json/pointer"}`.
    #[error("`{0}` is not of the form {{\"$output\": \"STEP\", \"pointer\": \"/json/pointer\"}}")]
    Malformed(String),
    /// The step has not been applied.
    #[error("the output of `{0}` is not known yet")]
    NotYet(StepId),
    /// The step's output has nothing there.
    #[error("the output of `{step}` has nothing at `{pointer}`")]
    Missing {
        /// The step.
        step: StepId,
        /// The JSON pointer (RFC 6901).
        pointer: String,
    },
}

/// A reference to a part of a step's output, to be put into another step's parameters. The pointer is a JSON pointer
/// (RFC 6901); an empty one stands for the whole output.
///
/// ```
/// let step: nuages_saga::StepId = "taskdef/web".parse()?;
/// assert_eq!(nuages_saga::output(&step, "/arn"), serde_json::json!({"$output": "taskdef/web", "pointer": "/arn"}));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn output(step: &StepId, pointer: &str) -> Value {
    json!({ KEY: step.as_str(), "pointer": pointer })
}

fn parse(object: &serde_json::Map<String, Value>) -> Result<Option<(StepId, String)>, RefError> {
    let Some(step) = object.get(KEY) else { return Ok(None) };
    let malformed = || RefError::Malformed(Value::Object(object.clone()).to_string());
    let pointer = match object.get("pointer") {
        None => "",
        Some(pointer) => pointer.as_str().ok_or_else(malformed)?,
    };
    let known = object.keys().all(|key| key == KEY || key == "pointer");
    let step = step.as_str().and_then(|step| step.parse().ok());
    match step {
        Some(step) if known && (pointer.is_empty() || pointer.starts_with('/')) => Ok(Some((step, pointer.to_owned()))),
        _ => Err(malformed()),
    }
}

/// The steps that these parameters refer to.
pub(crate) fn references(params: &Value) -> Result<BTreeSet<StepId>, RefError> {
    let mut found = BTreeSet::new();
    collect(params, &mut found)?;
    Ok(found)
}

fn collect(value: &Value, found: &mut BTreeSet<StepId>) -> Result<(), RefError> {
    match value {
        Value::Object(object) => match parse(object)? {
            Some((step, _)) => {
                found.insert(step);
                Ok(())
            }
            None => object.values().try_for_each(|value| collect(value, found)),
        },
        Value::Array(values) => values.iter().try_for_each(|value| collect(value, found)),
        _ => Ok(()),
    }
}

/// The parameters with every reference replaced.
pub(crate) fn resolve(params: &Value, outputs: &Outputs) -> Result<Value, RefError> {
    Ok(match params {
        Value::Object(object) => {
            if let Some((step, pointer)) = parse(object)? {
                let given = outputs.get(&step).ok_or_else(|| RefError::NotYet(step.clone()))?;
                return given
                    .pointer(&pointer)
                    .cloned()
                    .ok_or(RefError::Missing { step, pointer });
            }
            let mut resolved = serde_json::Map::new();
            for (key, value) in object {
                resolved.insert(key.clone(), resolve(value, outputs)?);
            }
            Value::Object(resolved)
        }
        Value::Array(values) => Value::Array(
            values
                .iter()
                .map(|value| resolve(value, outputs))
                .collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> StepId {
        text.parse().unwrap()
    }

    #[test]
    fn replaces_with_type_and_depth() {
        let outputs = Outputs::from([(id("a"), json!({"arn": "arn:x", "list": [{"n": 7}]}))]);
        let params = json!({"x": [output(&id("a"), "/list/0/n")], "whole": {"$output": "a"}, "y": "plain"});
        assert_eq!(
            resolve(&params, &outputs).unwrap(),
            json!({"x": [7], "whole": {"arn": "arn:x", "list": [{"n": 7}]}, "y": "plain"})
        );
        assert_eq!(references(&params).unwrap(), BTreeSet::from([id("a")]));
    }

    #[test]
    fn refuses_what_is_not_there() {
        let outputs = Outputs::from([(id("a"), json!({}))]);
        let at = |value| resolve(&value, &outputs).unwrap_err().to_string();
        assert_eq!(at(output(&id("b"), "/arn")), "the output of `b` is not known yet");
        assert_eq!(at(output(&id("a"), "/arn")), "the output of `a` has nothing at `/arn`");
        assert!(at(json!({"$output": 3})).contains("not of the form"));
        assert!(at(json!({"$output": "a", "pionter": "/arn"})).contains("not of the form"));
        assert!(at(json!({"$output": "a", "pointer": "arn"})).contains("not of the form"));
    }

    fn plain() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[a-z$]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_holds_no_reference_stays_as_it_is(params in plain()) {
            prop_assert!(references(&params).unwrap().is_empty());
            prop_assert_eq!(resolve(&params, &Outputs::new()).unwrap(), params);
        }
    }
}
