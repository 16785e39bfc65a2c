//! A network of its own with a throw-away PostgreSQL, and checks that run in it.
//!
//! Each check gets a database that no other saw. Durability is switched off, since nothing here outlives the checks.
//!
//! Invariant: nothing is published on the host's network, and nothing is left when the sandbox is closed or dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, ExecConfig, HostConfig, NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{CreateImageOptions, LogsOptions};
use futures_util::{StreamExt as _, TryStreamExt as _};
use nuages_model::{Digest, Progress};
use tokio_util::sync::CancellationToken;

use crate::container::{Container, RunOutcome, RunSpec, run_once};
use crate::error::engine_error;
use crate::{Engine, ImageError, owner};

/// The database's name in the sandbox's network.
const DATABASE_HOST: &str = "database";
const USER: &str = "nuages";
const READY_WITHIN: Duration = Duration::from_mins(2);

/// What a sandbox holds.
#[derive(Debug, Clone, Default)]
pub struct SandboxSpec {
    /// A PostgreSQL image laid out as the official one is, such as `postgres:17-alpine`.
    pub postgres: Option<String>,
    /// Labels for all that is started, on top of ours.
    pub labels: BTreeMap<String, String>,
}

/// A network, and perhaps a database in it.
///
/// ```no_run
/// use nuages_image::{Engine, RunSpec, Sandbox, SandboxSpec};
/// use nuages_model::Progress;
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), nuages_image::ImageError> {
/// let engine = Engine::connect().await?;
/// let spec = SandboxSpec { postgres: Some("postgres:17-alpine".into()), ..SandboxSpec::default() };
/// let (progress, cancel) = (Progress::none(), CancellationToken::new());
/// let sandbox = Sandbox::start(&engine, spec, &progress, &cancel).await?;
/// let mut check = RunSpec { image: "blog:test".into(), command: vec!["pytest".into()], ..RunSpec::default() };
/// if let Some(url) = sandbox.new_database().await? {
///     check.env.insert("DATABASE_URL".into(), url);
/// }
/// let outcome = sandbox.run(check, &progress, &cancel).await;
/// sandbox.close().await?;
/// assert!(outcome?.passed());
/// # Ok(())
/// # }
/// ```
pub struct Sandbox {
    engine: Engine,
    labels: BTreeMap<String, String>,
    network: Network,
    postgres: Option<Postgres>,
}

struct Postgres {
    container: Container,
    password: String,
    databases: AtomicU32,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("network", &self.network.name)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Makes the network, and waits until the database takes connections.
    pub async fn start(
        engine: &Engine,
        spec: SandboxSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Self, ImageError> {
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        // What a killed run left would only grow. It is in nobody's way, so neither is a sweep that fails.
        if let Err(error) = owner::sweep(engine).await {
            tracing::debug!(%error, "what earlier checks left could not be swept");
        }
        let mut sandbox = Self {
            engine: engine.clone(),
            labels: spec.labels.clone(),
            network: Network::create(engine, &spec.labels).await?,
            postgres: None,
        };
        let Some(image) = &spec.postgres else {
            return Ok(sandbox);
        };
        match sandbox.start_database(image, progress, cancel).await {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                // Awaited: what runs in the background ends with a process that has nothing else to do.
                if let Err(error) = sandbox.close().await {
                    tracing::warn!(%error, "a sandbox was left behind");
                }
                Err(error)
            }
        }
    }

    /// Whatever is asked of the engine to make is waited for, so that its name is known when it must go again.
    async fn start_database(
        &mut self,
        image: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), ImageError> {
        unless(cancel, ensure_image(&self.engine, image, progress)).await?;
        let made = Postgres::create(&self.engine, image, &self.network, &self.labels).await?;
        let postgres = self.postgres.insert(made);
        unless(cancel, postgres.is_ready(&self.engine, progress)).await
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network.name
    }

    /// Makes an empty database, and answers its URL as containers of this sandbox reach it. `None` without PostgreSQL.
    pub async fn new_database(&self) -> Result<Option<String>, ImageError> {
        let Some(postgres) = &self.postgres else {
            return Ok(None);
        };
        let name = format!("check_{}", postgres.databases.fetch_add(1, Ordering::Relaxed) + 1);
        let (code, output) = exec(
            &self.engine,
            &postgres.container.id,
            &["createdb", "-h", "127.0.0.1", "-U", USER, &name],
            &postgres.password,
        )
        .await?;
        if code != 0 {
            return Err(ImageError::Refused {
                what: "make a database for a check".into(),
                message: output.trim().to_owned(),
                status: None,
            });
        }
        Ok(Some(format!(
            "postgres://{USER}:{}@{DATABASE_HOST}:5432/{name}",
            postgres.password
        )))
    }

    /// Runs a command in a fresh container of this network.
    pub async fn run(
        &self,
        mut spec: RunSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<RunOutcome, ImageError> {
        spec.network = Some(self.network.name.clone());
        spec.labels.extend(self.labels.clone());
        run_once(&self.engine, &spec, progress, cancel).await
    }

    /// Removes the database and the network.
    pub async fn close(self) -> Result<(), ImageError> {
        if let Some(postgres) = self.postgres {
            postgres.container.remove().await?;
        }
        self.network.remove().await
    }
}

const START: &str = "start the checks' database";

fn cancelled() -> ImageError {
    ImageError::Cancelled { what: START.into() }
}

/// What leaves nothing of its own may be dropped half-way.
async fn unless<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, ImageError>>,
) -> Result<T, ImageError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(cancelled()),
        done = work => done,
    }
}

