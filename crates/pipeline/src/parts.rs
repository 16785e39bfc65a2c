//! The steps that a deployment and a rollback have in common.
//!
//! Invariant: a rollout is waited for, and smoke-tested, the same way whichever release it brings.

use nuages_config::Config;
use nuages_infra::StackOutputs;
use nuages_model::ServiceName;
use nuages_releases::Release;
use nuages_saga::{StepId, StepSpec};
use serde_json::Value;
use url::Url;

use crate::error::PipelineError;
use crate::ground::Ground;
use crate::layout::Layout;
use crate::steps::{RolloutParams, RolloutService, ServiceParams, Site, SmokeParams, kind};

/// A step's name.
pub(crate) fn step_id(text: &str) -> Result<StepId, PipelineError> {
    text.parse().map_err(|e| PipelineError::machine("name a step", e))
}

/// What a step is told, as data.
pub(crate) fn params<T: serde::Serialize>(params: &T) -> Result<Value, PipelineError> {
    serde_json::to_value(params).map_err(|e| PipelineError::machine("write a step's parameters", e))
}

/// Where the application is asked whether it is ready; none where nothing can be asked.
pub(crate) fn site(config: &Config, outputs: &StackOutputs, url: Option<&Url>) -> Option<Site> {
    Some(Site {
        url: url?.clone(),
        via: outputs.web.as_ref().map(|web| web.dns_name.clone()),
        ready: config.web()?.1.health.as_ref()?.ready.clone(),
    })
}

/// The path that says of a release whether it is ready, as its own settings had it.
pub(crate) fn ready_path(release: &Release) -> Option<String> {
    let services = release.config["services"].as_object()?;
    let ready = services
        .values()
        .find_map(|service| service["health"]["ready"].as_str());
    ready.map(str::to_owned)
}

/// The parts of a service's steps that do not depend on its revision.
pub(crate) fn service_steps(
    layout: &Layout<'_>,
    name: &ServiceName,
    cluster: &str,
    limit_seconds: u64,
    url: Option<&Url>,
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
            site: site(layout.config, layout.outputs, url).filter(|_| service.port.is_some()),
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
    let Some(site) = site(config, &ground.outputs, url) else {
        return Ok(None);
    };
    let health = config.web().and_then(|(_, web)| web.health.as_ref());
    let smoke = SmokeParams {
        live: health
            .map(|health| health.live.clone())
            .filter(|live| *live != site.ready),
        site,
        page: health.map_or_else(|| "/".to_owned(), |health| health.page.clone()),
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
