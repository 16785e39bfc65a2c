//! Plan, run, resume and undo: a deployment as a journalled saga.
//!
//! A [`Plan`] is data: ordered [`Stage`]s of independent [`StepSpec`]s, each of a kind and version that a [`Registry`]
//! builds an acting [`Step`] from. A [`Runner`] checks it, stores it, and drives it forward; when a step fails, or
//! somebody asks to stop, it drives back, in reverse by stages. What happens is written into a journal, behind the port
//! [`JournalStore`], before and after it happens. A process that dies at any point leaves enough for another one to
//! [`resume`](Runner::resume) or [`abort`](Runner::abort), from the stored plan alone. This crate knows nothing of AWS
//! or Django.
//!
//! Invariant: nothing is applied that was not written as an intent first, under a lease that is still ours; and an
//! intent whose outcome was never written is looked at before anything else is done. So a deployment always ends
//! applied, or restored but for its forward-only steps, or stuck with the commands that finish it by hand.
//!
//! # What a step must promise
//!
//! | | reads only | may be repeated | note |
//! |---|---|---|---|
//! | [`check`](Step::check) | yes | yes | equal answers for an unchanged world: they are compared with the plan's |
//! | [`apply`](Step::apply) | no | as a new attempt, after `observe` said [`NotDone`](Observation::NotDone) | [`token`](StepContext::token) is the attempt's idempotency token |
//! | [`observe`](Step::observe) | yes | yes | says how far an `apply` came that nobody saw the end of |
//! | [`attach`](Step::attach) | yes | yes | follows what still runs; never starts a second |
//! | [`undo`](Step::undo) | no | yes | from any half-made state, and from one that is undone already |
//!
//! An error of `apply` is [`Clean`](ApplyError::Clean) where certainly nothing happened, and
//! [`Unknown`](ApplyError::Unknown) otherwise: then one look is taken whether the effect is there all the same, and if
//! not, the step is undone with the others. A [`ForwardOnly`](Reversal::ForwardOnly) step stays applied in an undo, and
//! the record says so; while it runs it is waited for.
//!
//! # Ending a run
//!
//! [`Cancel`] has two levels. [`Graceful`](Level::Graceful): the steps in hand end, or stop early where they heed
//! [`StepContext::stopped`], and all is undone. [`Detach`](Level::Detach): the run ends at once and leaves the journal as
//! it is, as a death would.
//!
//! # The lease
//!
//! [`LeaseGuard`] holds the environment for one process and renews itself. Every write carries its fencing token and is
//! refused when somebody else has taken over; an `apply` begins only within the lease's time, less a margin, of its
//! intent. What the target itself cannot refuse is the one call that was under way when a process was stopped.
//!
//! # Events
//!
//! [`Events`] is a tree of tasks for whoever shows progress, and the `--json` line format; phases around the saga use it
//! too.
//!
//! ```
//! use std::sync::Arc;
//! use nuages_saga::memory::MemoryStore;
//! use nuages_saga::{Cancel, Events, Holder, LeaseGuard, LeaseTiming, Outcome, Plan, Registry, Runner};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::new());
//! let runner = Runner::new(Registry::new(), store.clone(), "0.1.0");
//! let scope = Events::none().task("deploy", "Deploy");
//!
//! let plan = Plan::new("deploy", "blog".parse()?, "staging".parse()?, "0.1.0");
//! let plan = runner.plan(plan, &scope).await?;
//! let lease = LeaseGuard::acquire(store, Holder::here("deploy"), LeaseTiming::default()).await?;
//! let report = runner.run(&plan, &lease, &scope, &Cancel::new()).await?;
//! lease.release().await;
//! assert_eq!(report.outcome, Outcome::Finished);
//! # Ok(()) }
//! ```
//!
//! `examples/interrupted.rs` shows a step, a process that leaves in the middle, and the one that finishes.

mod cancel;
mod codec;
mod context;
mod drive;
mod entry;
mod error;
mod events;
mod hand;
mod history;
mod holder;
mod id;
mod journal;
mod lease;
pub mod memory;
mod moment;
mod output;
mod plan;
mod registry;
mod runner;
mod step;
mod store;
mod undo;
mod version;

pub use cancel::{Cancel, Level};
pub use codec::DecodeError;
pub use context::StepContext;
pub use entry::{End, Entry, JournalEvent, Mode, StepEvent, UndoReason};
pub use error::{ApplyError, Difference, ErrorReport, SagaError, StepError};
pub use events::{EVENT_VERSION, Event, EventKind, Events, MessageLevel, TaskId, TaskScope, TaskState};
pub use history::{Act, ActOutcome, History, Turn};
pub use holder::Holder;
pub use id::{DeploymentId, IdError, StepId};
pub use journal::{Illegal, Journal, Phase, StepRecord, StepState};
pub use lease::{Fence, Lease, LeaseGuard, LeaseTiming, Standing};
pub use moment::moment;
pub use output::{Outputs, RefError, output};
pub use plan::{Plan, PlanError, PlannedCheck, Stage, StepSpec, StoredPlan};
pub use registry::Registry;
pub use runner::{Failure, Outcome, Report, Runner, RunnerOptions, StuckStep};
pub use step::{Check, Observation, Reversal, Step, Typed, TypedCheck, TypedObservation, TypedStep};
pub use store::{JournalStore, StoreError, Summary};
pub use version::install;
