//! The emulator's container: how it is made, started and stopped.
//!
//! Invariant: its ports, and those of everything it starts, are published on this machine's loopback address only.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};

use bollard::errors::Error as DockerError;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, HostConfig,
    NetworkingConfig, PortBinding, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    StopContainerOptionsBuilder,
};

use super::{LOCAL_LABEL, LocalSettings};
use crate::{EmulatorError, Engine, children, ministack, network};

/// The account the emulator was made for.
pub(super) const ACCOUNT_LABEL: &str = "nuages.local.account";
/// The region it was made for.
pub(super) const REGION_LABEL: &str = "nuages.local.region";
/// The version of MiniStack in it.
pub(super) const VERSION_LABEL: &str = "nuages.local.version";
const APP_LABEL: &str = "nuages.local.app";
const PROJECT_LABEL: &str = "nuages.local.project";
const ENV_LABEL: &str = "nuages.local.env";

/// Ports tried one after the other before the engine chooses one.
const PORTS_TRIED: u16 = 20;
/// Writing the state takes time where images are in it.
const STOP_SECONDS: i32 = 60;
/// Where the volume is mounted.
const STATE: &str = "/var/lib/ministack";

pub(super) async fn inspect(
    engine: &Engine,
    settings: &LocalSettings,
) -> Result<Option<ContainerInspectResponse>, EmulatorError> {
    let name = settings.name();
    let inspected = match engine.docker().inspect_container(&name, None).await {
        Ok(inspected) => inspected,
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        Err(source) => return Err(EmulatorError::engine(format!("look for the container {name}"), source)),
    };
    let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
    if labels.and_then(|labels| labels.get(LOCAL_LABEL)) != Some(&settings.key()) {
        return Err(EmulatorError::NameTaken { name });
    }
    Ok(Some(inspected))
}

/// The settings that stand on the containers, networks and volumes of local environments.
pub(super) async fn list(engine: &Engine) -> Result<Vec<LocalSettings>, EmulatorError> {
    let filters = HashMap::from([("label", vec![LOCAL_LABEL])]);
    let containers = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let containers = engine.docker().list_containers(Some(containers)).await;
    let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let networks = engine.docker().list_networks(Some(networks)).await;
    let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let volumes = engine.docker().list_volumes(Some(volumes)).await;
    let failed = |source| EmulatorError::engine("list local environments", source);
    let containers = containers.map_err(failed)?.into_iter().filter_map(|found| found.labels);
    let networks = networks.map_err(failed)?.into_iter().filter_map(|found| found.labels);
    let volumes = volumes.map_err(failed)?.volumes.into_iter().flatten();
    let mut all: Vec<_> = containers
        .chain(networks)
        .chain(volumes.map(|found| found.labels))
        .filter_map(|labels| settings(&labels))
        .collect();
    all.sort_by_key(LocalSettings::name);
    all.dedup_by_key(|settings| settings.name());
    Ok(all)
}

/// Reads back what [`labels`] wrote.
fn settings(labels: &HashMap<String, String>) -> Option<LocalSettings> {
    let label = |name: &str| labels.get(name).cloned();
    let settings = LocalSettings {
        app: label(APP_LABEL)?,
        project: label(PROJECT_LABEL)?.into(),
        env: label(ENV_LABEL),
        account: label(ACCOUNT_LABEL)?,
        region: label(REGION_LABEL)?,
        preferred_port: ministack::PORT,
    };
    (label(LOCAL_LABEL)? == settings.key()).then_some(settings)
}

/// The host port its gateway is bound to, running or not.
pub(super) fn published_port(inspected: &ContainerInspectResponse) -> Option<u16> {
    let port = format!("{}/tcp", ministack::PORT);
    // What is bound now, or else what was asked for: the engine may have chosen the number.
    let bound = inspected
        .network_settings
        .as_ref()
        .and_then(|settings| settings.ports.as_ref());
    let asked = inspected
        .host_config
        .as_ref()
        .and_then(|config| config.port_bindings.as_ref());
    [bound, asked].into_iter().flatten().find_map(|ports| {
        let bindings = ports.get(&port)?.as_ref()?;
        bindings
            .iter()
            .find_map(|binding| binding.host_port.as_ref()?.parse().ok())
    })
}

