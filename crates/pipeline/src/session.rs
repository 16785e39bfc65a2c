//! A project's environment, connected: who we are, where the records are, and the emulator where it is one.
//!
//! Invariant: a [`Session`] exists only where the account was proven to be the configured one and the store will do.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use nuages_aws::{AwsContext, AwsSettings, EmulatorKind, Quirks};
use nuages_config::{Config, Emulator, Project};
use nuages_emulator::EmulatorError;
use nuages_emulator::images::{self, ImageSet, Source};
use nuages_emulator::local::{Found, LocalEmulator, LocalSettings, LocalStatus, Running};
use nuages_model::{AccountId, EnvName, Secret};
use nuages_saga::{Events, Holder, JournalStore as _, Lease, MessageLevel, SagaError, Standing};
use tokio::time::Instant;

use crate::environment::Environment;
use crate::error::PipelineError;
use crate::left_behind;
use crate::records;
use crate::ui::{Ui, count};

/// The version of this build, as plans record it.
pub const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Which environment, and where its records are.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The environment.
    pub env: EnvName,
    /// A store that the person named.
    pub store: Option<PathBuf>,
    /// Whether a CI system runs this.
    pub ci: bool,
    /// What is done where a local emulator does not run.
    pub emulator: Absent,
    /// Whether the working tree is to be built: what it lacks is then told before an emulator is made for it.
    pub builds: bool,
}

/// What is done where a local emulator does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is said: whoever only looks starts nothing.
    Told,
    /// One that was stopped is started, and none is made: what goes on from an earlier deployment has no use for an empty one.
    Started,
    /// It is started, or made.
    Made,
}

impl OpenOptions {
    /// This environment, with its store in the project's folder.
    pub fn new(env: EnvName) -> Self {
        Self {
            env,
            store: None,
            ci: false,
            emulator: Absent::Made,
            builds: false,
        }
    }
}

/// A project's environment: what its settings say, and the environment itself, reached.
#[derive(Debug)]
pub struct Session {
    /// The settings of the environment.
    pub config: Config,
    /// The environment.
    pub environment: Environment,
    /// The local emulator, where nuages runs one.
    pub emulator: Option<LocalEndpoint>,
    /// Whether the working tree was looked at, and can be built.
    pub(crate) looked: bool,
}

/// A local emulator, as a session reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEndpoint {
    /// Such as `http://127.0.0.1:4566`.
    pub url: String,
    /// The account it answers for.
    pub account: String,
    /// Whether it was not there before this session.
    pub made: bool,
    /// Whether it was there and did not run.
    pub woken: bool,
    /// Whether it, and so all that runs in it, was started again since the last session.
    pub restarted: bool,
}

impl Deref for Session {
    type Target = Environment;
    fn deref(&self) -> &Environment {
        &self.environment
    }
}

impl Session {
    /// Connects to an environment: reads the settings, starts or finds the local emulator, proves the identity, opens
    /// the store.
    pub async fn open(project: &Project, options: &OpenOptions, ui: &Ui) -> Result<Self, PipelineError> {
        let config = project.environment(&options.env)?;
        let store = records::place(&config, options);
        // A store that will not do is told before an emulator is made.
        nuages_releases::is_there(&store)?;
        if options.builds {
            crate::tree::look(&config, &store).await?;
        }
        tell_ignored(&config, &ui.events);
        let own = has_own_emulator(&config);
        if own && config.emulator == Some(Emulator::Localstack) {
            return Err(PipelineError::refused(
                "nuages starts no LocalStack: what it gives without a licence has no ECS and no load balancer",
                "set `emulator = \"ministack\"`; a LocalStack that runs elsewhere is named by AWS_ENDPOINT_URL and NUAGES_EMULATOR",
            ));
        }
        let emulator = if !own {
            None
        } else if options.emulator == Absent::Told {
            find_emulator(&config, ui).await?
        } else {
            if options.emulator == Absent::Started {
                require_emulator(&config).await?;
            }
            Some(start_emulator(&config, options.emulator, ui).await?)
        };
        let settings = aws_settings(&config, emulator.as_ref())?;
        let aws = AwsContext::connect(&settings).await?;
        let store = records::of_connection(&config, &aws, options, &ui.events).await?;
        let environment = Environment {
            aws,
            store,
            project: Some(config.project_dir.clone()),
        };
        Ok(Self {
            config,
            environment,
            emulator,
            looked: options.builds,
        })
    }

