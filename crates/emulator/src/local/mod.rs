//! The local environment's emulator: one MiniStack per project, started, found again, repaired, taken away.
//!
//! Invariant: [`LocalEmulator::ensure`] ends with an emulator that answers and whose state is either what the last run
//! left or empty, and it says which; an older state is never passed off as the current one.

mod container;
mod database;
mod marker;
mod settings;
mod teardown;

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use nuages_model::Progress;

pub use database::LocalDatabase;
pub use settings::LocalSettings;
pub use teardown::LocalStatus;

use crate::children;
use crate::{EmulatorError, Engine, FileLock, health, ministack};

/// On every container, network and volume of a local environment: the project's key.
pub const LOCAL_LABEL: &str = "nuages.local";

/// A start with state to read, under load, several times over.
const START_LIMIT: Duration = Duration::from_secs(90);
/// A running emulator that says nothing for so long is broken.
const REUSE_LIMIT: Duration = Duration::from_secs(20);

/// What was found, and so what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing was there; the emulator is new and empty.
    Fresh,
    /// It was running and well.
    Reused,
    /// Somebody else had started it again since nuages last saw it: a person, or the engine. Everything is in it.
    Returned,
    /// It was stopped, or broken, or had to move; it runs again with everything in it.
    Restarted {
        /// Why it was started, as half a sentence.
        why: String,
    },
    /// Something was there and its state is gone; the emulator is new and empty.
    Lost {
        /// What happened to it, as half a sentence.
        why: String,
    },
}

/// A local emulator that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Where this machine reaches it, such as `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// The port in it.
    pub port: u16,
    /// Its container's name, which is its host name too.
    pub container: String,
    /// The network that its tasks and databases share with it.
    pub network: String,
    /// The account it answers for.
    pub account: String,
    /// What was found when it was looked for.
    pub found: Found,
    /// The version that answers.
    pub version: String,
}

/// Starts, finds and removes the local emulator of a project.
#[derive(Debug)]
#[non_exhaustive]
pub struct LocalEmulator;

/// What is done where the state is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It begins anew.
    Forgotten,
    /// It is refused, and what is left stays.
    Refused,
}

/// What to do with what was found.
enum Verdict {
    Reuse,
    Start(String),
    Recreate(String),
    Rebuild(String),
}

