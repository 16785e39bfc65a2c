//! The error that ended a run, for machines.
//!
//! Invariant: it is a `message` like any other, and what else is known stands beside it under keys of its own.

use jiff::Timestamp;
use nuages_config::{ConfigError, ConfigErrors, Place};
use nuages_model::Finding;
use nuages_pipeline::{Ending, PipelineError};
use nuages_saga::{EVENT_VERSION, ErrorReport, Event, EventKind, MessageLevel, TaskId};
use serde::Serialize;

use crate::invocation;

/// The last line of a run that failed.
#[derive(Debug, Serialize)]
pub(crate) struct LastWords<'e> {
    #[serde(flatten)]
    message: Event,
    exit_code: u8,
    error: ErrorReport,
    /// What is wrong with `nuages.toml`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Mistake<'e>>,
    /// What the preflight found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
    /// What a person must finish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_hand: Vec<ByHand<'e>>,
}

/// A mistake in the configuration.
#[derive(Debug, Serialize)]
struct Mistake<'e> {
    file: &'e str,
    message: &'e str,
    hint: Option<&'e str>,
    places: &'e [Place],
}

/// A step whose undo failed.
#[derive(Debug, Serialize)]
struct ByHand<'e> {
    step: &'e str,
    error: ErrorReport,
    commands: &'e [String],
}

impl<'e> LastWords<'e> {
    pub(crate) fn of(problem: &'e PipelineError, ending: Ending) -> Self {
        let mut error = problem.report();
        invocation::in_report(&mut error);
        let kind = EventKind::Message {
            level: MessageLevel::Error,
            text: error.to_string(),
            hint: error.hint.clone(),
        };
        Self {
            message: Event {
                v: EVENT_VERSION,
                at: Timestamp::now(),
                task: TaskId(0),
                kind,
            },
            exit_code: ending.code(),
            error,
            problems: configuration(problem).map(mistakes).unwrap_or_default(),
            findings: match problem {
                PipelineError::Preflight { findings } => findings.iter().cloned().map(told).collect(),
                _ => Vec::new(),
            },
            by_hand: match problem {
                PipelineError::Stuck { steps, .. } => steps
                    .iter()
                    .map(|stuck| ByHand {
                        step: stuck.step.as_str(),
                        error: {
                            let mut error = stuck.error.clone();
                            invocation::in_report(&mut error);
                            error
                        },
                        commands: &stuck.by_hand,
                    })
                    .collect(),
                _ => Vec::new(),
            },
        }
    }
}

fn told(mut finding: Finding) -> Finding {
    finding.hint = finding.hint.as_deref().map(invocation::pasteable);
    finding
}

/// What is wrong with `nuages.toml`, where that ended the run.
pub(crate) fn configuration(problem: &PipelineError) -> Option<&ConfigErrors> {
    match problem {
        PipelineError::Config(errors) | PipelineError::Project(ConfigError::Invalid(errors)) => Some(errors),
        _ => None,
    }
}

fn mistakes(errors: &ConfigErrors) -> Vec<Mistake<'_>> {
    let mistake = |problem| Mistake::of(errors.file(), problem);
    errors.problems().iter().map(mistake).collect()
}

impl<'e> Mistake<'e> {
    fn of(file: &'e str, problem: &'e nuages_config::Problem) -> Self {
        Self {
            file,
            message: problem.message(),
            hint: problem.hint(),
            places: problem.places(),
        }
    }
}

#[cfg(test)]
mod tests {
    use nuages_config::ConfigFile;
    use nuages_saga::StuckStep;
    use serde_json::{Value, json};

    use super::*;

    fn line(problem: &PipelineError) -> Value {
        serde_json::to_value(LastWords::of(problem, problem.ending())).unwrap()
    }

    #[test]
    fn the_last_words_are_a_message_with_all_that_is_known() {
        let errors = ConfigFile::parse("nuages.toml", "[app]\nname = 7\n").unwrap_err();
        let said = line(&PipelineError::Config(errors));
        assert_eq!((&said["event"], &said["level"]), (&json!("message"), &json!("error")));
        assert_eq!(said["exit_code"], 3);
        let problems = said["problems"].as_array().unwrap();
        let name = problems.iter().find(|p| p["places"][0]["line"] == 2).unwrap();
        assert_eq!(name["hint"], "in quotes: \"7\"");
        assert!(said.get("by_hand").is_none(), "{said}");

        let stuck = PipelineError::Stuck {
            operation: "the deployment".into(),
            cause: None,
            steps: vec![StuckStep {
                step: "service/web".parse().unwrap(),
                error: ErrorReport {
                    message: "no answer".into(),
                    causes: Vec::new(),
                    hint: None,
                },
                by_hand: vec!["aws ecs delete-service".into()],
            }],
            script: None,
            env: "local".into(),
        };
        let said = line(&stuck);
        assert_eq!(said["exit_code"], 5);
        assert_eq!(
            said["by_hand"],
            json!([{"step": "service/web", "error": {"message": "no answer"}, "commands": ["aws ecs delete-service"]}])
        );
        let finding = Finding::fail("cluster", "there is none");
        let said = line(&PipelineError::Preflight {
            findings: vec![finding],
        });
        assert_eq!(
            (&said["exit_code"], &said["findings"][0]["subject"]),
            (&json!(4), &json!("cluster"))
        );
    }
}
