//! One-off tasks: the [`TaskRunner`] of Fargate.
//!
//! Invariant: a key starts at most one task. It is looked for before it is started (`startedBy`), and the call that
//! starts it carries a token of the same key, so that a repetition by anyone within a day finds the same task. What
//! ended is told by every container's own exit code.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ecs::types as ecs;
use aws_sdk_ecs::types::builders::KeyValuePairBuilder;
use nuages_aws::poll::MaybeThrottled as _;
use nuages_aws::{Effect, Kind, ServiceError};
use nuages_model::{Progress, TaskError, TaskHandle, TaskKey, TaskOutcome, TaskRequest, TaskRunner};
use serde_json::json;
use tokio::time::Instant;

use crate::clues;
use crate::cluster::{Cluster, TICK, told};
use crate::definition::LogTarget;
use crate::error::EcsError;
use crate::logs::StreamReader;
use crate::placement::Placement;
use crate::register::tag;
use crate::task::TaskState;

/// The longest overrides that `RunTask` takes, as JSON.
const OVERRIDES: usize = 8192;
/// After the end, the log is read until it has been quiet for this long.
const LOG_QUIET: Duration = Duration::from_secs(2);
/// And at most this long.
const LOG_MAX: Duration = Duration::from_secs(15);

/// Runs one-off tasks from one task definition.
///
/// ```no_run
/// # async fn example(cluster: nuages_ecs::Cluster, placement: nuages_ecs::Placement) -> Result<(), Box<dyn std::error::Error>> {
/// use nuages_ecs::EcsTaskRunner;
/// use nuages_model::{Progress, TaskRequest, TaskRunner as _};
///
/// let runner = EcsTaskRunner::new(cluster, "arn:aws:ecs:eu-west-1:123456789012:task-definition/blog-web:7", "web", placement);
/// let task = runner.start(&TaskRequest {
///     key: "01k6h2-migrate-1".parse()?,
///     command: ["python", "manage.py", "migrate", "--noinput"].map(String::from).to_vec(),
///     env: Default::default(),
/// }).await?;
/// let outcome = runner.wait(&task, &Progress::none()).await?;
/// assert!(outcome.succeeded());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EcsTaskRunner {
    cluster: Cluster,
    task_definition: String,
    container: String,
    placement: Placement,
    log: Option<LogTarget>,
    timeout: Duration,
    tail: usize,
    tags: BTreeMap<String, String>,
}

impl EcsTaskRunner {
    /// Runs commands in this container of this definition, in this place. The log is read from where the definition's
    /// [`with_log`](Self::with_log) says; without it nothing is streamed.
    pub fn new(
        cluster: Cluster,
        task_definition: impl Into<String>,
        container: impl Into<String>,
        placement: Placement,
    ) -> Self {
        Self {
            cluster,
            task_definition: task_definition.into(),
            container: container.into(),
            placement,
            log: None,
            timeout: Duration::from_hours(1),
            tail: 1000,
            tags: BTreeMap::new(),
        }
    }

    /// Streams the container's log from here.
    #[must_use]
    pub fn with_log(mut self, log: LogTarget) -> Self {
        self.log = Some(log);
        self
    }

    /// How long a task may take; an hour unless it is said.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many of the log's last lines the outcome keeps; 1000 unless it is said.
    #[must_use]
    pub const fn with_tail(mut self, lines: usize) -> Self {
        self.tail = lines;
        self
    }

    /// Tags for the tasks.
    #[must_use]
    pub fn with_tags(mut self, tags: BTreeMap<String, String>) -> Self {
        self.tags = tags;
        self
    }

    fn overrides(&self, request: &TaskRequest) -> Result<ecs::TaskOverride, TaskError> {
        let env: Vec<_> = request
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let as_sent = json!({"containerOverrides": [{
            "name": self.container, "command": request.command, "environment": env,
        }]});
        let length = as_sent.to_string().chars().count();
        if length > OVERRIDES {
            return Err(TaskError::Refused {
                why: format!(
                    "command and variables are {length} characters as JSON, and ECS takes at most {OVERRIDES}"
                ),
            });
        }
        let env = request
            .env
            .iter()
            .map(|(name, value)| KeyValuePairBuilder::default().name(name).value(value).build());
        let container = ecs::ContainerOverride::builder()
            .name(&self.container)
            .set_command(Some(request.command.clone()).filter(|c| !c.is_empty()))
            .set_environment(Some(env.collect()))
            .build();
        Ok(ecs::TaskOverride::builder().container_overrides(container).build())
    }

