//! Plan, run, resume and undo: a deployment as a journalled saga.
mod cancel;
mod codec;
mod context;
mod drive;
mod error;
mod events;
mod holder;
mod id;
mod journal;
mod lease;
pub mod memory;
mod output;
mod plan;
mod registry;
mod runner;
mod step;
mod store;
mod undo;

pub use cancel::{Cancel, Level};
pub use codec::DecodeError;
pub use context::StepContext;
pub use error::{ApplyError, Difference, ErrorReport, SagaError, StepError};
pub use events::{EVENT_VERSION, Event, EventKind, Events, MessageLevel, TaskId, TaskScope, TaskState};
pub use holder::Holder;
pub use id::{DeploymentId, IdError, StepId};
pub use journal::{
    End, Entry, Illegal, Journal, JournalEvent, Mode, Phase, StepEvent, StepRecord, StepState, UndoReason,
};
pub use lease::{Fence, Lease, LeaseGuard, LeaseTiming, Standing};
pub use output::{Outputs, RefError, output};
pub use plan::{Plan, PlanError, PlannedCheck, Stage, StepSpec, StoredPlan};
pub use registry::Registry;
pub use runner::{Failure, Outcome, Report, Runner, RunnerOptions, StuckStep};
pub use step::{Check, Observation, Reversal, Step, Typed, TypedCheck, TypedObservation, TypedStep};
pub use store::{JournalStore, StoreError, Summary};
