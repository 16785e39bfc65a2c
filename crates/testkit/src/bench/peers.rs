//! The tools beside which nuages is measured.
//!
//! Invariant: where one is not installed its column stays empty.

use std::path::PathBuf;
use std::process::Command;

/// The region of an emulator's environment.
pub(super) const REGION: &str = "us-east-1";

/// The AWS CLI and ecs-deploy, in a Python environment of their own.
pub(super) struct Peers(Option<PathBuf>);

impl Peers {
    /// Those that `cargo xtask bench` installed.
    pub(super) fn here() -> Self {
        Self(std::env::var_os("NUAGES_BENCH_PEERS").map(PathBuf::from))
    }

    pub(super) fn command(&self, program: &str, args: &[&str]) -> Option<Command> {
        let path = self.0.as_ref()?.join(program);
        path.exists().then(|| {
            let mut command = Command::new(path);
            command.args(args);
            command
        })
    }

    /// A command that speaks to this endpoint.
    pub(super) fn at(&self, endpoint: &str, program: &str, args: &[&str]) -> Option<Command> {
        let mut command = self.command(program, args)?;
        command
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_DEFAULT_REGION", REGION);
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        Some(command)
    }
}
