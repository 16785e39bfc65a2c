//! A deployment: from the working tree to a healthy, recorded release.
//!
//! Invariant: until the saga runs, nothing that serves is touched; from then on every write is a step of the stored plan.

use std::collections::{BTreeMap, BTreeSet};

use nuages_config::Config;
use nuages_image::Engine;
use nuages_migrate::changed_between;
use nuages_model::{ImageRef, ReleaseId, ServiceName};
use nuages_releases::{CheckRecord, GitState, Release, ReleaseDraft, ReleaseOutcome, ReleaseRef};
use nuages_saga::{
    Holder, JournalStore as _, LeaseGuard, Outcome, Plan, PlannedCheck, Report, Runner, SagaError, StepId, StepSpec,
    TaskScope, output,
};
use serde_json::{Value, json};
use url::Url;

use crate::build::{BuiltImage, PushedImage, build};
use crate::checks::CheckOptions;
use crate::error::{PipelineError, ReportedError};
use crate::infra::Ground;
use crate::layout::{Layout, rollout_limit};
use crate::probe::Probed;
use crate::session::{Session, TOOL_VERSION};
use crate::steps::{
    DefinitionParams, RecordParams, RolloutParams, RolloutService, ServiceParams, SmokeParams, TagParams, Tools, kind,
};
use crate::ui::Ui;
use crate::{checks, fingerprint, infra, live, preflight, probe, secrets, stack, steps};

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
    let deployed = deploy_in(session, options, &lease, ui).await;
    lease.release().await;
    deployed
}

async fn deploy_in(
    session: &Session,
    options: &DeployOptions,
    lease: &LeaseGuard,
    ui: &Ui,
) -> Result<Deployed, PipelineError> {
    let config = &session.config;
    let ground = infra::ground(session, lease, &options.allow_destroy, ui).await?;
    if let Some(open) = session.store.unfinished().await.map_err(SagaError::from)? {
        return Err(PipelineError::unfinished(session, &open));
    }
    go_on(ui)?;
    let url = stack::public_url(session, &ground.outputs)?;
    let engine = Engine::connect().await?;
    let source = crate::build::source(config, session.store.store().path(), &engine).await?;
    let fingerprint = fingerprint::of(&source, config, ground.secrets.versions().into_iter());
    if !options.force
        && !ground.database_moved
        && let Some(serving) = unchanged(session, &ground, &fingerprint, ui).await?
    {
        return Ok(Deployed {
            release: serving,
            url,
            changed: false,
        });
    }

    let image = build(config, session.store.store().path(), &engine, ui).await?;
    go_on(ui)?;
    let records = checks::check(config, &session.store, &engine, &image, &options.checks, ui).await?;
    go_on(ui)?;
    let pushed = crate::build::push(session, &ground.outputs, &engine, &image, ui).await?;
    go_on(ui)?;

    let release = ReleaseId::generate();
    let layout = layout(session, &ground, pushed.image.clone())?;
    preflight::preflight(session, &layout, release, ui).await?;
    let probed = probe_database(session, &layout, release, ui).await?;
    go_on(ui)?;

    let draft = draft(
        session,
        &ground,
        release,
        &image,
        &pushed,
        records,
        fingerprint,
        url.as_ref(),
    )
    .await?;
    let plan = make_plan(session, &ground, &layout, draft.clone(), &probed, url.as_ref())?;
    let tools = Tools {
        aws: session.aws.clone(),
        store: session.store.clone(),
        fence: Some(lease.fence()),
    };
    let runner = Runner::new(
        steps::registry(tools),
        std::sync::Arc::new(session.store.clone()),
        TOOL_VERSION,
    );
    let planning = ui.events.task("plan", "Plan");
    let plan = match runner.plan(plan, &planning).await {
        Ok(plan) => plan,
        Err(error) => {
            planning.failed_with(nuages_saga::ErrorReport::of(&error));
            return Err(error.into());
        }
    };
    planning.done(format!("{} steps", plan.steps().count()));

    let scope = ui.events.task("roll-out", "Roll out");
    let report = run(&runner, &plan, lease, scope, ui).await?;
    if let Outcome::Restored { .. } = &report.outcome {
        let failed = ReleaseDraft {
            outcome: ReleaseOutcome::Failed,
            ..draft
        };
        session.store.record(lease.fence(), failed).await?;
    }
    conclude(&report, "the deployment", config)?;
    let release = session.store.release(ReleaseRef::Id(release)).await?;
    let release = release.ok_or_else(|| PipelineError::machine("read the record of the release", "it is not there"))?;
    Ok(Deployed {
        release,
        url,
        changed: true,
    })
}

