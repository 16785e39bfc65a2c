//! The `nuages` command: deploys Django to AWS, and back again.
//!
//! Everything that it does is in the crate `nuages-pipeline`; here are its words: arguments, reports, signals, exit codes.
//!
//! Invariant: stdout carries data and stderr all else; every end has the exit code that the documentation gives it.

mod app;
mod args;
mod ask;
mod invocation;
mod outcome;
mod report;
mod screen;
mod signals;
mod timeline;
mod usage;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use nuages_pipeline::Ending;

use crate::args::Cli;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let cli = match read(&args) {
        Ok(cli) => cli,
        Err(error) => {
            invocation::remember(&args, None);
            return ExitCode::from(usage::tell(&error, &args).code());
        }
    };
    invocation::remember(&args, cli.verb.env());
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

/// The command line, with the words in its usage that the person typed.
fn read(args: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    if let Some(words) = invocation::called_as() {
        command = command.bin_name(words);
    }
    let read = command.clone().try_get_matches_from_mut(args);
    let mut matches = read.map_err(|error| {
        let mistake = error.use_stderr().then(|| without_surroundings(command.clone(), args));
        mistake.flatten().unwrap_or(error)
    })?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The same mistake, with a usage line of what was typed: what the surroundings say would stand there as if it were needed.
fn without_surroundings(command: clap::Command, args: &[OsString]) -> Option<clap::Error> {
    let typed = ["project", "store"].into_iter().fold(command, |command, name| {
        command.mut_arg(name, |option| option.env(None::<&'static str>))
    });
    typed.try_get_matches_from(args).err()
}
