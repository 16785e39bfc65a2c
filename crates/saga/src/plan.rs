//! A plan is data: ordered stages of independent steps, and what the checks said when it was made.
//!
//! Invariant: a [`Plan`] that was validated names every step once, and a step refers to outputs of earlier stages only.
//! Nothing in it is secret: secrets are named by ARN and version id.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use nuages_model::{AppName, Digest, EnvName, ReleaseId, World};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::{self, DecodeError};
use crate::output::{self, RefError};
use crate::step::Check;
use crate::{DeploymentId, StepId};

/// What one deployment, rollback or change of infrastructure will do.
///
/// ```
/// use nuages_saga::{Plan, StepSpec};
/// use serde_json::json;
///
/// let plan = Plan::new("deploy", "blog".parse()?, "staging".parse()?, "0.1.0")
///     .stage("register", [StepSpec::new("taskdef/web".parse()?, "ecs.task-definition", 1, "Register web", json!({"cpu": 256}))])
///     .stage("roll out", [StepSpec::new("service/web".parse()?, "ecs.service", 1, "Update web", json!({
///         "task_definition": {"$output": "taskdef/web", "pointer": "/arn"},
///     }))]);
/// plan.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// This run's identity.
    pub deployment: DeploymentId,
    /// What is being done: `deploy`, `rollback`, `infra-up`, ….
    pub operation: String,
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
    /// The environment's identity in the account, where it is known.
    pub world: Option<World>,
    /// The release that is being made or gone back to.
    pub release: Option<ReleaseId>,
    /// The version of the tool that made the plan. A tool that lacks a step's kind names it as the one to install.
    pub tool: String,
    /// A hash over the resolved configuration.
    pub config_hash: String,
    /// When it was made.
    pub created: Timestamp,
    /// The stages, in order. A stage's steps run concurrently.
    pub stages: Vec<Stage>,
    /// What each step's check said when the plan was made.
    pub checks: BTreeMap<StepId, PlannedCheck>,
}

/// Steps that do not depend on each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// A few words for people.
    pub title: String,
    /// The steps.
    pub steps: Vec<StepSpec>,
}

/// One step, as data: what a [`Registry`](crate::Registry) builds the acting [`Step`](crate::Step) from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Its name within the plan.
    pub id: StepId,
    /// What it does, such as `ecs.service`.
    pub kind: String,
    /// The version of that kind's parameters and meaning.
    pub version: u32,
    /// A few words for people.
    pub title: String,
    /// Its parameters. `{"$output": "STEP", "pointer": "/json/pointer"}` anywhere inside stands for a part of what an
    /// earlier stage's step gave.
    pub params: Value,
}

impl StepSpec {
    /// A step of this kind.
    pub fn new(id: StepId, kind: impl Into<String>, version: u32, title: impl Into<String>, params: Value) -> Self {
        Self {
            id,
            kind: kind.into(),
            version,
            title: title.into(),
            params,
        }
    }

    /// The steps whose outputs the parameters refer to.
    pub fn refers_to(&self) -> Result<BTreeSet<StepId>, RefError> {
        output::references(&self.params)
    }
}

/// What a check said when the plan was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PlannedCheck {
    /// There is nothing to do.
    Satisfied {
        /// What the step would have given.
        after: Value,
    },
    /// There is something to do.
    Change {
        /// The state that will be changed.
        before: Value,
        /// The difference, a line each, for people.
        diff: Vec<String>,
    },
    /// It cannot be known before these steps were applied.
    KnownAfter {
        /// The steps.
        steps: BTreeSet<StepId>,
    },
}

impl PlannedCheck {
    /// Whether a fresh answer still says the same. The diff is for people and is not compared.
    pub(crate) fn still_holds(&self, now: &Check) -> bool {
        match (self, now) {
            (Self::Satisfied { after }, Check::Satisfied { after: now }) => after == now,
            (Self::Change { before, .. }, Check::Change { before: now, .. }) => before == now,
            (Self::KnownAfter { .. }, _) => true,
            _ => false,
        }
    }
}

impl From<Check> for PlannedCheck {
    fn from(check: Check) -> Self {
        match check {
            Check::Satisfied { after } => Self::Satisfied { after },
            Check::Change { before, diff } => Self::Change { before, diff },
        }
    }
}

