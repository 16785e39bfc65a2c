//! A deployment: from the working tree to a healthy, recorded release.
//!
//! Invariant: nothing that serves is touched before all that could refuse the release was asked: build, checks and push,
//! and preflight and probe unless tasks cannot start without the change of the stack. Of that change the person is told
//! however the deployment ends; all else that is written to what serves is a step of the stored plan.

use std::collections::{BTreeMap, BTreeSet};

use nuages_config::Config;
use nuages_image::Engine;
use nuages_model::{ImageRef, ReleaseId};
use nuages_releases::{CheckRecord, GitState, Release, ReleaseDraft, ReleaseOutcome, ReleaseRef};
use nuages_saga::{Holder, JournalStore as _, LeaseGuard, MessageLevel, SagaError};
use url::Url;

use crate::build::{PushedImage, build};
use crate::checks::CheckOptions;
use crate::deploy_plan::deploy_plan;
use crate::error::PipelineError;
use crate::ground::{self, Existing, Ground, Pending};
use crate::layout::Layout;
use crate::parts::ready_path;
use crate::probe::Probed;
use crate::resume::record_undone;
use crate::run::{Run, conclude};
use crate::session::Session;
use crate::ui::{Ui, count};
use crate::{checks, fingerprint, inputs, live, preflight, probe, secrets, stack, tree};

/// How a deployment is made.
#[derive(Debug, Clone, Default)]
pub struct DeployOptions {
    /// How the project's gates are run.
    pub checks: CheckOptions,
    /// What the stack may destroy although it holds data, by logical id.
    pub allow_destroy: BTreeSet<String>,
    /// Whether to deploy although nothing changed.
    pub force: bool,
}

/// How a deployment ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    /// The release that serves.
    pub release: Release,
    /// Where.
    pub url: Option<Url>,
    /// Whether anything was done.
    pub changed: bool,
}

/// Deploys the working tree.
pub async fn deploy(session: &Session, options: &DeployOptions, ui: &Ui) -> Result<Deployed, PipelineError> {
    let lease = session.lease("deploy").await?;
    let mut changed = Vec::new();
    let deployed = deploy_in(session, options, &lease, &mut changed, ui).await;
    lease.release().await;
    ended(session, deployed, &changed, ui).await
}

/// What is said at the end. `changed` is what was changed of the stack, which no undo takes back.
pub(crate) async fn ended(
    session: &Session,
    deployed: Result<Deployed, PipelineError>,
    changed: &[String],
    ui: &Ui,
) -> Result<Deployed, PipelineError> {
    let error = match deployed {
        Ok(deployed) => return Ok(deployed),
        Err(error) => error,
    };
    if !changed.is_empty() {
        let (name, env) = (stack::stack(session), &session.config.env.name);
        let text = format!(
            "the stack {} was changed before that, and stays so: {}",
            name.name(),
            changed.join("; ")
        );
        let hint = format!(
            "the next `nuages deploy --env {env}` goes on from there; to have it as it was, take the change of \
             nuages.toml back and run `nuages infra up --env {env}`"
        );
        ui.events.message(MessageLevel::Warning, text, Some(hint));
    }
    if !ui.stopped() {
        return Err(error);
    }
    // Where even the store cannot be read, what was cut off is all that is known.
    let serving = session.store.serving().await.ok().flatten();
    Err(error.cut_off(serving.map(|serving| serving.number), !changed.is_empty()))
}

async fn deploy_in(
    session: &Session,
    options: &DeployOptions,
    lease: &LeaseGuard,
    changed: &mut Vec<String>,
    ui: &Ui,
) -> Result<Deployed, PipelineError> {
    let (config, store) = (&session.config, session.store.store().path());
    tree::look_unless_seen(session).await?;
    let engine = Engine::connect().await?;
    let git = git_state(config).await;
    let (source, inputs) = crate::build::source(config, store, &engine).await?;
    let fingerprint = |ground: &Ground| fingerprint::of(&source, config, ground.secrets.versions().into_iter());
    let gates = async |ground: &Ground| {
        let image = build(config, store, &engine, ui).await?;
        go_on(lease, ui).await?;
        let checks = checks::check(config, &session.store, &engine, &image, &options.checks, ui).await?;
        go_on(lease, ui).await?;
        let pushed = crate::build::push(session, &ground.outputs, &engine, &image, ui).await?;
        Ok(Made {
            pushed,
            builder: image.builder,
            git,
            checks,
        })
    };
    let deployed = carry(session, options, lease, fingerprint, gates, changed, ui).await?;
    inputs::keep(&session.store, &deployed.release.fingerprint, inputs).await;
    Ok(deployed)
}

