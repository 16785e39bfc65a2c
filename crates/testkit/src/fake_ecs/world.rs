//! The state.
//!
//! Invariant: ids are numbered, so that two runs of a test see the same ones; time is tokio's, from the first question
//! on. Until then it stands, so that a copy may be asked in another test.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;
use tokio::time::Instant;

use super::Call;
use super::behaviour::{Behaviour, Fault};
use super::django::Django;
use crate::aws::{ACCOUNT, REGION};

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) cluster: String,
    pub(super) cluster_status: Option<String>,
    pub(super) definitions: Vec<Definition>,
    pub(super) services: BTreeMap<String, Service>,
    /// The services before the last call that changed any.
    pub(super) services_before: BTreeMap<String, Service>,
    pub(super) tasks: Vec<Task>,
    pub(super) tokens: BTreeMap<String, (Value, String)>,
    pub(super) target_groups: BTreeMap<String, (String, bool)>,
    pub(super) log_groups: BTreeSet<String>,
    pub(super) logs: BTreeMap<(String, String), Vec<(i64, String)>>,
    pub(super) by_image: Vec<(String, Behaviour)>,
    pub(super) by_command: Vec<(String, Behaviour)>,
    pub(super) faults: BTreeMap<String, VecDeque<Fault>>,
    pub(super) calls: Vec<Call>,
    pub(super) hasty: bool,
    pub(super) started_by_service: bool,
    /// The projects of the images, and the one database, where migrations are to be seen.
    pub(super) django: Option<Django>,
    /// The fewest tasks that served, of the services that are watched.
    pub(super) least: BTreeMap<String, usize>,
    started: OnceCell<Instant>,
    /// Where its time begins, in milliseconds since 1970.
    epoch: i64,
    pub(super) advanced_to: i64,
    counter: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) arn: String,
    pub(super) family: String,
    pub(super) active: bool,
    pub(super) body: Value,
    pub(super) tags: Value,
}

#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) primary: bool,
    pub(super) state: &'static str,
    pub(super) reason: String,
    pub(super) definition: String,
    pub(super) failed: u32,
    pub(super) created: i64,
    pub(super) last_launch: i64,
    pub(super) full_since: Option<i64>,
    pub(super) counts_failures: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) status: &'static str,
    pub(super) desired: i64,
    pub(super) input: Value,
    pub(super) deployments: Vec<Deployment>,
    pub(super) events: Vec<(String, i64, String)>,
    pub(super) last_completed: Option<String>,
    /// Each service deployment's status, by the deployment's id.
    pub(super) history: BTreeMap<String, &'static str>,
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) arn: String,
    pub(super) id: String,
    pub(super) service: Option<String>,
    pub(super) deployment: Option<String>,
    pub(super) started_by: String,
    pub(super) definition: String,
    /// What a one-off task was asked to do, as JSON.
    pub(super) command: String,
    pub(super) behaviour: Behaviour,
    pub(super) created: i64,
    pub(super) running: Option<i64>,
    pub(super) stopping: Option<i64>,
    pub(super) stopped: Option<i64>,
    pub(super) stop_code: Option<&'static str>,
    pub(super) stopped_reason: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) container_reason: Option<String>,
    pub(super) address: String,
    pub(super) wrote: bool,
}

impl Task {
    pub(super) fn status(&self, now: i64) -> &'static str {
        if self.stopped.is_some() {
            "STOPPED"
        } else if self.stopping.is_some() {
            "STOPPING"
        } else if self.running.is_some() {
            "RUNNING"
        } else if now - self.created < 200 {
            "PROVISIONING"
        } else {
            "PENDING"
        }
    }

    pub(super) fn alive(&self) -> bool {
        self.stopped.is_none() && self.stopping.is_none()
    }

    /// Whether the load balancer would call it healthy.
    pub(super) fn healthy(&self, now: i64) -> bool {
        match (&self.behaviour, self.running) {
            (Behaviour::Healthy { boot }, Some(since)) => {
                self.alive() && now - since >= i64::try_from(boot.as_millis()).unwrap_or(i64::MAX)
            }
            _ => false,
        }
    }
}