/// Ends a verb between two phases, where nothing has to be undone.
fn go_on(ui: &Ui) -> Result<(), PipelineError> {
    if ui.stopped() {
        Err(PipelineError::Cancelled)
    } else {
        Ok(())
    }
}

/// Runs a plan, and ends its task as the outcome says.
pub(crate) async fn run(
    runner: &Runner,
    plan: &Plan,
    lease: &LeaseGuard,
    scope: TaskScope,
    ui: &Ui,
) -> Result<Report, PipelineError> {
    match runner.run(plan, lease, &scope, &ui.cancel).await {
        Ok(report) => {
            end(scope, &report.outcome);
            Ok(report)
        }
        Err(error) => {
            let error = PipelineError::from(error);
            scope.failed_with(error.report());
            Err(error)
        }
    }
}

/// Ends the task of a run as its outcome says.
pub(crate) fn end(scope: TaskScope, outcome: &Outcome) {
    match outcome {
        Outcome::Finished => scope.done(""),
        Outcome::Restored { .. } => scope.undone(),
        Outcome::Stuck { steps, .. } => {
            let names: Vec<String> = steps.iter().map(|step| step.step.to_string()).collect();
            scope.failed_with(nuages_saga::ErrorReport {
                message: format!("{} could not be undone", names.join(", ")),
                causes: Vec::new(),
                hint: None,
            });
        }
        // Dropped without an end of its own, it ends as abandoned.
        Outcome::Detached => drop(scope),
    }
}

/// What a report means for the person.
pub(crate) fn conclude(report: &Report, operation: &str, config: &Config) -> Result<(), PipelineError> {
    let env = config.env.name.to_string();
    let operation = operation.to_owned();
    let names = |steps: &[StepId]| steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    match &report.outcome {
        Outcome::Finished => Ok(()),
        Outcome::Restored {
            kept,
            failure: Some(failure),
            ..
        } => Err(PipelineError::Undone {
            operation,
            step: failure.step.to_string(),
            cause: failure.error.clone().into(),
            kept: names(kept),
        }),
        Outcome::Restored {
            kept, failure: None, ..
        } => Err(PipelineError::Interrupted {
            operation,
            kept: names(kept),
        }),
        Outcome::Stuck { steps, failure, .. } => Err(PipelineError::Stuck {
            operation,
            cause: failure
                .as_ref()
                .map(|failure| ReportedError::from(failure.error.clone())),
            steps: steps.clone(),
            env,
        }),
        Outcome::Detached => Err(PipelineError::Detached {
            operation,
            deployment: report.plan.deployment,
            env,
        }),
    }
}

