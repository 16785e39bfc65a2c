//! Environments as a store alone knows them: for whoever has no project at hand, or one that cannot be read.
//!
//! Invariant: nothing is guessed. The records say which account, region and application it is, and the connection is
//! proven against them; where several environments could be meant, none is taken. No store is made.

use std::path::Path;

use nuages_aws::{AwsContext, AwsError, AwsSettings};
use nuages_model::EnvName;
use nuages_releases::{Circumstances, EnvironmentKey, EnvironmentStore, ReleaseRef, Store};
use nuages_saga::{JournalStore as _, MessageLevel, Plan, SagaError, Summary};

use crate::environment::{Environment, with_store};
use crate::error::PipelineError;
use crate::records;
use crate::resume::draft_of;
use crate::session::{named_endpoint, unnamed_credentials};
use crate::ui::Ui;

/// A run that has not ended, and whose it is.
struct Interrupted {
    environment: EnvironmentStore,
    run: Summary,
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (run, key) = (&self.run, self.environment.key());
        write!(f, "{} {} of {key}", run.operation, run.deployment)
    }
}

impl Environment {
    /// Connects to the environment of this name whose run was interrupted, as this store has it. None where no run
    /// was. Where several were, `deployment` says which: its id or the beginning of it.
    pub async fn interrupted(
        store: &Path,
        env: &EnvName,
        deployment: Option<&str>,
        ui: &Ui,
    ) -> Result<Option<Self>, PipelineError> {
        let known = of_name(&open(store).await?, env).await?;
        let mut found = interrupted(known).await?;
        if let Some(asked) = deployment {
            let runs = found.iter().map(|one| &one.run);
            if !runs.clone().any(|run| begins(run, asked)) {
                return Err(no_such(asked, env, &sentences(&found)));
            }
            found.retain(|one| begins(&one.run, asked));
        }
        let Some(one) = found.pop() else {
            return Ok(None);
        };
        if !found.is_empty() {
            found.push(one);
            return Err(PipelineError::refused(
                format!("several runs of `{env}` were interrupted: {}", sentences(&found)),
                "add the id of the one that is meant to the command, or run it in that project's folder",
            ));
        }
        let path = one.environment.store().path().display();
        ui.events
            .message(MessageLevel::Info, format!("{path} has {one}, interrupted"), None);
        let aws = connect(&one).await?;
        let circumstances = Circumstances {
            real_account: !aws.quirks().is_emulator(),
            // Only a store that does not outlive its runner is refused there, and this one did.
            ci: false,
            named: true,
        };
        records::judge(circumstances, &ui.events)?;
        Ok(Some(Self {
            aws,
            store: one.environment,
            project: None,
        }))
    }

    /// Refuses where the interrupted run is not the one that was asked for, by its id or the beginning of it.
    pub async fn expect(&self, deployment: &str) -> Result<(), PipelineError> {
        let open = self.store.unfinished().await.map_err(SagaError::from)?;
        match &open {
            Some(run) if begins(run, deployment) => Ok(()),
            _ => {
                let open = open.map(|run| format!("{} {}", run.operation, run.deployment));
                Err(no_such(deployment, self.env(), &open.unwrap_or_default()))
            }
        }
    }

    /// Says which other runs of an environment of this name the store has that were interrupted: of another region or
    /// account than `nuages.toml` names now, or of another application.
    pub(crate) async fn tell_others(&self, ui: &Ui) {
        let others = async {
            let mut known = self.store.store().environments().await?;
            known.retain(|other| other.key().env == *self.env() && other.key() != self.store.key());
            interrupted(known).await
        };
        // They are nobody's question here: what cannot be read of them is left alone.
        for other in others.await.unwrap_or_default() {
            let which = with_store(self.env(), self.store.store().path());
            let hint = format!(
                "go on with it in its project's folder, or from one without nuages.toml: `nuages resume --env {which} {}`",
                other.run.deployment
            );
            ui.events
                .message(MessageLevel::Warning, format!("{other} was interrupted"), Some(hint));
        }
    }
}

fn begins(run: &Summary, asked: &str) -> bool {
    run.deployment.to_string().starts_with(&asked.to_lowercase())
}

fn no_such(asked: &str, env: &EnvName, there: &str) -> PipelineError {
    PipelineError::Arguments {
        what: format!("no interrupted run of `{env}` begins with `{asked}`"),
        hint: (!there.is_empty()).then(|| format!("what was interrupted is {there}")),
    }
}

