//! Taking an environment down.
//!
//! Invariant: nothing that serves is stopped before it is known, as far as it can be, that the caller may finish.

use std::future::Future;
use std::time::Duration;

use nuages_config::{Config, Project};
use nuages_ecs::{Cluster, Patience};
use nuages_infra::{DownOutcome, InfraError};
use nuages_releases::EnvironmentStore;
use nuages_saga::{LeaseGuard, MessageLevel};

use crate::environment::lease;
use crate::error::PipelineError;
use crate::records::Records;
use crate::session::{OpenOptions, Session, has_local, has_own_emulator, remove_emulator, tell_ignored};
use crate::ui::Ui;
use crate::{left_behind, left_checks, secrets, stack};

/// How long services may take to drain.
const DRAIN: Duration = Duration::from_mins(15);

/// Takes the environment down: services, then the stack, and on this machine the emulator with all that is its own.
///
/// `agreed` is waited for where anything is there to be taken down, and before anything is; none where it says no.
pub async fn infra_down(
    project: &Project,
    options: &OpenOptions,
    agreed: impl Future<Output = Result<bool, PipelineError>>,
    ui: &Ui,
) -> Result<Option<DownOutcome>, PipelineError> {
    let config = project.environment(&options.env)?;
    if has_own_emulator(&config) {
        tell_ignored(&config, &ui.events);
        let store = records_if_any(project, options, ui).await?;
        if has_local(&config).await? && !agreed.await? {
            return Ok(None);
        }
        return local_down(&config, store, ui).await.map(Some);
    }
    let session = Session::open(project, options, ui).await?;
    if stack::stack(&session).describe().await?.is_some() && !agreed.await? {
        return Ok(None);
    }
    let lease = session.lease("infra down").await?;
    let down = down_in(&session, &lease, ui).await;
    lease.release().await;
    down.map(Some)
}

/// The records of what is taken down. Of the project's own, what cannot be read keeps nobody from getting rid of
/// containers; a place that was named was meant.
async fn records_if_any(
    project: &Project,
    options: &OpenOptions,
    ui: &Ui,
) -> Result<Option<EnvironmentStore>, PipelineError> {
    match Records::open(project, options, ui).await {
        Ok(records) => Ok(records.store),
        Err(error) if options.store.is_some() => Err(error),
        Err(error) => {
            let text = format!("the records are left as they are: {error}");
            ui.events.message(MessageLevel::Warning, text, error.hint());
            Ok(None)
        }
    }
}

/// All of it is the emulator's: taking that away takes everything with it.
async fn local_down(config: &Config, store: Option<EnvironmentStore>, ui: &Ui) -> Result<DownOutcome, PipelineError> {
    let lease = match &store {
        Some(store) => Some(lease(store, "infra down").await?),
        None => None,
    };
    // Containers of a check whose process was killed hold its image.
    left_checks::sweep(ui).await;
    let existed = async {
        let existed = remove_emulator(config, ui).await?;
        if let (Some(store), Some(lease)) = (&store, &lease) {
            store.taken_down(lease.fence()).await?;
        }
        Ok::<_, PipelineError>(existed)
    };
    let existed = existed.await;
    if let Some(lease) = lease {
        lease.release().await;
    }
    // Without an engine there is none to tell of.
    if let Ok(engine) = nuages_emulator::Engine::connect().await {
        left_behind::tell(&engine, ui).await;
    }
    Ok(DownOutcome {
        existed: existed?,
        retained: Vec::new(),
    })
}

