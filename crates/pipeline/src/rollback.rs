//! Rollback: the last release recorded as healthy serves again.
//!
//! Invariant: what runs afterwards is what was recorded, revision by revision: nothing is built, pushed or guessed.

use nuages_ecs::{Cluster, PreviousService};
use nuages_releases::{Release, ReleaseOutcome, ReleaseRef};
use nuages_saga::{JournalStore as _, LeaseGuard, MessageLevel, Plan, SagaError, StepSpec, output};
use serde_json::json;
use url::Url;

use crate::deploy::{self, Deployed};
use crate::error::PipelineError;
use crate::ground::Ground;
use crate::layout::rollout_limit;
use crate::parts::{params, service_steps, smoke_step, step_id, wait_step};
use crate::run::{Run, conclude, diff_lines};
use crate::session::{Session, TOOL_VERSION};
use crate::steps::{ReturnParams, ServiceParams, kind};
use crate::ui::{Ui, count};
use crate::{live, schema, stack};

/// How a rollback is made.
#[derive(Debug, Clone, Default)]
pub struct RollbackOptions {
    /// The release to go back to; the last healthy one before what serves, without it.
    pub to: Option<String>,
    /// Goes back although migrations lie between: the older code gets the newer schema.
    pub code_only: bool,
}

/// Goes back to an earlier release.
pub async fn rollback(session: &Session, options: &RollbackOptions, ui: &Ui) -> Result<Deployed, PipelineError> {
    let lease = session.lease("rollback").await?;
    let result = rollback_in(session, options, &lease, ui).await;
    lease.release().await;
    result
}

async fn rollback_in(
    session: &Session,
    options: &RollbackOptions,
    lease: &LeaseGuard,
    ui: &Ui,
) -> Result<Deployed, PipelineError> {
    let env = &session.config.env.name;
    let stack = stack::stack(session);
    let outputs = match stack.describe().await?.filter(nuages_infra::StackState::stands) {
        Some(state) => state.outputs()?,
        None => {
            return Err(PipelineError::refused(
                format!("the environment `{env}` has no stack: there is nothing to roll back"),
                format!("make one with `nuages deploy --env {env}`"),
            ));
        }
    };
    session.store.enter_world(lease.fence(), outputs.world).await?;
    if let Some(open) = session.store.unfinished().await.map_err(SagaError::from)? {
        return Err(PipelineError::unfinished(session, &open));
    }
    let Some(serving) = session.store.serving().await? else {
        return Err(none_serves(session, &outputs.cluster).await?);
    };
    let target = target(session, options, &serving).await?;
    let changes = schema::changes(session, outputs.world, &target, &serving).await?;
    if !changes.is_empty() && !options.code_only {
        return Err(PipelineError::refused(
            format!(
                "migrations lie between {} and {} ({}): the older code would meet a newer schema",
                target.number,
                serving.number,
                changes.join(", ")
            ),
            format!(
                "if {} works with that schema, `nuages rollback --env {env} --to {} --code-only`; else deploy a mended version",
                target.number, target.number
            ),
        ));
    }

    let url = stack::public_url(session, &outputs)?;
    let ground = Ground {
        outputs,
        secrets: nuages_secrets::Resolved::default(),
        database_moved: false,
        pending: None,
    };
    let plan = make_plan(session, &ground, &serving, &target, url.as_ref()).await?;
    let run = Run::new(session, lease);
    let planning = ui.events.task(
        "plan",
        format!("Plan the return from {} to {}", serving.number, target.number),
    );
    let plan = run
        .plan(plan, planning, |plan| count(plan.steps().count(), "step"))
        .await?;
    // Each on a line of its own, which the terminal wraps: a task's own line is cut.
    for line in diff_lines(&plan) {
        ui.events.message(MessageLevel::Info, line, None);
    }
    let scope = ui.events.task("roll-back", format!("Roll back to {}", target.number));
    let report = run.carry_out(&plan, scope, ui).await?;
    conclude(&report, "the rollback", session, ui)?;
    let release = session
        .store
        .release(ReleaseRef::Id(target.id))
        .await?
        .unwrap_or(target);
    Ok(Deployed {
        release,
        url,
        changed: true,
    })
}

