//! Makes plans, and drives them: forward, back, and on again after a crash.
//!
//! Invariant: `run`, `resume` and `abort` are one function that folds the journal and goes on from there. Nothing is
//! applied that was not written as an intent first, under a lease that is still ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;

use crate::cancel::{Cancel, Level};
use crate::context::StepContext;
use crate::drive::Drive;
use crate::entry::{JournalEvent, Mode, UndoReason};
use crate::error::{ErrorReport, SagaError, StepError};
use crate::events::TaskScope;
use crate::journal::{Journal, Phase};
use crate::lease::LeaseGuard;
use crate::output::{self, Outputs};
use crate::plan::{Plan, PlannedCheck, StepSpec, StoredPlan};
use crate::registry::Registry;
use crate::step::Check;
use crate::store::{JournalStore, StoreError};
use crate::{DeploymentId, StepId};

/// How long reads may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerOptions {
    /// For each check and each observation.
    pub read_deadline: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            read_deadline: Duration::from_mins(2),
        }
    }
}

/// Makes plans and drives them.
#[derive(Debug, Clone)]
pub struct Runner {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) tool: String,
    pub(crate) options: RunnerOptions,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Every step was applied.
    Finished,
    /// It was undone.
    Restored {
        /// The forward-only steps that stay applied.
        kept: Vec<StepId>,
        /// Why.
        reason: UndoReason,
        /// The step that failed, and its error; none, if somebody asked to stop.
        failure: Option<Failure>,
    },
    /// A person must act; `resume` goes on with the undo afterwards.
    Stuck {
        /// What could not be undone, and the commands that finish it.
        steps: Vec<StuckStep>,
        /// Why all was to be undone.
        reason: UndoReason,
        /// The step that failed first, and its error; none, if somebody asked to stop.
        failure: Option<Failure>,
    },
    /// It was left as it stands, for `resume` or `abort`.
    Detached,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which.
    pub step: StepId,
    /// Why.
    pub error: ErrorReport,
}

/// A step that a person must finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StuckStep {
    /// Which.
    pub step: StepId,
    /// Why.
    pub error: ErrorReport,
    /// The commands.
    pub by_hand: Vec<String>,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The plan, as it was stored.
    pub plan: Plan,
    /// How the run ended.
    pub outcome: Outcome,
    /// What the steps have given.
    pub outputs: Outputs,
}

impl Runner {
    /// One that runs these kinds of step over this store. `tool` is this build's version.
    pub fn new(registry: impl Into<Arc<Registry>>, store: Arc<dyn JournalStore>, tool: impl Into<String>) -> Self {
        Self {
            registry: registry.into(),
            store,
            tool: tool.into(),
            options: RunnerOptions::default(),
        }
    }

    /// With other deadlines.
    #[must_use]
    pub fn options(mut self, options: RunnerOptions) -> Self {
        self.options = options;
        self
    }

    /// Fills in what each step's check says. Reads only, stores nothing, and needs no lease.
    pub async fn plan(&self, mut plan: Plan, scope: &TaskScope) -> Result<Plan, SagaError> {
        plan.checks = BTreeMap::new();
        plan.validate()?;
        self.registry.accepts(&plan)?;
        for stage in &plan.stages {
            // What is satisfied has given its output already; what refers to anything else is known later.
            let given = satisfied(&plan.checks);
            let looks = stage.steps.iter().map(|spec| {
                let (given, plan) = (&given, &plan);
                async move {
                    let open: BTreeSet<StepId> = spec
                        .refers_to()
                        .map_err(|source| SagaError::Reference {
                            step: spec.id.clone(),
                            source,
                        })?
                        .into_iter()
                        .filter(|step| !given.contains_key(step))
                        .collect();
                    if !open.is_empty() {
                        return Ok((spec.id.clone(), PlannedCheck::KnownAfter { steps: open }));
                    }
                    let task = scope.child(format!("check/{}", spec.id), format!("Check: {}", spec.title));
                    match self.look(plan, spec, given, &task).await {
                        Ok(check) => {
                            match &check {
                                Check::Satisfied { .. } => task.unchanged(""),
                                Check::Change { .. } => task.done(""),
                            }
                            Ok((spec.id.clone(), check.into()))
                        }
                        Err(error) => {
                            task.failed(&error);
                            Err(error)
                        }
                    }
                }
            });
            let checks: Vec<(StepId, PlannedCheck)> = try_join_all(looks).await?;
            plan.checks.extend(checks);
        }
        Ok(plan)
    }