impl World {
    pub(super) fn new(cluster: &str) -> Self {
        let epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let epoch = i64::try_from(epoch.as_millis()).unwrap_or_default();
        Self {
            cluster: cluster.to_owned(),
            cluster_status: Some("ACTIVE".into()),
            definitions: Vec::new(),
            services: BTreeMap::new(),
            services_before: BTreeMap::new(),
            tasks: Vec::new(),
            tokens: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            log_groups: BTreeSet::new(),
            logs: BTreeMap::new(),
            by_image: Vec::new(),
            by_command: Vec::new(),
            faults: BTreeMap::new(),
            calls: Vec::new(),
            hasty: false,
            started_by_service: false,
            django: None,
            least: BTreeMap::new(),
            started: OnceCell::new(),
            epoch,
            advanced_to: epoch,
            counter: 0,
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        let started = self.started.get_or_init(Instant::now);
        self.epoch + i64::try_from(started.elapsed().as_millis()).unwrap_or_default()
    }

    /// The same at this moment, where its time stands until it is asked. It was not asked for anything yet.
    pub(super) fn at(&self, ms: i64) -> Self {
        let mut copy = self.clone();
        copy.calls.clear();
        copy.advance(ms);
        copy.epoch = ms;
        copy.started = OnceCell::new();
        copy
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn arn(resource: &str) -> String {
        format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{resource}")
    }

    pub(super) fn add_target_group(&mut self, name: &str, target_type: &str, attached: bool) -> String {
        let number = self.next();
        let arn = format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{name}/{number:016x}");
        self.target_groups
            .insert(arn.clone(), (target_type.to_owned(), attached));
        arn
    }

    pub(super) fn log(&mut self, group: &str, stream: &str, at_ms: i64, text: &str) {
        self.logs
            .entry((group.to_owned(), stream.to_owned()))
            .or_default()
            .push((at_ms, text.to_owned()));
    }

    pub(super) fn definition(&self, family_or_arn: &str) -> Option<&Definition> {
        self.definitions
            .iter()
            .rev()
            .find(|d| d.arn == family_or_arn || d.arn.ends_with(&format!("/{family_or_arn}")))
            .or_else(|| {
                self.definitions
                    .iter()
                    .rev()
                    .find(|d| d.active && d.family == family_or_arn)
            })
    }

    pub(super) fn new_task(
        &mut self,
        definition: &str,
        service: Option<(&str, &str)>,
        started_by: &str,
        command: &str,
        now: i64,
    ) -> usize {
        let number = self.next();
        let id = format!("{number:032x}");
        let image = self
            .definition(definition)
            .map(|d| d.body["containerDefinitions"].to_string())
            .unwrap_or_default();
        let scripted = |scripts: &[(String, Behaviour)], text: &str| {
            scripts
                .iter()
                .rev()
                .find(|(part, _)| text.contains(part))
                .map(|(_, behaviour)| behaviour.clone())
        };
        let behaviour = if service.is_some() {
            scripted(&self.by_image, &image).unwrap_or(Behaviour::Healthy {
                boot: std::time::Duration::from_secs(1),
            })
        } else {
            let lasts = std::time::Duration::from_secs(2);
            scripted(&self.by_command, command).unwrap_or_else(|| match &self.django {
                Some(_) => Behaviour::Migrates { after: lasts },
                None => Behaviour::ends_well(lasts, &[]),
            })
        };
        self.tasks.push(Task {
            arn: Self::arn(&format!("task/{}/{id}", self.cluster)),
            id,
            service: service.map(|(name, _)| name.to_owned()),
            deployment: service.map(|(_, deployment)| deployment.to_owned()),
            started_by: started_by.to_owned(),
            definition: definition.to_owned(),
            command: command.to_owned(),
            behaviour,
            created: now,
            running: None,
            stopping: None,
            stopped: None,
            stop_code: None,
            stopped_reason: None,
            exit_code: None,
            container_reason: None,
            address: format!("10.0.{}.{}", number / 250, number % 250 + 4),
            wrote: false,
        });
        self.tasks.len() - 1
    }

    /// The log group and stream of a task's first container.
    pub(super) fn stream_of(&self, task: &Task) -> Option<(String, String)> {
        let container = &self.definition(&task.definition)?.body["containerDefinitions"][0];
        let options = &container["logConfiguration"]["options"];
        let (group, prefix) = (
            options["awslogs-group"].as_str()?,
            options["awslogs-stream-prefix"].as_str()?,
        );
        Some((
            group.to_owned(),
            format!("{prefix}/{}/{}", container["name"].as_str()?, task.id),
        ))
    }
}
