//! The connection to a Docker engine, and what that engine can do.
//!
//! Invariant: whoever holds an [`Engine`] talks to one that answered, is at least 20.10, and speaks the API version that
//! both sides know. The older side decides: this client knows 1.53, Docker 20.10 refuses above 1.41, and Docker 29
//! refuses below 1.44.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use serde::{Deserialize, Serialize};

use crate::{ImageError, error::engine_error};

/// The oldest API that is served: Docker 20.10's.
const OLDEST_API: (usize, usize) = (1, 41);

/// A build, an export and a test run may be silent for as long as they like; their callers have limits of their own.
const LONG: Duration = Duration::from_hours(6);

/// Why there is no usable Docker engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Nothing that looks like Docker is on this machine.
    #[error("failed to find a Docker engine: there is no socket {}, and no `docker` on PATH", socket.display())]
    NotInstalled {
        /// Where it was looked for.
        socket: PathBuf,
    },
    /// Docker is installed and its engine does not run.
    #[error("failed to reach the Docker engine at {host}: it is not running")]
    NotRunning {
        /// Where it was looked for.
        host: String,
        /// The cause, where there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The socket is there, and this user may not use it.
    #[error("failed to reach the Docker engine at {}: permission denied", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The engine is too old.
    #[error(
        "failed to use the Docker engine at {host}: it is {version} (API {api}), and 20.10 (API 1.41) is the oldest that works"
    )]
    TooOld {
        /// Where it answered.
        host: String,
        /// Its version.
        version: String,
        /// Its API version.
        api: String,
    },
    /// `DOCKER_HOST` or the Docker context names an address that cannot be used.
    #[error("failed to use the Docker address {host}: {why}")]
    BadHost {
        /// The address.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something answered, and not as Docker does.
    #[error("failed to speak with the Docker engine at {host}")]
    Protocol {
        /// The address.
        host: String,
        /// The cause.
        #[source]
        source: Box<bollard::errors::Error>,
    },
}

impl EngineError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NotInstalled { .. } => {
                "install Docker Engine 20.10 or newer (Debian and Ubuntu: `sudo apt-get install docker.io`), \
                 or set DOCKER_HOST to one that runs elsewhere"
                    .into()
            }
            Self::NotRunning { .. } if cfg!(target_os = "linux") => {
                "start it (`sudo systemctl start docker`), or set DOCKER_HOST if it listens elsewhere".into()
            }
            Self::NotRunning { .. } => {
                "start Docker Desktop, or set DOCKER_HOST if the engine listens elsewhere".into()
            }
            Self::Denied { .. } => {
                "add yourself to the `docker` group (`sudo usermod -aG docker $USER`), then log in again".into()
            }
            Self::TooOld { .. } => "update Docker Engine to 20.10 or newer".into(),
            Self::BadHost { .. } => {
                "set DOCKER_HOST to `unix:///PATH` or `tcp://HOST:PORT`, or choose a context with `docker context use`"
                    .into()
            }
            Self::Protocol { .. } => {
                "`docker version` shows what answers there; restart the engine and run again".into()
            }
        }
    }
}

/// What an engine is and can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// The engine's version, such as `28.2.2`.
    pub version: String,
    /// The API version that both sides speak, such as `1.41`.
    pub api: String,
    /// The storage driver, such as `overlay2`.
    pub storage_driver: String,
    /// Whether BuildKit is inside.
    pub buildkit: bool,
    /// Whether images are kept by containerd: their ids are then digests of manifests, not of configurations.
    pub containerd_store: bool,
    /// The engine's own platform, such as `linux/amd64`.
    pub platform: String,
}

/// A Docker engine that answered.
///
/// ```no_run
/// # async fn example() -> Result<(), nuages_image::ImageError> {
/// let engine = nuages_image::Engine::connect().await?;
/// println!("Docker {} on {}", engine.info().version, engine.host());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: String,
    info: EngineInfo,
}

impl Engine {
    /// Connects to the engine that the `docker` command would use: `DOCKER_HOST`, else the current context, else this
    /// system's own socket.
    pub async fn connect() -> Result<Self, ImageError> {
        let host = std::env::var("DOCKER_HOST")
            .ok()
            .filter(|host| !host.is_empty())
            .or_else(context_host);
        Self::connect_to(host.as_deref().unwrap_or(DEFAULT_HOST)).await
    }

