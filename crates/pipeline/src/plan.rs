//! The plan alone: what a deployment would do.
//!
//! Invariant: nothing is pushed and nothing is left behind; what cannot be known before the build is said to be known
//! later, not guessed.

use nuages_config::Backup;
use nuages_image::Engine;
use nuages_model::{Progress, ServiceName};
use nuages_releases::ReleaseNumber;

use crate::error::PipelineError;
use crate::live::Unrecorded;
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
    tree::look_unless_seen(session).await?;
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
    // What runs is asked of ECS, whatever the record says.
    let running = match &outputs {
        Some(outputs) => live::unrecorded(session, &outputs.cluster).await?,
        None => Vec::new(),
    };
    let unrecorded = if serving.is_none() { &running[..] } else { &[] };
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
            let runs = running.iter().find(|running| running.service == *name);
            // Of another world's record nothing follows.
            let recorded = serving
                .as_ref()
                .filter(|serving| Some(serving.world) == outputs.as_ref().map(|outputs| Some(outputs.world)));
            let recorded = recorded.and_then(|serving| {
                let arn = serving.task_definitions.get(name)?;
                Some((serving.number, arn.name().to_owned()))
            });
            let what = from_to(name, service.count, runs, recorded);
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

/// What is done to a service: from what runs, and what the record has instead where that differs.
fn from_to(
    name: &ServiceName,
    tasks: u32,
    runs: Option<&Unrecorded>,
    recorded: Option<(ReleaseNumber, String)>,
) -> String {
    let after = "known after push";
    match (runs, recorded) {
        (Some(runs), Some((release, recorded))) if runs.definition != recorded => {
            format!("~ service {name}: {runs}, where {release} is on record with {recorded} → {after}")
        }
        (Some(runs), Some(_)) => format!("~ service {name}: {} → {after}", runs.definition),
        (Some(runs), None) => format!("~ service {name}: {runs} → {after}"),
        (None, recorded) => {
            let tasks = count(usize::try_from(tasks).unwrap_or(0), "task");
            match recorded {
                Some((release, recorded)) => {
                    format!("+ service {name} with {tasks}; {release} is on record with {recorded}, which does not run")
                }
                None => format!("+ service {name} with {tasks}"),
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_told_and_the_record_where_it_says_something_else() {
        let web: ServiceName = "web".parse().unwrap();
        let runs = Unrecorded {
            service: web.clone(),
            definition: "blog-web:7".into(),
            image: Some("sha256:0123456789ab".into()),
        };
        let told = |runs: Option<&Unrecorded>, recorded: Option<&str>| {
            let recorded = recorded.map(|recorded| ("v3".parse().unwrap(), recorded.to_owned()));
            from_to(&web, 2, runs, recorded)
        };
        assert_eq!(
            told(Some(&runs), Some("blog-web:7")),
            "~ service web: blog-web:7 → known after push"
        );
        assert_eq!(
            told(Some(&runs), Some("blog-web:5")),
            "~ service web: blog-web:7 (sha256:0123456789ab), where v3 is on record with blog-web:5 → known after push"
        );
        assert_eq!(
            told(Some(&runs), None),
            "~ service web: blog-web:7 (sha256:0123456789ab) → known after push"
        );
        assert_eq!(told(None, None), "+ service web with 2 tasks");
        assert_eq!(
            told(None, Some("blog-web:5")),
            "+ service web with 2 tasks; v3 is on record with blog-web:5, which does not run"
        );
    }
}
