//! Starting an emulator through testcontainers, or finding the one that runs already.
//!
//! Invariant: at most one emulator of a kind runs per state folder, and its record is written before its container is
//! made, so that a starter that dies leaves nothing that cannot be attributed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuages_emulator::images::{self, ImageSet, Source};
use nuages_emulator::{EmulatorError, Engine, FileLock, health, ministack, network};
use nuages_model::Progress;
use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{IntoContainerPort, Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt, TestcontainersError};

use super::owners::Record;
use super::{Endpoint, KIND_LABEL, Kind, OWNERS_LABEL, Owner, Sweep, sweep, unique_account, unique_name};

/// The password of the shared PostgreSQL server.
pub(super) const PASSWORD: &str = "nuages";
/// LocalStack takes twenty seconds on two idle cores; tests start it while everything else is busy.
const START_LIMIT: Duration = Duration::from_mins(3);
const ALIVE_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no emulator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The engine, an image, or an emulator that never became healthy.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// testcontainers failed.
    #[error("failed to start {kind}")]
    Container {
        /// Which kind.
        kind: Kind,
        /// What it said.
        #[source]
        source: TestcontainersError,
    },
    /// The record could not be written.
    #[error("failed to write {}", path.display())]
    Record {
        /// Its file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// The whole chain and the hint, on one line, for a test's panic.
    pub fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        match self {
            Self::Emulator(error) => error
                .hint()
                .map_or(text.clone(), |hint| format!("{text} (hint: {hint})")),
            _ => text,
        }
    }
}

/// Brings up one emulator of each of these kinds for this owner, and answers where they are, in the same order.
///
/// ```no_run
/// # async fn example() -> Result<(), nuages_testkit::emulators::StartError> {
/// use nuages_testkit::emulators::{Kind, Owner, start, state_folder};
/// let found = start(&[Kind::MiniStack, Kind::LocalStack], &Owner::parent(), &state_folder()).await?;
/// assert_eq!(found[0].kind, Kind::MiniStack);
/// # Ok(()) }
/// ```
pub async fn start(kinds: &[Kind], owner: &Owner, folder: &Path) -> Result<Vec<Endpoint>, StartError> {
    let engine = Engine::connect().await?;
    let started = kinds.iter().map(|kind| start_one(&engine, *kind, owner, folder));
    futures_util::future::try_join_all(started).await
}

async fn start_one(engine: &Engine, kind: Kind, owner: &Owner, folder: &Path) -> Result<Endpoint, StartError> {
    let path = folder.join(format!("{}.json", kind.image()));
    let _lock = FileLock::take_at(path.with_extension("lock"), || {}).await?;
    let image = images::find(kind.image())?;
    let written = |source| StartError::Record {
        path: path.clone(),
        source,
    };
    if let Some(mut record) = Record::read(&path)
        && record.definition == image.hash()
        && let Some(endpoint) = record.endpoint.clone()
        && is_ready(engine, &record.name, &endpoint, ALIVE_LIMIT).await.is_ok()
    {
        record.add(owner);
        record.write(&path).map_err(written)?;
        return Ok(endpoint);
    }
    // Whatever an earlier run left under this record is of no use to anybody now.
    sweep(engine, &Sweep::Record(path.clone())).await?;
    sweep(engine, &Sweep::Dead).await?;
    let ask = Ask {
        kind,
        account: unique_account(),
        enforces_iam: false,
    };
    anew(engine, &ask, owner, &path).await
}

/// What to start.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) account: String,
    pub(super) enforces_iam: bool,
}

/// Starts a new one, and writes its record here.
pub(super) async fn anew(engine: &Engine, ask: &Ask, owner: &Owner, path: &Path) -> Result<Endpoint, StartError> {
    let kind = ask.kind;
    let written = |source| StartError::Record {
        path: path.to_owned(),
        source,
    };
    images::ensure(
        engine,
        &ImageSet::Only(vec![kind.image().to_owned()]),
        Source::Auto,
        &Progress::none(),
    )
    .await?;
    let name = unique_name(&format!("nuages-test-{}", kind.image()));
    let mut record = Record {
        name: name.clone(),
        endpoint: None,
        definition: images::find(kind.image())?.hash(),
        owners: vec![owner.clone()],
    };
    record.write(path).map_err(written)?;
    let port = run(engine, ask, &name, path).await?;
    let endpoint = Endpoint::new(kind, port, &ask.account);
    is_ready(engine, &name, &endpoint, START_LIMIT).await?;
    record.endpoint = Some(endpoint.clone());
    record.write(path).map_err(written)?;
    Ok(endpoint)
}

