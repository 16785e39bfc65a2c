//! The `nuages` command: deploys Django to AWS, and back again.
//!
//! Everything that it does is in the crate `nuages-pipeline`; here are its words: arguments, reports, signals, exit codes.
//!
//! Invariant: stdout carries data and stderr all else; every end has the exit code that the documentation gives it.

mod app;
mod args;
mod ask;
mod outcome;
mod report;
mod screen;
mod signals;
mod timeline;
mod usage;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use nuages_pipeline::Ending;

use crate::args::Cli;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage::tell(&error, &args).code()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::complain(&format!("error: failed to start: {error}"));
            screen::show();
            return ExitCode::from(Ending::Failed.code());
        }
    };
    let ending = runtime.block_on(app::run(cli));
    // Threads that still read a terminal or a socket must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(ending.code())
}
