//! Everything that can go wrong between this machine and a running emulator.
//!
//! Invariant: a message completes "failed to …" or stands as one sentence; what to do next is in [`EmulatorError::hint`]
//! and never in the message.

use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as DockerError;

/// Why an image, a container or the engine itself is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// No socket where the engine should listen.
    #[error("no Docker engine: there is no socket at {}", path.display())]
    NoSocket {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The socket is there and nobody answers.
    #[error("the Docker engine at {host} does not answer")]
    NotRunning {
        /// Its address.
        host: String,
        /// What the connection attempt said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The socket belongs to somebody else.
    #[error("this user may not open the Docker engine's socket {}", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// What was in the emulator is gone.
    #[error("the local environment {what} is lost: {why}")]
    Lost {
        /// The container.
        what: String,
        /// What became of it.
        why: String,
    },
    /// The engine is older than what nuages needs.
    #[error("the Docker engine is too old: {version} speaks API {api}, and 20.10 (API 1.41) is the least that works")]
    TooOld {
        /// The engine's version.
        version: String,
        /// Its newest API.
        api: String,
    },
    /// An address of a kind that is not supported.
    #[error("the Docker engine's address {host} cannot be used")]
    BadHost {
        /// The address, as given.
        host: String,
    },
    /// The engine runs on another machine.
    #[error("the Docker engine at {host} is on another machine, and the local environment needs one on this machine")]
    Remote {
        /// The address.
        host: String,
    },
    /// The engine refused or failed a call.
    #[error("failed to {what}")]
    Engine {
        /// What was asked of it.
        what: String,
        /// Its answer.
        #[source]
        source: DockerError,
    },
    /// No image of this name is known here.
    #[error("no image is called {name}; there are {known}")]
    UnknownImage {
        /// The name asked for.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// An image can be neither pulled nor built on this machine.
    #[error("{image} cannot be pulled ({pull}), and this machine cannot build it: {why}")]
    NoWayToBuild {
        /// The image's name.
        image: String,
        /// Why it was not pulled.
        pull: String,
        /// Why it cannot be built.
        why: String,
        /// Whether this is a Debian or one of its family.
        debian: bool,
    },
    /// An image could not be pulled and building was not wanted.
    #[error("failed to pull {image}: {reason}")]
    Pull {
        /// The image's name.
        image: String,
        /// What the engine said.
        reason: String,
    },
    /// mmdebstrap ended badly.
    #[error("failed to make the base image: mmdebstrap ended with {status}:\n{tail}")]
    Bootstrap {
        /// How it ended.
        status: String,
        /// Its last lines.
        tail: String,
    },
    /// An image's build failed.
    #[error("failed to build {image}: {reason}\n{tail}")]
    Build {
        /// The image's name.
        image: String,
        /// The build's own error.
        reason: String,
        /// The last lines of its output.
        tail: String,
    },
    /// The disk is full.
    #[error("failed to {what}: the disk is full")]
    DiskFull {
        /// What was being written.
        what: String,
    },
    /// A container did not become healthy in time.
    #[error("{what} is not ready after {}s: {last}{}", waited.as_secs(), log_part(tail))]
    NotReady {
        /// Which one.
        what: String,
        /// How long was waited.
        waited: Duration,
        /// The last thing it said when asked.
        last: String,
        /// The last lines of its log.
        tail: String,
    },
    /// A container stopped while it was waited for.
    #[error("{what} stopped with exit code {code}{}", log_part(tail))]
    Stopped {
        /// Which one.
        what: String,
        /// Its exit code.
        code: i64,
        /// The last lines of its log.
        tail: String,
    },
    /// Every port that was tried is taken.
    #[error("no free port for the emulator: {first} and those after it are taken")]
    NoPort {
        /// The first one tried.
        first: u16,
    },
    /// Something of another kind stands under the emulator's name.
    #[error("a container named {name} exists and does not belong to nuages")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A file or a process of this machine.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

fn log_part(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; its last lines:\n{tail}")
    }
}

/// Said by the kernel through every layer above it, with no code that would survive the way.
const NO_SPACE: &str = "no space left on device";

impl EmulatorError {
    /// Wraps an engine's answer, telling a full disk from everything else.
    pub(crate) fn engine(what: impl Into<String>, source: DockerError) -> Self {
        let what = what.into();
        if source.to_string().to_lowercase().contains(NO_SPACE) {
            return Self::DiskFull { what };
        }
        Self::Engine { what, source }
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let what = what.into();
        if source.kind() == std::io::ErrorKind::StorageFull {
            return Self::DiskFull { what };
        }
        Self::Io { what, source }
    }

    /// A build's failure, telling a full disk from everything else.
    pub(crate) fn build(image: &str, reason: String, tail: String) -> Self {
        if reason.to_lowercase().contains(NO_SPACE) || tail.to_lowercase().contains(NO_SPACE) {
            return Self::DiskFull {
                what: format!("build {image}"),
            };
        }
        Self::Build {
            image: image.to_owned(),
            reason,
            tail,
        }
    }

    /// The next command, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSocket { .. } => {
                "install Docker Engine 20.10 or newer (on Debian: `sudo apt-get install docker.io`), or set DOCKER_HOST"
                    .into()
            }
            Self::NotRunning { .. } => "start it: `sudo systemctl start docker`".into(),
            Self::Denied { .. } => {
                "join the group that owns the socket and log in again: `sudo usermod -aG docker \"$USER\"`".into()
            }
            Self::TooOld { .. } => "upgrade Docker Engine to 20.10 or newer".into(),
            Self::BadHost { .. } => "set DOCKER_HOST to unix:///path/to/docker.sock, or unset it".into(),
            Self::Remote { .. } => "unset DOCKER_HOST, or choose a local context: `docker context use default`".into(),
            Self::NoWayToBuild { debian: true, .. } => {
                "`sudo apt-get install mmdebstrap debian-archive-keyring`, then run this again".into()
            }
            Self::NoWayToBuild { image, .. } => {
                format!(
                    "give the engine a registry that has {image} (`docker pull {image}`); only Debian and its family can build it"
                )
            }
            Self::Pull { image, .. } => format!("try `docker pull {image}`"),
            Self::Bootstrap { .. } => {
                "check that apt works on this machine (`sudo apt-get update`), and run this again".into()
            }
            Self::DiskFull { .. } => "make room, for example with `docker system prune`, and run this again".into(),
            Self::NameTaken { name } => format!("rename it: `docker rename {name} {name}-other`"),
            Self::UnknownImage { .. } => "list them: `cargo xtask images --list`".into(),
            Self::NoPort { .. } => "see who listens: `ss -ltnp`".into(),
            Self::NotReady { .. }
            | Self::Stopped { .. }
            | Self::Lost { .. }
            | Self::Engine { .. }
            | Self::Build { .. }
            | Self::Io { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = EmulatorError::engine(
            "import x",
            DockerError::DockerResponseServerError {
                status_code: 500,
                message: "write /var/lib/docker/tmp/1: no space left on device".into(),
            },
        );
        assert!(matches!(full, EmulatorError::DiskFull { .. }), "{full:?}");
        let full = EmulatorError::build(
            "x",
            "exit code: 1".into(),
            "ERROR: [Errno 28] No space left on device".into(),
        );
        assert!(full.hint().unwrap().contains("prune"));
        let other = EmulatorError::build("x", "exit code: 1".into(), "no such package".into());
        assert!(matches!(other, EmulatorError::Build { .. }));
    }

    #[test]
    fn building_is_hinted_at_only_where_it_is_possible() {
        let no_way = |debian| EmulatorError::NoWayToBuild {
            image: "a:1".into(),
            pull: "no route".into(),
            why: "mmdebstrap is not installed".into(),
            debian,
        };
        assert!(no_way(true).hint().unwrap().contains("apt-get install mmdebstrap"));
        assert!(no_way(false).hint().unwrap().contains("docker pull a:1"));
    }
}