fn gateway(kind: Kind) -> u16 {
    match kind {
        Kind::MiniStack | Kind::LocalStack => ministack::PORT,
        Kind::Postgres => 5432,
        Kind::Registry => 5000,
    }
}

async fn is_ready(engine: &Engine, name: &str, endpoint: &Endpoint, limit: Duration) -> Result<(), EmulatorError> {
    let path = match endpoint.kind {
        Kind::MiniStack => ministack::HEALTH,
        Kind::LocalStack => "/_localstack/health",
        Kind::Registry => "/v2/",
        // It speaks no HTTP: testcontainers waited for its log, and what runs after that listens.
        Kind::Postgres => {
            let inspected = engine.docker().inspect_container(name, None).await.ok();
            let running = inspected.and_then(|found| found.state?.running).unwrap_or(false);
            return if running {
                Ok(())
            } else {
                let tail = health::log_tail(engine, name).await;
                Err(EmulatorError::Stopped {
                    what: name.to_owned(),
                    code: -1,
                    tail,
                })
            };
        }
    };
    health::wait(engine, name, endpoint.port, path, limit).await.map(drop)
}

/// Starts the container and answers the port it has on this machine.
async fn run(engine: &Engine, ask: &Ask, name: &str, record: &Path) -> Result<u16, StartError> {
    let kind = ask.kind;
    let labels = HashMap::from([
        (KIND_LABEL.to_owned(), kind.image().to_owned()),
        (OWNERS_LABEL.to_owned(), record.display().to_string()),
    ]);
    network::ensure(engine, name, labels.clone()).await?;
    let container = request(engine, ask, name)?
        .with_container_name(name)
        // An emulator finds itself by its host name, and its children are found by it.
        .with_hostname(name)
        .with_network(name)
        .with_labels(labels)
        .with_startup_timeout(START_LIMIT)
        .with_host_config_modifier(move |config| {
            let binding = PortBinding {
                host_ip: Some("127.0.0.1".into()),
                host_port: None,
            };
            let port = format!("{}/tcp", gateway(kind));
            config.port_bindings = Some(HashMap::from([(port, Some(vec![binding]))]));
            config.publish_all_ports = Some(false);
            config.extra_hosts = Some(vec!["host.docker.internal:host-gateway".into()]);
            config.security_opt = Some(vec!["label=disable".into()]);
        });
    let failed = |source| StartError::Container { kind, source };
    let container = container.start().await.map_err(failed)?;
    let port = container
        .get_host_port_ipv4(gateway(kind).tcp())
        .await
        .map_err(failed)?;
    // Dropping it would remove the container, which the other tests use: it goes with the sweep.
    std::mem::forget(container);
    Ok(port)
}

fn request(engine: &Engine, ask: &Ask, name: &str) -> Result<ContainerRequest<GenericImage>, EmulatorError> {
    let kind = ask.kind;
    let tag = images::find(kind.image())?.tag;
    let (repository, version) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
    let image = GenericImage::new(repository, version).with_exposed_port(gateway(kind).tcp());
    Ok(match kind {
        Kind::MiniStack => image
            .with_env_var("MINISTACK_ACCOUNT_ID", &ask.account)
            .with_env_var("AUTH", ask.enforces_iam.to_string())
            .with_env_var("MINISTACK_REGION", crate::aws::REGION)
            .with_env_var("DOCKER_NETWORK", name)
            .with_env_var("RDS_BASE_PORT", database_ports().to_string())
            .with_env_var("MINISTACK_DOCKER_TIMEOUT", "60")
            .with_env_var("SFTP_ENABLED", "0")
            .with_mount(Mount::bind_mount(
                engine.socket_to_mount().display().to_string(),
                "/var/run/docker.sock",
            )),
        Kind::LocalStack => image
            .with_env_var("GATEWAY_LISTEN", "0.0.0.0:4566")
            .with_env_var("SKIP_SSL_CERT_DOWNLOAD", "1"),
        // It listens on addresses only once it is set up.
        Kind::Postgres => image
            .with_wait_for(WaitFor::message_on_stderr("listening on IPv4 address \"0.0.0.0\""))
            .with_env_var("POSTGRES_PASSWORD", PASSWORD)
            .with_cmd(["postgres", "-c", "fsync=off", "-c", "max_connections=200"]),
        Kind::Registry => image.into(),
    })
}

/// Ports for database containers, apart from those of other emulators, which MiniStack cannot see from inside.
fn database_ports() -> u16 {
    let mut bytes = [0; 2];
    super::endpoint::fill(&mut bytes);
    30_000 + u16::from_be_bytes(bytes) % 25 * 100
}