/// A deployment from where the working tree was read: `fingerprint` says what a release of it is known by, and `gates`
/// make its image, which is in the registry then, unless they refuse it.
pub(crate) async fn carry(
    session: &Session,
    options: &DeployOptions,
    lease: &LeaseGuard,
    fingerprint: impl Fn(&Ground) -> String,
    gates: impl AsyncFnOnce(&Ground) -> Result<Made, PipelineError>,
    changed: &mut Vec<String>,
    ui: &Ui,
) -> Result<Deployed, PipelineError> {
    let mut ground = stand(session, options, lease, ui).await?;
    tell_unrecorded(session, &ground, ui).await?;
    if !options.force {
        while let Some(serving) = unchanged(session, &ground, &fingerprint(&ground), ui).await? {
            if ground.pending.is_none() {
                return Ok(Deployed {
                    changed: !changed.is_empty(),
                    ..serving
                });
            }
            // Without a release there is nothing to wait for; what serves must outlive it.
            ground = ground::change(session, ground, changed, ui).await?;
        }
    }
    let made = gates(&ground).await?;
    go_on(lease, ui).await?;
    release(session, lease, ground, fingerprint, made, changed, ui).await
}

/// An image in the registry, with what its release records of how it came to be.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) pushed: PushedImage,
    /// What built it.
    pub(crate) builder: String,
    /// The working tree that it was built from.
    pub(crate) git: Option<GitState>,
    pub(crate) checks: Vec<CheckRecord>,
}

/// Brings the environment up, as far as an image needs it. Beside an unfinished run nothing is begun.
async fn stand(
    session: &Session,
    options: &DeployOptions,
    lease: &LeaseGuard,
    ui: &Ui,
) -> Result<Ground, PipelineError> {
    let ground = ground::ground(session, lease, Existing::Left, &options.allow_destroy, ui).await?;
    // Whoever took the environment from this run may have begun one of their own.
    go_on(lease, ui).await?;
    if let Some(open) = session.store.unfinished().await.map_err(SagaError::from)? {
        return Err(PipelineError::unfinished(session, &open));
    }
    Ok(ground)
}

/// Says what serves where this store has no record of it: whoever reads on takes it for the first deployment.
async fn tell_unrecorded(session: &Session, ground: &Ground, ui: &Ui) -> Result<(), PipelineError> {
    if session.store.serving().await?.is_some() {
        return Ok(());
    }
    for running in live::unrecorded(session, &ground.outputs.cluster).await? {
        let text = format!(
            "`{}` runs {running}, of which this store has no record: it is replaced, and no rollback returns to it",
            running.service
        );
        ui.events
            .message(MessageLevel::Warning, text, Some(live::OTHER_STORE.to_owned()));
    }
    Ok(())
}

/// Makes the release of an image that is in the registry, and waits until it serves.
async fn release(
    session: &Session,
    lease: &LeaseGuard,
    mut ground: Ground,
    fingerprint: impl Fn(&Ground) -> String,
    made: Made,
    changed: &mut Vec<String>,
    ui: &Ui,
) -> Result<Deployed, PipelineError> {
    let release = ReleaseId::generate();
    let is_before_tasks = ground.pending.as_ref().is_none_or(Pending::is_before_tasks);
    if !is_before_tasks {
        // No task of the release starts without it: a secret that its role may not read yet, a log that is missing.
        ground = ground::change(session, ground, changed, ui).await?;
    }
    let asked = layout(session, &ground, made.pushed.image.clone())?;
    preflight::preflight(session, &asked, release, ui).await?;
    let probed = probe_database(session, &asked, release, ui).await?;
    go_on(lease, ui).await?;
    let ground = ground::change(session, ground, changed, ui).await?;
    go_on(lease, ui).await?;

    let url = stack::public_url(session, &ground.outputs)?;
    let layout = layout(session, &ground, made.pushed.image.clone())?;
    let draft = draft(session, &ground, release, made, fingerprint(&ground), url.as_ref()).await?;
    let before = session.store.serving().await?;
    let ready = before.as_ref().and_then(ready_path);
    let plan = deploy_plan(
        session,
        &ground,
        &layout,
        draft,
        &probed,
        (url.as_ref(), ready.as_deref()),
    )?;
    let run = Run::new(session, lease);
    let planning = ui.events.task("plan", "Plan");
    let plan = run
        .plan(plan, planning, |plan| count(plan.steps().count(), "step"))
        .await?;
    let report = run.carry_out(&plan, ui.events.task("roll-out", "Roll out"), ui).await?;
    record_undone(&session.store, lease.fence(), &report.plan, &report.outcome).await?;
    conclude(&report, "the deployment", session, ui)?;
    let release = session.store.release(ReleaseRef::Id(release)).await?;
    let release = release.ok_or_else(|| PipelineError::machine("read the record of the release", "it is not there"))?;
    Ok(Deployed {
        release,
        url,
        changed: true,
    })
}

/// Ends a verb between two phases, where nothing has to be undone: somebody asked for it, or took the environment.
async fn go_on(lease: &LeaseGuard, ui: &Ui) -> Result<(), PipelineError> {
    if ui.stopped() {
        return Err(PipelineError::Cancelled {
            serves: None,
            cut_off: None,
            changed: false,
        });
    }
    match lease.confirm().await {
        Err(SagaError::LeaseLost) => Err(PipelineError::Taken),
        confirmed => Ok(confirmed?),
    }
}

