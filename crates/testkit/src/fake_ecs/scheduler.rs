//! How the state moves with time.
//!
//! Invariant: moving twice to the same moment changes nothing the second time, and moving in one leap is the same as
//! moving in many.

use super::behaviour::Behaviour;
use super::world::{Deployment, Service, Task, World};

/// How finely time is cut.
const STEP_MS: i64 = 100;
/// From the request to the running container.
const START_MS: i64 = 1000;
/// From the request to stop to the stopped task.
const STOP_MS: i64 = 1000;
/// Between two launches of a deployment whose tasks fail.
const RELAUNCH_MS: i64 = 1000;
/// How long a deployment must be full before it is completed.
const STEADY_MS: i64 = 500;
/// How long the load balancer takes to call a target unhealthy.
const UNHEALTHY_MS: i64 = 2000;

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl World {
    pub(super) fn advance(&mut self, to: i64) {
        while self.advanced_to + STEP_MS <= to {
            if self.is_quiet() {
                // Whole steps, so that later ones fall where they would have fallen.
                self.advanced_to += (to - self.advanced_to) / STEP_MS * STEP_MS;
                return;
            }
            self.advanced_to += STEP_MS;
            self.step(self.advanced_to);
            self.watch();
        }
    }

    /// Whether nothing changes by time alone.
    fn is_quiet(&self) -> bool {
        let at_rest = |task: &Task| {
            task.stopped.is_some()
                || (matches!(task.behaviour, Behaviour::Healthy { .. }) && task.healthy(self.advanced_to))
        };
        let settled = |service: &Service| match service.status {
            "ACTIVE" => {
                let alive = |task: &&Task| task.service.as_deref() == Some(&service.name) && task.stopped.is_none();
                service.deployments.len() == 1
                    && service.deployments[0].state == "COMPLETED"
                    && i64::try_from(self.tasks.iter().filter(alive).count()) == Ok(service.desired)
            }
            status => status == "INACTIVE",
        };
        self.tasks.iter().all(at_rest) && self.services.values().all(settled)
    }

    /// Takes note of how many tasks serve.
    fn watch(&mut self) {
        let now = self.advanced_to;
        let mut least = std::mem::take(&mut self.least);
        for (service, least) in &mut least {
            *least = self.serving(service, now).min(*least);
        }
        self.least = least;
    }

    /// How many tasks of a service serve: healthy where a load balancer looks, else running.
    pub(super) fn serving(&self, service: &str, now: i64) -> usize {
        let Some(known) = self.services.get(service) else {
            return 0;
        };
        let balanced = known.input["loadBalancers"].as_array().is_some_and(|l| !l.is_empty());
        let serves = |task: &&Task| {
            task.service.as_deref() == Some(service)
                && task.alive()
                && task.running.is_some()
                && (!balanced || task.healthy(now))
        };
        self.tasks.iter().filter(serves).count()
    }

    /// One moment: tasks first, then each service's scheduler.
    pub(super) fn step(&mut self, now: i64) {
        for index in 0..self.tasks.len() {
            self.step_task(index, now);
        }
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            self.step_service(&name, now);
        }
    }

    fn step_task(&mut self, index: usize, now: i64) {
        let grace = self.grace_ms(index);
        let task = &mut self.tasks[index];
        if task.stopped.is_some() {
            return;
        }
        if let Some(since) = task.stopping {
            if now - since >= STOP_MS {
                task.stopped = Some(now);
                if task.running.is_some() && task.exit_code.is_none() {
                    task.exit_code = Some(143);
                }
            }
            return;
        }
        let behaviour = task.behaviour.clone();
        let Some(since) = task.running else {
            if now - task.created >= START_MS {
                match behaviour {
                    Behaviour::Stuck => {}
                    Behaviour::NeverStarts { reason } => {
                        task.stopped = Some(now);
                        task.stop_code = Some("TaskFailedToStart");
                        task.stopped_reason = Some(reason.clone());
                        if reason.starts_with("CannotPullContainer") || reason.starts_with("CannotStartContainer") {
                            task.container_reason = Some(reason);
                        }
                        self.failed(index, now);
                    }
                    _ => task.running = Some(now),
                }
            }
            return;
        };
        let ran = now - since;
        match behaviour {
            Behaviour::Healthy { .. } | Behaviour::Stuck | Behaviour::NeverStarts { .. } => {}
            Behaviour::Migrates { after } => {
                if ran >= ms(after) {
                    let log = self.migrate(index);
                    self.write(index, &log, now);
                    self.exited(index, 0, None, now);
                }
            }
            Behaviour::Exits { after, code, log } => {
                self.write(index, &log, now);
                if ran >= ms(after) {
                    self.exited(index, code, None, now);
                }
            }
            Behaviour::OutOfMemory { after } => {
                if ran >= ms(after) {
                    let reason = "OutOfMemoryError: Container killed due to memory usage";
                    self.exited(index, 137, Some(reason.into()), now);
                }
            }
            Behaviour::Unhealthy { log, description, .. } => {
                self.write(index, &log, now);
                if ran >= grace + UNHEALTHY_MS {
                    self.evict(index, &description, now);
                }
            }
        }
    }

    fn grace_ms(&self, index: usize) -> i64 {
        let service = self.tasks[index]
            .service
            .as_ref()
            .and_then(|name| self.services.get(name));
        service
            .and_then(|s| s.input["healthCheckGracePeriodSeconds"].as_i64())
            .unwrap_or(0)
            * 1000
    }

    fn write(&mut self, index: usize, log: &[String], now: i64) {
        if std::mem::replace(&mut self.tasks[index].wrote, true) {
            return;
        }
        if let Some((group, stream)) = self.stream_of(&self.tasks[index]) {
            for line in log {
                self.log(&group, &stream, now, line);
            }
        }
    }

    fn exited(&mut self, index: usize, code: i32, reason: Option<String>, now: i64) {
        let task = &mut self.tasks[index];
        task.stopped = Some(now);
        task.exit_code = Some(code);
        task.stop_code = Some("EssentialContainerExited");
        task.stopped_reason = Some("Essential container in task exited".into());
        task.container_reason = reason;
        self.failed(index, now);
    }

    /// ECS stops what the load balancer calls unhealthy.
    fn evict(&mut self, index: usize, description: &str, now: i64) {
        let (service, id) = (self.tasks[index].service.clone(), self.tasks[index].id.clone());
        let target = service
            .as_ref()
            .and_then(|name| self.services.get(name))
            .map(|s| s.input["loadBalancers"][0].clone());
        let target = target.unwrap_or_default();
        let group = target["targetGroupArn"].as_str().unwrap_or_default().to_owned();
        let port = target["containerPort"].as_i64().unwrap_or_default();
        let task = &mut self.tasks[index];
        task.stopping = Some(now);
        task.stop_code = Some("ServiceSchedulerInitiated");
        task.stopped_reason = Some(format!("Task failed ELB health checks in (target-group {group})"));
        if let Some(name) = service {
            self.event(
                &name,
                &format!(
                    "(service {name}) (task {id}) (port {port}) is unhealthy in (target-group {group}) due to (reason \
                     {description})."
                ),
                now,
            );
        }
        self.failed(index, now);
    }

    pub(super) fn event(&mut self, service: &str, message: &str, now: i64) {
        let id = format!("event-{}", self.next());
        if let Some(service) = self.services.get_mut(service) {
            service.events.insert(0, (id, now, message.to_owned()));
        }
    }

    /// Counts a failed task, and opens the circuit breaker at its threshold.
    fn failed(&mut self, index: usize, now: i64) {
        let (Some(name), Some(id)) = (self.tasks[index].service.clone(), self.tasks[index].deployment.clone()) else {
            return;
        };
        let number = self.next();
        let Some(service) = self.services.get_mut(&name) else {
            return;
        };
        let breaker = service.input["deploymentConfiguration"]["deploymentCircuitBreaker"].clone();
        let threshold = match breaker["thresholdConfiguration"]["type"].as_str() {
            Some("COUNT") => breaker["thresholdConfiguration"]["value"].as_u64().unwrap_or(3),
            _ => 3,
        };
        let last_completed = service.last_completed.clone();
        let Some(deployment) = service.deployments.iter_mut().find(|d| d.id == id) else {
            return;
        };
        if !deployment.primary || deployment.state != "IN_PROGRESS" || !deployment.counts_failures {
            return;
        }
        deployment.failed += 1;
        if breaker["enable"] != true || u64::from(deployment.failed) < threshold {
            return;
        }
        deployment.state = "FAILED";
        deployment.reason = "ECS deployment circuit breaker: tasks failed to start.".into();
        service.history.insert(id.clone(), "ROLLBACK_IN_PROGRESS");
        let back = last_completed.filter(|d| *d != deployment.definition && breaker["rollback"] == true);
        if let Some(definition) = back {
            deployment.primary = false;
            let rollback = Deployment::new(format!("ecs-svc/{number:020}"), definition.clone(), now, "IN_PROGRESS");
            service.deployments.insert(0, rollback);
            service.input["taskDefinition"] = definition.into();
            self.event(
                &name,
                &format!("(service {name}) (deployment {id}) deployment failed: tasks failed to start."),
                now,
            );
            self.event(
                &name,
                &format!("(service {name}) rolling back to the last completed deployment."),
                now,
            );
        } else {
            service.history.insert(id.clone(), "STOPPED");
            self.event(
                &name,
                &format!("(service {name}) (deployment {id}) deployment failed: tasks failed to start."),
                now,
            );
        }
    }

    fn step_service(&mut self, name: &str, now: i64) {
        let Some(service) = self.services.get(name) else { return };
        let service = service.clone();
        let mine = |world: &Self, deployment: Option<&str>| -> Vec<usize> {
            let of = |t: &Task| {
                t.service.as_deref() == Some(name)
                    && t.stopped.is_none()
                    && deployment.is_none_or(|d| t.deployment.as_deref() == Some(d))
            };
            world
                .tasks
                .iter()
                .enumerate()
                .filter(|(_, t)| of(t))
                .map(|(i, _)| i)
                .collect()
        };
        if service.status == "DRAINING" {
            for index in mine(self, None) {
                self.stop(index, "Service deleted", now);
            }
            if mine(self, None).is_empty()
                && let Some(service) = self.services.get_mut(name)
            {
                service.status = "INACTIVE";
                service.deployments.clear();
            }
            return;
        }
        if service.status != "ACTIVE" {
            return;
        }
        let Some(primary) = service.deployments.iter().find(|d| d.primary).cloned() else {
            return;
        };
        let balanced = service.input["loadBalancers"].as_array().is_some_and(|l| !l.is_empty());
        let alive: Vec<usize> = mine(self, Some(&primary.id))
            .into_iter()
            .filter(|i| self.tasks[*i].alive())
            .collect();
        let count = i64::try_from(alive.len()).unwrap_or(i64::MAX);
        if count > service.desired {
            let excess = usize::try_from(count - service.desired).unwrap_or(0);
            for index in alive.iter().rev().take(excess) {
                self.stop(*index, "Scaling activity initiated by (deployment)", now);
            }
        }
        let may_launch = primary.state != "FAILED" && (primary.failed == 0 || now - primary.last_launch >= RELAUNCH_MS);
        if count < service.desired && may_launch {
            let started_by = if self.started_by_service {
                name.to_owned()
            } else {
                primary.id.clone()
            };
            for _ in count..service.desired {
                self.new_task(&primary.definition, Some((name, &primary.id)), &started_by, "", now);
            }
            if let Some(d) = self.deployment(name, &primary.id) {
                d.last_launch = now;
            }
        }
        let up = |world: &Self, index: &usize| {
            let task = &world.tasks[*index];
            task.running.is_some() && (!balanced || task.healthy(now))
        };
        let full = i64::try_from(alive.iter().filter(|i| up(self, i)).count()).unwrap_or(0) >= service.desired;
        let others: Vec<usize> = mine(self, None)
            .into_iter()
            .filter(|i| self.tasks[*i].deployment.as_deref() != Some(primary.id.as_str()))
            .collect();
        // A failed deployment's tasks end at once; an old one's when the new one is full.
        for index in &others {
            let failed = service
                .deployments
                .iter()
                .any(|d| Some(d.id.as_str()) == self.tasks[*index].deployment.as_deref() && d.state == "FAILED");
            if full || failed {
                self.stop(*index, "Scaling activity initiated by (deployment)", now);
            }
        }
        let steady = full && others.is_empty();
        let since = self.deployment(name, &primary.id).map(|d| {
            d.full_since = if steady {
                Some(d.full_since.unwrap_or(now))
            } else {
                None
            };
            d.full_since
        });
        if let Some(Some(since)) = since
            && now - since >= STEADY_MS
            && primary.state == "IN_PROGRESS"
        {
            if let Some(d) = self.deployment(name, &primary.id) {
                d.state = "COMPLETED";
                d.reason = format!("ECS deployment {} completed.", d.id);
            }
            if let Some(service) = self.services.get_mut(name) {
                service.history.insert(primary.id.clone(), "SUCCESSFUL");
                service.last_completed = Some(primary.definition.clone());
                service.deployments.retain(|d| d.primary);
            }
            self.event(name, &format!("(service {name}) has reached a steady state."), now);
        }
    }

    fn deployment(&mut self, service: &str, id: &str) -> Option<&mut Deployment> {
        self.services
            .get_mut(service)?
            .deployments
            .iter_mut()
            .find(|d| d.id == id)
    }

    pub(super) fn stop(&mut self, index: usize, reason: &str, now: i64) {
        let task = &mut self.tasks[index];
        if task.alive() {
            task.stopping = Some(now);
            task.stop_code = Some(if reason.starts_with("Scaling") || reason.starts_with("Service") {
                "ServiceSchedulerInitiated"
            } else {
                "UserInitiated"
            });
            task.stopped_reason = Some(reason.to_owned());
        }
    }
}

impl Deployment {
    pub(super) fn new(id: String, definition: String, created: i64, state: &'static str) -> Self {
        Self {
            id,
            primary: true,
            state,
            reason: String::new(),
            definition,
            failed: 0,
            created,
            last_launch: 0,
            full_since: None,
            counts_failures: state == "IN_PROGRESS",
        }
    }
}
