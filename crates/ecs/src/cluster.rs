//! One cluster, and what is done in it.
//!
//! Invariant: every function is one intent. It reads before it writes wherever the API has no idempotency token, so
//! that a repetition finds the effect of the first call instead of making another.

use std::time::Duration;

use nuages_aws::AwsContext;
use nuages_aws::error::{ServiceError, describe};
use nuages_model::Progress;
use tokio_util::sync::CancellationToken;

/// A cluster and the clients that reach it. Cheap to clone.
///
/// ```no_run
/// use nuages_ecs::Cluster;
///
/// # async fn example(aws: nuages_aws::AwsContext) -> Result<(), nuages_ecs::EcsError> {
/// let cluster = Cluster::new(&aws, "blog-staging");
/// let web = cluster.observe("web").await?;
/// println!("{} of {} tasks run {}", web.running, web.settings.desired, web.settings.task_definition);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) elb: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) name: String,
    pub(crate) caller: String,
}

impl Cluster {
    /// The cluster of this name or ARN.
    pub fn new(aws: &AwsContext, name: impl Into<String>) -> Self {
        Self {
            ecs: aws_sdk_ecs::Client::new(aws.sdk()),
            logs: aws_sdk_cloudwatchlogs::Client::new(aws.sdk()),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(aws.sdk()),
            name: name.into(),
            caller: aws.identity().arn.to_string(),
        }
    }

    /// Its name or ARN, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// How long to wait for something, who hears of it, and what ends it early.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// How long in all.
    pub timeout: Duration,
    /// Ends the wait.
    pub cancel: &'a CancellationToken,
    /// Hears what happens.
    pub progress: &'a Progress,
}

/// How often things are looked at while somebody waits.
pub(crate) const TICK: Duration = Duration::from_secs(1);

pub(crate) type SdkError<E> = aws_sdk_ecs::error::SdkError<E, aws_sdk_ecs::config::http::HttpResponse>;

/// Describes an error in `map_err`.
pub(crate) fn told<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> ServiceError
where
    E: aws_sdk_ecs::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| describe(operation, &error)
}
