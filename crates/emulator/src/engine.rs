//! The Docker engine of this machine: where it listens, whether it answers, whether it is new enough.
//!
//! Invariant: an [`Engine`] answered once, speaks at least API 1.41, and has its API version negotiated.

use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};

use crate::EmulatorError;

/// The least API that works: Docker Engine 20.10.
const LEAST_API: (u32, u32) = (1, 41);
/// An image import and an orderly stop answer only when they are done.
const TIMEOUT_SECONDS: u64 = 600;
/// Where an engine listens inside its own machine, whatever the way from here to there.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// A Docker engine that answered.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: String,
    version: String,
    socket: Option<PathBuf>,
    in_vm: bool,
}

impl Engine {
    /// Finds the engine as the Docker command line does: `DOCKER_HOST`, then the current context, then the sockets of
    /// a system-wide, a rootless and a desktop installation.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
    /// let engine = nuages_emulator::Engine::connect().await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect() -> Result<Self, EmulatorError> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = env("HOME").map(PathBuf::from);
        let host = env("DOCKER_HOST")
            .or_else(|| {
                context_host(
                    env("DOCKER_CONTEXT"),
                    env("DOCKER_CONFIG").map(PathBuf::from),
                    home.as_deref(),
                )
            })
            .unwrap_or_else(|| default_host(env("XDG_RUNTIME_DIR").map(PathBuf::from), home.as_deref()));
        Self::connect_to(&host).await
    }

    /// Connects to the engine at this address: `unix:///path`, or `tcp://` on this machine.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
    /// let engine = nuages_emulator::Engine::connect_to("unix:///var/run/docker.sock").await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect_to(host: &str) -> Result<Self, EmulatorError> {
        let refused = |source| EmulatorError::NotRunning {
            host: host.to_owned(),
            source,
        };
        let (docker, socket) = if let Some(path) = host.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            probe(&path, host).await?;
            let docker = Docker::connect_with_unix(host, TIMEOUT_SECONDS, API_DEFAULT_VERSION);
            (docker, Some(path))
        } else if host.starts_with("tcp://") || host.starts_with("http://") {
            (
                Docker::connect_with_http(host, TIMEOUT_SECONDS, API_DEFAULT_VERSION),
                None,
            )
        } else if host.starts_with("npipe://") {
            (Docker::connect_with_local_defaults(), None)
        } else {
            return Err(EmulatorError::BadHost { host: host.to_owned() });
        };
        let docker = docker.map_err(|error| refused(error.into()))?;
        let docker = docker
            .negotiate_version()
            .await
            .map_err(|error| refused(error.into()))?;
        let version = docker.version().await.map_err(|error| refused(error.into()))?;
        let api = version.api_version.unwrap_or_default();
        let in_vm = version
            .platform
            .is_some_and(|platform| platform.name.contains("Docker Desktop"));
        let version = version.version.unwrap_or_default();
        if !new_enough(&api) {
            return Err(EmulatorError::TooOld { version, api });
        }
        Ok(Self {
            docker,
            host: host.to_owned(),
            version,
            socket,
            in_vm,
        })
    }

    /// The client, for calls that this crate has no function for.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The engine's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The address it was found at.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What to mount into a container that drives this engine. A desktop engine's socket lies inside its virtual
    /// machine, at the usual place, whatever path leads there from outside.
    pub fn socket_to_mount(&self) -> PathBuf {
        match &self.socket {
            Some(path) if !self.in_vm => path.clone(),
            _ => PathBuf::from(DEFAULT_SOCKET),
        }
    }

    /// Refuses an engine whose published ports are not on this machine.
    pub(crate) fn require_local(&self) -> Result<(), EmulatorError> {
        let Some(rest) = self
            .host
            .strip_prefix("tcp://")
            .or_else(|| self.host.strip_prefix("http://"))
        else {
            return Ok(());
        };
        let name = rest.rsplit_once(':').map_or(rest, |(name, _)| name);
        if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
            return Ok(());
        }
        Err(EmulatorError::Remote {
            host: self.host.clone(),
        })
    }
}

