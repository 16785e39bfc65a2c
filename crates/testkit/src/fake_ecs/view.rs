//! What a test looks at from outside, without a call.
//!
//! Invariant: looking changes nothing but the time that has passed.

use super::django::{Django, Ran};
use super::world::World;
use super::{FakeEcs, MutexGuard};

/// A service as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub status: String,
    /// The id of its primary deployment.
    pub deployment: String,
    /// The task definition of that.
    pub task_definition: String,
    /// Tasks wanted.
    pub desired: i64,
    /// Tasks that serve.
    pub serving: usize,
    /// Whether it has one deployment, which is completed, and no task but those that are wanted.
    pub steady: bool,
}

impl FakeEcs {
    /// The state as it is now.
    fn now(&self) -> MutexGuard<'_, World> {
        let mut world = self.world();
        let now = world.now_ms();
        world.advance(now);
        world
    }

    /// What time it is there, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.world().now_ms()
    }

    /// A copy of all as it is now, whose time stands until it is asked: another test may go on from here.
    #[must_use]
    pub fn apart(&self) -> Self {
        let now = self.now_ms();
        self.at(now)
    }

    /// A copy of all as it will be at this moment if nobody asks for anything.
    #[must_use]
    pub(crate) fn at(&self, ms: i64) -> Self {
        let world = self.world().at(ms);
        Self {
            world: std::sync::Arc::new(std::sync::Mutex::new(world)),
        }
    }

    /// The images whose name contains this have these migrations, `app.name`. From now on one-off tasks that nobody
    /// scripted are nuages' migration driver.
    pub fn project(&self, image_contains: &str, migrations: &[&str]) {
        let mut world = self.world();
        let django = world.django.get_or_insert_with(Django::default);
        let migrations = migrations.iter().map(ToString::to_string).collect();
        django.projects.push((image_contains.to_owned(), migrations));
    }

    /// What migration drivers did.
    pub fn migrated(&self) -> Vec<Ran> {
        self.now().django.as_ref().map(|d| d.runs.clone()).unwrap_or_default()
    }

    /// From now on the fewest tasks of this service that serve are remembered.
    pub fn watch(&self, service: &str) {
        let mut world = self.now();
        let serving = world.serving(service, world.advanced_to);
        world.least.insert(service.to_owned(), serving);
    }

    /// The fewest tasks of a watched service that served at any moment.
    pub fn least_serving(&self, service: &str) -> Option<usize> {
        self.now().least.get(service).copied()
    }

    /// A service; none where there never was one.
    pub fn service(&self, name: &str) -> Option<ServiceView> {
        let world = self.now();
        let service = world.services.get(name)?;
        let primary = service.deployments.iter().find(|deployment| deployment.primary);
        let serving = world.serving(name, world.advanced_to);
        let tasks = world.tasks.iter();
        let there = tasks.filter(|task| task.service.as_deref() == Some(name) && task.stopped.is_none());
        Some(ServiceView {
            status: service.status.to_owned(),
            deployment: primary.map(|d| d.id.clone()).unwrap_or_default(),
            task_definition: primary.map(|d| d.definition.clone()).unwrap_or_default(),
            desired: service.desired,
            serving,
            steady: service.deployments.len() == 1
                && primary.is_some_and(|d| d.state == "COMPLETED")
                && i64::try_from(there.count()) == Ok(service.desired)
                && i64::try_from(serving) == Ok(service.desired),
        })
    }

    /// The image of the task of this service that began to serve last; none where no task serves.
    pub fn answering(&self, service: &str) -> Option<String> {
        let definition = {
            let world = self.now();
            let tasks = world.tasks.iter().rev();
            let mut serving = tasks.filter(|task| {
                task.service.as_deref() == Some(service) && task.alive() && task.healthy(world.advanced_to)
            });
            serving.next()?.definition.clone()
        };
        self.image_of(&definition)
    }

    /// The names of the services that are not deleted.
    pub fn services(&self) -> Vec<String> {
        let world = self.now();
        let there = world.services.values().filter(|service| service.status != "INACTIVE");
        there.map(|service| service.name.clone()).collect()
    }

    /// How many one-off tasks run.
    pub fn one_off_tasks(&self) -> usize {
        let world = self.now();
        let tasks = world.tasks.iter();
        tasks
            .filter(|task| task.service.is_none() && task.stopped.is_none())
            .count()
    }

    /// The image of a task definition's first container.
    pub fn image_of(&self, definition: &str) -> Option<String> {
        let world = self.world();
        let image = &world.definition(definition)?.body["containerDefinitions"][0]["image"];
        image.as_str().map(str::to_owned)
    }

    /// Makes the cluster, or makes it anew.
    pub fn make_cluster(&self, name: &str) {
        let mut world = self.world();
        name.clone_into(&mut world.cluster);
        world.cluster_status = Some("ACTIVE".into());
    }

    /// Makes a target group of this ARN.
    pub fn make_target_group(&self, arn: &str) {
        self.world()
            .target_groups
            .insert(arn.to_owned(), ("ip".to_owned(), true));
    }
}
