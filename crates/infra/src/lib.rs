//! One CloudFormation stack per environment: template, change sets, events, teardown.

mod changes;
mod cost;
mod down;
mod drift;
mod emulated;
mod error;
mod events;
mod iam;
pub mod policies;
mod spec;
mod stack;
mod template;
mod up;

pub use changes::{Action, ChangeSetPlan, Replacement, ResourceChange};
pub use cost::{CostEstimate, CostLine, Dollars, cost};
pub use down::{DownOutcome, Retained};
pub use drift::{Difference, ResourceDrift};
pub use error::InfraError;
pub use events::Cause;
pub use spec::{
    DatabaseSpec, Domain, Egress, Emulation, Exposure, ServiceSize, SpecError, StackSpec, WebSpec, stack_name,
};
pub use stack::{Stack, StackState};
pub use template::{DatabaseOutputs, OutputError, StackOutputs, Template, WebOutputs};
pub use up::{UpKind, UpOutcome};