/// What tells one run of the container from the next.
pub(super) fn run_of(inspected: &ContainerInspectResponse) -> String {
    let started = inspected
        .state
        .as_ref()
        .and_then(|state| state.started_at.clone())
        .unwrap_or_default();
    format!("{} {started}", inspected.id.as_deref().unwrap_or_default())
}

/// Makes the network, the volume and the container where they are missing, starts it on a free port, and answers which.
pub(super) async fn create(engine: &Engine, settings: &LocalSettings) -> Result<u16, EmulatorError> {
    network::ensure(engine, &settings.name(), labels(settings)).await?;
    ensure_volume(engine, settings).await?;
    let first = settings.preferred_port;
    for candidate in (first..=first.saturating_add(PORTS_TRIED)).chain([0]) {
        if candidate != 0 && !is_free(candidate) {
            continue;
        }
        create_container(engine, settings, candidate).await?;
        match start(engine, settings).await {
            Ok(()) => {
                let inspected = inspect(engine, settings).await?.unwrap_or_default();
                return published_port(&inspected).ok_or(EmulatorError::NoPort { first });
            }
            Err(error) => {
                // What never ran has no state, and must not look as if it had.
                children::remove_container(engine, &settings.name()).await?;
                // Taken between the look and the start, or held by the engine for a container that does not listen;
                // anything else is the engine's own trouble.
                if candidate == 0 || (is_free(candidate) && !is_allocated(&error)) {
                    return Err(error);
                }
            }
        }
    }
    Err(EmulatorError::NoPort { first })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether the engine says that it gave the port to another container.
fn is_allocated(error: &EmulatorError) -> bool {
    let EmulatorError::Engine {
        source: DockerError::DockerResponseServerError { message, .. },
        ..
    } = error
    else {
        return false;
    };
    ["port is already allocated", "address already in use"]
        .iter()
        .any(|words| message.contains(words))
}

/// Starts what is there: a container that was stopped, paused, or only created.
pub(super) async fn start(engine: &Engine, settings: &LocalSettings) -> Result<(), EmulatorError> {
    let name = settings.name();
    let status = inspect(engine, settings)
        .await?
        .and_then(|inspected| inspected.state?.status);
    let done = if status == Some(ContainerStateStatusEnum::PAUSED) {
        engine.docker().unpause_container(&name).await
    } else {
        engine.docker().start_container(&name, None).await
    };
    done.map_err(|source| EmulatorError::engine(format!("start the container {name}"), source))
}

/// Stops it in good order: it writes its state when it is told to, and only then.
pub(super) async fn stop(engine: &Engine, settings: &LocalSettings) -> Result<(), EmulatorError> {
    let name = settings.name();
    let options = StopContainerOptionsBuilder::default().t(STOP_SECONDS).build();
    match engine.docker().stop_container(&name, Some(options)).await {
        // 304: it had stopped already.
        Ok(())
        | Err(DockerError::DockerResponseServerError {
            status_code: 304 | 404, ..
        }) => Ok(()),
        Err(source) => Err(EmulatorError::engine(format!("stop the container {name}"), source)),
    }
}

fn labels(settings: &LocalSettings) -> HashMap<String, String> {
    let env = settings.env.iter().map(|env| (ENV_LABEL.to_owned(), env.clone()));
    let always = [
        (LOCAL_LABEL.to_owned(), settings.key()),
        (APP_LABEL.to_owned(), settings.app.clone()),
        (PROJECT_LABEL.to_owned(), settings.project.display().to_string()),
        (ACCOUNT_LABEL.to_owned(), settings.account.clone()),
        (REGION_LABEL.to_owned(), settings.region.clone()),
        (VERSION_LABEL.to_owned(), ministack::VERSION.to_owned()),
    ];
    always.into_iter().chain(env).collect()
}

async fn ensure_volume(engine: &Engine, settings: &LocalSettings) -> Result<(), EmulatorError> {
    let name = settings.volume();
    let request = VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some(labels(settings)),
        ..VolumeCreateRequest::default()
    };
    let made = engine.docker().create_volume(request).await;
    made.map(drop)
        .map_err(|source| EmulatorError::engine(format!("make the volume {name}"), source))
}

