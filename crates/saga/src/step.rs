//! What one step can do: look, act, be looked at after a crash, and be undone.
//!
//! Invariant: `check` and `observe` only read. `undo` may be called again after it was cut off, and after an `apply`
//! of which nobody knows how far it came.

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StepContext;
use crate::error::{ApplyError, StepError};

/// What a look at the world said before a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// The world is as the step would make it.
    Satisfied {
        /// What the step would give: later steps may refer to it.
        after: Value,
    },
    /// There is something to do.
    Change {
        /// The state that will be changed: what `undo` goes back to. Two looks at an unchanged world must give equal
        /// values, so times and counters have no place in it.
        before: Value,
        /// The difference, a line each, for people.
        diff: Vec<String>,
    },
}

/// What a look at the world said after a step whose outcome is not known.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// It reached its goal, and gave this.
    Done(Value),
    /// It certainly has no effect, and none is under way: it may be applied again.
    NotDone,
    /// It is still under way; `attach` follows it.
    Running,
    /// It had some effect, or it cannot be told.
    Indeterminate {
        /// What was seen.
        why: String,
    },
}

/// What can be done about a step once it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reversal {
    /// It can be undone.
    Undo,
    /// It stays, and the record says so: a migration.
    ForwardOnly,
    /// It leaves nothing that matters: a smoke test, a revision that nobody uses.
    Nothing,
}

/// One step of a saga, built by a [`Registry`](crate::Registry) from its parameters. `before` and `after` are data,
/// since they stand in the journal; [`TypedStep`] saves the conversions.
#[async_trait]
pub trait Step: Send + Sync {
    /// Looks whether there is something to do. Reads only.
    async fn check(&self, cx: &StepContext) -> Result<Check, StepError>;

    /// Does it, and gives what later steps may refer to. `before` is durable by now. An error made by `?` is
    /// [`ApplyError::Unknown`]; say [`ApplyError::clean`] only where certainly nothing happened.
    async fn apply(&self, cx: &StepContext, before: &Value) -> Result<Value, ApplyError>;

    /// Looks how far an `apply` came whose outcome was never written. Reads only.
    async fn observe(&self, cx: &StepContext, before: &Value) -> Result<Observation, StepError>;