/// The serving release, if deploying would give it again and it really serves.
async fn unchanged(
    session: &Session,
    ground: &Ground,
    fingerprint: &str,
    ui: &Ui,
) -> Result<Option<Release>, PipelineError> {
    let Some(serving) = session.store.serving().await? else {
        return Ok(None);
    };
    if serving.fingerprint != fingerprint {
        return Ok(None);
    }
    let task = ui.events.task("compare", "Compare with what serves");
    match live::differs(session, &ground.outputs.cluster, &serving).await {
        Ok(None) => {
            task.unchanged(format!("{} serves, and nothing changed", serving.number));
            Ok(Some(serving))
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

#[expect(clippy::too_many_arguments, reason = "a record has as many parts as it has")]
async fn draft(
    session: &Session,
    ground: &Ground,
    release: ReleaseId,
    image: &BuiltImage,
    pushed: &PushedImage,
    checks: Vec<CheckRecord>,
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
        git: git_state(config).await,
        image_digest: pushed.digest.clone(),
        image_reference: pushed.image.clone(),
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
        checks,
        builder: image.builder.clone(),
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

fn step_id(text: &str) -> Result<StepId, PipelineError> {
    text.parse().map_err(|e| PipelineError::machine("name a step", e))
}

fn params<T: serde::Serialize>(params: &T) -> Result<Value, PipelineError> {
    serde_json::to_value(params).map_err(|e| PipelineError::machine("write a step's parameters", e))
}

/// The plan of a deployment, as data.
fn make_plan(
    session: &Session,
    ground: &Ground,
    layout: &Layout<'_>,
    draft: ReleaseDraft,
    probed: &Probed,
    url: Option<&Url>,
) -> Result<Plan, PipelineError> {
    let config = &session.config;
    let release = draft.id;
    let cluster = ground.outputs.cluster.clone();
    let limit_seconds = rollout_limit(config).as_secs();

    let (mut definitions, mut services, mut waits, mut arns) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
    for (name, service) in &config.services {
        let (definition, rollout) = service_steps(layout, name, &cluster, limit_seconds)?;
        let register = step_id(&format!("register/{name}"))?;
        let spec = layout.definition(name, service, release)?;
        definitions.push(StepSpec::new(
            register.clone(),
            kind::DEFINITION,
            1,
            format!("Register the task definition of {name}"),
            params(&DefinitionParams {
                cluster: cluster.clone(),
                spec,
            })?,
        ));
        let mut service_params = params(&ServiceParams {
            spec: layout.service(name, service),
            ..definition
        })?;
        service_params["spec"]["settings"]["task_definition"] = output(&register, "/arn");
        let update = step_id(&format!("service/{name}"))?;
        services.push(StepSpec::new(
            update.clone(),
            kind::SERVICE,
            1,
            format!("Update {name}"),
            service_params,
        ));
        let mut wait = params(&rollout)?;
        wait["deployment_id"] = output(&update, "/deployment_id");
        wait["task_definition"] = output(&register, "/arn");
        waits.push(wait);
        arns.insert(name.to_string(), output(&register, "/arn"));
    }

    let mut plan = Plan::new("deploy", config.app.name.clone(), config.env.name.clone(), TOOL_VERSION)
        .release(release)
        .world(ground.outputs.world)
        .config_hash(config.fingerprint().to_string())
        .stage("Register", definitions);
    let mut applied = json!(probed.report.applied_set());
    if !probed.migrate.pending.is_empty() {
        let migrate = step_id("migrate")?;
        applied = output(&migrate, "/applied");
        let title = format!("Migrate: {}", count(probed.migrate.pending.len(), "migration"));
        plan = plan.stage(
            "Migrate",
            [StepSpec::new(
                migrate,
                kind::MIGRATE,
                1,
                title,
                params(&probed.migrate)?,
            )],
        );
    }
    let wait = wait_step(&cluster, waits, limit_seconds)?;
    plan = plan
        .stage("Update", services)
        .stage("Wait", [wait.clone()])
        .stage("Smoke test", smoke_step(config, ground, url, &wait)?);

    let image_digest = draft.image_digest.clone();
    let tag = TagParams {
        repository: ground.outputs.repository.clone(),
        digest: image_digest,
        tag: format!("r-{release}"),
    };
    let mut draft = draft;
    draft.deployment = Some(plan.deployment);
    let mut record = params(&RecordParams {
        draft,
        task_definitions: BTreeMap::new(),
        applied: None,
    })?;
    record["task_definitions"] = json!(arns);
    record["applied"] = applied;
    Ok(plan
        .stage(
            "Tag",
            [StepSpec::new(
                step_id("tag")?,
                kind::TAG,
                1,
                "Tag the image",
                params(&tag)?,
            )],
        )
        .stage(
            "Record",
            [StepSpec::new(
                step_id("record")?,
                kind::RECORD,
                1,
                "Record the release",
                record,
            )],
        ))
}

/// The parts of a service's steps that do not depend on its revision.
pub(crate) fn service_steps(
    layout: &Layout<'_>,
    name: &ServiceName,
    cluster: &str,
    limit_seconds: u64,
) -> Result<(ServiceParams, RolloutService), PipelineError> {
    let log = layout.service_log(name)?;
    let service = layout
        .config
        .services
        .get(name)
        .ok_or_else(|| PipelineError::machine("find a service", format!("`{name}` is not configured")))?;
    Ok((
        ServiceParams {
            cluster: cluster.to_owned(),
            spec: layout.service(name, service),
            container: name.to_string(),
            log: log.clone(),
            limit_seconds,
        },
        RolloutService {
            service: name.to_string(),
            deployment_id: String::new(),
            task_definition: String::new(),
            container: name.to_string(),
            log,
        },
    ))
}

/// The step that waits for all services at once.
pub(crate) fn wait_step(cluster: &str, waits: Vec<Value>, limit_seconds: u64) -> Result<StepSpec, PipelineError> {
    let mut wait = params(&RolloutParams {
        cluster: cluster.to_owned(),
        services: Vec::new(),
        limit_seconds,
    })?;
    wait["services"] = Value::Array(waits);
    Ok(StepSpec::new(
        step_id("healthy")?,
        kind::ROLLOUT,
        1,
        "Wait until every task is healthy",
        wait,
    ))
}

/// The smoke test, where there is something to ask.
pub(crate) fn smoke_step(
    config: &Config,
    ground: &Ground,
    url: Option<&Url>,
    wait: &StepSpec,
) -> Result<Option<StepSpec>, PipelineError> {
    let (Some(url), Some((_, service))) = (url, config.web()) else {
        return Ok(None);
    };
    let Some(health) = &service.health else { return Ok(None) };
    let smoke = SmokeParams {
        url: url.clone(),
        via: ground.outputs.web.as_ref().map(|web| web.dns_name.clone()),
        ready: health.ready.clone(),
        page: "/".into(),
        rollout: None,
    };
    let mut smoke = params(&smoke)?;
    // The tasks that answer are those that were waited for, and are watched on.
    smoke["rollout"] = wait.params.clone();
    Ok(Some(StepSpec::new(
        step_id("smoke")?,
        kind::SMOKE,
        1,
        "Smoke test",
        smoke,
    )))
}

pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

/// What lies between two releases' schemas, as sentences; empty where they are the same.
pub(crate) fn schema_changes(from: &Release, to: &Release) -> Vec<String> {
    let set = |release: &Release| {
        let databases = release.migrations.iter().map(|(alias, state)| {
            let mut applied: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for name in &state.applied {
                if let Some((app, name)) = name.split_once('.') {
                    applied.entry(app.to_owned()).or_default().insert(name.to_owned());
                }
            }
            (
                alias.clone(),
                nuages_migrate::DatabaseSet {
                    applied,
                    ..Default::default()
                },
            )
        });
        nuages_migrate::AppliedSet {
            databases: databases.collect(),
        }
    };
    changed_between(&set(from), &set(to))
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The lines that tell what a plan's checks said, for people.
pub(crate) fn diff_lines(plan: &Plan) -> Vec<String> {
    plan.steps()
        .flat_map(|step| match plan.checks.get(&step.id) {
            Some(PlannedCheck::Change { diff, .. }) => diff.clone(),
            Some(PlannedCheck::KnownAfter { .. }) => vec![format!("~ {}: known after the steps before it", step.title)],
            _ => Vec::new(),
        })
        .collect()
}