async fn create_container(engine: &Engine, settings: &LocalSettings, port: u16) -> Result<(), EmulatorError> {
    let name = settings.name();
    let gateway = format!("{}/tcp", ministack::PORT);
    let binding = PortBinding {
        host_ip: Some("127.0.0.1".into()),
        host_port: Some(port.to_string()),
    };
    let host_config = HostConfig {
        binds: Some(vec![
            format!("{}:/var/run/docker.sock", engine.socket_to_mount().display()),
            format!("{}:{STATE}", settings.volume()),
        ]),
        port_bindings: Some(HashMap::from([(gateway.clone(), Some(vec![binding]))])),
        network_mode: Some(name.clone()),
        extra_hosts: Some(vec!["host.docker.internal:host-gateway".into()]),
        // The engine's socket is out of reach for a container under SELinux; elsewhere this changes nothing.
        security_opt: Some(vec!["label=disable".into()]),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(ministack::IMAGE.to_owned()),
        // It looks itself up by its host name.
        hostname: Some(name.clone()),
        env: Some(environment(settings)),
        labels: Some(labels(settings)),
        exposed_ports: Some(vec![gateway]),
        stop_timeout: Some(i64::from(STOP_SECONDS)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(name.clone(), EndpointSettings::default())])),
        }),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let made = engine.docker().create_container(Some(options), body).await;
    made.map(drop)
        .map_err(|source| EmulatorError::engine(format!("make the container {name}"), source))
}

fn environment(settings: &LocalSettings) -> Vec<String> {
    vec![
        format!("GATEWAY_PORT={}", ministack::PORT),
        format!("MINISTACK_ACCOUNT_ID={}", settings.account),
        format!("MINISTACK_REGION={}", settings.region),
        format!("DOCKER_NETWORK={}", settings.name()),
        "PERSIST_STATE=1".to_owned(),
        format!("STATE_DIR={STATE}/state"),
        "S3_PERSIST=1".to_owned(),
        format!("S3_DATA_DIR={STATE}/s3"),
        "RDS_PERSIST=1".to_owned(),
        format!("RDS_BASE_PORT={}", settings.database_ports()),
        // Starting a container takes longer than its ten seconds on a machine that is busy.
        "MINISTACK_DOCKER_TIMEOUT=60".to_owned(),
        "SFTP_ENABLED=0".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_engine_gave_away_is_taken() {
        let said = |message: &str| {
            let source = DockerError::DockerResponseServerError {
                status_code: 500,
                message: message.to_owned(),
            };
            EmulatorError::engine("start the container x", source)
        };
        let bound = "driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:4567 failed: port is \
                     already allocated";
        assert!(is_allocated(&said(bound)));
        assert!(!is_allocated(&said("no such image")));
    }

    #[test]
    fn settings_survive_their_labels() {
        let nameless = LocalSettings::new("blog", ".".as_ref()).unwrap();
        assert_eq!(settings(&labels(&nameless)), Some(nameless.clone()));
        let settings_of_here = LocalSettings {
            env: Some("local".into()),
            ..nameless
        };
        let mut labels = labels(&settings_of_here);
        assert_eq!(settings(&labels), Some(settings_of_here));
        labels.insert(PROJECT_LABEL.to_owned(), "/elsewhere".to_owned());
        assert_eq!(
            settings(&labels),
            None,
            "labels that contradict each other are nobody's"
        );
    }
}
