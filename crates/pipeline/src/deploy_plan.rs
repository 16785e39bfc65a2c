//! The plan of a deployment.
//!
//! Invariant: the plan is data. What a step cannot know before another one ran is a reference to that step's output.

use std::collections::BTreeMap;

use nuages_releases::ReleaseDraft;
use nuages_saga::{Plan, StepSpec, output};
use serde_json::json;
use url::Url;

use crate::error::PipelineError;
use crate::ground::Ground;
use crate::layout::{Layout, rollout_limit};
use crate::parts::{params, service_steps, smoke_step, step_id, wait_step};
use crate::probe::Probed;
use crate::session::{Session, TOOL_VERSION};
use crate::steps::{DefinitionParams, RecordParams, ServiceParams, TagParams, kind};
use crate::ui::count;

/// The plan of a deployment, as data. `site` is where the application is asked, and the path that says of the release that
/// serves whether it is ready, for whoever returns to it.
pub(crate) fn deploy_plan(
    session: &Session,
    ground: &Ground,
    layout: &Layout<'_>,
    draft: ReleaseDraft,
    probed: &Probed,
    site: (Option<&Url>, Option<&str>),
) -> Result<Plan, PipelineError> {
    let config = &session.config;
    let (url, ready_before) = site;
    let release = draft.id;
    let cluster = ground.outputs.cluster.clone();
    let limit_seconds = rollout_limit(config).as_secs();

    let (mut definitions, mut services, mut waits, mut arns) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
    for (name, service) in &config.services {
        let (definition, rollout) = service_steps(layout, name, &cluster, limit_seconds, url)?;
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
        if let (Some(site), Some(ready)) = (service_params.get_mut("site"), ready_before) {
            site["ready"] = json!(ready);
        }
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
