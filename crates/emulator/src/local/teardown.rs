//! Taking a local environment away, and looking at one.
//!
//! Invariant: afterwards the engine holds no container, network or volume that belonged to it.

use bollard::models::ContainerStateStatusEnum;
use nuages_model::Progress;

use super::{LocalSettings, container, marker};
use crate::children::{self, Removed};
use crate::{EmulatorError, Engine, ministack, network};

/// What there is of a local environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalStatus {
    /// Nothing.
    Absent,
    /// Its container is there and does not run.
    Stopped,
    /// Its container runs.
    Running {
        /// Where this machine reaches it.
        endpoint: String,
        /// How many containers it has started: tasks and databases.
        children: usize,
    },
}

pub(super) async fn status(engine: &Engine, settings: &LocalSettings) -> Result<LocalStatus, EmulatorError> {
    let Some(inspected) = container::inspect(engine, settings).await? else {
        return Ok(LocalStatus::Absent);
    };
    let status = inspected.state.as_ref().and_then(|state| state.status);
    let Some(port) =
        container::published_port(&inspected).filter(|_| status == Some(ContainerStateStatusEnum::RUNNING))
    else {
        return Ok(LocalStatus::Stopped);
    };
    let label = format!(
        "{}={}",
        ministack::INSTANCE_LABEL,
        ministack::instance(&settings.name())
    );
    let children = children::labelled(engine, &label).await?.len();
    Ok(LocalStatus::Running {
        endpoint: format!("http://127.0.0.1:{port}"),
        children,
    })
}

/// Whether a network or volume of this environment is there.
pub(super) async fn leftovers(engine: &Engine, settings: &LocalSettings) -> Result<bool, EmulatorError> {
    let volumes = children::volumes_named(engine, &settings.volume()).await?;
    Ok(!volumes.is_empty() || engine.docker().inspect_network(&settings.name(), None).await.is_ok())
}

pub(super) async fn down(
    engine: &Engine,
    settings: &LocalSettings,
    progress: &Progress,
) -> Result<Removed, EmulatorError> {
    let name = settings.name();
    let mut removed = Removed::default();
    marker::forget(settings);
    // The emulator first, or it would start again what is taken from it.
    if container::inspect(engine, settings).await?.is_some() {
        progress.status(format!("removing {name}"));
        children::remove_container(engine, &name).await?;
        removed.containers.push(name.clone());
    }
    removed.extend(children::remove(engine, &name).await?);
    let mut volumes = children::volumes_named(engine, &settings.volume()).await?;
    let databases = ministack::database_volume_prefix(&settings.account, &settings.region);
    volumes.extend(children::volumes_named(engine, &databases).await?);
    removed.volumes.extend(children::remove_volumes(engine, volumes).await);
    if network::remove(engine, &name).await? {
        removed.networks.push(name);
    }
    Ok(removed)
}
