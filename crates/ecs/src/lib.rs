//! ECS on Fargate: task definitions, services, one-off tasks, rollouts and why they fail.
//!
//! * [`TaskDefinitionSpec`] → [`Cluster::register`]: images pinned by digest, an identical definition found instead of
//!   registered again, [`Cluster::diff`] without noise;
//! * [`ServiceSpec`] → [`Cluster::apply`], [`Cluster::restore`], [`Cluster::scale`], [`Cluster::delete`]: each reads
//!   before it writes, and answers what an undo needs;
//! * [`Cluster::follow`]: several deployments at once, by their ids, stopped at the first cause that will not go away
//!   and explained as one [`Diagnosis`];
//! * [`EcsTaskRunner`]: one-off tasks with their real exit codes and their log;
//! * [`Cluster::status`], [`Cluster::follow_logs`], [`Cluster::preflight`], [`Cluster::drain_and_delete`].
//!
//! Invariant: the identity of a rollout is the deployment's id. Success is never concluded from anything else, and
//! nothing is repeated before its effect was looked for.
//!
//! ```no_run
//! use nuages_ecs::{Cluster, Patience, RolloutOutcome, ServiceSpec, TaskDefinitionSpec, Watched};
//! use std::time::Duration;
//!
//! # async fn example(aws: nuages_aws::AwsContext, definition: TaskDefinitionSpec, mut service: ServiceSpec)
//! # -> Result<(), nuages_ecs::EcsError> {
//! let cluster = Cluster::new(&aws, "blog-staging");
//! let patience = Patience {
//!     timeout: Duration::from_secs(900),
//!     cancel: &Default::default(),
//!     progress: &Default::default(),
//! };
//! let registered = cluster.register(&definition).await?;
//! service.settings.task_definition = registered.arn.to_string();
//! let change = cluster.apply(&service, "01k6h2-web-1", patience).await?;
//! let outcome = cluster.follow(&[Watched::new(&change, "web", None)], patience).await?;
//! if !matches!(outcome, RolloutOutcome::Healthy { .. }) {
//!     cluster.restore(&service.name, change.previous.as_ref(), patience).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod clues;
mod cluster;
mod definition;
mod diagnosis;
mod diff;
mod drain;
mod error;
mod explain;
mod fargate;
mod health;
mod judge;
mod logs;
mod placement;
mod preflight;
mod register;
mod rollout;
mod run;
mod service;
mod state;
mod status;
mod task;

pub use cluster::{Cluster, Patience};
pub use definition::{
    CONTENT_TAG, ContainerHealth, ContainerSpec, DefinitionError, LogTarget, PinnedImage, Platform, TaskDefinitionSpec,
};
pub use diagnosis::{Cause, Diagnosis, Evidence, diagnose};
pub use diff::{DefinitionDiff, FieldChange, diff};
pub use drain::Drained;
pub use error::EcsError;
pub use fargate::fargate_memory;
pub use health::TargetState;
pub use logs::{LogLine, LogQuery};
pub use placement::Placement;
pub use preflight::Preflight;
pub use register::Registered;
pub use rollout::{RolloutOutcome, Watched};
pub use run::EcsTaskRunner;
pub use service::{Applied, PreviousService, Restored, ServiceChange, ServiceSpec};
pub use state::{
    Breaker, DeploymentState, EventLine, LoadBalancerTarget, ServiceSettings, ServiceState, ServiceStatus,
};
pub use status::ServiceSummary;
pub use task::TaskState;
