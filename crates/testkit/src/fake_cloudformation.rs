//! CloudFormation as a state machine: change sets, stacks and events, with the failures that emulators do not have.
//!
//! Invariant: an operation that CloudFormation refuses in a state is refused here too. A stack moves by one event each
//! time that its events are read, so that a client which looks too early sees that it is too early.

mod answers;
mod stack;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::aws::{ACCOUNT, REGION};
use crate::http::{FakeServer, operation};

use stack::{FakeChangeSet, FakeStack};

/// A running fake. It also answers what a stack's owner asks of IAM, ECR and RDS beside it.
#[derive(Debug)]
pub struct FakeCloudFormation {
    server: FakeServer,
    world: Arc<Mutex<World>>,
}

/// What happens to the next operation that is executed.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// Resources that fail, in order, with CloudFormation's reasons.
    pub resources: Vec<(String, String)>,
    /// Whether the rollback fails too.
    pub rollback_fails: bool,
}

#[derive(Debug, Default)]
struct World {
    stacks: Vec<FakeStack>,
    change_sets: Vec<FakeChangeSet>,
    replacements: BTreeMap<String, String>,
    failure: Option<Failure>,
    /// Deletions that fail before one succeeds.
    failing_deletions: usize,
    refused_template: Option<String>,
    images: BTreeSet<String>,
    protected_database: bool,
    service_left: bool,
    snapshots: Vec<String>,
    counter: usize,
}

impl FakeCloudFormation {
    /// Starts an account without stacks.
    pub async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::clone(&world);
        let server = FakeServer::start(move |request| {
            let answer = shared.lock().unwrap_or_else(PoisonError::into_inner).answer(&request);
            std::future::ready(answer)
        })
        .await;
        Self { server, world }
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

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
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