impl LocalEmulator {
    /// Brings the project's emulator to life: new, or as it was left.
    ///
    /// ```no_run
    /// use nuages_emulator::{Engine, local::{Found, LocalEmulator, LocalSettings}};
    /// use nuages_model::Progress;
    ///
    /// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
    /// let engine = Engine::connect().await?;
    /// let settings = LocalSettings::new("blog", std::path::Path::new("."))?;
    /// let running = LocalEmulator::ensure(&engine, &settings, &Progress::none()).await?;
    /// if let Found::Lost { why } = &running.found {
    ///     println!("the local environment starts anew: {why}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn ensure(
        engine: &Engine,
        settings: &LocalSettings,
        progress: &Progress,
    ) -> Result<Running, EmulatorError> {
        Self::bring(engine, settings, Loss::Forgotten, progress).await
    }

    /// Brings an emulator that is there to life, as it was left. One whose state is lost is refused, and stays as it is: who
    /// goes on from what was there has no use for an empty one.
    pub async fn wake(
        engine: &Engine,
        settings: &LocalSettings,
        progress: &Progress,
    ) -> Result<Running, EmulatorError> {
        Self::bring(engine, settings, Loss::Refused, progress).await
    }

    async fn bring(
        engine: &Engine,
        settings: &LocalSettings,
        loss: Loss,
        progress: &Progress,
    ) -> Result<Running, EmulatorError> {
        engine.require_local()?;
        let waiting = progress.clone();
        let _lock = FileLock::take(&settings.name(), move || {
            waiting.status("waiting for another nuages that starts this project's emulator");
        })
        .await?;
        let Some(inspected) = container::inspect(engine, settings).await? else {
            let why = teardown::leftovers(engine, settings)
                .await?
                .then(|| "its container was removed".to_owned());
            return fresh(engine, settings, (why, loss), progress).await;
        };
        match judge(settings, &inspected) {
            Verdict::Reuse => match patiently(serving(engine, settings, inspected, REUSE_LIMIT), progress).await {
                Ok(serving) => attach(engine, settings, serving, Found::Reused, loss, progress).await,
                Err(error) => {
                    progress.status("the local emulator does not answer; restarting it");
                    container::stop(engine, settings).await?;
                    start(
                        engine,
                        settings,
                        &format!("it did not answer ({})", first_line(&error)),
                        loss,
                        progress,
                    )
                    .await
                }
            },
            Verdict::Start(why) => start(engine, settings, &why, loss, progress).await,
            Verdict::Recreate(why) => recreate(engine, settings, &why, loss, progress).await,
            Verdict::Rebuild(why) => fresh(engine, settings, (Some(why), loss), progress).await,
        }
    }

    /// Removes the emulator and everything that was its own: containers, networks, volumes.
    ///
    /// ```no_run
    /// use nuages_emulator::{Engine, local::{LocalEmulator, LocalSettings}};
    ///
    /// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
    /// let engine = Engine::connect().await?;
    /// let settings = LocalSettings::new("blog", std::path::Path::new("."))?;
    /// let removed = LocalEmulator::down(&engine, &settings, &nuages_model::Progress::none()).await?;
    /// println!("{} containers, {} volumes", removed.containers.len(), removed.volumes.len());
    /// # Ok(()) }
    /// ```
    pub async fn down(
        engine: &Engine,
        settings: &LocalSettings,
        progress: &Progress,
    ) -> Result<children::Removed, EmulatorError> {
        let waiting = progress.clone();
        let _lock = FileLock::take(&settings.name(), move || waiting.status("waiting for another nuages")).await?;
        teardown::down(engine, settings, progress).await
    }

    /// Stops the emulator in good order, keeping its state for the next [`LocalEmulator::ensure`].
    pub async fn stop(engine: &Engine, settings: &LocalSettings) -> Result<(), EmulatorError> {
        match container::inspect(engine, settings).await? {
            Some(_) => container::stop(engine, settings).await,
            None => Ok(()),
        }
    }

    /// Every local environment of which this engine holds something, whoever's it is.
    pub async fn list(engine: &Engine) -> Result<Vec<LocalSettings>, EmulatorError> {
        container::list(engine).await
    }

    /// The port of this machine that a local environment has or, where it is stopped, will ask for again.
    pub async fn port(engine: &Engine, settings: &LocalSettings) -> Result<Option<u16>, EmulatorError> {
        let inspected = container::inspect(engine, settings).await?;
        Ok(inspected.as_ref().and_then(container::published_port))
    }

    /// Looks without touching anything.
    ///
    /// ```no_run
    /// use nuages_emulator::{Engine, local::{LocalEmulator, LocalSettings}};
    ///
    /// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
    /// let engine = Engine::connect().await?;
    /// let settings = LocalSettings::new("blog", std::path::Path::new("."))?;
    /// println!("{:?}", LocalEmulator::status(&engine, &settings).await?);
    /// # Ok(()) }
    /// ```
    pub async fn status(engine: &Engine, settings: &LocalSettings) -> Result<LocalStatus, EmulatorError> {
        teardown::status(engine, settings).await
    }

    /// Waits until an emulator that runs answers: one that was just started takes some seconds.
    pub async fn answers(engine: &Engine, settings: &LocalSettings) -> Result<(), EmulatorError> {
        let inspected = container::inspect(engine, settings).await?.unwrap_or_default();
        serving(engine, settings, inspected, REUSE_LIMIT).await.map(drop)
    }

    /// Looks at the container of a database instance, which the emulator calls available whatever became of it.
    ///
    /// ```no_run
    /// use nuages_emulator::{Engine, local::{LocalDatabase, LocalEmulator, LocalSettings}};
    ///
    /// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
    /// let engine = Engine::connect().await?;
    /// let settings = LocalSettings::new("blog", std::path::Path::new("."))?;
    /// if let LocalDatabase::Missing { .. } = LocalEmulator::database(&engine, &settings, "blog-local").await? {
    ///     println!("somebody removed the database");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn database(
        engine: &Engine,
        settings: &LocalSettings,
        instance: &str,
    ) -> Result<LocalDatabase, EmulatorError> {
        database::look(engine, settings, instance).await
    }

    /// Starts a database instance's container that was stopped or paused, and looks at it again. Its address may be
    /// another one.
    pub async fn start_database(
        engine: &Engine,
        settings: &LocalSettings,
        instance: &str,
    ) -> Result<LocalDatabase, EmulatorError> {
        database::start(engine, settings, instance).await
    }
}