fn sentences(found: &[Interrupted]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

async fn interrupted(known: Vec<EnvironmentStore>) -> Result<Vec<Interrupted>, PipelineError> {
    let mut found = Vec::new();
    for environment in known {
        if let Some(run) = environment.unfinished().await.map_err(SagaError::from)? {
            found.push(Interrupted { environment, run });
        }
    }
    Ok(found)
}

/// A store that must be there.
pub(crate) async fn open(named: &Path) -> Result<Store, PipelineError> {
    let path = nuages_releases::location(Path::new("."), Some(named));
    if !nuages_releases::is_there(&path)? {
        return Err(PipelineError::Arguments {
            what: format!("there is no store at {}", path.display()),
            hint: Some("--store and NUAGES_STORE name the file nuages.db, or its folder".into()),
        });
    }
    Ok(Store::open(&path).await?)
}

/// The environments of this name: there is at least one.
async fn of_name(store: &Store, env: &EnvName) -> Result<Vec<EnvironmentStore>, PipelineError> {
    let all = store.environments().await?;
    let (found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.key().env == *env);
    if found.is_empty() {
        let mut names: Vec<String> = others.iter().map(|other| format!("`{}`", other.key().env)).collect();
        names.sort();
        names.dedup();
        return Err(PipelineError::Arguments {
            what: format!("{} has no records of an environment `{env}`", store.path().display()),
            hint: Some(match names.as_slice() {
                [] => "it is empty: name another with --store or NUAGES_STORE".to_owned(),
                names => format!("it has records of {}", names.join(", ")),
            }),
        });
    }
    Ok(found)
}

/// The records of the only environment of this name.
pub(crate) async fn only(store: &Path, env: &EnvName) -> Result<EnvironmentStore, PipelineError> {
    let mut found = of_name(&open(store).await?, env).await?;
    if let ([_], Some(only)) = (found.as_slice(), found.last().cloned()) {
        return Ok(only);
    }
    found.sort_by_key(|one| one.key().to_string());
    let names: Vec<String> = found.iter().map(|one| one.key().to_string()).collect();
    Err(PipelineError::refused(
        format!(
            "there are records of several environments `{env}`: {}",
            names.join("; ")
        ),
        "run this in the project's folder, or name it with `--project DIR`",
    ))
}

async fn connect(one: &Interrupted) -> Result<AwsContext, PipelineError> {
    let EnvironmentKey { account, region, .. } = one.environment.key().clone();
    let emulator = emulator_of(one).await?;
    if emulator.is_some() && named_endpoint().is_none() {
        return Err(PipelineError::refused(
            format!(
                "{} is in an emulator, which is found by its project's folder",
                one.environment.key()
            ),
            "run this in that folder, or set AWS_ENDPOINT_URL to the emulator's address, such as http://127.0.0.1:4566",
        ));
    }
    let mut settings = AwsSettings {
        region: Some(region),
        expected_account: Some(account),
        emulator: emulator.as_deref().and_then(|name| name.parse().ok()),
        ..AwsSettings::default()
    };
    if emulator.is_some() {
        settings.static_credentials = unnamed_credentials();
    }
    AwsContext::connect(&settings).await.map_err(|error| match &error {
        AwsError::WrongAccount { expected, .. } => {
            let hint = if emulator.is_some() {
                "set AWS_ENDPOINT_URL to the address of the emulator that it was deployed to".to_owned()
            } else {
                format!("use credentials of {expected} (AWS_PROFILE)")
            };
            PipelineError::refused(error.to_string(), hint)
        }
        _ => error.into(),
    })
}

/// The emulator that the run is in, by the settings that are recorded with its release; none in AWS.
async fn emulator_of(one: &Interrupted) -> Result<Option<String>, PipelineError> {
    let store = &one.environment;
    let loaded = store.load(one.run.deployment).await.map_err(SagaError::from)?;
    let plan: Option<Plan> = loaded.and_then(|(stored, _)| stored.plan().ok());
    let settings = match plan.as_ref().and_then(draft_of) {
        Some(draft) => Some(draft.config),
        // A rollback makes no release, and goes to one that is on record.
        None => match one.run.release {
            Some(release) => store
                .release(ReleaseRef::Id(release))
                .await?
                .map(|release| release.draft.config),
            None => None,
        },
    };
    let emulator = settings
        .as_ref()
        .and_then(|settings| settings.get("emulator")?.as_str());
    Ok(emulator.map(str::to_owned))
}
