//! What serves right now, compared with what the record says.
//!
//! Invariant: reads only; anything that cannot be told counts as different.

use std::time::Duration;

use nuages_ecs::{Cluster, ServiceStatus};
use nuages_infra::StackOutputs;
use nuages_releases::Release;
use tokio::time::Instant;
use url::Url;

use crate::error::PipelineError;
use crate::session::Session;

/// Tasks that were started again need some seconds before they answer.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(500);

/// Why the environment does not answer that it is ready; none where it does, or where there is nothing to ask.
pub(crate) async fn silent(session: &Session, outputs: &StackOutputs, url: Option<&Url>) -> Option<String> {
    let site = crate::parts::site(&session.config, outputs, url)?;
    let client = match site.client().await {
        Ok(client) => client,
        Err(error) => return Some(error.to_string()),
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match site.ask(&client, &site.ready).await {
            Ok(_) => return None,
            Err(why) if Instant::now() >= deadline => return Some(why.to_string()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Why the live state is not the recorded release's; none where it is.
pub(crate) async fn differs(
    session: &Session,
    cluster: &str,
    release: &Release,
) -> Result<Option<String>, PipelineError> {
    let cluster = Cluster::new(&session.aws, cluster);
    for (name, service) in &session.config.services {
        let Some(arn) = release.task_definitions.get(name) else {
            return Ok(Some(format!("the service `{name}` is new")));
        };
        let state = cluster.observe(name.as_str()).await?;
        if state.status != ServiceStatus::Active {
            return Ok(Some(format!("the service `{name}` does not run")));
        }
        let Some(primary) = state.primary() else {
            return Ok(Some(format!("the service `{name}` has no deployment")));
        };
        if primary.task_definition != arn.as_str() {
            return Ok(Some(format!(
                "the service `{name}` runs another task definition than the record says"
            )));
        }
        if state.settings.desired != service.count {
            let desired = state.settings.desired;
            return Ok(Some(format!(
                "the service `{name}` is set to {desired} tasks instead of {}",
                service.count
            )));
        }
        let steady = state.deployments.len() == 1 && state.running == state.settings.desired && state.pending == 0;
        if !steady {
            let (running, desired) = (state.running, state.settings.desired);
            return Ok(Some(format!("the service `{name}` runs {running} of {desired} tasks")));
        }
    }
    Ok(None)
}