/// The serving release, if deploying would give it again and it really serves.
async fn unchanged(
    session: &Session,
    ground: &Ground,
    fingerprint: &str,
    ui: &Ui,
) -> Result<Option<Deployed>, PipelineError> {
    if ground.database_moved {
        return Ok(None);
    }
    let Some(serving) = session.store.serving().await? else {
        return Ok(None);
    };
    if serving.fingerprint != fingerprint {
        return Ok(None);
    }
    let url = stack::public_url(session, &ground.outputs)?;
    let task = ui.events.task("compare", "Compare with what serves");
    let progress = task.progress();
    let differs = match live::differs(session, &ground.outputs.cluster, &serving, &progress).await {
        // Steady tasks are not yet a site that answers.
        Ok(None) => Ok(live::silent(session, &ground.outputs, url.as_ref(), &progress).await),
        other => other,
    };
    match differs {
        Ok(None) => {
            let number = serving.number;
            if session.restarted() {
                let tasks: u32 = session.config.services.values().map(|service| service.count).sum();
                let tasks = count(usize::try_from(tasks).unwrap_or_default(), "task");
                task.done(format!("{number} serves again with {tasks}, and nothing changed"));
            } else {
                task.unchanged(format!("{number} serves, and nothing changed"));
            }
            Ok(Some(Deployed {
                release: serving,
                url,
                changed: false,
            }))
        }
        Ok(Some(why)) => {
            task.done(format!("the inputs are those of {}, but {why}", serving.number));
            Ok(None)
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// How a release of this image looks in ECS.
pub(crate) fn layout<'a>(
    session: &'a Session,
    ground: &'a Ground,
    image: ImageRef,
) -> Result<Layout<'a>, PipelineError> {
    let url = stack::public_url(session, &ground.outputs)?;
    Ok(Layout {
        config: &session.config,
        outputs: &ground.outputs,
        image: image
            .try_into()
            .map_err(|e| PipelineError::machine("pin the image", e))?,
        secrets: secrets::by_variable(&ground.secrets),
        plain_http: url.as_ref().is_some_and(|url| url.scheme() == "http"),
        public_host: url.as_ref().and_then(Url::host_str).map(str::to_owned),
    })
}

async fn probe_database(
    session: &Session,
    layout: &Layout<'_>,
    release: ReleaseId,
    ui: &Ui,
) -> Result<Probed, PipelineError> {
    let task = ui.events.task("probe", "Probe the database");
    match probe::probe(session, layout, release, &task).await {
        Ok(probed) => {
            let blockers = probed.report.blockers();
            if let Some(first) = blockers.first() {
                let error = PipelineError::refused(
                    format!("Django would refuse these migrations: {first}"),
                    "mend the migrations and deploy again",
                );
                task.failed_with(error.report());
                return Err(error);
            }
            let pending = &probed.migrate.pending;
            match pending.len() {
                0 => task.done("no migration is pending"),
                1 => task.done(format!("1 migration is pending: {}", pending[0])),
                n => task.done(format!("{n} migrations are pending")),
            }
            Ok(probed)
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

async fn draft(
    session: &Session,
    ground: &Ground,
    release: ReleaseId,
    made: Made,
    fingerprint: String,
    url: Option<&Url>,
) -> Result<ReleaseDraft, PipelineError> {
    let config = &session.config;
    let holder = Holder::here("deploy");
    Ok(ReleaseDraft {
        id: release,
        created_by: holder.owner,
        deployment: None,
        parent: session.store.serving().await?.map(|serving| serving.id),
        world: Some(ground.outputs.world),
        outcome: ReleaseOutcome::Healthy,
        git: made.git,
        image_digest: made.pushed.digest,
        image_reference: made.pushed.image,
        task_definitions: BTreeMap::new(),
        fingerprint,
        config_hash: config.fingerprint().to_string(),
        config: serde_json::to_value(config).map_err(|e| PipelineError::machine("record the configuration", e))?,
        secrets: ground
            .secrets
            .versions()
            .into_iter()
            .map(|(_, version)| version.clone())
            .collect(),
        migrations: BTreeMap::new(),
        checks: made.checks,
        builder: made.builder,
        url: url.map(ToString::to_string),
    })
}

/// The commit of the project's folder, if it is in a repository and git is there.
async fn git_state(config: &Config) -> Option<GitState> {
    let git = |args: &'static [&'static str]| {
        let dir = config.project_dir.clone();
        async move {
            let output = tokio::process::Command::new("git")
                .arg("-C")
                .arg(dir)
                .args(args)
                .output()
                .await
                .ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
    };
    let commit = git(&["rev-parse", "HEAD"]).await?;
    let branch = git(&["symbolic-ref", "--short", "-q", "HEAD"]).await;
    let dirty = git(&["status", "--porcelain", "--", "."])
        .await
        .is_none_or(|changes| !changes.is_empty());
    Some(GitState { commit, branch, dirty })
}
