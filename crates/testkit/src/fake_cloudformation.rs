//! CloudFormation as a state machine: change sets, stacks and events, with the failures that emulators do not have.
//!
//! Invariant: an operation that CloudFormation refuses in a state is refused here too. A stack moves by one event each
//! time that its events are read, so that a client which looks too early sees that it is too early.

mod answers;
mod names;
mod stack;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::Response;
use bytes::Bytes;
use serde_json::Value;

use crate::aws::{ACCOUNT, REGION};
use crate::http::{FakeServer, Received, operation};

use stack::{FakeChangeSet, FakeStack};

/// CloudFormation, and what a stack's owner asks of IAM, ECR and RDS beside it. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Cloud {
    world: Arc<Mutex<World>>,
}

/// The same over HTTP. It ends with its handle.
#[derive(Debug)]
pub struct FakeCloudFormation {
    server: FakeServer,
    cloud: Cloud,
}

impl std::ops::Deref for FakeCloudFormation {
    type Target = Cloud;
    fn deref(&self) -> &Cloud {
        &self.cloud
    }
}

/// A resource of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its type.
    pub kind: String,
    /// What `Ref` gives.
    pub id: String,
    /// What the template says of it.
    pub properties: Value,
}

/// What happens to the next operation that is executed.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// Resources that fail, in order, with CloudFormation's reasons.
    pub resources: Vec<(String, String)>,
    /// Whether the rollback fails too.
    pub rollback_fails: bool,
}

#[derive(Debug, Clone, Default)]
struct World {
    stacks: Vec<FakeStack>,
    change_sets: Vec<FakeChangeSet>,
    replacements: BTreeMap<String, String>,
    failure: Option<Failure>,
    /// Deletions that fail before one succeeds.
    failing_deletions: usize,
    refused_template: Option<String>,
    /// The tokens of change sets that were executed.
    executed: BTreeSet<String>,
    images: BTreeSet<String>,
    protected_database: bool,
    service_left: bool,
    snapshots: Vec<String>,
    /// Operations that no policy allows.
    refused: BTreeSet<String>,
    counter: usize,
}

impl FakeCloudFormation {
    /// Starts an account without stacks.
    pub async fn start() -> Self {
        let cloud = Cloud::default();
        let shared = cloud.clone();
        let server = FakeServer::start(move |request| std::future::ready(shared.answer(&request))).await;
        Self { server, cloud }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The operations that were asked for, in order.
    pub fn operations(&self) -> Vec<String> {
        self.server.requests().iter().filter_map(operation).collect()
    }

    /// How often an operation was asked for.
    pub fn count(&self, name: &str) -> usize {
        self.operations().iter().filter(|o| *o == name).count()
    }

    /// A parameter of every request for this operation, in order; empty where it was left out.
    pub fn parameters(&self, name: &str, key: &str) -> Vec<String> {
        let requests = self.server.requests();
        let asked = requests.iter().filter(|r| operation(r).as_deref() == Some(name));
        asked.map(|r| wire::Form::parse(r.body()).get(key).to_owned()).collect()
    }
}

impl Cloud {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request.
    pub fn answer(&self, request: &Received) -> Response<Bytes> {
        self.world().answer(request)
    }

    /// A copy of all as it is now.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            world: Arc::new(Mutex::new(self.world().clone())),
        }
    }

    /// The resources of the stack that stands; none where none does.
    pub fn made(&self) -> Option<Vec<Made>> {
        let world = self.world();
        let stands = |stack: &&FakeStack| {
            stack.status.ends_with("_COMPLETE")
                && !stack.status.starts_with("DELETE")
                && stack.status != "ROLLBACK_COMPLETE"
        };
        let stack = world.stacks.iter().rev().find(stands)?;
        let resources = stack.template["Resources"].as_object().into_iter().flatten();
        let made = resources.map(|(id, resource)| Made {
            kind: resource["Type"].as_str().unwrap_or_default().to_owned(),
            id: names::reference(id, resource),
            properties: resource["Properties"].clone(),
        });
        Some(made.collect())
    }

    /// What keeps a stack from being deleted: services in its cluster, images in its repository.
    pub fn holds(&self, services: bool, images: BTreeSet<String>) {
        let mut world = self.world();
        world.service_left = services;
        world.images = images;
    }

    /// Changes of this resource replace it: `True` or `Conditional`.
    pub fn replaces(&self, logical_id: &str, replacement: &str) {
        self.world()
            .replacements
            .insert(logical_id.to_owned(), replacement.to_owned());
    }

    /// The next operation fails.
    pub fn fail_next(&self, failure: Failure) {
        self.world().failure = Some(failure);
    }

    /// So many deletions fail before one succeeds.
    pub fn fail_deletions(&self, count: usize) {
        self.world().failing_deletions = count;
    }

    /// The next change set fails with this reason.
    pub fn refuse_template(&self, reason: &str) {
        self.world().refused_template = Some(reason.to_owned());
    }

    /// Puts a stack into a status, as if something had happened to it meanwhile.
    pub fn set_status(&self, stack: &str, status: &str) {
        if let Some(stack) = self.world().stacks.iter_mut().rev().find(|s| s.name == stack) {
            status.clone_into(&mut stack.status);
        }
    }

    /// Takes a stack's tags away, as if somebody else had made it.
    pub fn disown(&self, stack: &str) {
        if let Some(stack) = self.world().stacks.iter_mut().rev().find(|s| s.name == stack) {
            stack.tags.clear();
        }
    }

    /// The statuses of all stacks of this name, oldest first.
    pub fn statuses(&self, stack: &str) -> Vec<String> {
        self.world()
            .stacks
            .iter()
            .filter(|s| s.name == stack)
            .map(|s| s.status.clone())
            .collect()
    }

    /// How many change sets there are.
    pub fn change_sets(&self) -> usize {
        self.world().change_sets.len()
    }

    /// Puts images into every repository.
    pub fn push_images(&self, digests: &[&str]) {
        self.world().images.extend(digests.iter().map(|&d| d.to_owned()));
    }

    /// The images that are left.
    pub fn images(&self) -> usize {
        self.world().images.len()
    }

    /// Makes RDS refuse the deletion of the stack's database until its protection is lifted.
    pub fn protect_database(&self) {
        self.world().protected_database = true;
    }

    /// Lets no policy allow this operation.
    pub fn refuse(&self, operation: &str) {
        self.world().refused.insert(operation.to_owned());
    }

    /// Whether the database's protection is on.
    pub fn database_is_protected(&self) -> bool {
        self.world().protected_database
    }

    /// Leaves a service in the stack's cluster: ECS refuses to delete it, and the stack with it.
    pub fn leave_service(&self) {
        self.world().service_left = true;
    }

    /// Somebody else plans the same new stack at the same time.
    pub fn begin_review(&self, stack: &str, tags: &[(&str, &str)]) {
        let arn = format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/theirs");
        let tags: BTreeMap<String, String> = tags.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut review = FakeStack {
            name: stack.to_owned(),
            arn: arn.clone(),
            tags,
            ..FakeStack::default()
        };
        review.happens("REVIEW_IN_PROGRESS", "");
        let mut world = self.world();
        world.stacks.push(review);
        world.change_sets.push(FakeChangeSet {
            arn: "theirs".to_owned(),
            stack_arn: arn,
            ..FakeChangeSet::default()
        });
    }
}