    /// Connects to the engine at this address (`unix:///PATH`, `tcp://HOST:PORT`, `npipe://…`).
    pub async fn connect_to(host: &str) -> Result<Self, ImageError> {
        // TLS addresses need a provider of cryptography; whoever installed one first is kept.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some(socket) = host.strip_prefix("unix://") {
            probe_socket(Path::new(socket), host).await?;
        }
        let docker = Docker::connect_with_host(host)
            .map_err(|error| EngineError::BadHost {
                host: host.to_owned(),
                why: error.to_string(),
            })?
            .negotiate_version()
            .await
            .map_err(|error| unreachable_or_strange(host, error))?;
        let version = docker
            .version()
            .await
            .map_err(|error| unreachable_or_strange(host, error))?;
        let client = docker.client_version();
        let said = version.version.unwrap_or_default();
        if (client.major_version, client.minor_version) < OLDEST_API {
            let api = version.api_version.unwrap_or_default();
            return Err(EngineError::TooOld {
                host: host.to_owned(),
                version: said,
                api,
            }
            .into());
        }
        let details = docker
            .info()
            .await
            .map_err(engine_error("ask the Docker engine what it is"))?;
        let os = version.os.unwrap_or_else(|| "linux".into());
        let containerd_store = details.driver_status.iter().flatten().any(|pair| {
            pair.first().is_some_and(|k| k == "driver-type")
                && pair.get(1).is_some_and(|v| v.starts_with("io.containerd"))
        });
        let info = EngineInfo {
            version: said,
            api: format!("{}.{}", client.major_version, client.minor_version),
            storage_driver: details.driver.unwrap_or_else(|| "unknown".into()),
            // BuildKit has been in every Linux engine since 18.09; the Windows engine has the classic builder alone.
            buildkit: os == "linux",
            containerd_store,
            platform: format!("{os}/{}", version.arch.unwrap_or_else(|| "amd64".into())),
        };
        Ok(Self {
            docker,
            host: host.to_owned(),
            info,
        })
    }

    /// What it is and can do.
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Where it answers.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The client itself, for what this crate does not do.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// A client for requests that may be silent for long.
    pub(crate) fn patient(&self) -> Docker {
        self.docker.clone().with_timeout(LONG)
    }
}

#[cfg(unix)]
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
#[cfg(windows)]
const DEFAULT_HOST: &str = "npipe:////./pipe/docker_engine";

/// Asks the socket first: the errors of the HTTP client above it do not say what was wrong.
#[cfg(unix)]
async fn probe_socket(socket: &Path, host: &str) -> Result<(), EngineError> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            ErrorKind::PermissionDenied => EngineError::Denied {
                socket: socket.to_owned(),
                source: error,
            },
            ErrorKind::NotFound if !on_path("docker") && !on_path("dockerd") => EngineError::NotInstalled {
                socket: socket.to_owned(),
            },
            _ => EngineError::NotRunning {
                host: host.to_owned(),
                source: Some(error),
            },
        }),
    }
}

#[cfg(not(unix))]
async fn probe_socket(_socket: &Path, host: &str) -> Result<(), EngineError> {
    Err(EngineError::BadHost {
        host: host.to_owned(),
        why: "this system has no Unix sockets".into(),
    })
}

#[cfg(unix)]
fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn unreachable_or_strange(host: &str, error: bollard::errors::Error) -> EngineError {
    if matches!(error, bollard::errors::Error::RequestTimeoutError) {
        return EngineError::NotRunning {
            host: host.to_owned(),
            source: Some(ErrorKind::TimedOut.into()),
        };
    }
    // The HTTP client wraps the operating system's answer several times.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::NotFound | ErrorKind::TimedOut
            )
        {
            return EngineError::NotRunning {
                host: host.to_owned(),
                source: Some(io.kind().into()),
            };
        }
        cause = current.source();
    }
    EngineError::Protocol {
        host: host.to_owned(),
        source: Box::new(error),
    }
}

/// The address of the Docker context in use, unless that is the default one. A context that cannot be read counts as none,
/// as the `docker` command's own default does.
fn context_host() -> Option<String> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir()?.join(".docker"),
    };
    let named = std::env::var("DOCKER_CONTEXT").ok().filter(|name| !name.is_empty());
    let name = named.or_else(|| {
        let config = std::fs::read(folder.join("config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_slice(&config).ok()?;
        config.get("currentContext")?.as_str().map(str::to_owned)
    })?;
    if name == "default" {
        return None;
    }
    host_of_context(&folder, &name)
}

fn host_of_context(folder: &Path, name: &str) -> Option<String> {
    // A context is kept under the SHA-256 of its name.
    let id = nuages_model::Digest::of(name.as_bytes());
    let meta = folder.join("contexts/meta").join(id.hex()).join("meta.json");
    let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(meta).ok()?).ok()?;
    meta.pointer("/Endpoints/docker/Host")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_in_use_names_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let id = nuages_model::Digest::of(b"colima");
        let meta = folder.path().join("contexts/meta").join(id.hex());
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"colima","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///home/u/.colima/docker.sock","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        assert_eq!(
            host_of_context(folder.path(), "colima").as_deref(),
            Some("unix:///home/u/.colima/docker.sock")
        );
        assert_eq!(host_of_context(folder.path(), "other"), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn says_what_is_wrong_with_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let host = format!("unix://{}", socket.display());
        let error = Engine::connect_to(&host).await.unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::Engine(EngineError::NotRunning { .. } | EngineError::NotInstalled { .. })
            ),
            "{error}"
        );

        // A socket that nobody listens at any more.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = Engine::connect_to(&host).await.unwrap_err();
        assert!(
            matches!(error, ImageError::Engine(EngineError::NotRunning { .. })),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("start"));

        let error = Engine::connect_to("gopher://x").await.unwrap_err();
        assert!(
            matches!(error, ImageError::Engine(EngineError::BadHost { .. })),
            "{error}"
        );
        let error = Engine::connect_to("tcp://127.0.0.1:1").await.unwrap_err();
        assert!(
            matches!(error, ImageError::Engine(EngineError::NotRunning { .. })),
            "{error}"
        );
    }
}
