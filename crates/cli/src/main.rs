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
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;
use nuages_pipeline::Ending;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own code for a wrong argument is 2, which here means "the plan has changes".
            let code = if error.use_stderr() { Ending::BadInput.code() } else { 0 };
            // A reader that closed its pipe has seen enough.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::complain(&format!("error: failed to start: {error}"));
            return ExitCode::from(Ending::Failed.code());
        }
    };
    let ending = runtime.block_on(app::run(cli));
    // Threads that still read a terminal or a socket must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(ending.code())
}