/// Why nothing can be rolled back where no release serves by the record: nothing serves, or the records are elsewhere.
pub(crate) async fn none_serves(session: &Session, cluster: &str) -> Result<PipelineError, PipelineError> {
    let env = &session.config.env.name;
    let running = live::unrecorded(session, cluster).await?;
    if running.is_empty() {
        return Ok(PipelineError::refused(
            "no release serves: there is nothing to roll back",
            format!("make one with `nuages deploy --env {env}`"),
        ));
    }
    Ok(PipelineError::refused(
        format!(
            "{} has no record of what serves in `{env}` ({}), and a rollback returns to a release on record",
            session.store.store().path().display(),
            live::sentence(&running)
        ),
        live::OTHER_STORE,
    ))
}

async fn target(session: &Session, options: &RollbackOptions, serving: &Release) -> Result<Release, PipelineError> {
    let env = &session.config.env.name;
    let list = format!("`nuages releases --env {env}` lists the releases");
    let found = match &options.to {
        None => session.store.rollback_target().await?.ok_or_else(|| {
            PipelineError::refused(
                format!("there is no healthy release before {}", serving.number),
                list.clone(),
            )
        })?,
        Some(text) => {
            let which: ReleaseRef =
                text.parse()
                    .map_err(|e: nuages_releases::ReleaseNumberError| PipelineError::Arguments {
                        what: e.to_string(),
                        hint: Some(list.clone()),
                    })?;
            session
                .store
                .release(which)
                .await?
                .ok_or_else(|| PipelineError::Arguments {
                    what: format!("there is no release `{text}`"),
                    hint: Some(list.clone()),
                })?
        }
    };
    if found.archived {
        return Err(PipelineError::refused(
            format!("{} was made in an environment that is gone", found.number),
            list,
        ));
    }
    if found.id == serving.id {
        return Err(PipelineError::refused(format!("{} serves already", found.number), list));
    }
    if matches!(found.outcome, ReleaseOutcome::Failed | ReleaseOutcome::Interrupted) {
        return Err(PipelineError::refused(
            format!("{} never was healthy", found.number),
            list,
        ));
    }
    Ok(found)
}

async fn make_plan(
    session: &Session,
    ground: &Ground,
    serving: &Release,
    target: &Release,
    url: Option<&Url>,
) -> Result<Plan, PipelineError> {
    let config = &session.config;
    let cluster_name = ground.outputs.cluster.clone();
    let cluster = Cluster::new(&session.aws, &cluster_name);
    let layout = deploy::layout(session, ground, target.image_reference.clone())?;
    let limit = rollout_limit(config).as_secs();
    let (mut services, mut waits) = (Vec::new(), Vec::new());
    for (name, arn) in &target.task_definitions {
        let state = cluster.observe(name.as_str()).await?;
        let Some(live) = PreviousService::of(&state) else {
            return Err(PipelineError::refused(
                format!("{} had a service `{name}`, which does not run any more", target.number),
                format!(
                    "deploy a version that has it: `nuages deploy --env {}`",
                    config.env.name
                ),
            ));
        };
        let (service, rollout) = service_steps(&layout, name, &cluster_name, limit, url)?;
        let mut spec = service.spec.clone();
        // The count and the network stay as they are: they belong to the environment, not to the code.
        spec.settings = live.settings;
        spec.settings.task_definition = arn.to_string();
        let update = step_id(&format!("service/{name}"))?;
        let title = format!("Return {name} to {}", target.number);
        let service = params(&ServiceParams { spec, ..service })?;
        services.push(StepSpec::new(update.clone(), kind::SERVICE, 1, title, service));
        let mut wait = params(&rollout)?;
        wait["deployment_id"] = output(&update, "/deployment_id");
        wait["task_definition"] = json!(arn.as_str());
        waits.push(wait);
    }
    let back = params(&ReturnParams {
        from: serving.id,
        to: target.id,
    })?;
    let wait = wait_step(&cluster_name, waits, limit)?;
    Ok(Plan::new(
        "rollback",
        config.app.name.clone(),
        config.env.name.clone(),
        TOOL_VERSION,
    )
    .release(target.id)
    .world(ground.outputs.world)
    .config_hash(config.fingerprint().to_string())
    .stage("Update", services)
    .stage("Wait", [wait.clone()])
    .stage("Smoke test", smoke_step(config, ground, url, &wait)?)
    .stage(
        "Record",
        [StepSpec::new(
            step_id("record")?,
            kind::RETURN,
            1,
            "Record the rollback",
            back,
        )],
    ))
}
