//! The steps of a deployment, as kinds that a stored plan names.
//!
//! Invariant: a step acts on its parameters and the account alone: never on `nuages.toml` or the working tree, which may
//! have changed by the time that somebody resumes. A change of a kind's meaning or parameters is a new version of it; a
//! parameter that is added, and without which the step means what it meant, has a default.

mod by_hand;
mod database;
mod definition;
mod release;
mod rollout;
mod service;
pub(crate) mod site;
mod smoke;
mod tag;

use std::sync::Arc;

use nuages_aws::AwsContext;
use nuages_ecs::EcsError;
use nuages_releases::EnvironmentStore;
use nuages_saga::{ApplyError, Fence, Registry, StepContext, StepError, Typed};
use tokio_util::sync::CancellationToken;

pub(crate) use by_hand::quoted;
pub(crate) use database::{MigrateOutput, MigrateParams};
pub(crate) use definition::DefinitionParams;
pub(crate) use release::{RecordParams, ReturnParams};
pub(crate) use rollout::{RolloutParams, RolloutService};
pub(crate) use service::ServiceParams;
pub(crate) use site::Site;
pub(crate) use smoke::SmokeParams;
pub(crate) use tag::TagParams;

/// Kind names, as plans write them.
pub mod kind {
    /// Registers a task definition.
    pub const DEFINITION: &str = "ecs.task-definition";
    /// Applies pending migrations in a one-off task.
    pub const MIGRATE: &str = "django.migrate";
    /// Makes or changes a service.
    pub const SERVICE: &str = "ecs.service";
    /// Waits until deployments have completed.
    pub const ROLLOUT: &str = "ecs.rollout";
    /// Asks the application for its pages.
    pub const SMOKE: &str = "http.smoke";
    /// Gives the image the release's tag.
    pub const TAG: &str = "ecr.tag";
    /// Records the release as the one that serves.
    pub const RECORD: &str = "release.record";
    /// Records that an older release serves again.
    pub const RETURN: &str = "release.return";
}

/// What steps act through.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) aws: AwsContext,
    pub(crate) store: EnvironmentStore,
    /// The lease's token; none where nothing is to be applied.
    pub(crate) fence: Option<Fence>,
}

/// The kinds that this build knows.
pub(crate) fn registry(tools: Tools) -> Registry {
    let tools = Arc::new(tools);
    let mut registry = Registry::new();
    macro_rules! add {
        ($kind:expr, $step:path) => {{
            let tools = Arc::clone(&tools);
            registry.add($kind, 1, move |params| Ok(Typed($step(Arc::clone(&tools), params))));
        }};
    }
    add!(kind::DEFINITION, definition::Definition);
    add!(kind::MIGRATE, database::Migrate);
    add!(kind::SERVICE, service::Service);
    add!(kind::ROLLOUT, rollout::Rollout);
    add!(kind::SMOKE, smoke::Smoke);
    add!(kind::TAG, tag::Tag);
    add!(kind::RECORD, release::Record);
    add!(kind::RETURN, release::Return);
    registry
}

/// An ECS error as a step's: with its hint, and `Clean` only where certainly nothing happened.
fn ecs_apply(error: EcsError) -> ApplyError {
    let clean = error.effect() == nuages_aws::Effect::None;
    let error = ecs_error(error);
    if clean {
        ApplyError::clean(error)
    } else {
        ApplyError::unknown(error)
    }
}

fn ecs_error(error: EcsError) -> StepError {
    let (hint, sentence) = (error.hint(), format!("failed to {error}"));
    let error = StepError::new(error).context(sentence);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A token that is cancelled when the step is asked to stop.
fn stop_token(cx: &StepContext) -> (CancellationToken, impl Drop) {
    struct Abort(tokio::task::JoinHandle<()>);
    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let (token, cx) = (CancellationToken::new(), cx.clone());
    let forward = token.clone();
    let task = tokio::spawn(async move {
        cx.stopped().await;
        forward.cancel();
    });
    (token, Abort(task))
}
