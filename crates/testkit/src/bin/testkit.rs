//! Starts the emulators of a test run and sweeps them: what `cargo xtask test` runs before and after the tests.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nuages_emulator::Engine;
use nuages_emulator::children::Removed;
use nuages_testkit::emulators::{Kind, Owner, StartError, Sweep, start, state_folder, sweep};

#[derive(Debug, Parser)]
#[command(name = "testkit", about = "Starts and sweeps the emulators of the tests")]
struct Arguments {
    /// Where the records of running emulators are kept; the target folder by default.
    #[arg(long, global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Starts emulators, or finds those that run, and prints their addresses as environment variables, one a line.
    Start {
        /// MiniStack: ECR, ECS, ELB, RDS.
        #[arg(long)]
        ministack: bool,
        /// LocalStack: Secrets Manager, SSM, EC2, IAM, CloudFormation.
        #[arg(long)]
        localstack: bool,
        /// A PostgreSQL server.
        #[arg(long)]
        postgres: bool,
        /// A plain OCI registry.
        #[arg(long)]
        registry: bool,
        /// The process for which they run; the one that called by default.
        #[arg(long, value_name = "PID")]
        owner: Option<u32>,
        /// Print one JSON object instead.
        #[arg(long)]
        json: bool,
    },
    /// Removes emulators and everything they started.
    Sweep {
        /// Those of this process, unless another living one uses them too.
        #[arg(long, value_name = "PID", group = "which")]
        owner: Option<u32>,
        /// Those whose owners are all dead.
        #[arg(long, group = "which")]
        dead: bool,
        /// Every emulator of every test on this machine.
        #[arg(long, group = "which")]
        all: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", error.whole()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), StartError> {
    let folder = arguments.state.unwrap_or_else(state_folder);
    match arguments.verb {
        Verb::Start {
            ministack,
            localstack,
            postgres,
            registry,
            owner,
            json,
        } => {
            let asked = [ministack, localstack, postgres, registry];
            let none = !asked.contains(&true);
            let kinds: Vec<_> = Kind::ALL
                .into_iter()
                .zip(asked)
                .filter(|(_, asked)| *asked || none)
                .collect();
            let kinds: Vec<_> = kinds.into_iter().map(|(kind, _)| kind).collect();
            let owner = owner.map_or_else(Owner::parent, Owner::of);
            let variables = start(&kinds, &owner, &folder)
                .await?
                .into_iter()
                .flat_map(|found| found.variables());
            if json {
                let object: serde_json::Map<_, _> = variables.map(|(name, value)| (name, value.into())).collect();
                print(&serde_json::Value::Object(object).to_string());
            } else {
                variables.for_each(|(name, value)| print(&format!("{name}={value}")));
            }
        }
        Verb::Sweep { owner, all, .. } => {
            let what = match owner {
                Some(pid) => Sweep::Owner(pid),
                None if all => Sweep::All,
                None => Sweep::Dead,
            };
            let engine = Engine::connect().await?;
            let removed = sweep(&engine, &what).await?;
            for name in names(&removed) {
                say(&format!("removed {name}"));
            }
        }
    }
    Ok(())
}

/// What was removed, each name once: an emulator's network is called as its container is.
fn names(removed: &Removed) -> BTreeSet<&str> {
    let all = removed
        .containers
        .iter()
        .chain(&removed.networks)
        .chain(&removed.volumes);
    all.map(String::as_str).collect()
}

#[expect(clippy::print_stdout, reason = "the data that was asked for")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the program's own output")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_alike_is_named_once() {
        let of = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let removed = Removed {
            containers: of(&["ministack-1", "postgres-1"]),
            networks: of(&["ministack-1"]),
            volumes: of(&["data-1"]),
        };
        assert_eq!(
            names(&removed).into_iter().collect::<Vec<_>>(),
            ["data-1", "ministack-1", "postgres-1"]
        );
    }
}
