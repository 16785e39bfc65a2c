//! Running a plan: the saga with this pipeline's steps, and what its outcome means.
//!
//! Invariant: every run holds the lease, and its steps write to the store with the lease's fence.

use std::path::PathBuf;
use std::sync::Arc;

use nuages_saga::{
    DeploymentId, ErrorReport, LeaseGuard, Outcome, Plan, PlannedCheck, Report, Runner, StepId, StuckStep, TaskScope,
};

use crate::environment::Environment;
use crate::error::{PipelineError, ReportedError};
use crate::session::TOOL_VERSION;
use crate::ui::Ui;
use crate::{finish, steps};

/// A run under a lease.
pub(crate) struct Run<'a> {
    pub(crate) runner: Runner,
    lease: &'a LeaseGuard,
}

impl<'a> Run<'a> {
    /// With the steps of this pipeline.
    pub(crate) fn new(environment: &Environment, lease: &'a LeaseGuard) -> Self {
        let tools = steps::Tools {
            aws: environment.aws.clone(),
            store: environment.store.clone(),
            fence: Some(lease.fence()),
        };
        Self {
            runner: Runner::new(
                steps::registry(tools),
                Arc::new(environment.store.clone()),
                TOOL_VERSION,
            ),
            lease,
        }
    }

    /// Checks every step of a plan, and ends the task with what `say` has to say of it.
    pub(crate) async fn plan(
        &self,
        plan: Plan,
        task: TaskScope,
        say: impl FnOnce(&Plan) -> String,
    ) -> Result<Plan, PipelineError> {
        match self.runner.plan(plan, &task).await {
            Ok(plan) => {
                task.done(say(&plan));
                Ok(plan)
            }
            Err(error) => {
                task.failed_with(ErrorReport::of(&error));
                Err(error.into())
            }
        }
    }

    /// Runs a plan, and ends the task as the outcome says.
    pub(crate) async fn carry_out(&self, plan: &Plan, task: TaskScope, ui: &Ui) -> Result<Report, PipelineError> {
        let ran = self.runner.run(plan, self.lease, &task, &ui.cancel).await;
        ended(ran, task)
    }
}

/// Ends the task of a run as its outcome says.
pub(crate) fn ended(ran: Result<Report, nuages_saga::SagaError>, task: TaskScope) -> Result<Report, PipelineError> {
    match ran {
        Ok(report) => {
            end(task, &report.outcome);
            Ok(report)
        }
        Err(error) => {
            let error = PipelineError::from(error);
            task.failed_with(error.report());
            Err(error)
        }
    }
}

fn end(scope: TaskScope, outcome: &Outcome) {
    match outcome {
        Outcome::Finished => scope.done(""),
        Outcome::Restored { .. } => scope.undone(),
        Outcome::Stuck { steps, .. } => {
            let names: Vec<String> = steps.iter().map(|step| step.step.to_string()).collect();
            scope.failed_with(ErrorReport {
                message: format!("{} could not be undone", names.join(", ")),
                causes: Vec::new(),
                hint: None,
            });
        }
        // Dropped without an end of its own, it ends as abandoned.
        Outcome::Detached => drop(scope),
    }
}

/// What a report means for the person.
pub(crate) fn conclude(
    report: &Report,
    operation: &str,
    environment: &Environment,
    ui: &Ui,
) -> Result<(), PipelineError> {
    let env = environment.named();
    let operation = operation.to_owned();
    let names = |steps: &[StepId]| steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    match &report.outcome {
        Outcome::Finished => Ok(()),
        // A step that was asked to stop fails in its own words; what ended the run is the person's wish.
        Outcome::Restored { kept, .. } if ui.stopped() => Err(PipelineError::Interrupted {
            operation,
            kept: names(kept),
        }),
        Outcome::Restored {
            kept,
            failure: Some(failure),
            ..
        } => Err(PipelineError::Undone {
            operation,
            step: failure.step.to_string(),
            cause: failure.error.clone().into(),
            kept: names(kept),
        }),
        Outcome::Restored {
            kept, failure: None, ..
        } => Err(PipelineError::Interrupted {
            operation,
            kept: names(kept),
        }),
        Outcome::Stuck { steps, failure, .. } => Err(PipelineError::Stuck {
            operation,
            cause: failure
                .as_ref()
                .map(|failure| ReportedError::from(failure.error.clone())),
            script: write_script(environment, report.plan.deployment, steps, ui),
            steps: steps.clone(),
            env,
        }),
        Outcome::Detached => Err(PipelineError::Detached {
            operation,
            deployment: report.plan.deployment,
            env,
        }),
    }
}

/// The script. Without it the commands are still printed.
fn write_script(environment: &Environment, deployment: DeploymentId, steps: &[StuckStep], ui: &Ui) -> Option<PathBuf> {
    let env = environment.named();
    let afterwards = (ui.pasteable)(&format!("`nuages resume --env {env}`"));
    let text = finish::script(deployment, &env, &afterwards, steps);
    match finish::write(&environment.folder(), deployment, &text) {
        Ok(path) => Some(path),
        Err(error) => {
            tracing::warn!(%error, "the script that finishes by hand was not written");
            None
        }
    }
}

/// The lines that tell what a plan's checks said, for people.
pub(crate) fn diff_lines(plan: &Plan) -> Vec<String> {
    plan.steps()
        .flat_map(|step| match plan.checks.get(&step.id) {
            Some(PlannedCheck::Change { diff, .. }) => diff.clone(),
            Some(PlannedCheck::KnownAfter { .. }) => vec![format!("~ {}: known after the steps before it", step.title)],
            _ => Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use nuages_saga::{Outputs, UndoReason};

    use super::*;
    use crate::stack::tests::staging;

    #[tokio::test]
    async fn the_script_of_a_stuck_run_names_the_next_command_as_it_is_called_here() {
        let (session, _dir) = staging("http://127.0.0.1:1").await;
        let stuck = StuckStep {
            step: "service/web".parse().unwrap(),
            error: ErrorReport {
                message: "access denied".into(),
                causes: Vec::new(),
                hint: None,
            },
            by_hand: vec!["aws ecs delete-service".into()],
        };
        let report = Report {
            plan: Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0"),
            outcome: Outcome::Stuck {
                steps: vec![stuck],
                reason: UndoReason::Aborted,
                failure: None,
            },
            outputs: Outputs::default(),
        };
        let ui = Ui {
            pasteable: |text| text.replace("nuages ", "cargo xtask "),
            ..Ui::silent()
        };
        let Err(PipelineError::Stuck {
            script: Some(script), ..
        }) = conclude(&report, "the deployment", &session, &ui)
        else {
            panic!("it is stuck")
        };
        let text = std::fs::read_to_string(script).unwrap();
        assert!(
            text.contains("Afterwards: `cargo xtask resume --env staging`\n"),
            "{text}"
        );
    }
}