/// Opens the socket once, because the system's own words are better than any client's.
#[cfg(unix)]
async fn probe(path: &Path, host: &str) -> Result<(), EmulatorError> {
    use std::io::ErrorKind;
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => EmulatorError::NoSocket { path: path.to_owned() },
            ErrorKind::PermissionDenied => EmulatorError::Denied { path: path.to_owned() },
            _ => EmulatorError::NotRunning {
                host: host.to_owned(),
                source: error.into(),
            },
        }),
    }
}

#[cfg(not(unix))]
async fn probe(path: &Path, _host: &str) -> Result<(), EmulatorError> {
    Err(EmulatorError::NoSocket { path: path.to_owned() })
}

fn new_enough(api: &str) -> bool {
    let mut parts = api.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= LEAST_API,
        _ => false,
    }
}

/// The address in the current Docker context, where one is chosen.
fn context_host(chosen: Option<String>, config: Option<PathBuf>, home: Option<&Path>) -> Option<String> {
    let folder = config.or_else(|| home.map(|home| home.join(".docker")))?;
    let read = |path: PathBuf| -> Option<serde_json::Value> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    let name = match chosen {
        Some(name) => name,
        None => read(folder.join("config.json"))?
            .get("currentContext")?
            .as_str()?
            .to_owned(),
    };
    if name.is_empty() || name == "default" {
        return None;
    }
    let id = hex::encode(ring::digest::digest(&ring::digest::SHA256, name.as_bytes()));
    let meta = read(folder.join("contexts/meta").join(id).join("meta.json"))?;
    Some(meta.pointer("/Endpoints/docker/Host")?.as_str()?.to_owned())
}

fn default_host(runtime: Option<PathBuf>, home: Option<&Path>) -> String {
    if cfg!(windows) {
        return "npipe:////./pipe/docker_engine".to_owned();
    }
    let system = PathBuf::from(DEFAULT_SOCKET);
    let rootless = runtime.map(|folder| folder.join("docker.sock"));
    let desktop = home.map(|home| home.join(".docker/run/docker.sock"));
    let desktop_linux = home.map(|home| home.join(".docker/desktop/docker.sock"));
    let found = [Some(system.clone()), rootless, desktop, desktop_linux]
        .into_iter()
        .flatten()
        .find(|path| path.exists());
    format!("unix://{}", found.unwrap_or(system).display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(new_enough("1.41"));
        assert!(new_enough("1.100"));
        assert!(new_enough("2.0"));
        assert!(!new_enough("1.40"));
        assert!(!new_enough("1.5"));
        assert!(!new_enough(""));
    }

    #[test]
    fn the_current_context_names_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let id = hex::encode(ring::digest::digest(&ring::digest::SHA256, b"rootless"));
        let meta = folder.path().join("contexts/meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext": "rootless"}"#).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"rootless","Endpoints":{"docker":{"Host":"unix:///run/user/1000/docker.sock"}}}"#,
        )
        .unwrap();
        let config = Some(folder.path().to_owned());
        assert_eq!(
            context_host(None, config.clone(), None).as_deref(),
            Some("unix:///run/user/1000/docker.sock")
        );
        assert_eq!(context_host(Some("default".into()), config.clone(), None), None);
        assert_eq!(context_host(Some("missing".into()), config, None), None);
    }

    #[test]
    fn a_rootless_socket_is_found_where_there_is_no_other() {
        if Path::new(DEFAULT_SOCKET).exists() {
            let host = default_host(None, None);
            assert_eq!(host, format!("unix://{DEFAULT_SOCKET}"));
            return;
        }
        let runtime = tempfile::tempdir().unwrap();
        std::fs::write(runtime.path().join("docker.sock"), "").unwrap();
        let host = default_host(Some(runtime.path().to_owned()), None);
        assert_eq!(host, format!("unix://{}/docker.sock", runtime.path().display()));
    }
}
