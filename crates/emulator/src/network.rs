//! The network that an emulator shares with what it starts.
//!
//! Invariant: what is published on it without an address is published on this machine's loopback only.

use std::collections::HashMap;

use bollard::errors::Error as DockerError;
use bollard::models::{NetworkCreateRequest, NetworkDisconnectRequest};

use crate::{EmulatorError, Engine, children};

/// The bridge driver's option for it.
const BIND_OPTION: &str = "com.docker.network.bridge.host_binding_ipv4";

/// Makes the network where it is missing.
///
/// ```no_run
/// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
/// let engine = nuages_emulator::Engine::connect().await?;
/// let labels = [("example".to_owned(), "1".to_owned())];
/// nuages_emulator::network::ensure(&engine, "example", labels).await?;
/// assert!(nuages_emulator::network::remove(&engine, "example").await?);
/// # Ok(()) }
/// ```
pub async fn ensure(
    engine: &Engine,
    name: &str,
    labels: impl IntoIterator<Item = (String, String)>,
) -> Result<(), EmulatorError> {
    let failed = |source| EmulatorError::engine(format!("make the network {name}"), source);
    match engine.docker().inspect_network(name, None).await {
        Ok(_) => return Ok(()),
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => {}
        Err(source) => return Err(failed(source)),
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from([(BIND_OPTION.to_owned(), "127.0.0.1".to_owned())])),
        labels: Some(labels.into_iter().collect()),
        ..NetworkCreateRequest::default()
    };
    engine.docker().create_network(request).await.map(drop).map_err(failed)
}

/// Removes a network; whoever is still attached is detached first.
pub async fn remove(engine: &Engine, name: &str) -> Result<bool, EmulatorError> {
    let failed = |source| EmulatorError::engine(format!("remove the network {name}"), source);
    let network = match engine.docker().inspect_network(name, None).await {
        Ok(network) => network,
        Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => return Ok(false),
        Err(source) => return Err(failed(source)),
    };
    for stranger in network.containers.unwrap_or_default().into_keys() {
        let request = NetworkDisconnectRequest {
            container: stranger,
            force: Some(true),
        };
        let _ = engine.docker().disconnect_network(name, request).await;
    }
    match engine.docker().remove_network(name).await {
        Ok(()) => Ok(true),
        Err(error) if children::gone_or_going(&error) => Ok(false),
        Err(source) => Err(failed(source)),
    }
}
