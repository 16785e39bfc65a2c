//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nuages_model::EnvName;
use nuages_pipeline::Place;

/// Deploys Django to AWS in one command, and back again in one.
#[derive(Debug, Parser)]
#[command(name = "nuages", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The project's folder; the nearest nuages.toml upward without it
    #[arg(long, global = true, env = "NUAGES_PROJECT", value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// Where releases, journals and the lease are kept; PROJECT/.nuages without it
    #[arg(long, global = true, env = "NUAGES_STORE", value_name = "PATH")]
    pub(crate) store: Option<PathBuf>,
    /// One JSON object a line on stdout, for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Problems and results alone
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    pub(crate) color: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// Which environment.
#[derive(Debug, Clone, Args)]
pub(crate) struct Env {
    /// The environment, as in [environments.NAME]
    #[arg(long, short, env = "NUAGES_ENV", value_name = "NAME")]
    pub(crate) env: EnvName,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Looks at a Django project and writes its nuages.toml
    Init {
        /// The folder with manage.py; that of --project, or this one, without it
        dir: Option<PathBuf>,
    },
    /// The whole way: environment, build, checks, push, migrations, rollout, smoke test, record
    Deploy {
        #[command(flatten)]
        env: Env,
        /// Deploys without the project's checks; the reason is recorded
        #[arg(long, value_name = "REASON")]
        skip_checks: Option<String>,
        /// Runs checks again that passed for the same image
        #[arg(long)]
        again: bool,
        /// Deploys although nothing changed
        #[arg(long)]
        force: bool,
        /// Allows the stack to destroy this resource although it holds data, by logical id
        #[arg(long, value_name = "RESOURCE")]
        allow_destroy: Vec<String>,
    },
    /// What deploy would do; leaves and pushes nothing; exit code 2 where there are changes
    Plan {
        #[command(flatten)]
        env: Env,
    },
    /// The preflight alone: every finding at once, with the identity that proved it
    Verify {
        #[command(flatten)]
        env: Env,
    },
    /// The project's own gates alone, in the image that would be deployed
    Check {
        #[command(flatten)]
        env: Env,
        /// Runs checks again that passed for the same image
        #[arg(long)]
        again: bool,
    },
    /// Goes back to the last healthy release
    Rollback {
        #[command(flatten)]
        env: Env,
        /// The release to go back to, such as v7
        #[arg(long, value_name = "RELEASE")]
        to: Option<String>,
        /// Goes back although migrations lie between: older code, newer schema
        #[arg(long)]
        code_only: bool,
    },
    /// Finishes an interrupted deployment, from its stored plan
    ///
    /// The plan says all that is to be done. With --store it needs no project: the records say which application,
    /// account and region it is.
    Resume {
        #[command(flatten)]
        env: Env,
        /// The deployment, or the beginning of its id, where a store has several
        deployment: Option<String>,
    },
    /// Undoes an interrupted deployment
    ///
    /// The plan says all that was done. With --store it needs no project: the records say which application, account
    /// and region it is.
    Abort {
        #[command(flatten)]
        env: Env,
        /// The deployment, or the beginning of its id, where a store has several
        deployment: Option<String>,
    },
    /// What was done in a deployment, step by step
    History {
        #[command(flatten)]
        env: Env,
        /// The deployment, or the beginning of its id; the latest without it
        deployment: Option<String>,
        /// Lists the deployments instead
        #[arg(long, conflicts_with_all = ["deployment", "page"])]
        list: bool,
        /// Also those in environments that are gone
        #[arg(long)]
        all: bool,
        /// Writes a timeline that a browser shows, too
        #[arg(long, value_name = "FILE.html")]
        page: Option<PathBuf>,
        /// Looks at so many of the latest
        #[arg(long, default_value = "100", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
    /// Who acts on an environment now
    Lease {
        #[command(subcommand)]
        verb: LeaseVerb,
    },
    /// Lists the releases of an environment
    Releases {
        #[command(flatten)]
        env: Env,
        /// Also those of environments that are gone
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, default_value = "20", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
    /// What serves now
    Status {
        #[command(flatten)]
        env: Env,
    },
    /// A service's log
    Logs {
        #[command(flatten)]
        env: Env,
        /// The service; the web service without it
        service: Option<String>,
        /// Goes on as lines come
        #[arg(long, short)]
        follow: bool,
        /// Since how long ago, such as 10m or 2h
        #[arg(long, default_value = "1h", value_name = "TIME")]
        since: String,
        /// The lines of one-off tasks instead: migrations and probes
        #[arg(long)]
        one_off: bool,
        /// Only lines that match this CloudWatch filter pattern
        #[arg(long, value_name = "PATTERN")]
        filter: Option<String>,
    },
    /// Builds the image, and nothing else
    Build {
        #[command(flatten)]
        env: Env,
    },
    /// Builds the image and pushes it
    Push {
        #[command(flatten)]
        env: Env,
    },
    /// Images by themselves: in a registry, a folder in OCI's layout, or the Docker engine
    ///
    /// An image is written HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR, oci:DIR:TAG or docker:NAME. Registries are
    /// used with the logins of `docker login` and `podman login`, Amazon ECR with those of AWS.
    Image {
        #[command(subcommand)]
        verb: ImageVerb,
    },
    /// The environment's stack
    Infra {
        #[command(subcommand)]
        verb: InfraVerb,
    },
    /// What is missing on this machine and in the accounts, with the command that mends it
    Doctor {
        /// Looks at this environment alone; an account that cannot be reached is then a failure, and else a warning
        #[arg(long, short, env = "NUAGES_ENV", value_name = "NAME")]
        env: Option<EnvName>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseVerb {
    /// Shows who holds the environment, and until when
    Show {
        #[command(flatten)]
        env: Env,
    },
    /// Takes the environment from a holder that cannot give it back
    Break {
        #[command(flatten)]
        env: Env,
        /// Answers the question
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// What an image says of itself: its digest, how it is run, how large it is
    Inspect {
        /// The image
        image: Place,
        /// Which one of an image for several platforms
        #[arg(long, value_name = "OS/ARCH", default_value = "linux/amd64")]
        platform: String,
    },
    /// Its layers, the lowest first: what made each, and how large it is
    Layers {
        /// The image
        image: Place,
        /// Which one of an image for several platforms
        #[arg(long, value_name = "OS/ARCH", default_value = "linux/amd64")]
        platform: String,
    },
    /// The bill of materials that belongs to an image of a registry, as JSON
    Sbom {
        /// The image
        image: Place,
    },
    /// Copies an image, with all its platforms; its digest stays, and what is there is not sent
    Copy {
        /// The image
        from: Place,
        /// Where it goes: a registry, or a folder in OCI's layout
        to: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum InfraVerb {
    /// What up would change; exit code 2 where there are changes
    Plan {
        #[command(flatten)]
        env: Env,
    },
    /// Makes or changes the stack
    Up {
        #[command(flatten)]
        env: Env,
        /// Allows the stack to destroy this resource although it holds data, by logical id
        #[arg(long, value_name = "RESOURCE")]
        allow_destroy: Vec<String>,
    },
    /// Deletes the environment; what holds data is kept, and named
    ///
    /// A local emulator whose project was moved or removed goes with `--project` and the folder that it was made for.
    Down {
        #[command(flatten)]
        env: Env,
        /// Takes down the local emulator that the project had under a former name instead
        #[arg(long, value_name = "NAME")]
        app: Option<String>,
        /// Answers the question
        #[arg(long)]
        yes: bool,
    },
    /// What differs between the stack and what is there
    Drift {
        #[command(flatten)]
        env: Env,
    },
    /// What the environment costs a month, estimated
    Cost {
        #[command(flatten)]
        env: Env,
    },
    /// Prints the roles and policies that an account needs before others than its administrator deploy to it
    Bootstrap {
        #[command(flatten)]
        env: Env,
        /// The GitHub repository that may deploy, OWNER/NAME
        #[arg(long, value_name = "REPOSITORY")]
        repository: Option<String>,
        /// Makes them, and changes those that differ
        #[arg(long)]
        apply: bool,
        /// Answers the question
        #[arg(long, requires = "apply")]
        yes: bool,
    },
}

/// What Ctrl-C can mean to a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// It begins nothing: it ends at once.
    Ends,
    /// It stops where nothing half-done is left.
    Stops,
    /// What it began to change is undone.
    Undoes,
}

impl Verb {
    /// What the first Ctrl-C asks of it.
    pub(crate) fn interrupted(&self) -> Interrupted {
        match self {
            Self::Init { .. }
            | Self::Verify { .. }
            | Self::History { .. }
            | Self::Lease { .. }
            | Self::Releases { .. }
            | Self::Status { .. }
            | Self::Logs { .. }
            | Self::Doctor { .. }
            | Self::Image { .. }
            | Self::Infra {
                verb: InfraVerb::Drift { .. } | InfraVerb::Cost { .. },
            } => Interrupted::Ends,
            Self::Plan { .. }
            | Self::Check { .. }
            | Self::Build { .. }
            | Self::Push { .. }
            | Self::Infra {
                verb:
                    InfraVerb::Plan { .. } | InfraVerb::Up { .. } | InfraVerb::Down { .. } | InfraVerb::Bootstrap { .. },
            } => Interrupted::Stops,
            Self::Deploy { .. } | Self::Rollback { .. } | Self::Resume { .. } | Self::Abort { .. } => {
                Interrupted::Undoes
            }
        }
    }

    /// The environment that a verb is about.
    pub(crate) fn env(&self) -> Option<&EnvName> {
        match self {
            Self::Init { .. } | Self::Image { .. } => None,
            Self::Doctor { env } => env.as_ref(),
            Self::Deploy { env, .. }
            | Self::Plan { env }
            | Self::Verify { env }
            | Self::Check { env, .. }
            | Self::Rollback { env, .. }
            | Self::Resume { env, .. }
            | Self::Abort { env, .. }
            | Self::History { env, .. }
            | Self::Lease {
                verb: LeaseVerb::Show { env } | LeaseVerb::Break { env, .. },
            }
            | Self::Releases { env, .. }
            | Self::Status { env }
            | Self::Logs { env, .. }
            | Self::Build { env }
            | Self::Push { env }
            | Self::Infra {
                verb:
                    InfraVerb::Plan { env }
                    | InfraVerb::Up { env, .. }
                    | InfraVerb::Down { env, .. }
                    | InfraVerb::Drift { env }
                    | InfraVerb::Cost { env }
                    | InfraVerb::Bootstrap { env, .. },
            } => Some(&env.env),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