    async fn run(&self, request: &TaskRequest) -> Result<TaskHandle, TaskError> {
        let mut call = self
            .cluster
            .ecs
            .run_task()
            .cluster(&self.cluster.name)
            .task_definition(&self.task_definition)
            .count(1)
            .launch_type(ecs::LaunchType::Fargate)
            .network_configuration(self.placement.to_ecs())
            .started_by(request.key.as_str())
            .client_token(request.key.as_str())
            .enable_ecs_managed_tags(true)
            .overrides(self.overrides(request)?);
        for (key, value) in &self.tags {
            call = call.tags(tag(key, value));
        }
        let what = format!("run the task `{}`", request.key);
        let answer = call
            .send()
            .await
            .map_err(told("ecs:RunTask"))
            .map_err(|e| refused_or_unknown(what.clone(), e))?;
        if let Some(arn) = answer.tasks().first().and_then(|t| t.task_arn()) {
            return Ok(TaskHandle { id: arn.to_owned() });
        }
        // HTTP 200, and yet nothing runs.
        let failures: Vec<String> = answer
            .failures()
            .iter()
            .map(|f| {
                let words = [f.reason(), f.detail(), f.arn()];
                words
                    .into_iter()
                    .flatten()
                    .filter(|w| !w.is_empty())
                    .collect::<Vec<_>>()
                    .join(", ")
            })
            .collect();
        let said = failures.join("; ");
        let why = match clues::capacity(&said) {
            Some(clue) => format!("{}: {said}", clue.sentence),
            None if said.is_empty() => "ECS started nothing and says no reason".into(),
            None => format!("ECS started nothing: {said}"),
        };
        Err(TaskError::Refused { why })
    }

    async fn of_family(&self, key: &TaskKey, desired: ecs::DesiredStatus) -> Result<Vec<String>, EcsError> {
        let revision = self.task_definition.rsplit('/').next().unwrap_or_default();
        let family = revision.split(':').next().unwrap_or_default();
        let arns = self.cluster.tasks_of_family(family, desired).await?;
        let tasks = self.cluster.describe_tasks(&arns).await?;
        Ok(tasks
            .into_iter()
            .filter(|t| t.started_by.as_deref() == Some(key.as_str()))
            .map(|t| t.arn)
            .collect())
    }

    async fn look(&self, handle: &TaskHandle) -> Result<Option<TaskState>, EcsError> {
        Ok(self
            .cluster
            .describe_tasks(std::slice::from_ref(&handle.id))
            .await?
            .pop())
    }
}

fn refused_or_unknown(what: String, error: ServiceError) -> TaskError {
    if error.effect == Effect::None && error.kind != Kind::Throttled {
        TaskError::Refused { why: error.to_string() }
    } else {
        TaskError::Unknown {
            what,
            source: Box::new(error),
        }
    }
}

fn unknown(what: impl Into<String>) -> impl FnOnce(EcsError) -> TaskError {
    let what = what.into();
    move |source| TaskError::Unknown {
        what,
        source: Box::new(source),
    }
}

/// The lines of a task's log, as they come.
struct Output<'a> {
    reader: StreamReader,
    source: String,
    progress: &'a Progress,
    tail: std::collections::VecDeque<String>,
    keep: usize,
}

impl Output<'_> {
    async fn read(&mut self, cluster: &Cluster) -> usize {
        match self.reader.read(&cluster.logs).await {
            Ok(lines) => {
                let count = lines.len();
                for line in lines {
                    self.progress.line(&self.source, &line);
                    if self.tail.len() == self.keep {
                        self.tail.pop_front();
                    }
                    self.tail.push_back(line);
                }
                count
            }
            Err(error) => {
                // The task's end is known without its log; and the next look may read it.
                tracing::debug!(%error, "the log cannot be read");
                0
            }
        }
    }

    async fn read_to_the_end(&mut self, cluster: &Cluster) {
        let (mut quiet_since, begun) = (Instant::now(), Instant::now());
        while quiet_since.elapsed() < LOG_QUIET && begun.elapsed() < LOG_MAX {
            if self.read(cluster).await > 0 {
                quiet_since = Instant::now();
            }
            tokio::time::sleep(TICK / 4).await;
        }
    }
}

#[async_trait]
impl TaskRunner for EcsTaskRunner {
    async fn start(&self, request: &TaskRequest) -> Result<TaskHandle, TaskError> {
        // Refused before anything is asked: the request itself is wrong.
        self.overrides(request)?;
        match self.find(&request.key).await? {
            Some(handle) => Ok(handle),
            None => self.run(request).await,
        }
    }

