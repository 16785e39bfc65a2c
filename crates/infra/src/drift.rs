//! What somebody changed behind the stack's back.
//!
//! Invariant: reading drift changes nothing.

use std::time::Duration;

use aws_sdk_cloudformation::types::{
    DifferenceType, StackDriftDetectionStatus, StackResourceDrift, StackResourceDriftStatus,
};
use nuages_aws::error::describe;
use nuages_aws::poll::{Verdict, Wait, wait_for};
use nuages_model::Progress;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::stack::Stack;

/// One resource that is not as its template says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceDrift {
    /// Its name within the template.
    pub logical_id: String,
    /// Its type.
    pub resource_type: String,
    /// Whether it is gone altogether.
    pub deleted: bool,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// One property that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where in the properties, such as `/RetentionInDays`.
    pub path: String,
    /// What the template says; none where the property was added.
    pub expected: Option<String>,
    /// What is there; none where the property was removed.
    pub actual: Option<String>,
}

const DRIFT_TIMEOUT: Duration = Duration::from_mins(10);

impl Stack {
    /// Compares every resource with the template. An empty list means that all is as it was made.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack) -> Result<(), nuages_infra::InfraError> {
    /// use nuages_model::Progress;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// for resource in stack.drift(&Progress::none(), &CancellationToken::new()).await? {
    ///     println!("{}: {} properties differ", resource.logical_id, resource.differences.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drift(
        &self,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<ResourceDrift>, InfraError> {
        let state = self.describe().await?.ok_or_else(|| InfraError::Missing {
            stack: self.name.clone(),
        })?;
        let started = self
            .cloudformation
            .detect_stack_drift()
            .stack_name(state.arn.as_str())
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "begin the drift detection",
                source: describe("cloudformation:DetectStackDrift", &e),
            })?;
        let id = started.stack_drift_detection_id().unwrap_or_default();
        let wait = Wait {
            what: "the drift detection",
            pace: self.pace,
            timeout: DRIFT_TIMEOUT,
            cancel,
            progress,
        };
        let detection = || async {
            let answer = self
                .cloudformation
                .describe_stack_drift_detection_status()
                .stack_drift_detection_id(id)
                .send()
                .await
                .map_err(|e| InfraError::Call {
                    what: "follow the drift detection",
                    source: describe("cloudformation:DescribeStackDriftDetectionStatus", &e),
                })?;
            let reason = answer.detection_status_reason().unwrap_or_default().to_owned();
            Ok::<_, InfraError>((answer.detection_status().cloned(), reason))
        };
        let incomplete = wait_for(wait, detection, |(status, reason)| match status {
            Some(StackDriftDetectionStatus::DetectionComplete) => Verdict::Ready(None),
            // Some resources could not be looked at; the others' results hold.
            Some(StackDriftDetectionStatus::DetectionFailed) => Verdict::Ready(Some(reason.clone())),
            _ => Verdict::NotYet("comparing every resource with the template".to_owned()),
        })
        .await?;
        if let Some(reason) = incomplete {
            progress.warning(format!("not every resource could be looked at: {reason}"));
        }
        self.drifted_resources(state.arn.as_str()).await
    }

    async fn drifted_resources(&self, arn: &str) -> Result<Vec<ResourceDrift>, InfraError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .cloudformation
                .describe_stack_resource_drifts()
                .stack_name(arn)
                .stack_resource_drift_status_filters(StackResourceDriftStatus::Modified)
                .stack_resource_drift_status_filters(StackResourceDriftStatus::Deleted)
                .set_next_token(token)
                .send()
                .await
                .map_err(|e| InfraError::Call {
                    what: "read what has drifted",
                    source: describe("cloudformation:DescribeStackResourceDrifts", &e),
                })?;
            found.extend(page.stack_resource_drifts().iter().map(read));
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
    }
}

fn read(drift: &StackResourceDrift) -> ResourceDrift {
    let differences = drift.property_differences().iter().map(|d| {
        let kind = d.difference_type();
        let text = |value: Option<&str>| value.map(str::to_owned);
        Difference {
            path: d.property_path().unwrap_or_default().to_owned(),
            expected: text(d.expected_value()).filter(|_| kind != Some(&DifferenceType::Add)),
            actual: text(d.actual_value()).filter(|_| kind != Some(&DifferenceType::Remove)),
        }
    });
    ResourceDrift {
        logical_id: drift.logical_resource_id().unwrap_or_default().to_owned(),
        resource_type: drift.resource_type().unwrap_or_default().to_owned(),
        deleted: drift.stack_resource_drift_status() == Some(&StackResourceDriftStatus::Deleted),
        differences: differences.collect(),
    }
}
