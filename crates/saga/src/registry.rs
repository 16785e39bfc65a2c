//! The kinds of step that this build can run.
//!
//! Invariant: a step is built from its stored parameters alone, so that whoever resumes a plan acts as its author
//! would have; a kind or version that is not here is refused before anything is done.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{SagaError, StepError};
use crate::step::Step;
use crate::{Plan, StepSpec};

type Factory = Box<dyn Fn(Value) -> Result<Box<dyn Step>, StepError> + Send + Sync>;

/// Kinds and versions of steps, and how each is built from its parameters.
///
/// ```
/// use nuages_saga::{ApplyError, Check, Observation, Registry, Reversal, Step, StepContext, StepError};
/// use serde_json::{Value, json};
///
/// #[derive(serde::Deserialize)]
/// struct Greet { name: String }
///
/// #[async_trait::async_trait]
/// impl Step for Greet {
///     async fn check(&self, _: &StepContext) -> Result<Check, StepError> {
///         Ok(Check::Change { before: Value::Null, diff: vec![format!("+ greet {}", self.name)] })
///     }
///     async fn apply(&self, _: &StepContext, _: &Value) -> Result<Value, ApplyError> {
///         Ok(json!({"said": format!("hello, {}", self.name)}))
///     }
///     async fn observe(&self, _: &StepContext, _: &Value) -> Result<Observation, StepError> {
///         Ok(Observation::NotDone)
///     }
///     async fn undo(&self, _: &StepContext, _: &Value, _: Option<&Value>) -> Result<(), StepError> { Ok(()) }
///     fn reversal(&self) -> Reversal { Reversal::Nothing }
///     fn by_hand(&self, _: &Value, _: Option<&Value>) -> Vec<String> { vec![] }
/// }
///
/// let mut registry = Registry::new();
/// registry.add("greet", 1, |params: Greet| Ok(params));
/// assert!(registry.knows("greet", 1) && !registry.knows("greet", 2));
/// ```
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<(String, u32), Factory>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

impl Registry {
    /// One that knows no kind.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind. The parameters are read into `P` first; take [`Value`] to have them as they are.
    pub fn add<P, S>(
        &mut self,
        kind: impl Into<String>,
        version: u32,
        build: impl Fn(P) -> Result<S, StepError> + Send + Sync + 'static,
    ) -> &mut Self
    where
        P: DeserializeOwned,
        S: Step + 'static,
    {
        let factory = move |params: Value| -> Result<Box<dyn Step>, StepError> {
            let params = serde_json::from_value(params).map_err(StepError::new)?;
            Ok(Box::new(build(params)?))
        };
        self.kinds.insert((kind.into(), version), Box::new(factory));
        self
    }

    /// Whether this build can run such a step.
    pub fn knows(&self, kind: &str, version: u32) -> bool {
        self.kinds.contains_key(&(kind.to_owned(), version))
    }

    /// Refuses a plan with a step that this build cannot run.
    pub fn accepts(&self, plan: &Plan) -> Result<(), SagaError> {
        match plan.steps().find(|step| !self.knows(&step.kind, step.version)) {
            Some(step) => Err(unknown(plan, step)),
            None => Ok(()),
        }
    }

    /// Builds a step; `params` are the specification's, with every reference filled in.
    pub(crate) fn build(&self, plan: &Plan, spec: &StepSpec, params: Value) -> Result<Box<dyn Step>, SagaError> {
        let factory = self
            .kinds
            .get(&(spec.kind.clone(), spec.version))
            .ok_or_else(|| unknown(plan, spec))?;
        factory(params).map_err(|source| SagaError::Params {
            step: spec.id.clone(),
            source,
        })
    }
}

fn unknown(plan: &Plan, step: &StepSpec) -> SagaError {
    SagaError::UnknownKind {
        step: step.id.clone(),
        kind: step.kind.clone(),
        version: step.version,
        tool: plan.tool.clone(),
    }
}
