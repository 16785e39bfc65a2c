//! Taking away emulators that nobody runs tests on any more, with everything they started.
//!
//! Invariant: an emulator whose record names a living owner is left alone, unless it is asked for by name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::query_parameters::ListNetworksOptionsBuilder;
use nuages_emulator::children::{self, Removed};
use nuages_emulator::local::LocalEmulator;
use nuages_emulator::{EmulatorError, Engine, ministack, network};
use nuages_model::Progress;

use super::owners::{Record, is_orphaned, is_temporary};
use super::{KIND_LABEL, OWNERS_LABEL};

/// What to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sweep {
    /// This process wants its emulators no longer; they go if nobody else does.
    Owner(u32),
    /// Those whose owners are all dead.
    Dead,
    /// Those that this record file stands for, whoever owns them.
    Record(PathBuf),
    /// Every emulator of every test on this machine.
    All,
}

/// Sweeps, and answers what was taken away.
///
/// ```no_run
/// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
/// use nuages_testkit::emulators::{Sweep, sweep};
/// let engine = nuages_emulator::Engine::connect().await?;
/// let removed = sweep(&engine, &Sweep::Dead).await?;
/// println!("{} containers", removed.containers.len());
/// # Ok(()) }
/// ```
pub async fn sweep(engine: &Engine, what: &Sweep) -> Result<Removed, EmulatorError> {
    let mut removed = Removed::default();
    let networks = networks(engine).await?;
    for (name, record) in emulators(engine).await? {
        if is_swept(what, &name, &record) {
            children::remove_container(engine, &name).await?;
            removed.containers.push(name.clone());
            removed.extend(children::remove(engine, &name).await?);
            forget(&name, &record);
        }
    }
    for (name, record) in networks {
        // Its record went with its container, or it never had one.
        let went = removed.containers.contains(&name);
        if (went || is_swept(what, &name, &record)) && network::remove(engine, &name).await? {
            removed.networks.push(name);
        }
    }
    removed.extend(orphans(engine).await?);
    if !matches!(what, Sweep::Record(_)) {
        removed.extend(local_environments(engine, what).await?);
    }
    Ok(removed)
}

fn is_swept(what: &Sweep, name: &str, path: &Path) -> bool {
    let record = Record::read(path).filter(|record| record.name == name);
    match what {
        Sweep::All => true,
        Sweep::Record(asked) => asked == path,
        Sweep::Dead => !record.is_some_and(|record| record.is_wanted()),
        Sweep::Owner(pid) => {
            let Some(mut record) = record else { return false };
            let before = record.owners.len();
            record.owners.retain(|owner| owner.pid != *pid);
            let was_ours = record.owners.len() != before;
            if was_ours {
                // Best effort: an owner that cannot be struck out is dead soon.
                let _ = record.write(path);
            }
            was_ours && !record.is_wanted() || record.owners.is_empty()
        }
    }
}

/// Deletes the record, if it still speaks of this emulator.
fn forget(name: &str, path: &Path) {
    if Record::read(path).is_some_and(|record| record.name == name) {
        let _ = std::fs::remove_file(path);
    }
}

/// Name and record file of every test emulator on this machine.
async fn emulators(engine: &Engine) -> Result<Vec<(String, PathBuf)>, EmulatorError> {
    let listed = children::labelled(engine, KIND_LABEL).await?;
    Ok(listed
        .into_iter()
        .filter_map(|(name, labels)| Some((name, labels.get(OWNERS_LABEL)?.into())))
        .collect())
}

async fn networks(engine: &Engine) -> Result<Vec<(String, PathBuf)>, EmulatorError> {
    let filters = HashMap::from([("label", vec![KIND_LABEL])]);
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let listed = engine
        .docker()
        .list_networks(Some(options))
        .await
        .map_err(|source| EmulatorError::Engine {
            what: "list networks".into(),
            source,
        })?;
    let owned = listed
        .into_iter()
        .filter_map(|found| Some((found.name?, found.labels?.get(OWNERS_LABEL)?.into())));
    Ok(owned.collect())
}

/// Removes the local environments of tests that are over. Those outside the temporary folder are a person's.
async fn local_environments(engine: &Engine, what: &Sweep) -> Result<Removed, EmulatorError> {
    let mut removed = Removed::default();
    for settings in LocalEmulator::list(engine).await? {
        let all = *what == Sweep::All && is_temporary(&settings.project);
        if all || is_orphaned(&settings.project) {
            removed.extend(LocalEmulator::down(engine, &settings, &Progress::none()).await?);
        }
    }
    Ok(removed)
}

/// Removes children of test emulators that are gone already.
async fn orphans(engine: &Engine) -> Result<Removed, EmulatorError> {
    let suffix = ministack::instance("");
    let mut removed = Removed::default();
    let mut parents: Vec<String> = children::labelled(engine, ministack::INSTANCE_LABEL)
        .await?
        .into_values()
        .filter_map(|labels| Some(labels.get(ministack::INSTANCE_LABEL)?.strip_suffix(&suffix)?.to_owned()))
        .filter(|parent| parent.starts_with("nuages-test-"))
        .collect();
    parents.sort();
    parents.dedup();
    for parent in parents {
        if engine.docker().inspect_container(&parent, None).await.is_err() {
            removed.extend(children::remove(engine, &parent).await?);
        }
    }
    Ok(removed)
}