    /// Follows an effect that `observe` called [`Running`](Observation::Running) to its end, without starting a
    /// second one. As it stands it asks `observe` each second.
    async fn attach(&self, cx: &StepContext, before: &Value) -> Result<Value, ApplyError> {
        loop {
            match self.observe(cx, before).await? {
                Observation::Done(after) => return Ok(after),
                Observation::NotDone => return Err(ApplyError::clean(StepError::message("it ended without effect"))),
                Observation::Indeterminate { why } => return Err(ApplyError::Unknown(StepError::message(why))),
                Observation::Running => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// Goes back to `before`. There is no `after` where the outcome of `apply` is not known. What is undone already
    /// is no error.
    async fn undo(&self, cx: &StepContext, before: &Value, after: Option<&Value>) -> Result<(), StepError>;

    /// What can be done about it once it was applied.
    fn reversal(&self) -> Reversal;

    /// The commands with which a person finishes an `undo` that failed. No secrets.
    fn by_hand(&self, before: &Value, after: Option<&Value>) -> Vec<String>;

    /// How long `apply`, `attach` and `undo` may take, each.
    fn deadline(&self) -> Duration {
        Duration::from_mins(30)
    }
}

/// A [`Step`] whose `before` and `after` have types. [`Typed`] makes a `Step` of it.
#[async_trait]
pub trait TypedStep: Send + Sync {
    /// The state that is changed.
    type Before: Serialize + DeserializeOwned + Send + Sync;
    /// What the step gives.
    type After: Serialize + DeserializeOwned + Send + Sync;

    /// As [`Step::check`].
    async fn check(&self, cx: &StepContext) -> Result<TypedCheck<Self::Before, Self::After>, StepError>;

    /// As [`Step::apply`].
    async fn apply(&self, cx: &StepContext, before: Self::Before) -> Result<Self::After, ApplyError>;

    /// As [`Step::observe`].
    async fn observe(&self, cx: &StepContext, before: Self::Before)
    -> Result<TypedObservation<Self::After>, StepError>;

    /// As [`Step::attach`]: asks `observe` each second.
    async fn attach(&self, cx: &StepContext, before: Self::Before) -> Result<Self::After, ApplyError> {
        let kept = encode(&before)?;
        loop {
            match self.observe(cx, decode("before", &kept)?).await? {
                TypedObservation::Done(after) => return Ok(after),
                TypedObservation::NotDone => {
                    return Err(ApplyError::clean(StepError::message("it ended without effect")));
                }
                TypedObservation::Indeterminate { why } => return Err(ApplyError::Unknown(StepError::message(why))),
                TypedObservation::Running => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// As [`Step::undo`].
    async fn undo(&self, cx: &StepContext, before: Self::Before, after: Option<Self::After>) -> Result<(), StepError>;

    /// As [`Step::reversal`].
    fn reversal(&self) -> Reversal;

    /// As [`Step::by_hand`].
    fn by_hand(&self, before: Self::Before, after: Option<Self::After>) -> Vec<String>;

    /// As [`Step::deadline`].
    fn deadline(&self) -> Duration {
        Duration::from_mins(30)
    }
}

/// [`Check`] with types.
#[derive(Debug, Clone, PartialEq)]
pub enum TypedCheck<B, A> {
    /// As [`Check::Satisfied`].
    Satisfied(A),
    /// As [`Check::Change`].
    Change {
        /// The state that will be changed.
        before: B,
        /// The difference, for people.
        diff: Vec<String>,
    },
}

/// [`Observation`] with a type.
#[derive(Debug, Clone, PartialEq)]
pub enum TypedObservation<A> {
    /// As [`Observation::Done`].
    Done(A),
    /// As [`Observation::NotDone`].
    NotDone,
    /// As [`Observation::Running`].
    Running,
    /// As [`Observation::Indeterminate`].
    Indeterminate {
        /// What was seen.
        why: String,
    },
}

/// Makes a [`Step`] of a [`TypedStep`].
#[derive(Debug, Clone)]
pub struct Typed<S>(pub S);

fn encode<T: Serialize>(value: &T) -> Result<Value, StepError> {
    serde_json::to_value(value).map_err(|source| StepError::new(source).context("the state cannot be written as JSON"))
}

fn decode<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, StepError> {
    serde_json::from_value(value.clone())
        .map_err(|source| StepError::new(source).context(format!("the recorded `{what}` is not of this step's kind")))
}

#[async_trait]
impl<S: TypedStep> Step for Typed<S> {
    async fn check(&self, cx: &StepContext) -> Result<Check, StepError> {
        Ok(match self.0.check(cx).await? {
            TypedCheck::Satisfied(after) => Check::Satisfied { after: encode(&after)? },
            TypedCheck::Change { before, diff } => Check::Change {
                before: encode(&before)?,
                diff,
            },
        })
    }

    async fn apply(&self, cx: &StepContext, before: &Value) -> Result<Value, ApplyError> {
        let before = decode("before", before).map_err(ApplyError::Clean)?;
        Ok(encode(&self.0.apply(cx, before).await?)?)
    }

    async fn observe(&self, cx: &StepContext, before: &Value) -> Result<Observation, StepError> {
        Ok(match self.0.observe(cx, decode("before", before)?).await? {
            TypedObservation::Done(after) => Observation::Done(encode(&after)?),
            TypedObservation::NotDone => Observation::NotDone,
            TypedObservation::Running => Observation::Running,
            TypedObservation::Indeterminate { why } => Observation::Indeterminate { why },
        })
    }

    async fn attach(&self, cx: &StepContext, before: &Value) -> Result<Value, ApplyError> {
        Ok(encode(&self.0.attach(cx, decode("before", before)?).await?)?)
    }

    async fn undo(&self, cx: &StepContext, before: &Value, after: Option<&Value>) -> Result<(), StepError> {
        let after = after.map(|after| decode("after", after)).transpose()?;
        self.0.undo(cx, decode("before", before)?, after).await
    }

    fn reversal(&self) -> Reversal {
        self.0.reversal()
    }

    fn by_hand(&self, before: &Value, after: Option<&Value>) -> Vec<String> {
        let after = after.map(|after| decode("after", after)).transpose();
        match (decode("before", before), after) {
            (Ok(before), Ok(after)) => self.0.by_hand(before, after),
            // A record that this kind cannot read is still worth showing: it is all that is known.
            _ => vec![format!("# go back to {before}")],
        }
    }

    fn deadline(&self) -> Duration {
        self.0.deadline()
    }
}
