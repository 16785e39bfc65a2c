//! Automation of the workspace. Verbs of the product run the `nuages` binary; contributors' verbs live here.
//!
//! Invariant: this crate builds in seconds and holds no logic of the product: it builds binaries and starts them.

mod bench;
mod board;
mod build;
mod images;
mod lint;
mod prepare;
mod product;
mod requests;
mod soak;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Automation of the nuages workspace. Any other verb is the nuages command's: `cargo xtask deploy --env local`; `cargo xtask
/// help` lists those.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes what the tests need, and runs every test
    Test {
        /// Only tests whose name contains this; emulators are started all the same
        filter: Option<String>,
        /// Leaves the emulators running, for the next run
        #[arg(long)]
        keep: bool,
    },
    /// Makes the container images that are missing: pulled where a registry can be reached, else built
    Images {
        /// Arguments of nuages-images, such as --list or --for test
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Format, clippy, rustdoc, licences, tidy, the stack's template, the workflows, the sample
    Lint {
        /// Only these checks
        only: Vec<String>,
    },
    /// Checks what no linter knows: forbidden words, file lengths, module docs
    Tidy,
    /// Measures, beside a peer in the same run
    Bench {
        /// The bench's name; without it, the list
        name: Option<String>,
    },
    /// Does over and over what the tests do a few times
    Soak {
        /// The soak's name; without it, the list
        name: Option<String>,
        /// How often
        #[arg(long)]
        count: Option<u32>,
        /// The seed of an earlier run, to do the same again
        #[arg(long)]
        seed: Option<u64>,
    },
    /// A verb of the nuages command
    #[command(external_subcommand)]
    Product(Vec<String>),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Test { filter, keep } => test::run(filter.as_deref(), keep),
        Verb::Images { args } => images::run(&args),
        Verb::Lint { only } => lint::run(&only),
        Verb::Tidy => tidy::run(),
        Verb::Bench { name } => bench::run(name.as_deref()),
        Verb::Soak { name, count, seed } => soak::run(name.as_deref(), count, seed),
        Verb::Product(args) => return product::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tools::say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn help_is_a_verb_of_the_product() {
        use clap::Parser as _;
        let line = ["cargo xtask", "help", "deploy"];
        let super::Verb::Product(args) = super::Cli::try_parse_from(line).unwrap().verb else {
            panic!("the product's verbs have another help")
        };
        assert_eq!(args, ["help", "deploy"]);
    }

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
