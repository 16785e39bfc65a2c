//! ECS with its load balancer and logs, scripted: what no emulator does.
//!
//! A [`FakeEcs`] keeps state as ECS does (services, deployments with ids, tasks with stages, idempotency tokens, the
//! circuit breaker and its rollback) and moves with tokio's clock, so that a test with paused time sees minutes pass at
//! once. What a container does is scripted by [`Behaviour`]; what goes wrong with a call, by [`Fault`].
//!
//! Invariant: it answers as ECS answers. Whatever ECS checks and the emulators do not (token lengths, tokens that come
//! back with other parameters, overrides of more than 8,192 characters, stop timeouts) is checked here.
//!
//! ```
//! use nuages_testkit::fake_ecs::{Behaviour, FakeEcs, Fault};
//! use std::time::Duration;
//!
//! let fake = FakeEcs::new("blog");
//! fake.behave("blog@", Behaviour::Healthy { boot: Duration::from_secs(3) });
//! fake.fault("DescribeServices", Fault::throttled());
//! assert_eq!(fake.count("DescribeServices"), 0);
//! ```

mod answers;
mod behaviour;
mod beside;
mod django;
mod scheduler;
mod services;
mod tasks;
mod view;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::{Request, Response};
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use nuages_aws::AwsContext;
use serde_json::Value;

pub use behaviour::{Behaviour, Fault};
pub use django::Ran;
pub use view::ServiceView;

use crate::aws::{ACCOUNT, REGION, of_a_test, sdk_config_over};
use crate::http::{FakeServer, Received, operation};
use crate::recording::recorded;
use world::World;

/// One call as it was received.
#[derive(Debug, Clone)]
pub struct Call {
    /// The operation, such as `RunTask`.
    pub operation: String,
    /// Its input; for the load balancer's, the form's fields.
    pub input: Value,
}

/// A scripted ECS of one cluster. Clones are the same one.
#[derive(Debug, Clone)]
pub struct FakeEcs {
    world: Arc<Mutex<World>>,
}

impl FakeEcs {
    /// An ECS with one empty, active cluster. Containers that nobody scripted come up healthy after a second; one-off
    /// tasks end after two with exit code 0.
    pub fn new(cluster: &str) -> Self {
        Self {
            world: Arc::new(Mutex::new(World::new(cluster))),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What containers do whose image contains this text. The newest matching script wins.
    pub fn behave(&self, image_contains: &str, behaviour: Behaviour) {
        self.world().by_image.push((image_contains.to_owned(), behaviour));
    }

    /// What one-off tasks do whose command contains this text.
    pub fn behave_command(&self, command_contains: &str, behaviour: Behaviour) {
        self.world().by_command.push((command_contains.to_owned(), behaviour));
    }

    /// What goes wrong with the next call of this operation that has no fault yet; faults queue up.
    pub fn fault(&self, operation: &str, fault: Fault) {
        self.world()
            .faults
            .entry(operation.to_owned())
            .or_default()
            .push_back(fault);
    }

    /// Says `COMPLETED` of a new service's deployment at once, before any task runs, as `MiniStack` does; its circuit
    /// breaker then counts nothing either.
    pub fn be_hasty(&self) {
        self.world().hasty = true;
    }

    /// Names the service instead of the deployment as what started a service's tasks, as `MiniStack` does.
    pub fn hide_deployments_of_tasks(&self) {
        self.world().started_by_service = true;
    }

    /// Makes a target group, attached to a load balancer or not, and answers its ARN.
    pub fn add_target_group(&self, name: &str, target_type: &str, attached: bool) -> String {
        self.world().add_target_group(name, target_type, attached)
    }

    /// Makes a log group.
    pub fn add_log_group(&self, name: &str) {
        self.world().log_groups.insert(name.to_owned());
    }

    /// Adds a line to a stream.
    pub fn add_log_line(&self, group: &str, stream: &str, at_ms: i64, text: &str) {
        let mut world = self.world();
        world.log_groups.insert(group.to_owned());
        world.log(group, stream, at_ms, text);
    }

    /// Removes the cluster.
    pub fn remove_cluster(&self) {
        self.world().cluster_status = None;
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.world().calls.clone()
    }

    /// The inputs of the calls of one operation.
    pub fn inputs(&self, operation: &str) -> Vec<Value> {
        self.world()
            .calls
            .iter()
            .filter(|c| c.operation == operation)
            .map(|c| c.input.clone())
            .collect()
    }

    /// How many calls of one operation there were.
    pub fn count(&self, operation: &str) -> usize {
        self.inputs(operation).len()
    }

    /// How many tasks were ever started.
    pub fn tasks_started(&self) -> usize {
        self.world().tasks.len()
    }

    /// How many tasks were ever started whose command contains this text.
    pub fn tasks_of_command(&self, contains: &str) -> usize {
        self.world()
            .tasks
            .iter()
            .filter(|task| task.command.contains(contains))
            .count()
    }

    /// Answers one request.
    pub fn answer(&self, request: &Received) -> Response<Bytes> {
        let mut world = self.world();
        let now = world.now_ms();
        world.advance(now);
        let operation = operation(request).unwrap_or_default();
        world.answer(&operation, request)
    }

    /// A context whose clients reach this fake without a socket, so that it works with paused time.
    pub fn context(&self) -> AwsContext {
        let fake = self.clone();
        let http = infallible_client_fn(move |request: Request<SdkBody>| {
            let (parts, body) = request.into_parts();
            let body = Bytes::copy_from_slice(body.bytes().unwrap_or_default());
            let (parts, body) = fake.answer(&Request::from_parts(parts, body)).into_parts();
            Response::from_parts(parts, SdkBody::from(body))
        });
        of_a_test(sdk_config_over(recorded(http), "http://fake.invalid", ACCOUNT, REGION))
    }

    /// The same over HTTP, for other processes. The clock should not be paused then.
    pub async fn serve(&self) -> FakeServer {
        let fake = self.clone();
        FakeServer::start(move |request| {
            let answer = fake.answer(&request);
            async move { answer }
        })
        .await
    }
}