pub(crate) async fn down_in(session: &Session, lease: &LeaseGuard, ui: &Ui) -> Result<DownOutcome, PipelineError> {
    let stop = ui.stop_token();
    let made = stack::bootstrapped(session).await?;
    let stack = stack::managed(session, made.as_ref());
    // Who is refused half-way leaves a site that is down, and all that costs.
    stack
        .may_go_down()
        .await
        .map_err(|error| refused_down(session, error))?;
    let task = ui.events.task("drain", "Stop the services");
    let cluster = Cluster::new(&session.aws, session.name());
    let families: Vec<String> = session
        .config
        .services
        .keys()
        .map(|service| format!("{}-{service}", session.name()))
        .chain([format!("{}-{}", session.name(), crate::layout::RUN)])
        .collect();
    let patience = Patience {
        timeout: DRAIN,
        cancel: &stop,
        progress: &task.progress(),
    };
    match cluster.drain_and_delete(&families, patience).await {
        Ok(drained) if drained.services.is_empty() => task.unchanged("there are none"),
        Ok(drained) => task.done(format!("{} stopped", drained.services.join(", "))),
        Err(error) if error.kind() == Some(nuages_aws::Kind::NotFound) => task.unchanged("there is no cluster"),
        Err(error) => {
            task.failed(&error);
            return Err(error.into());
        }
    }
    let task = ui.events.task("infra", "Delete the stack");
    let down = match stack.down(&task.progress(), &stop).await {
        Ok(down) => down,
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            return Err(error);
        }
    };
    if down.existed {
        task.done(stack.name().to_owned());
    } else {
        task.unchanged("there is none");
    }
    session.store.taken_down(lease.fence()).await?;
    if session.aws.quirks().is_emulator() {
        secrets::manager(session).delete_generated(true).await?;
    }
    Ok(down)
}

/// A refusal that came before anything was touched.
fn refused_down(session: &Session, error: InfraError) -> PipelineError {
    match error {
        InfraError::Call { what, source } if source.kind == nuages_aws::Kind::AccessDenied => {
            let (env, region) = (&session.config.env.name, session.aws.region());
            PipelineError::refused(
                format!("{env} was left as it is, since this identity may not {what}: {source}"),
                format!(
                    "give it the policy `{}-{region}-teardown` beside the deployer's; `nuages infra bootstrap --env {env}` \
                     prints it",
                    session.name()
                ),
            )
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use nuages_testkit::http::{FakeServer, json, operation, xml};

    use super::*;
    use crate::error::Ending;
    use crate::stack::tests::staging;

    /// An account with the blog's stack, in which the caller may list images and not delete them.
    async fn account() -> FakeServer {
        FakeServer::start(|request| {
            let asked = operation(&request).unwrap_or_default();
            let answer = match asked.as_str() {
                "DescribeStacks" => xml(
                    200,
                    "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>nuages-blog-staging\
                     </StackName><StackId>arn:aws:cloudformation:eu-west-1:123456789012:stack/nuages-blog-staging/1\
                     </StackId><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE\
                     </StackStatus><Tags><member><Key>nuages:app</Key><Value>blog</Value></member><member><Key>nuages:env\
                     </Key><Value>staging</Value></member></Tags></member></Stacks></DescribeStacksResult>\
                     </DescribeStacksResponse>",
                ),
                "ListStackResources" => xml(
                    200,
                    "<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries><member>\
                     <LogicalResourceId>Repository</LogicalResourceId><PhysicalResourceId>blog-staging\
                     </PhysicalResourceId><ResourceType>AWS::ECR::Repository</ResourceType><ResourceStatus>\
                     CREATE_COMPLETE</ResourceStatus></member></StackResourceSummaries></ListStackResourcesResult>\
                     </ListStackResourcesResponse>",
                ),
                "ListImages" => json(200, &serde_json::json!({"imageIds": []})),
                "BatchDeleteImage" => json(
                    400,
                    &serde_json::json!({"__type": "AccessDeniedException", "message": "no policy allows it"}),
                ),
                _ => xml(
                    404,
                    "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>none</Message></Error></ErrorResponse>",
                ),
            };
            std::future::ready(answer)
        })
        .await
    }

    #[tokio::test]
    async fn who_may_not_finish_stops_nothing() {
        let fake = account().await;
        let (session, _dir) = staging(&fake.url()).await;
        let lease = session.lease("infra down").await.unwrap();
        let refused = down_in(&session, &lease, &Ui::silent()).await.unwrap_err();
        assert_eq!(refused.ending(), Ending::Refused);
        let text = refused.to_string();
        assert!(text.starts_with("staging was left as it is"), "{text}");
        assert!(
            text.contains("empty the repository: ecr:BatchDeleteImage failed"),
            "{text}"
        );
        let hint = refused.hint().unwrap();
        assert!(hint.contains("blog-staging-eu-west-1-teardown"), "{hint}");
        let asked: Vec<String> = fake.requests().iter().filter_map(operation).collect();
        let of_ecs = ["ListServices", "UpdateService", "DeleteService", "DeleteStack"];
        assert!(!asked.iter().any(|asked| of_ecs.contains(&asked.as_str())), "{asked:?}");
        lease.release().await;
    }
}
