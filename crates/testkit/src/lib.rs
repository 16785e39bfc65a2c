//! Development only: what the tests of every nuages crate share.
//!
//! * [`account`]: all of AWS that a deployment asks for, as one world in the test's own process;
//! * [`http`]: an in-process HTTP server that a test scripts, and that records what it was asked;
//! * [`aws`]: an `AwsContext` for a fake or an emulator, with credentials that mean nothing;
//! * [`emulators`]: MiniStack, LocalStack, PostgreSQL and a registry, shared by every test of a run;
//! * [`fake_cloudformation`]: change sets, stacks and events in every state;
//! * [`fake_ecs`]: ECS, its load balancer and logs as a script says, for what no emulator does;
//! * [`fake_registry`] and [`fake_ecr`]: a registry, and Amazon's, in the test's own process;
//! * [`fake_secrets`]: Secrets Manager and Parameter Store in memory;
//! * [`faults`]: what loses, spoils, repeats, delays or outdates calls, before any of them;
//! * [`fuzz`]: how many random cases a test runs, and what spoils texts in them;
//! * [`identities`]: users of an emulator that enforces IAM;
//! * [`recording`]: what the tests ask of AWS, for the check against AWS's own models;
//! * [`snapshot`]: filters that make outputs comparable.
//!
//! Invariant: nothing here reaches a real AWS account: every context has an endpoint override.

pub mod account;
pub mod aws;
pub mod bench;
pub mod clock;
pub mod emulators;
pub mod fake_cloudformation;
pub mod fake_ecr;
pub mod fake_ecs;
pub mod fake_registry;
pub mod fake_secrets;
pub mod faults;
pub mod fuzz;
pub mod http;
pub mod identities;
pub mod package_locks;
pub mod recording;
mod relay;
pub mod snapshot;
