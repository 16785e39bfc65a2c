//! The plan alone: what a deployment would do.
//!
//! Invariant: nothing is pushed and nothing is left behind; what cannot be known before the build is said to be known
//! later, not guessed.

use nuages_config::Backup;
use nuages_image::Engine;
use nuages_model::Progress;

use crate::error::PipelineError;
use crate::session::Session;
use crate::ui::{Ui, count};
use crate::{fingerprint, infra, inputs, live, secrets, stack, tree};

/// What a deployment would do, as far as it can be known without pushing anything or leaving anything behind.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What the stack would change.
    pub infra: nuages_infra::ChangeSetPlan,
    /// Why a release would be made; none where nothing changed.
    pub why: Option<String>,
    /// Secrets that would be made, by variable.
    pub secrets: Vec<String>,
    /// The checks that would run.
    pub checks: Vec<String>,
    /// What would be done to what serves, a line each.
    pub steps: Vec<String>,
    /// The migrations whose files differ from what the serving release recorded are known only after the build.
    pub known_after: Vec<String>,
    /// What should be known before it is done.
    pub notes: Vec<String>,
}

impl Planned {
    /// Whether anything would be done.
    pub fn has_changes(&self) -> bool {
        !self.infra.none || self.why.is_some() || !self.secrets.is_empty()
    }
}

/// What a deployment would do. Pushes nothing and leaves nothing behind.
pub async fn plan(session: &Session, ui: &Ui) -> Result<Planned, PipelineError> {
    secrets::check_database(session)?;
    let config = &session.config;
    tree::look(config, session.store.store().path()).await?;
    let infra_plan = infra::infra_plan(session, ui).await?;
    let stack = stack::stack(session);
    let known = stack.describe().await?.filter(nuages_infra::StackState::stands);
    let outputs = known.map(|state| state.outputs()).transpose()?;
    let url = secrets::database_url(outputs.as_ref()).cloned();
    let inspection = secrets::manager(session)
        .inspect(&secrets::wanted(session, url.as_ref()), &[])
        .await?;
    let to_make: Vec<String> = inspection
        .planned
        .iter()
        .map(|planned| planned.variable.clone())
        .collect();

    let engine = Engine::connect().await?;
    let (source, inputs) = crate::build::source(config, session.store.store().path(), &engine).await?;
    let resolved = secrets::as_resolved(inspection);
    let fingerprint = fingerprint::of(&source, config, resolved.versions().into_iter());
    let serving = session.store.serving().await?;
    // What no record tells of is asked of ECS.
    let unrecorded = match (&serving, &outputs) {
        (None, Some(outputs)) => live::unrecorded(session, &outputs.cluster).await?,
        _ => Vec::new(),
    };
    let why = match (&serving, &outputs) {
        (None, _) if !unrecorded.is_empty() => Some("this store has no record of what serves".to_owned()),
        (None, _) | (_, None) => Some("nothing serves yet".to_owned()),
        (Some(serving), Some(outputs)) => {
            if serving.world != Some(outputs.world) {
                Some("the environment is not the one on record".to_owned())
            } else if serving.fingerprint == fingerprint {
                live::differs(session, &outputs.cluster, serving, &Progress::none()).await?
            } else {
                let versions = resolved.versions().into_iter();
                Some(inputs::differences(&session.store, serving, config, versions, &inputs).await)
            }
        }
    };
    let mut steps = Vec::new();
    let mut known_after = Vec::new();
    if why.is_some() {
        for (name, service) in &config.services {
            let recorded = serving.as_ref().and_then(|serving| serving.task_definitions.get(name));
            let running = unrecorded.iter().find(|running| running.service == *name);
            let runs = recorded
                .map(|arn| arn.name().to_owned())
                .or_else(|| running.map(ToString::to_string));
            let what = match runs {
                Some(runs) => format!("~ service {name}: {runs} → known after push"),
                None => format!(
                    "+ service {name} with {}",
                    count(usize::try_from(service.count).unwrap_or(0), "task")
                ),
            };
            steps.push(what);
        }
        known_after.push("the image's digest: after build".to_owned());
        known_after.push("pending migrations: after push, by a probe in the environment".to_owned());
    }
    let unknown = (!unrecorded.is_empty()).then(|| {
        format!(
            "no rollback returns to what serves now, since this store has no record of it; {}",
            live::OTHER_STORE
        )
    });
    let backups = backups(session).filter(|_| why.is_some());
    let notes = unknown.into_iter().chain(backups).collect();
    let checks = if why.is_some() {
        config.checks.keys().cloned().collect()
    } else {
        Vec::new()
    };
    Ok(Planned {
        infra: infra_plan,
        why,
        secrets: to_make,
        checks,
        steps,
        known_after,
        notes,
    })
}

/// What can be gone back to if a migration spoils the data. On an emulator there is nothing to be sorry for.
fn backups(session: &Session) -> Option<String> {
    let config = &session.config;
    let database = config
        .database
        .as_ref()
        .filter(|_| !session.aws.quirks().is_emulator())?;
    let days = count(usize::try_from(database.backup_retention).unwrap_or(0), "day");
    Some(match config.migrations.backup {
        Backup::None => {
            format!("nothing is saved before migrations; RDS's own backups of {days} are there in any case")
        }
        _ => format!(
            "before migrations nothing is saved but what RDS keeps by itself: backups of {days}, to any point in time"
        ),
    })
}