    /// Takes away a local emulator that was made for this session alone, and stops one that was stopped before it: who
    /// only looks leaves everything as it was. Where somebody began to work in it meanwhile, it is theirs.
    pub async fn leave_nothing(&self, ui: &Ui) -> Result<(), PipelineError> {
        let Some(emulator) = self.emulator.as_ref().filter(|one| one.made || one.woken) else {
            return Ok(());
        };
        let lease = self.store.inspect().await.map_err(SagaError::from)?;
        let held = |lease: &Lease| lease.standing(Timestamp::now(), &Holder::here("leave")) == Standing::Held;
        if let Some(lease) = lease.filter(held) {
            let text = format!("the local emulator is left running: {} works in it", lease.holder);
            ui.events.message(MessageLevel::Info, text, None);
            return Ok(());
        }
        if emulator.made {
            remove_emulator(&self.config, ui).await.map(drop)
        } else {
            stop_emulator(&self.config, ui).await
        }
    }

    /// Whether a local emulator was started again since the last session, and starts again what runs in it.
    pub(crate) fn restarted(&self) -> bool {
        self.emulator.as_ref().is_some_and(|emulator| emulator.restarted)
    }

    /// `APP-ENV`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.config.app.name, self.config.env.name)
    }
}

/// Whether the environment is an emulator that nuages runs itself. An endpoint in the surroundings is often there for
/// other programs; it takes the emulator's place only where it is said to be an emulator.
pub(crate) fn has_own_emulator(config: &Config) -> bool {
    config.emulator.is_some() && !(named_endpoint().is_some() && is_said("NUAGES_EMULATOR"))
}

/// Says that an endpoint has no meaning for an environment with an emulator of its own.
pub(crate) fn tell_ignored(config: &Config, events: &Events) {
    let Some(endpoint) = named_endpoint().filter(|_| has_own_emulator(config)) else {
        return;
    };
    let env = &config.env.name;
    let text =
        format!("AWS_ENDPOINT_URL ({endpoint}) is left aside: `{env}` has an emulator of its own on this machine");
    let hint = format!("to use that endpoint for `{env}`, say which emulator it is: NUAGES_EMULATOR=ministack");
    events.message(MessageLevel::Warning, text, Some(hint));
}

/// The endpoint that the surroundings name for every service.
pub(crate) fn named_endpoint() -> Option<String> {
    std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty())
}

