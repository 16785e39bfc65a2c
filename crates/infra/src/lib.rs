//! One CloudFormation stack per environment: network, load balancer, cluster, registry, logs, roles, secrets, database.
//!
//! * [`StackSpec`] says what the environment is, [`Template::render`] makes the template of it, from types;
//! * [`Stack`] is the handle: [`plan`](Stack::plan) shows what would change and leaves nothing, [`up`](Stack::up) makes
//!   it so with live events and the first real cause of a failure, [`stand`](Stack::stand) makes one that is missing and
//!   leaves one that stands, [`down`](Stack::down) deletes it and says what is kept, [`drift`](Stack::drift) says what
//!   somebody changed behind its back;
//! * [`cost`] estimates a month; [`policies`] holds the IAM documents of who deploys, of CloudFormation, and of the
//!   boundary between them; [`Bootstrap`] puts them into an account, and [`bootstrapped`] finds them there;
//! * [`find_zone`] finds a domain's Route 53 zone, [`verify_task_roles`] what keeps tasks from starting as their roles.
//!
//! Invariant: what holds data (database, secrets, repository, network) is never removed or replaced unless it was named.
//! Services and task definitions are not in the stack: they belong to whoever deploys.
//!
//! ```no_run
//! use nuages_infra::{Stack, StackSpec};
//! use nuages_model::Progress;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example(aws: nuages_aws::AwsContext, spec: StackSpec) -> Result<(), nuages_infra::InfraError> {
//! let stack = Stack::new(&aws, &spec.app, &spec.env);
//! let up = stack.up(&spec, &Default::default(), &Progress::none(), &CancellationToken::new()).await?;
//! println!("push images to {}", up.outputs.repository_uri);
//! # Ok(())
//! # }
//! ```

mod bootstrap;
mod changes;
mod cost;
mod down;
mod drift;
mod emulated;
mod error;
mod events;
mod iam;
pub mod policies;
mod rights;
mod roles;
mod spec;
mod stack;
mod template;
mod up;
mod zone;

pub use bootstrap::{Bootstrap, Bootstrapped, Item, Standing, bootstrapped};
pub use changes::{Action, ChangeSetPlan, Replacement, ResourceChange};
pub use cost::{CostEstimate, CostLine, Dollars, cost};
pub use down::{DownOutcome, Retained};
pub use drift::{Difference, ResourceDrift};
pub use error::InfraError;
pub use events::Cause;
pub use roles::verify_task_roles;
pub use spec::{
    DatabaseSpec, Domain, Egress, Emulation, Exposure, ServiceSize, SpecError, StackSpec, WebSpec, stack_name,
};
pub use stack::{Stack, StackState};
pub use template::{DatabaseOutputs, OutputError, StackOutputs, Template, WebOutputs};
pub use up::{UpKind, UpOutcome};
pub use zone::find_zone;
