//! What a step is told: who it is, which attempt this is, where its notes go, and when to stop early.
//!
//! Invariant: an idempotency token is a function of deployment, release, step and attempt alone: a repeated attempt
//! has another one, a repeated call of one attempt the same.

use nuages_model::{AppName, EnvName, Progress, ReleaseId, Sha256, World};
use tokio_util::sync::CancellationToken;

use crate::{DeploymentId, Plan, StepId};

/// What a step is told.
#[derive(Debug, Clone)]
pub struct StepContext {
    pub(crate) deployment: DeploymentId,
    pub(crate) release: Option<ReleaseId>,
    pub(crate) app: AppName,
    pub(crate) env: EnvName,
    pub(crate) world: Option<World>,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) progress: Progress,
    pub(crate) stop: CancellationToken,
}

impl StepContext {
    /// The context of this plan's step, for calling a step without a runner: in a test, or from a verb of its own.
    pub fn new(plan: &Plan, step: &StepId, attempt: u32, progress: Progress) -> Self {
        Self {
            deployment: plan.deployment,
            release: plan.release,
            app: plan.app.clone(),
            env: plan.env.clone(),
            world: plan.world,
            step: step.clone(),
            attempt,
            progress,
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn stopping_with(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// The run this is part of.
    pub fn deployment(&self) -> DeploymentId {
        self.deployment
    }

    /// The release that is made or gone back to.
    pub fn release(&self) -> Option<ReleaseId> {
        self.release
    }

    /// The application.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The environment.
    pub fn env(&self) -> &EnvName {
        &self.env
    }

    /// The environment's identity in the account.
    pub fn world(&self) -> Option<World> {
        self.world
    }

    /// This step's name.
    pub fn step(&self) -> &StepId {
        &self.step
    }

    /// Which attempt this is: 1 for the first; 0 in a check before any.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The idempotency token of this attempt: 32 hexadecimal digits, which fits ECS's `CreateService` (36 characters)
    /// and every longer limit.
    pub fn token(&self) -> String {
        self.token_for("")
    }

    /// A token for one of several calls of this attempt.
    pub fn token_for(&self, call: &str) -> String {
        let release = self.release.map(|release| release.to_string()).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(
            format!(
                "{}\n{release}\n{}\n{}\n{call}",
                self.deployment, self.step, self.attempt
            )
            .as_bytes(),
        );
        hash.finish().hex()[..32].to_owned()
    }

    /// Where the step's notes go.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether somebody asked to stop, or a sibling failed: a step that can stop early does, with an error.
    pub fn stop_requested(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until somebody asks to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}