fn is_said(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// How the other side differs from AWS, as far as settings and surroundings say it without a connection.
pub(crate) fn quirks(config: &Config) -> Quirks {
    let named = named_endpoint()
        .filter(|_| !has_own_emulator(config))
        .and_then(|url| url.parse().ok());
    // Which port an emulator of nuages' own has is known only when it runs, and nothing here depends on it.
    let own = || {
        "http://127.0.0.1:4566"
            .parse()
            .ok()
            .filter(|_| config.emulator.is_some())
    };
    Quirks::from_endpoint(named.or_else(own).as_ref(), emulator_kind(config))
}

fn emulator_kind(config: &Config) -> Option<EmulatorKind> {
    config
        .emulator
        .as_ref()
        .and_then(|emulator| emulator.as_str().parse().ok())
}

pub(crate) fn aws_settings(config: &Config, running: Option<&LocalEndpoint>) -> Result<AwsSettings, PipelineError> {
    let mut settings = AwsSettings {
        region: Some(config.region.clone()),
        expected_account: config.account.clone(),
        emulator: emulator_kind(config),
        ..AwsSettings::default()
    };
    if let Some(running) = running {
        let url = running.url.parse();
        settings.endpoint_url = Some(url.map_err(|e| PipelineError::machine("read the emulator's address", e))?);
        settings.static_credentials = Some(emulators_credentials());
        let account: Result<AccountId, _> = running.account.parse();
        settings.expected_account =
            Some(account.map_err(|e| PipelineError::machine("read the emulator's account", e))?);
    } else if config.emulator.is_some() {
        settings.static_credentials = unnamed_credentials();
    }
    Ok(settings)
}

/// An emulator takes any credentials; these are its own word for the account's root.
fn emulators_credentials() -> (String, Secret<String>) {
    ("test".into(), Secret::new("test".into()))
}

/// The same for an emulator that somebody else runs, unless the surroundings name others.
pub(crate) fn unnamed_credentials() -> Option<(String, Secret<String>)> {
    std::env::var_os("AWS_ACCESS_KEY_ID")
        .is_none()
        .then(emulators_credentials)
}

pub(crate) fn local_settings(config: &Config) -> Result<LocalSettings, PipelineError> {
    let mut settings = LocalSettings::new(config.app.name.as_str(), &config.project_dir)?;
    if let Some(account) = &config.account {
        account.as_str().clone_into(&mut settings.account);
    }
    config.region.as_str().clone_into(&mut settings.region);
    settings.env = Some(config.env.name.to_string());
    Ok(settings)
}

async fn start_emulator(config: &Config, absent: Absent, ui: &Ui) -> Result<LocalEndpoint, PipelineError> {
    let engine = nuages_emulator::Engine::connect().await?;
    let task = ui.events.task("emulator", "Local emulator");
    let mut woken = false;
    let started: Result<Running, PipelineError> = async {
        woken = LocalEmulator::status(&engine, &local_settings(config)?).await? == LocalStatus::Stopped;
        images::ensure(&engine, &ImageSet::Local, Source::Auto, &task.progress()).await?;
        let (settings, progress) = (local_settings(config)?, task.progress());
        let started = match absent {
            Absent::Made => LocalEmulator::ensure(&engine, &settings, &progress).await,
            Absent::Started | Absent::Told => LocalEmulator::wake(&engine, &settings, &progress).await,
        };
        started.map_err(|error| lost_emulator(config, error))
    }
    .await;
    match started {
        Ok(running) => {
            let what = format!("MiniStack {} at {}", running.version, running.endpoint);
            match &running.found {
                Found::Reused => task.unchanged(what),
                Found::Fresh => task.done(format!("{what}, started")),
                Found::Returned => {
                    let text = "the local emulator had been restarted since it was last used";
                    task.message(MessageLevel::Info, format!("{text}: {}", follows(config)), None);
                    task.done(format!("{what}, restarted with its state"));
                }
                Found::Restarted { why } => {
                    let text = format!("the local emulator was started again ({why}): {}", follows(config));
                    task.message(MessageLevel::Info, text, None);
                    task.done(format!("{what}, started again with its state"));
                }
                Found::Lost { why } => {
                    let text = format!("the local environment was lost and is built again: {why}");
                    task.message(MessageLevel::Warning, text, None);
                    task.done(format!("{what}, started empty"));
                }
            }
            left_behind::tell(&engine, ui).await;
            Ok(LocalEndpoint {
                url: running.endpoint,
                account: running.account,
                made: running.found == Found::Fresh,
                woken,
                restarted: matches!(running.found, Found::Returned | Found::Restarted { .. }),
            })
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// Stops the emulator again, with its state.
async fn stop_emulator(config: &Config, ui: &Ui) -> Result<(), PipelineError> {
    let task = ui.events.task("emulator", "Stop the local emulator again");
    let stopped = async {
        let engine = nuages_emulator::Engine::connect().await?;
        Ok::<_, PipelineError>(LocalEmulator::stop(&engine, &local_settings(config)?).await?)
    };
    match stopped.await {
        Ok(()) => {
            task.done("it was stopped before");
            Ok(())
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// What a restart of the emulator means for what runs in it.
fn follows(config: &Config) -> &'static str {
    if config.database.is_some() {
        "it makes the containers of the database and of all tasks again, with the database's data"
    } else {
        "it makes the containers of all tasks again"
    }
}

async fn require_emulator(config: &Config) -> Result<(), PipelineError> {
    let engine = nuages_emulator::Engine::connect().await?;
    match LocalEmulator::status(&engine, &local_settings(config)?).await? {
        LocalStatus::Running { .. } | LocalStatus::Stopped => Ok(()),
        LocalStatus::Absent => Err(PipelineError::refused(
            "there is no local environment",
            format!("make one: `nuages deploy --env {}`", config.env.name),
        )),
    }
}

/// Whether this machine's engine holds anything of the environment: its emulator, a network, a volume.
pub(crate) async fn has_local(config: &Config) -> Result<bool, PipelineError> {
    let engine = nuages_emulator::Engine::connect().await?;
    let name = local_settings(config)?.name();
    let all = LocalEmulator::list(&engine).await?;
    Ok(all.iter().any(|settings| settings.name() == name))
}

/// Whether this machine's engine has no emulator of the environment, running or stopped.
pub(crate) async fn is_absent(config: &Config) -> Result<bool, PipelineError> {
    let engine = nuages_emulator::Engine::connect().await?;
    let status = LocalEmulator::status(&engine, &local_settings(config)?).await?;
    Ok(status == LocalStatus::Absent)
}

pub(crate) async fn find_emulator(config: &Config, ui: &Ui) -> Result<Option<LocalEndpoint>, PipelineError> {
    let engine = nuages_emulator::Engine::connect().await?;
    let settings = local_settings(config)?;
    match LocalEmulator::status(&engine, &settings).await? {
        LocalStatus::Running { endpoint, .. } => {
            // One that somebody has just started answers nobody yet.
            let answers = LocalEmulator::answers(&engine, &settings);
            let answers = async { answers.await.map_err(|error| silent_emulator(config, error)) };
            told_if_slow(answers, ui).await?;
            Ok(Some(LocalEndpoint {
                url: endpoint,
                account: settings.account,
                made: false,
                woken: false,
                restarted: false,
            }))
        }
        LocalStatus::Absent => {
            left_behind::tell(&engine, ui).await;
            Err(not_running(config))
        }
        LocalStatus::Stopped => Err(not_running(config)),
    }
}

/// What takes no time is not told.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Says that the emulator is waited for, where it does not answer at once, and how that ended.
async fn told_if_slow(answers: impl Future<Output = Result<(), PipelineError>>, ui: &Ui) -> Result<(), PipelineError> {
    let mut answers = std::pin::pin!(answers);
    let began = Instant::now();
    if let Ok(answered) = tokio::time::timeout(AT_ONCE, &mut answers).await {
        return answered;
    }
    let task = ui.events.task("emulator", "Local emulator");
    let text = "the local emulator does not answer yet, and is waited for: it takes some seconds to start";
    task.message(MessageLevel::Info, text, None);
    match answers.await {
        Ok(()) => {
            task.done(format!("it answers after {} s", began.elapsed().as_secs()));
            Ok(())
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// The emulator's container runs or ran a moment ago, and nobody answers in it.
fn silent_emulator(config: &Config, error: EmulatorError) -> PipelineError {
    let env = &config.env.name;
    match error {
        EmulatorError::NotReady { waited, last, .. } => PipelineError::refused(
            format!(
                "the local environment has not answered for {} s: {last}",
                waited.as_secs()
            ),
            format!(
                "repeat the command when it has started; `nuages deploy --env {env}` restarts one that stays silent"
            ),
        ),
        EmulatorError::Stopped { .. } => not_running(config),
        error => error.into(),
    }
}

/// What is gone is not what a run goes on from.
fn lost_emulator(config: &Config, error: EmulatorError) -> PipelineError {
    match error {
        EmulatorError::Lost { why, .. } => PipelineError::refused(
            format!("the local environment is lost: {why}"),
            format!("build it again: `nuages deploy --env {}`", config.env.name),
        ),
        error => error.into(),
    }
}

fn not_running(config: &Config) -> PipelineError {
    PipelineError::refused(
        "the local environment is not running",
        format!("start it with `nuages deploy --env {}`", config.env.name),
    )
}

/// Removes the local emulator and all that is its own; answers whether there was anything.
pub(crate) async fn remove_emulator(config: &Config, ui: &Ui) -> Result<bool, PipelineError> {
    remove_local(&local_settings(config)?, ui).await
}

/// Removes a local emulator, whatever became of its project.
pub(crate) async fn remove_local(settings: &LocalSettings, ui: &Ui) -> Result<bool, PipelineError> {
    let engine = nuages_emulator::Engine::connect().await?;
    let task = ui.events.task("emulator", "Remove the local emulator");
    let removed = async {
        let removed = LocalEmulator::down(&engine, settings, &task.progress()).await?;
        // With the containers gone nothing holds the images.
        Ok::<_, PipelineError>((removed, crate::build::forget_images(settings).await?))
    };
    match removed.await {
        Ok((removed, images)) => {
            let (containers, networks, volumes) =
                (removed.containers.len(), removed.networks.len(), removed.volumes.len());
            let existed = containers + networks + volumes > 0;
            if existed || images > 0 {
                let parts = [
                    (containers, "container"),
                    (networks, "network"),
                    (volumes, "volume"),
                    (images, "image name"),
                ];
                task.done(parts.map(|(number, what)| count(number, what)).join(", "));
            } else {
                task.unchanged("there is none");
            }
            Ok(existed)
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nuages_saga::EventKind;

    use super::*;
    use crate::error::Ending;

    /// Whoever made it for a look is not the only one in it by then.
    #[tokio::test]
    async fn an_emulator_that_somebody_works_in_is_left_running() {
        let (mut session, _dir) = crate::stack::tests::staging("http://127.0.0.1:1").await;
        for made in [true, false] {
            session.emulator = Some(LocalEndpoint {
                url: "http://127.0.0.1:1".into(),
                account: session.aws.identity().account.to_string(),
                made,
                woken: !made,
                restarted: false,
            });
            let lease = session.lease("deploy").await.unwrap();
            let heard = Arc::new(Mutex::new(Vec::new()));
            let listener = Arc::clone(&heard);
            let ui = Ui {
                events: Events::to(move |event| listener.lock().unwrap().push(event.kind)),
                ..Ui::silent()
            };
            session.leave_nothing(&ui).await.unwrap();
            let heard = std::mem::take(&mut *heard.lock().unwrap());
            let [EventKind::Message { text, .. }] = &heard[..] else {
                panic!("nothing is begun: {heard:?}")
            };
            assert!(text.starts_with("the local emulator is left running: "), "{text}");
            lease.release().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_emulator_that_is_waited_for_is_told_and_so_is_the_end() {
        let told = async |millis: u64, end: Result<(), PipelineError>| {
            let heard = Arc::new(Mutex::new(Vec::new()));
            let listener = Arc::clone(&heard);
            let events = Events::to(move |event| match event.kind {
                EventKind::Message { text, .. } => listener.lock().unwrap().push(text),
                EventKind::TaskEnded { detail, error, .. } => {
                    let error = error.map(|error| error.to_string());
                    listener.lock().unwrap().push(detail.or(error).unwrap_or_default());
                }
                _ => {}
            });
            let ui = Ui { events, ..Ui::silent() };
            let answers = async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                end
            };
            let ended = told_if_slow(answers, &ui).await.is_ok();
            let heard = heard.lock().unwrap().clone();
            (ended, heard)
        };
        assert_eq!(told(100, Ok(())).await, (true, Vec::new()));
        let (ended, heard) = told(12_000, Ok(())).await;
        assert!(ended);
        assert!(heard[0].contains("does not answer yet, and is waited for"), "{heard:?}");
        assert_eq!(heard[1], "it answers after 12 s");
        let silent = PipelineError::refused("no answer for 20 s", "repeat it");
        let (ended, heard) = told(20_000, Err(silent)).await;
        assert!(!ended);
        assert!(heard[1].starts_with("no answer for 20 s"), "{heard:?}");
    }

    #[test]
    fn an_emulator_that_has_just_started_is_no_matter_of_regions() {
        let (config, _dir) = crate::stack::tests::config("staging");
        let silent = EmulatorError::NotReady {
            what: "nuages-local-blog-1".into(),
            waited: Duration::from_secs(20),
            last: "connection reset by peer".into(),
            tail: "a long log".into(),
        };
        let told = silent_emulator(&config, silent);
        assert_eq!(
            told.to_string(),
            "the local environment has not answered for 20 s: connection reset by peer"
        );
        assert!(told.hint().unwrap().contains("repeat the command when it has started"));
        let stopped = EmulatorError::Stopped {
            what: "nuages-local-blog-1".into(),
            code: 0,
            tail: String::new(),
        };
        let told = silent_emulator(&config, stopped);
        assert_eq!(told.to_string(), "the local environment is not running");
        assert_eq!(told.ending(), Ending::Refused);
    }
}
