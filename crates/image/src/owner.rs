//! Whose a container or network is, written on it, so that what a dead process left can be told from what a live one uses.
//!
//! Invariant: nothing is swept that a live process of this machine owns; what another machine made (they may share an
//! engine) is swept only when it is old.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions};
use serde::{Deserialize, Serialize};

use crate::container::{label_filter, remove};
use crate::error::engine_error;
use crate::{Engine, ImageError};

/// On everything that this crate starts; its value says who did.
const LABEL: &str = "dev.nuages.check";

/// What another machine left is given up after this.
const OLD: u64 = 6 * 60 * 60;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// This boot of this machine.
    machine: String,
    pid: u32,
    /// When the process started, as the kernel says it: pids are used again.
    started: String,
    /// Seconds since 1970.
    since: u64,
}

impl Owner {
    fn this() -> Self {
        let pid = std::process::id();
        Self {
            machine: machine(),
            pid,
            started: start_of(pid).unwrap_or_default(),
            since: now(),
        }
    }

    fn is_alive(&self) -> bool {
        if self.machine != machine() || self.machine.is_empty() {
            return now().saturating_sub(self.since) < OLD;
        }
        start_of(self.pid).is_some_and(|started| started == self.started)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs())
        .unwrap_or_default()
}

/// Empty where the system does not say; age alone decides then.
fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The 22nd field of `/proc/PID/stat`, counted from the end of the command's name, which may hold anything.
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// The labels of something we start.
pub(crate) fn labels(more: &BTreeMap<String, String>) -> HashMap<String, String> {
    let owner = serde_json::to_string(&Owner::this()).unwrap_or_default();
    more.clone().into_iter().chain([(LABEL.to_owned(), owner)]).collect()
}

/// What checks left, or what a sweep of it removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
}

impl Swept {
    /// Whether there was nothing.
    pub const fn is_empty(&self) -> bool {
        self.containers + self.networks == 0
    }
}

/// The ids of what is nobody's.
struct Orphans {
    containers: Vec<String>,
    networks: Vec<String>,
}

async fn orphans(engine: &Engine) -> Result<Orphans, ImageError> {
    let docker = engine.docker();
    let what = "look for what earlier checks left";
    let all = ListContainersOptions {
        all: true,
        filters: Some(label_filter(LABEL)),
        ..Default::default()
    };
    let containers = docker.list_containers(Some(all)).await.map_err(engine_error(what))?;
    let all = ListNetworksOptions {
        filters: Some(label_filter(LABEL)),
    };
    let networks = docker.list_networks(Some(all)).await.map_err(engine_error(what))?;
    Ok(Orphans {
        containers: containers
            .into_iter()
            .filter_map(|one| one.id.filter(|_| is_orphan(one.labels.as_ref())))
            .collect(),
        networks: networks
            .into_iter()
            .filter_map(|one| one.id.filter(|_| is_orphan(one.labels.as_ref())))
            .collect(),
    })
}

/// Counts the containers and networks of checks whose process is gone. Reads only.
///
/// ```no_run
/// # async fn example(engine: &nuages_image::Engine) -> Result<(), nuages_image::ImageError> {
/// if !nuages_image::left(engine).await?.is_empty() {
///     nuages_image::sweep(engine).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub async fn left(engine: &Engine) -> Result<Swept, ImageError> {
    let orphans = orphans(engine).await?;
    Ok(Swept {
        containers: orphans.containers.len(),
        networks: orphans.networks.len(),
    })
}

/// Removes the containers and networks of checks whose process is gone.
///
/// ```no_run
/// # async fn example(engine: &nuages_image::Engine) -> Result<(), nuages_image::ImageError> {
/// let swept = nuages_image::sweep(engine).await?;
/// println!("{} containers", swept.containers);
/// # Ok(())
/// # }
/// ```
pub async fn sweep(engine: &Engine) -> Result<Swept, ImageError> {
    let orphans = orphans(engine).await?;
    let mut swept = Swept::default();
    for id in orphans.containers {
        remove(engine, &id).await?;
        swept.containers += 1;
    }
    for id in orphans.networks {
        match engine.docker().remove_network(&id).await {
            Ok(()) => swept.networks += 1,
            // In use, or gone already: another sweep is at it.
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 403 | 404 | 409,
                ..
            }) => {}
            Err(error) => return Err(engine_error("remove a network")(error)),
        }
    }
    Ok(swept)
}

fn is_orphan(labels: Option<&HashMap<String, String>>) -> bool {
    let owner = labels
        .and_then(|labels| labels.get(LABEL))
        .and_then(|owner| serde_json::from_str::<Owner>(owner).ok());
    // A label that cannot be read is of another version of us, which sweeps its own.
    owner.is_some_and(|owner| !owner.is_alive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_dead_are_told_from_the_living() {
        let this = Owner::this();
        assert!(this.is_alive());
        assert!(
            !Owner {
                started: "1".into(),
                ..this.clone()
            }
            .is_alive(),
            "the pid was used again"
        );
        assert!(
            !Owner {
                pid: u32::MAX,
                ..this.clone()
            }
            .is_alive()
        );
        let elsewhere = Owner {
            machine: "other".into(),
            pid: u32::MAX,
            ..this
        };
        assert!(elsewhere.is_alive());
        assert!(
            !Owner {
                since: now() - OLD - 1,
                ..elsewhere
            }
            .is_alive()
        );
    }

    #[test]
    fn foreign_labels_are_left_alone() {
        assert!(!is_orphan(None));
        assert!(!is_orphan(Some(&HashMap::from([(LABEL.to_owned(), "x".to_owned())]))));
        assert!(!is_orphan(Some(&labels(&BTreeMap::new()))));
    }
}