/// Decides by what the container says of itself.
fn judge(settings: &LocalSettings, inspected: &ContainerInspectResponse) -> Verdict {
    let label = |name: &str| {
        let labels = inspected.config.as_ref()?.labels.as_ref()?;
        labels.get(name).cloned()
    };
    let (account, region) = (label(container::ACCOUNT_LABEL), label(container::REGION_LABEL));
    if account.as_deref() != Some(&settings.account) || region.as_deref() != Some(&settings.region) {
        return Verdict::Rebuild(format!(
            "it was made for account {} in {}, and the project now says {} in {}",
            account.unwrap_or_default(),
            region.unwrap_or_default(),
            settings.account,
            settings.region
        ));
    }
    let version = label(container::VERSION_LABEL).unwrap_or_default();
    match compare_versions(&version, ministack::VERSION) {
        std::cmp::Ordering::Less => {
            return Verdict::Recreate(format!(
                "it ran MiniStack {version}, and this nuages brings {}",
                ministack::VERSION
            ));
        }
        std::cmp::Ordering::Greater => {
            return Verdict::Rebuild(format!(
                "it ran MiniStack {version}, whose state {}, which this nuages brings, cannot read",
                ministack::VERSION
            ));
        }
        std::cmp::Ordering::Equal => {}
    }
    let state = inspected.state.clone().unwrap_or_default();
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => Verdict::Reuse,
        Some(ContainerStateStatusEnum::PAUSED) => Verdict::Start("it was paused".into()),
        Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => {
            Verdict::Rebuild("its container was broken".into())
        }
        _ => Verdict::Start("it was stopped".into()),
    }
}

/// Compares dotted numbers; what is no number counts as older than every number.
fn compare_versions(left: &str, right: &str) -> std::cmp::Ordering {
    let numbers = |text: &str| text.split('.').map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    numbers(left).cmp(&numbers(right))
}

/// An emulator that answers its health check.
struct Serving {
    port: u16,
    version: Option<String>,
    run: String,
}

async fn serving(
    engine: &Engine,
    settings: &LocalSettings,
    inspected: ContainerInspectResponse,
    limit: Duration,
) -> Result<Serving, EmulatorError> {
    let Some(port) = container::published_port(&inspected) else {
        return Err(EmulatorError::NotReady {
            what: settings.name(),
            waited: Duration::ZERO,
            last: "it publishes no port".into(),
            tail: String::new(),
        });
    };
    let answer = health::wait(engine, &settings.name(), port, ministack::HEALTH, limit).await?;
    Ok(Serving {
        port,
        version: answer.text("version"),
        run: container::run_of(&inspected),
    })
}

/// Says what is waited for, where it takes time.
async fn patiently<T>(answer: impl Future<Output = T>, progress: &Progress) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = tokio::time::timeout(Duration::from_millis(500), &mut answer).await {
        return answer;
    }
    progress.status("waiting until the local emulator answers");
    answer.await
}

/// What just started, once it answers.
async fn started(engine: &Engine, settings: &LocalSettings) -> Result<Serving, EmulatorError> {
    let inspected = container::inspect(engine, settings).await?.unwrap_or_default();
    serving(engine, settings, inspected, START_LIMIT).await
}

/// Starts the container that is there, where its port is still free.
async fn start(
    engine: &Engine,
    settings: &LocalSettings,
    why: &str,
    loss: Loss,
    progress: &Progress,
) -> Result<Running, EmulatorError> {
    progress.status(format!("starting the local emulator again: {why}"));
    if let Err(error) = container::start(engine, settings).await {
        tracing::debug!(%error, "the emulator's container does not start as it is");
        return recreate(
            engine,
            settings,
            &format!("{why}, and its port was taken meanwhile"),
            loss,
            progress,
        )
        .await;
    }
    finish_restart(engine, settings, why, loss, progress).await
}

/// Makes the container anew around the same state: for another port, or another version.
async fn recreate(
    engine: &Engine,
    settings: &LocalSettings,
    why: &str,
    loss: Loss,
    progress: &Progress,
) -> Result<Running, EmulatorError> {
    progress.status(format!("making the local emulator's container anew: {why}"));
    container::stop(engine, settings).await?;
    let seen = marker::in_container(engine, settings).await;
    children::remove_container(engine, &settings.name()).await?;
    container::create(engine, settings).await?;
    if let Some(seen) = seen {
        marker::write_container(engine, settings, &seen).await?;
    }
    finish_restart(engine, settings, why, loss, progress).await
}

async fn finish_restart(
    engine: &Engine,
    settings: &LocalSettings,
    why: &str,
    loss: Loss,
    progress: &Progress,
) -> Result<Running, EmulatorError> {
    match started(engine, settings).await {
        Ok(serving) => {
            attach(
                engine,
                settings,
                serving,
                Found::Restarted { why: why.to_owned() },
                loss,
                progress,
            )
            .await
        }
        Err(error) => {
            let why = format!("it did not start again ({})", first_line(&error));
            fresh(engine, settings, (Some(why), loss), progress).await
        }
    }
}

