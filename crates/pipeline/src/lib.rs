//! From a `nuages.toml` to a healthy release, and back: what joins the adapters into one deployment.
//!
//! [`Session`] is a project's environment, connected and proven. On it stand the verbs: [`deploy`], [`plan`],
//! [`verify`], [`check`], [`rollback`], [`status`], [`infra_up`]; [`resume`] and [`abort`] need its [`Environment`] alone,
//! which a store has records of. A deployment's writes to what serves are steps of a saga ([`steps`]); what comes before
//! (secrets, a missing stack, build, checks, push) is content-addressed and leaves the serving release alone.
//!
//! Invariant: the plan that is shown is the plan that is stored and run; nothing else touches what serves, but a change of
//! the stack that it stands on, which waits for build, checks and push and is told where the deployment fails after it.
//!
//! ```no_run
//! use nuages_pipeline::{DeployOptions, OpenOptions, Session, Ui, deploy};
//!
//! # async fn example() -> Result<(), nuages_pipeline::PipelineError> {
//! let project = nuages_config::Project::find(std::path::Path::new("."))?;
//! let ui = Ui::silent();
//! let session = Session::open(&project, &OpenOptions::new("local".parse().expect("a name")), &ui).await?;
//! let deployed = deploy(&session, &DeployOptions::default(), &ui).await?;
//! println!("{:?}", deployed.url);
//! # Ok(())
//! # }
//! ```

mod bootstrap;
mod build;
mod checks;
mod deploy;
mod deploy_plan;
mod doctor;
mod down;
#[cfg(test)]
mod enumerated;
mod environment;
mod error;
mod fingerprint;
mod finish;
mod ground;
mod images;
mod infra;
mod inputs;
mod layout;
mod left_behind;
mod left_checks;
mod live;
mod local_database;
mod parts;
mod plan;
mod preflight;
mod probe;
mod recorded;
mod records;
mod resume;
mod rollback;
mod run;
mod schema;
mod secrets;
mod session;
mod stack;
mod status;
pub mod steps;
mod tests_ran;
mod tree;
mod ui;

pub use bootstrap::{bootstrap_applies, bootstrap_apply, bootstrap_look, infra_bootstrap};
pub use build::{BuiltImage, PushedImage, build, bytes, push};
pub use checks::{CheckOptions, check};
pub use deploy::{DeployOptions, Deployed, deploy};
pub use doctor::{DoctorFinding, DoctorOptions, doctor};
pub use down::infra_down;
pub use environment::Environment;
pub use error::{Ending, PipelineError, ReportedError};
pub use images::{Place, PlaceError, copy_image, image_facts, image_sbom};
pub use infra::{infra_cost, infra_drift, infra_plan, infra_up};
pub use left_behind::{LeftBehind, left_behind, left_behind_in, remove_left_behind};
pub use live::{OTHER_STORE, Unrecorded, sentence, serving_now};
pub use plan::{Planned, plan};
pub use preflight::verify;
pub use records::Records;
pub use resume::{Ended, abort, resume};
pub use rollback::{RollbackOptions, rollback};
pub use session::{Absent, LocalEndpoint, OpenOptions, Session, TOOL_VERSION};
pub use status::{EnvironmentStatus, LogsOptions, UnderWay, logged_service, logs, status};
pub use tree::look as look_at_tree;
pub use ui::Ui;