    /// Stores the plan and runs it.
    pub async fn run(
        &self,
        plan: &Plan,
        lease: &LeaseGuard,
        scope: &TaskScope,
        cancel: &Cancel,
    ) -> Result<Report, SagaError> {
        plan.validate()?;
        self.registry.accepts(plan)?;
        if let Some(open) = self.store.unfinished().await? {
            return Err(SagaError::Unfinished(open.deployment));
        }
        let stored = StoredPlan::of(plan);
        let first = Journal::new(plan.clone())
            .next(JournalEvent::Planned { plan: stored.digest() })
            .map_err(|source| SagaError::Journal {
                deployment: plan.deployment,
                source,
            })?;
        lease.confirm().await?;
        self.store.create(lease.fence(), lease.ttl(), &stored, &first).await?;
        self.go_on(plan.deployment, Mode::Run, lease, scope, cancel).await
    }

    /// Finishes an interrupted run from its stored plan: forward, or, where its undo has begun, back.
    pub async fn resume(
        &self,
        deployment: DeploymentId,
        lease: &LeaseGuard,
        scope: &TaskScope,
        cancel: &Cancel,
    ) -> Result<Report, SagaError> {
        self.go_on(deployment, Mode::Resume, lease, scope, cancel).await
    }

    /// Undoes an interrupted run from its stored plan.
    pub async fn abort(
        &self,
        deployment: DeploymentId,
        lease: &LeaseGuard,
        scope: &TaskScope,
        cancel: &Cancel,
    ) -> Result<Report, SagaError> {
        self.go_on(deployment, Mode::Abort, lease, scope, cancel).await
    }

    /// A deployment's plan and its journal, folded, for whoever shows it.
    pub async fn journal(&self, deployment: DeploymentId) -> Result<Journal, SagaError> {
        load(&*self.store, deployment).await
    }

    async fn go_on(
        &self,
        deployment: DeploymentId,
        mode: Mode,
        lease: &LeaseGuard,
        scope: &TaskScope,
        cancel: &Cancel,
    ) -> Result<Report, SagaError> {
        let journal = load(&*self.store, deployment).await?;
        if let Phase::Ended(_) = journal.phase() {
            return Err(SagaError::AlreadyEnded(deployment));
        }
        let plan = journal.plan().clone();
        self.registry.accepts(&plan)?;
        let drive = Drive::new(self, &plan, journal, lease, scope, cancel);
        let outcome = tokio::select! {
            biased;
            () = lease.lost() => return Err(SagaError::LeaseLost),
            () = cancel.at_least(Level::Detach) => Outcome::Detached,
            outcome = drive.go(mode) => outcome?,
        };
        let outputs = drive.outputs().await;
        Ok(Report { plan, outcome, outputs })
    }

    /// One check, within the time for reads.
    pub(crate) async fn look(
        &self,
        plan: &Plan,
        spec: &StepSpec,
        given: &Outputs,
        task: &TaskScope,
    ) -> Result<Check, SagaError> {
        let params = output::resolve(&spec.params, given).map_err(|source| SagaError::Reference {
            step: spec.id.clone(),
            source,
        })?;
        let step = self.registry.build(plan, spec, params)?;
        let cx = StepContext::new(plan, &spec.id, 0, task.progress());
        let seen = within(self.options.read_deadline, step.check(&cx)).await;
        seen.map_err(|source| SagaError::Check {
            step: spec.id.clone(),
            source,
        })
    }
}

/// The outputs of the steps that had nothing to do.
pub(crate) fn satisfied(checks: &BTreeMap<StepId, PlannedCheck>) -> Outputs {
    let after = |check: &PlannedCheck| match check {
        PlannedCheck::Satisfied { after } => Some(after.clone()),
        _ => None,
    };
    checks
        .iter()
        .filter_map(|(id, check)| Some((id.clone(), after(check)?)))
        .collect()
}

pub(crate) async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(StepError::message(format!(
            "there was no answer within {} s",
            deadline.as_secs()
        ))),
    }
}

async fn load(store: &dyn JournalStore, deployment: DeploymentId) -> Result<Journal, SagaError> {
    let decode = |source| SagaError::Decode { deployment, source };
    let (stored, entries) = match store.load(deployment).await {
        Ok(found) => found.ok_or(SagaError::NoSuchDeployment(deployment))?,
        Err(StoreError::Decode(source)) => return Err(decode(source)),
        Err(other) => return Err(other.into()),
    };
    let plan = stored.plan().map_err(decode)?;
    plan.validate()?;
    match entries.first().map(|entry| &entry.event) {
        Some(JournalEvent::Planned { plan }) if *plan == stored.digest() => {}
        _ => return Err(SagaError::PlanChanged(deployment)),
    }
    if plan.deployment != deployment {
        return Err(SagaError::PlanChanged(deployment));
    }
    Journal::fold(plan, &entries).map_err(|source| SagaError::Journal { deployment, source })
}