/// Why a plan cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two steps have one name.
    #[error("two steps are named `{0}`")]
    Duplicate(StepId),
    /// A step refers to one that is not in the plan.
    #[error("step `{step}` refers to the output of `{to}`, and no step has that name")]
    UnknownReference {
        /// The step that refers.
        step: StepId,
        /// What it refers to.
        to: StepId,
    },
    /// A step refers to one that does not come before it.
    #[error("step `{step}` refers to the output of `{to}`, which does not stand in an earlier stage")]
    LateReference {
        /// The step that refers.
        step: StepId,
        /// What it refers to.
        to: StepId,
    },
    /// A reference is malformed.
    #[error("step `{step}` has a malformed reference")]
    Malformed {
        /// The step.
        step: StepId,
        /// What is wrong with it.
        #[source]
        source: RefError,
    },
    /// A check was recorded for a step that is not in the plan.
    #[error("the plan holds a check of `{0}`, and no step has that name")]
    StrayCheck(StepId),
}

impl Plan {
    /// An empty plan, made now, under a new deployment id.
    pub fn new(operation: impl Into<String>, app: AppName, env: EnvName, tool: impl Into<String>) -> Self {
        Self {
            deployment: DeploymentId::generate(),
            operation: operation.into(),
            app,
            env,
            world: None,
            release: None,
            tool: tool.into(),
            config_hash: String::new(),
            created: Timestamp::now(),
            stages: Vec::new(),
            checks: BTreeMap::new(),
        }
    }

    /// With the environment's identity.
    #[must_use]
    pub fn world(mut self, world: World) -> Self {
        self.world = Some(world);
        self
    }

    /// With the release it makes or goes back to.
    #[must_use]
    pub fn release(mut self, release: ReleaseId) -> Self {
        self.release = Some(release);
        self
    }

    /// With the hash of the resolved configuration.
    #[must_use]
    pub fn config_hash(mut self, hash: impl Into<String>) -> Self {
        self.config_hash = hash.into();
        self
    }

    /// With one more stage; an empty one is left out.
    #[must_use]
    pub fn stage(mut self, title: impl Into<String>, steps: impl IntoIterator<Item = StepSpec>) -> Self {
        let steps: Vec<_> = steps.into_iter().collect();
        if !steps.is_empty() {
            self.stages.push(Stage {
                title: title.into(),
                steps,
            });
        }
        self
    }

    /// Every step, in order.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &StepSpec> {
        self.stages.iter().flat_map(|stage| &stage.steps)
    }

    /// The step of this name.
    pub fn step(&self, id: &StepId) -> Option<&StepSpec> {
        self.steps().find(|step| step.id == *id)
    }

    /// Whether anything would be done, as far as can be known.
    pub fn has_changes(&self) -> bool {
        self.steps()
            .any(|step| !matches!(self.checks.get(&step.id), Some(PlannedCheck::Satisfied { .. })))
    }

    /// Checks names and references.
    pub fn validate(&self) -> Result<(), PlanError> {
        let all: BTreeSet<&StepId> = self.steps().map(|step| &step.id).collect();
        let mut seen = BTreeSet::new();
        for stage in &self.stages {
            // Looked up before the stage's own names are added: a reference reaches earlier stages only.
            for step in &stage.steps {
                let references = step.refers_to().map_err(|source| PlanError::Malformed {
                    step: step.id.clone(),
                    source,
                })?;
                for to in references {
                    if !all.contains(&to) {
                        return Err(PlanError::UnknownReference {
                            step: step.id.clone(),
                            to,
                        });
                    }
                    if !seen.contains(&to) {
                        return Err(PlanError::LateReference {
                            step: step.id.clone(),
                            to,
                        });
                    }
                }
            }
            for step in &stage.steps {
                if !seen.insert(step.id.clone()) {
                    return Err(PlanError::Duplicate(step.id.clone()));
                }
            }
        }
        match self.checks.keys().find(|id| !all.contains(id)) {
            Some(stray) => Err(PlanError::StrayCheck(stray.clone())),
            None => Ok(()),
        }
    }
}

/// A plan as a store keeps it: text, and the digest that the journal's first entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPlan {
    /// Which deployment it is of.
    pub deployment: DeploymentId,
    /// The text, versioned.
    pub text: String,
}

impl StoredPlan {
    /// What a store keeps of this plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            deployment: plan.deployment,
            text: codec::encode("plan", plan),
        }
    }

    /// The plan itself.
    pub fn plan(&self) -> Result<Plan, DecodeError> {
        codec::decode("plan", &self.text)
    }

    /// The digest of the text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}
