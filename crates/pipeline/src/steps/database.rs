//! `django.migrate`: applies the pending migrations in a one-off task with the release's image.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_ecs::{Cluster, EcsTaskRunner, LogTarget, Placement};
use nuages_migrate::{AppliedSet, Manage, MigrateError, MigrationRun, Verb};
use nuages_model::ReleaseId;
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};

use super::{Tools, by_hand};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MigrateParams {
    pub(crate) cluster: String,
    pub(crate) task_definition: String,
    pub(crate) container: String,
    pub(crate) placement: Placement,
    pub(crate) log: LogTarget,
    pub(crate) release: ReleaseId,
    pub(crate) databases: Vec<String>,
    pub(crate) lock_timeout_ms: u64,
    /// What was pending when the plan was made, `alias app.name`, for people.
    pub(crate) pending: Vec<String>,
}

/// What it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MigrateOutput {
    /// What is applied now.
    pub(crate) applied: AppliedSet,
    /// What this run applied, in order.
    pub(crate) ran: Vec<String>,
}

pub(crate) struct Migrate(pub(crate) Arc<Tools>, pub(crate) MigrateParams);

/// A migration may rewrite a large table.
const LIMIT: Duration = Duration::from_hours(6);

impl MigrateParams {
    pub(crate) fn runner(&self, tools: &Tools) -> EcsTaskRunner {
        let cluster = Cluster::new(&tools.aws, &self.cluster);
        EcsTaskRunner::new(cluster, &self.task_definition, &self.container, self.placement.clone())
            .with_log(self.log.clone())
            .with_timeout(LIMIT)
    }

    pub(crate) fn run(&self, attempt: u32) -> MigrationRun {
        let mut run = MigrationRun::new(self.release);
        run.attempt = attempt.max(1);
        run.databases.clone_from(&self.databases);
        run.manage = Manage::default();
        run.lock_timeout = Duration::from_millis(self.lock_timeout_ms);
        run
    }
}

/// A migration's failure as a whole sentence, with what stays in the database.
#[derive(Debug, thiserror::Error)]
#[error("failed to {error}{}", staying(.error))]
struct Failed {
    error: MigrateError,
    #[source]
    cause: Option<LastLines>,
}

/// The evidence, where the driver itself could not say what was wrong.
#[derive(Debug, thiserror::Error)]
#[error("the task's last lines:\n  {0}")]
struct LastLines(String);

fn staying(error: &MigrateError) -> String {
    let ran = match error {
        MigrateError::Failed(failure) => failure.report.as_ref().map(nuages_migrate::ApplyReport::ran),
        _ => None,
    };
    match ran.unwrap_or_default().as_slice() {
        [] => String::new(),
        [(_, only)] => format!(" ({only} was applied before it, and stays)"),
        [(_, first), .., (_, last)] => format!(" ({first} to {last} were applied before it, and stay)"),
    }
}

/// A migration's error as a step's.
fn step_error(error: MigrateError) -> StepError {
    const LINES: usize = 15;
    let hint = error.hint();
    let told = matches!(&error, MigrateError::Failed(failure) if failure.driver.is_some());
    let lines: Vec<String> = error
        .outcome()
        .filter(|_| !told)
        .map(|outcome| {
            outcome
                .log_tail
                .iter()
                .filter(|line| !line.trim().is_empty())
                .cloned()
                .collect()
        })
        .unwrap_or_default();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let cause = (!last.is_empty()).then(|| LastLines(last.join("\n  ")));
    let step = StepError::new(Failed { error, cause });
    match hint {
        Some(hint) => step.with_hint(hint),
        None => step,
    }
}

/// A task that ended has nothing more to find out: what was applied before the failure stays, is said in the error, and
/// the next probe reads it from the database. A doubt remains only where nobody could follow the task to its end, or
/// neither its report nor the database could be read.
fn apply_error(error: MigrateError) -> ApplyError {
    match &error {
        MigrateError::Failed(_) | MigrateError::Pending { .. } => ApplyError::clean(step_error(error)),
        _ => ApplyError::unknown(step_error(error)),
    }
}

#[async_trait]
impl TypedStep for Migrate {
    type Before = Vec<String>;
    type After = MigrateOutput;

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<Self::Before, MigrateOutput>, StepError> {
        // Asking the database takes a task. The probe before the plan was one, and the run itself computes its plan
        // again under the migrations' lock.
        let diff = self
            .1
            .pending
            .iter()
            .map(|name| format!("+ migration {name}"))
            .collect();
        Ok(TypedCheck::Change {
            before: self.1.pending.clone(),
            diff,
        })
    }

    async fn apply(&self, cx: &StepContext, _: Self::Before) -> Result<MigrateOutput, ApplyError> {
        let run = self.1.run(cx.attempt());
        let report = nuages_migrate::apply(&self.1.runner(&self.0), &run, cx.progress()).await;
        let report = report.map_err(apply_error)?;
        let ran = report
            .ran()
            .into_iter()
            .map(|(alias, name)| format!("{alias} {name}"))
            .collect();
        Ok(MigrateOutput {
            applied: report.applied_set(),
            ran,
        })
    }

    /// A task of this attempt, running or ended, is attached to: a second one is never started.
    async fn observe(&self, cx: &StepContext, _: Self::Before) -> Result<TypedObservation<MigrateOutput>, StepError> {
        let run = self.1.run(cx.attempt());
        let found = nuages_migrate::find(&self.1.runner(&self.0), &run, Verb::Apply)
            .await
            .map_err(step_error)?;
        Ok(match found {
            Some(_) => TypedObservation::Running,
            None => TypedObservation::NotDone,
        })
    }

    async fn attach(&self, cx: &StepContext, before: Self::Before) -> Result<MigrateOutput, ApplyError> {
        self.apply(cx, before).await
    }

    async fn undo(&self, _: &StepContext, _: Self::Before, _: Option<MigrateOutput>) -> Result<(), StepError> {
        Ok(())
    }

    fn reversal(&self) -> Reversal {
        Reversal::ForwardOnly
    }

    /// What the task said, what the database has, and what applies the rest. `resume` asks the database again.
    fn by_hand(&self, _: Self::Before, _: Option<MigrateOutput>) -> Vec<String> {
        let params = &self.1;
        let stream = params.log.stream(&params.container, "");
        let manage = |verb: &str| {
            let network = serde_json::json!({"awsvpcConfiguration": {
                "subnets": params.placement.subnets, "securityGroups": params.placement.security_groups,
                "assignPublicIp": if params.placement.public_ip { "ENABLED" } else { "DISABLED" },
            }});
            let overrides = serde_json::json!({"containerOverrides": [
                {"name": params.container, "command": ["python", "manage.py", verb]},
            ]});
            let words = [
                "ecs",
                "run-task",
                "--cluster",
                &params.cluster,
                "--task-definition",
                &params.task_definition,
                "--launch-type",
                "FARGATE",
                "--network-configuration",
                &network.to_string(),
                "--overrides",
                &overrides.to_string(),
            ];
            by_hand::aws(&self.0.aws, &words)
        };
        let tail = [
            "logs",
            "tail",
            &params.log.group,
            "--log-stream-name-prefix",
            &stream,
            "--since",
            "1d",
        ];
        let log = by_hand::aws(&self.0.aws, &tail);
        vec![log.clone(), manage("showmigrations"), manage("migrate"), log]
    }

    fn deadline(&self) -> Duration {
        LIMIT + Duration::from_mins(5)
    }
}