impl Postgres {
    async fn create(
        engine: &Engine,
        image: &str,
        network: &Network,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self, ImageError> {
        let password = Digest::of(unique().as_bytes()).hex()[..32].to_owned();
        let env = [
            ("POSTGRES_USER", USER),
            ("POSTGRES_PASSWORD", &password),
            ("POSTGRES_DB", USER),
        ];
        let command = [
            "postgres",
            "-c",
            "fsync=off",
            "-c",
            "synchronous_commit=off",
            "-c",
            "full_page_writes=off",
        ];
        let endpoint = EndpointSettings {
            aliases: Some(vec![DATABASE_HOST.into()]),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(command.map(str::to_owned).to_vec()),
            env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            labels: Some(owner::labels(labels)),
            host_config: Some(HostConfig {
                network_mode: Some(network.name.clone()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some([(network.name.clone(), endpoint)].into()),
            }),
            ..ContainerCreateBody::default()
        };
        Ok(Self {
            container: Container::create(engine, body, START).await?,
            password,
            databases: AtomicU32::new(0),
        })
    }

    /// Starts it, and waits until it takes connections.
    async fn is_ready(&self, engine: &Engine, progress: &Progress) -> Result<(), ImageError> {
        let Self {
            container, password, ..
        } = self;
        engine
            .docker()
            .start_container(&container.id, None)
            .await
            .map_err(engine_error(START))?;
        progress.status("waiting for the checks' database");
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            // Over TCP: while the image sets itself up its server listens at a socket alone.
            let ready = exec(
                engine,
                &container.id,
                &["pg_isready", "-q", "-h", "127.0.0.1", "-U", USER],
                password,
            )
            .await;
            if matches!(ready, Ok((0, _))) {
                progress.status("");
                return Ok(());
            }
            let state = engine
                .docker()
                .inspect_container(&container.id, None)
                .await
                .map_err(engine_error(START))?
                .state;
            if state.is_some_and(|state| state.running == Some(false)) {
                return Err(ImageError::Refused {
                    what: START.into(),
                    message: format!("its container ended: {}", last_lines(engine, &container.id).await),
                    status: None,
                });
            }
            if tokio::time::Instant::now() >= deadline {
                let tail = last_lines(engine, &container.id)
                    .await
                    .lines()
                    .map(str::to_owned)
                    .collect();
                return Err(ImageError::TimedOut {
                    what: START.into(),
                    limit: READY_WITHIN,
                    tail,
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn last_lines(engine: &Engine, id: &str) -> String {
    let how = LogsOptions {
        stdout: true,
        stderr: true,
        tail: "20".into(),
        ..Default::default()
    };
    let lines: Vec<String> = engine
        .docker()
        .logs(id, Some(how))
        .filter_map(|line| async move { line.ok().map(|line| line.to_string()) })
        .collect()
        .await;
    lines.concat().trim().to_owned()
}

/// Runs a command in a running container.
async fn exec(engine: &Engine, id: &str, command: &[&str], password: &str) -> Result<(i64, String), ImageError> {
    let what = || {
        format!(
            "run {} in the checks' database",
            command.first().copied().unwrap_or_default()
        )
    };
    let docker = engine.docker();
    let config = ExecConfig {
        cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
        env: Some(vec![format!("PGPASSWORD={password}")]),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(id, config).await.map_err(engine_error(what()))?;
    let mut text = String::new();
    if let StartExecResults::Attached { mut output, .. } =
        docker.start_exec(&exec.id, None).await.map_err(engine_error(what()))?
    {
        while let Some(chunk) = output.try_next().await.map_err(engine_error(what()))? {
            text.push_str(&chunk.to_string());
        }
    }
    let ended = docker.inspect_exec(&exec.id).await.map_err(engine_error(what()))?;
    Ok((ended.exit_code.unwrap_or(-1), text))
}

/// Pulls an image unless the engine has it.
///
/// ```no_run
/// # async fn example(engine: &nuages_image::Engine) -> Result<(), nuages_image::ImageError> {
/// nuages_image::ensure_image(engine, "postgres:17-alpine", &nuages_model::Progress::none()).await?;
/// # Ok(())
/// # }
/// ```
pub async fn ensure_image(engine: &Engine, image: &str, progress: &Progress) -> Result<(), ImageError> {
    match engine.docker().inspect_image(image).await {
        Ok(_) => return Ok(()),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {}
        Err(error) => return Err(engine_error(format!("inspect the image {image}"))(error)),
    }
    progress.status(format!("pulling {image}"));
    // Without a tag the engine would pull every one.
    let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|name| name.contains(':'));
    let asked = CreateImageOptions {
        from_image: Some(image.to_owned()),
        tag: (!tagged).then(|| "latest".to_owned()),
        ..Default::default()
    };
    let docker = engine.patient();
    let mut pull = docker.create_image(Some(asked), None, None);
    while let Some(step) = pull
        .try_next()
        .await
        .map_err(engine_error(format!("pull the image {image}")))?
    {
        if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
            return Err(ImageError::Refused {
                what: format!("pull the image {image}"),
                message: error,
                status: None,
            });
        }
        if let (Some(id), Some(detail)) = (step.id, step.progress_detail)
            && let (Some(current), total) = (detail.current, detail.total)
        {
            progress.bytes(id, current.unsigned_abs(), total.map(i64::unsigned_abs));
        }
    }
    Ok(())
}

/// A network that is removed when this is dropped.
struct Network {
    engine: Engine,
    name: String,
    removed: bool,
}

impl Network {
    async fn create(engine: &Engine, labels: &BTreeMap<String, String>) -> Result<Self, ImageError> {
        let name = format!("nuages-check-{}", Digest::of(unique().as_bytes()).short());
        let asked = NetworkCreateRequest {
            name: name.clone(),
            labels: Some(owner::labels(labels)),
            ..Default::default()
        };
        engine
            .docker()
            .create_network(asked)
            .await
            .map_err(engine_error("make a network for the checks"))?;
        Ok(Self {
            engine: engine.clone(),
            name,
            removed: false,
        })
    }

    async fn remove(mut self) -> Result<(), ImageError> {
        self.removed = true;
        remove_network(&self.engine, &self.name).await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let (engine, name) = (self.engine.clone(), self.name.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // The containers in it are on their way out, and it cannot go before them.
                for _ in 0..50 {
                    if remove_network(&engine, &name).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
    }
}

async fn remove_network(engine: &Engine, name: &str) -> Result<(), ImageError> {
    match engine.docker().remove_network(name).await {
        Ok(()) | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(engine_error("remove the checks' network")(error)),
    }
}

/// Text that nobody else has: the kernel's own random id where there is one.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "{random} {} {} {}",
        std::process::id(),
        since.as_nanos(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
