//! The containers that an emulator starts (tasks, databases) and what they leave: found by the emulator's own label.
//!
//! Invariant: only children of the instance that is named are touched, and their volumes only once they are gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::errors::Error as DockerError;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{EmulatorError, Engine, ministack};

/// A removal that somebody else began is over by then.
const GOING_LIMIT: Duration = Duration::from_secs(30);

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers, by name.
    pub containers: Vec<String>,
    /// Volumes, by name.
    pub volumes: Vec<String>,
    /// Networks, by name.
    pub networks: Vec<String>,
}

impl Removed {
    /// Whether there was nothing to take away.
    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.volumes.is_empty() && self.networks.is_empty()
    }

    /// Adds what another step took away.
    pub fn extend(&mut self, other: Self) {
        self.containers.extend(other.containers);
        self.volumes.extend(other.volumes);
        self.networks.extend(other.networks);
    }
}

/// Removes every container of the emulator with this host name, and the volumes that were theirs.
///
/// ```no_run
/// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
/// let engine = nuages_emulator::Engine::connect().await?;
/// let removed = nuages_emulator::children::remove(&engine, "nuages-local-blog-1a2b3c4d").await?;
/// println!("{} containers", removed.containers.len());
/// # Ok(()) }
/// ```
pub async fn remove(engine: &Engine, hostname: &str) -> Result<Removed, EmulatorError> {
    let label = format!("{}={}", ministack::INSTANCE_LABEL, ministack::instance(hostname));
    let mut removed = Removed::default();
    let mut volumes = BTreeSet::new();
    for child in labelled(engine, &label).await?.into_keys() {
        volumes.extend(named_volumes(engine, &child).await);
        remove_container(engine, &child).await?;
        removed.containers.push(child);
    }
    removed.volumes = remove_volumes(engine, volumes).await;
    Ok(removed)
}

/// The containers, running or not, that carry this label (`key` or `key=value`): all labels of each, by its name.
pub async fn labelled(
    engine: &Engine,
    label: &str,
) -> Result<BTreeMap<String, HashMap<String, String>>, EmulatorError> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let listed = engine
        .docker()
        .list_containers(Some(options))
        .await
        .map_err(|source| EmulatorError::engine("list containers", source))?;
    let name = |names: Vec<String>| Some(names.first()?.trim_start_matches('/').to_owned());
    Ok(listed
        .into_iter()
        .filter_map(|found| {
            Some((
                found.names.and_then(name).or(found.id)?,
                found.labels.unwrap_or_default(),
            ))
        })
        .collect())
}

/// Removes a container, running or not, with its anonymous volumes. One that is gone already is fine, and one that
/// somebody else is removing is waited for.
pub async fn remove_container(engine: &Engine, name: &str) -> Result<(), EmulatorError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    let deadline = Instant::now() + GOING_LIMIT;
    loop {
        match engine.docker().remove_container(name, Some(options.clone())).await {
            Err(DockerError::DockerResponseServerError { status_code: 409, .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(()) | Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            Err(error) => return Err(EmulatorError::engine(format!("remove the container {name}"), error)),
        }
    }
}

/// Names of the volumes whose name begins so.
pub(crate) async fn volumes_named(engine: &Engine, prefix: &str) -> Result<Vec<String>, EmulatorError> {
    let filters = HashMap::from([("name", vec![prefix])]);
    let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let listed = engine
        .docker()
        .list_volumes(Some(options))
        .await
        .map_err(|source| EmulatorError::engine("list volumes", source))?;
    // The engine's filter matches anywhere in the name.
    Ok(listed
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|volume| volume.name)
        .filter(|name| name.starts_with(prefix))
        .collect())
}

/// Removes volumes that nobody uses, and answers which it removed.
pub(crate) async fn remove_volumes(engine: &Engine, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let options = RemoveVolumeOptionsBuilder::default().force(true).build();
    let removals = names.into_iter().map(|name| {
        let options = options.clone();
        async move {
            engine
                .docker()
                .remove_volume(&name, Some(options))
                .await
                .is_ok()
                .then_some(name)
        }
    });
    join_all(removals).await.into_iter().flatten().collect()
}

async fn named_volumes(engine: &Engine, container: &str) -> Vec<String> {
    match engine.docker().inspect_container(container, None).await {
        Ok(inspected) => volumes_of(&inspected),
        Err(_) => Vec::new(),
    }
}

pub(crate) fn volumes_of(inspected: &ContainerInspectResponse) -> Vec<String> {
    let mounts = inspected.mounts.iter().flatten();
    mounts
        .filter(|mount| mount.typ.as_deref() == Some("volume"))
        .filter_map(|mount| mount.name.clone())
        .collect()
}

/// 404: gone. 409 on removal: somebody else is removing it.
pub(crate) fn gone_or_going(error: &DockerError) -> bool {
    matches!(
        error,
        DockerError::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }
    )
}
