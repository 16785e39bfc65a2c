//! Emulators for tests: one of each kind, shared by every test of a run.
//!
//! Under `cargo xtask test` they are started once, and their addresses arrive in the environment ([`Kind::variable`]).
//! Under a bare `cargo test` the first test that asks starts one, behind a file lock, and the others find it; it outlives
//! the run, so that the next one is quick, and goes with the next sweep (`testkit sweep --dead`).
//!
//! Isolation. SDK calls are isolated by account: the access key is the account, and [`unique_account`] makes one up.
//! Where containers run (tasks, databases, pushes to the emulator's registry) the emulator knows its default account
//! only, [`Endpoint::account`]; there tests isolate by name, with [`unique_name`]. So every test may run beside every
//! other. An emulator's own default account is drawn when it starts: database containers are named by account, and two
//! emulators must never share them.
//!
//! A test that makes a local environment of its own, in a temporary folder, calls [`own`] on the folder: if the test is
//! killed before it cleans up, the next sweep takes the environment away.
//!
//! Invariant: every container and network that is started here carries [`OWNERS_LABEL`], which names the file that says
//! for whom it runs; what nobody runs for can be swept by anyone.

mod endpoint;
mod owners;
mod private;
mod start;
mod sweep;

pub use endpoint::{Endpoint, Kind, sdk_config, unique_account, unique_name};
pub use owners::{Owner, own, state_folder};
pub use private::Private;
pub use start::{StartError, start};
pub use sweep::{Sweep, sweep};

/// On every container and network of the tests: the path of the file that says for whom it runs.
pub const OWNERS_LABEL: &str = "nuages.test.owners";
/// On every container and network of the tests: the kind of emulator.
pub const KIND_LABEL: &str = "nuages.test";

/// The shared MiniStack: ECR, ECS, ELB, RDS.
///
/// ```no_run
/// # async fn example() {
/// use nuages_testkit::emulators::{ministack, sdk_config, unique_name};
/// let emulator = ministack().await;
/// let ecr = aws_sdk_ecr::Client::new(&sdk_config(&emulator, &emulator.account));
/// ecr.create_repository().repository_name(unique_name("blog")).send().await.unwrap();
/// # }
/// ```
///
/// # Panics
/// When there is none and none can be started: a test that cannot run fails, and says why.
pub async fn ministack() -> Endpoint {
    shared(Kind::MiniStack).await
}

/// The shared LocalStack: Secrets Manager, SSM, EC2, IAM, CloudFormation.
///
/// # Panics
/// When there is none and none can be started.
pub async fn localstack() -> Endpoint {
    shared(Kind::LocalStack).await
}

/// The shared PostgreSQL server. Make a database of your own in it, named by [`unique_name`].
///
/// # Panics
/// When there is none and none can be started.
pub async fn postgres() -> Endpoint {
    shared(Kind::Postgres).await
}

/// The shared plain OCI registry, on plain HTTP. Push under a repository named by [`unique_name`].
///
/// # Panics
/// When there is none and none can be started.
pub async fn registry() -> Endpoint {
    shared(Kind::Registry).await
}

async fn shared(kind: Kind) -> Endpoint {
    if let Some(endpoint) = Endpoint::from_env(kind) {
        return endpoint;
    }
    // The parent is the test runner: it lives as long as the run.
    match start(&[kind], &Owner::parent(), &state_folder()).await {
        Ok(mut endpoints) => endpoints.remove(0),
        Err(error) => panic!("this test needs {kind}, and {}", error.whole()),
    }
}