    async fn find(&self, key: &TaskKey) -> Result<Option<TaskHandle>, TaskError> {
        for desired in [ecs::DesiredStatus::Running, ecs::DesiredStatus::Stopped] {
            let arns = match self.cluster.tasks(None, Some(key.as_str()), desired.clone()).await {
                // ECS documents that `startedBy` stands alone: then the family's tasks are looked through.
                Err(error) if error.kind() == Some(Kind::Invalid) => self.of_family(key, desired).await,
                arns => arns,
            };
            let arns = arns.map_err(unknown(format!("look for the task `{key}`")))?;
            if let Some(arn) = arns.into_iter().next() {
                return Ok(Some(TaskHandle { id: arn }));
            }
        }
        Ok(None)
    }

    async fn wait(&self, handle: &TaskHandle, progress: &Progress) -> Result<TaskOutcome, TaskError> {
        let deadline = Instant::now() + self.timeout;
        let id = handle.id.rsplit('/').next().unwrap_or(&handle.id);
        let mut output = self.log.as_ref().map(|log| Output {
            reader: StreamReader::new(log, &self.container, id),
            source: self.container.clone(),
            progress,
            tail: std::collections::VecDeque::new(),
            keep: self.tail.max(1),
        });
        let mut pause = TICK;
        let mut missing = 0;
        let mut last = String::from("not seen yet");
        loop {
            match self.look(handle).await {
                Ok(Some(task)) => {
                    (pause, missing) = (TICK, 0);
                    if task.status != last {
                        progress.status(format!(
                            "task {}: {}",
                            id.get(..8).unwrap_or(id),
                            task.status.to_lowercase()
                        ));
                        last.clone_from(&task.status);
                    }
                    if let Some(output) = &mut output
                        && task.started_ms.is_some()
                    {
                        if task.is_stopped() {
                            output.read_to_the_end(&self.cluster).await;
                        } else {
                            output.read(&self.cluster).await;
                        }
                    }
                    if task.is_stopped() {
                        return Ok(TaskOutcome {
                            containers: task.containers,
                            stop_code: task.stop_code,
                            stopped_reason: task.stopped_reason,
                            log_tail: output.map(|o| o.tail.into()).unwrap_or_default(),
                        });
                    }
                }
                // A read may not see a task that was started a moment ago, nor one that stopped more than an hour ago.
                Ok(None) => {
                    missing += 1;
                    if missing > 30 {
                        let why = "ECS does not know it: it stopped more than an hour ago, or never was";
                        return Err(TaskError::Unknown {
                            what: format!("follow the task `{id}`"),
                            source: Box::new(EcsError::refused("read the task", why)),
                        });
                    }
                }
                Err(error) if error.is_throttled() => pause = (pause * 2).min(TICK * 20),
                Err(error) if matches!(error.kind(), Some(Kind::Unreachable | Kind::Server)) => {}
                Err(error) => return Err(unknown(format!("follow the task `{id}`"))(error)),
            }
            if Instant::now() >= deadline {
                return Err(TaskError::TimedOut {
                    seconds: self.timeout.as_secs(),
                    last,
                });
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }

    async fn stop(&self, handle: &TaskHandle, reason: &str) -> Result<(), TaskError> {
        let reason: String = reason.chars().take(255).collect();
        let call = self
            .cluster
            .ecs
            .stop_task()
            .cluster(&self.cluster.name)
            .task(&handle.id)
            .reason(reason);
        match call.send().await.map_err(told("ecs:StopTask")) {
            Ok(_) => {}
            // Ended and forgotten already.
            Err(e) if e.kind == Kind::NotFound || e.is_code("InvalidParameterException") => return Ok(()),
            Err(e) => return Err(refused_or_unknown("stop the task".into(), e)),
        }
        let deadline = Instant::now() + Duration::from_mins(5);
        loop {
            match self.look(handle).await {
                Ok(None) => return Ok(()),
                Ok(Some(task)) if task.is_stopped() => return Ok(()),
                Ok(Some(_)) => {}
                Err(error) if error.is_throttled() => {}
                Err(error) => return Err(unknown("see the task stopped")(error)),
            }
            if Instant::now() >= deadline {
                return Err(TaskError::TimedOut {
                    seconds: 300,
                    last: "stopping".into(),
                });
            }
            tokio::time::sleep(TICK).await;
        }
    }
}
