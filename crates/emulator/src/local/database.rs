//! The container behind an emulated database instance. The emulator goes on calling an instance available whatever
//! becomes of its container, so the engine is asked.
//!
//! Invariant: a container is the instance's only where the emulator's own labels say so.

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as Status};

use super::LocalSettings;
use crate::{EmulatorError, Engine, children, ministack};

/// What there is of a database instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalDatabase {
    /// Its container runs.
    Running {
        /// Where the emulator's network has it.
        address: Option<String>,
    },
    /// Its container is there, and was stopped or paused.
    Stopped,
    /// Its container is gone.
    Missing {
        /// Whether its data is still there, in a volume that the next container of this instance gets.
        data: bool,
    },
}

pub(super) async fn look(
    engine: &Engine,
    settings: &LocalSettings,
    instance: &str,
) -> Result<LocalDatabase, EmulatorError> {
    let missing = async || {
        let volume = ministack::database_volume(&settings.account, &settings.region, instance);
        let volumes = children::volumes_named(engine, &volume).await?;
        Ok(LocalDatabase::Missing {
            data: volumes.contains(&volume),
        })
    };
    let Some((_, inspected)) = find(engine, settings, instance).await? else {
        return missing().await;
    };
    match inspected.state.as_ref().and_then(|state| state.status) {
        Some(Status::RUNNING | Status::RESTARTING) => Ok(LocalDatabase::Running {
            address: address(settings, &inspected),
        }),
        Some(Status::DEAD | Status::REMOVING) => missing().await,
        _ => Ok(LocalDatabase::Stopped),
    }
}

/// Starts a container that was stopped or paused, and looks again.
pub(super) async fn start(
    engine: &Engine,
    settings: &LocalSettings,
    instance: &str,
) -> Result<LocalDatabase, EmulatorError> {
    if let Some((name, inspected)) = find(engine, settings, instance).await? {
        let status = inspected.state.as_ref().and_then(|state| state.status);
        let done = if status == Some(Status::PAUSED) {
            engine.docker().unpause_container(&name).await
        } else {
            engine.docker().start_container(&name, None).await
        };
        done.map_err(|source| EmulatorError::engine(format!("start the container {name}"), source))?;
    }
    look(engine, settings, instance).await
}

async fn find(
    engine: &Engine,
    settings: &LocalSettings,
    instance: &str,
) -> Result<Option<(String, ContainerInspectResponse)>, EmulatorError> {
    let ours = format!(
        "{}={}",
        ministack::INSTANCE_LABEL,
        ministack::instance(&settings.name())
    );
    let all = children::labelled(engine, &ours).await?;
    let is_it = |labels: &std::collections::HashMap<String, String>| {
        labels.get(ministack::DATABASE_LABEL).is_some_and(|id| id == instance)
    };
    let Some(name) = all.into_iter().find(|(_, labels)| is_it(labels)).map(|(name, _)| name) else {
        return Ok(None);
    };
    match engine.docker().inspect_container(&name, None).await {
        Ok(inspected) => Ok(Some((name, inspected))),
        Err(error) if children::gone_or_going(&error) => Ok(None),
        Err(source) => Err(EmulatorError::engine(format!("look at the container {name}"), source)),
    }
}

fn address(settings: &LocalSettings, inspected: &ContainerInspectResponse) -> Option<String> {
    let networks = inspected.network_settings.as_ref()?.networks.as_ref()?;
    let address = networks.get(&settings.name())?.ip_address.clone()?;
    Some(address).filter(|address| !address.is_empty())
}