/// Takes away what is left, and starts from nothing.
async fn fresh(
    engine: &Engine,
    settings: &LocalSettings,
    (gone, loss): (Option<String>, Loss),
    progress: &Progress,
) -> Result<Running, EmulatorError> {
    if let Some(why) = &gone {
        if loss == Loss::Refused {
            return Err(EmulatorError::Lost {
                what: settings.name(),
                why: why.clone(),
            });
        }
        progress.warning(format!("the local environment is lost and begins anew: {why}"));
        teardown::down(engine, settings, progress).await?;
    }
    progress.status("starting the local emulator");
    container::create(engine, settings).await?;
    let serving = started(engine, settings).await?;
    marker::advance(engine, settings, serving.port, &marker::Counts::default(), &serving.run).await?;
    let found = gone.map_or(Found::Fresh, |why| Found::Lost { why });
    Ok(running(settings, serving, found))
}

/// Checks that the state in a running emulator is the one that nuages last saw there.
async fn attach(
    engine: &Engine,
    settings: &LocalSettings,
    serving: Serving,
    mut found: Found,
    loss: Loss,
    progress: &Progress,
) -> Result<Running, EmulatorError> {
    if !marker::is_known(settings, &serving.run) {
        let counts = marker::read(engine, settings, serving.port).await?;
        if let Some(why) = marker::loss(&counts) {
            if loss == Loss::Refused {
                container::stop(engine, settings).await?;
            }
            return fresh(engine, settings, (Some(why), loss), progress).await;
        }
        if counts.is_of(&serving.run) {
            marker::remember(settings, &serving.run);
        } else {
            marker::advance(engine, settings, serving.port, &counts, &serving.run).await?;
        }
        if found == Found::Reused && counts.is_of_an_earlier_run(&serving.run) {
            found = Found::Returned;
        }
    }
    Ok(running(settings, serving, found))
}

fn running(settings: &LocalSettings, serving: Serving, found: Found) -> Running {
    Running {
        endpoint: format!("http://127.0.0.1:{}", serving.port),
        port: serving.port,
        container: settings.name(),
        network: settings.name(),
        account: settings.account.clone(),
        found,
        version: serving.version.unwrap_or_else(|| ministack::VERSION.to_owned()),
    }
}

fn first_line(error: &EmulatorError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::HashMap;

    use bollard::models::{ContainerConfig, ContainerState};

    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(compare_versions("1.5.9", "1.5.33"), Ordering::Less);
        assert_eq!(compare_versions("1.6.0", "1.5.33"), Ordering::Greater);
        assert_eq!(compare_versions("", "1.5.33"), Ordering::Less);
        assert_eq!(compare_versions("1.5.33", "1.5.33"), Ordering::Equal);
    }

    fn found(version: &str, account: &str, status: ContainerStateStatusEnum) -> ContainerInspectResponse {
        let labels = HashMap::from([
            (container::VERSION_LABEL.to_owned(), version.to_owned()),
            (container::ACCOUNT_LABEL.to_owned(), account.to_owned()),
            (container::REGION_LABEL.to_owned(), "eu-west-1".to_owned()),
        ]);
        ContainerInspectResponse {
            config: Some(ContainerConfig {
                labels: Some(labels),
                ..ContainerConfig::default()
            }),
            state: Some(ContainerState {
                status: Some(status),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn what_is_found_decides() {
        use ContainerStateStatusEnum::{DEAD, EXITED, RUNNING};
        let settings = LocalSettings {
            account: "111122223333".into(),
            ..LocalSettings::new("blog", ".".as_ref()).unwrap()
        };
        let now = ministack::VERSION;
        assert!(matches!(
            judge(&settings, &found(now, "111122223333", RUNNING)),
            Verdict::Reuse
        ));
        assert!(matches!(
            judge(&settings, &found(now, "111122223333", EXITED)),
            Verdict::Start(_)
        ));
        assert!(matches!(
            judge(&settings, &found(now, "111122223333", DEAD)),
            Verdict::Rebuild(_)
        ));
        assert!(matches!(
            judge(&settings, &found("1.0.0", "111122223333", RUNNING)),
            Verdict::Recreate(_)
        ));
        assert!(matches!(
            judge(&settings, &found("9.0.0", "111122223333", RUNNING)),
            Verdict::Rebuild(_)
        ));
        assert!(matches!(
            judge(&settings, &found(now, "999999999999", RUNNING)),
            Verdict::Rebuild(_)
        ));
    }
}
