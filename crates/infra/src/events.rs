//! The stack's events: shown live, and searched for the first real cause when it failed.
//!
//! Invariant: only events of the operation that is followed are shown or blamed; earlier operations have failed too.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_cloudformation::types::{ResourceStatus, StackEvent, StackStatus};
use nuages_aws::error::describe;
use nuages_aws::poll::{Verdict, Wait, wait_for};
use nuages_model::Progress;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::stack::{CATCH_UP, OPERATION_TIMEOUT, Stack};

/// Whose output the events' lines are.
const SOURCE: &str = "cloudformation";

/// Why a stack's operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The resource's name within the template.
    pub logical_id: String,
    /// Its type.
    pub resource_type: String,
    /// The status that it ended in, such as `CREATE_FAILED`.
    pub status: String,
    /// What the service said.
    pub reason: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}) {}: {}",
            self.logical_id, self.resource_type, self.status, self.reason
        )
    }
}

impl Cause {
    /// The next thing to do, where the reason is one of the well-known ones.
    pub fn hint(&self) -> Option<String> {
        let says = |words: &[&str]| words.iter().any(|w| self.reason.contains(w));
        Some(if says(&["already exists", "AlreadyExists"]) {
            format!(
                "something outside the stack has the name of {}; delete or rename it, then repeat the command",
                self.logical_id
            )
        } else if says(&[
            "AccessDenied",
            "not authorized",
            "is not authorized",
            "UnauthorizedOperation",
        ]) {
            "the identity or service role that CloudFormation works as lacks a permission; `nuages infra bootstrap` \
             prints the policies, and with `--apply` brings them up to date"
                .to_owned()
        } else if says(&["LimitExceeded", "limit exceeded", "quota", "Quota"]) {
            "raise the quota in the Service Quotas console, or delete what is not needed, then repeat the command"
                .to_owned()
        } else {
            return None;
        })
    }
}

/// What is followed.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    pub(crate) stack_arn: &'a str,
    /// The token that it was asked for with.
    pub(crate) token: &'a str,
    /// The last event before it.
    pub(crate) after: Option<String>,
    /// What it is, completing "waiting for …".
    pub(crate) what: &'a str,
    /// How many resources it touches, where that is known.
    pub(crate) resources: Option<usize>,
    /// What the template hashes to that the stack has afterwards; none where it has none.
    pub(crate) hash: Option<&'a str>,
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: StackStatus,
    pub(crate) cause: Option<Box<Cause>>,
    /// Resources that CloudFormation let go of without deleting them.
    pub(crate) skipped: Vec<(String, String)>,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        matches!(
            self.status,
            StackStatus::CreateComplete
                | StackStatus::UpdateComplete
                | StackStatus::UpdateCompleteCleanupInProgress
                | StackStatus::DeleteComplete
        )
    }
}

impl Stack {
    /// The newest event, from which an operation's own are told.
    pub(crate) async fn newest_event(&self, stack_arn: &str) -> Result<Option<String>, InfraError> {
        let events = match self.events_after(stack_arn, None, true).await {
            // A stack that was made a moment ago.
            Err(error) if error.is_missing() => Vec::new(),
            events => events?,
        };
        Ok(events.last().and_then(|e| e.event_id()).map(str::to_owned))
    }

    /// Follows an operation to its end.
    pub(crate) async fn follow(
        &self,
        operation: &Operation<'_>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Ended, InfraError> {
        let seen = tokio::sync::Mutex::new(Seen::new(operation));
        let wait = Wait {
            what: operation.what,
            pace: self.pace,
            timeout: OPERATION_TIMEOUT,
            cancel,
            progress,
        };
        let began = Instant::now();
        let fetch = || async {
            let mut seen = seen.lock().await;
            let fresh = self.events_after(operation.stack_arn, seen.last.as_deref(), false);
            let fresh = match fresh.await {
                Err(error) if error.is_missing() && began.elapsed() < CATCH_UP => Vec::new(),
                fresh => fresh?,
            };
            seen.take(fresh, operation, progress);
            Ok::<_, InfraError>((seen.end.clone(), seen.status_line()))
        };
        let status = wait_for(wait, fetch, |(end, line)| match end {
            Some(status) => Verdict::Ready(status.clone()),
            None => Verdict::NotYet(line.clone()),
        })
        .await?;
        let seen = seen.into_inner();
        Ok(Ended {
            cause: first_cause(&seen.events, operation.stack_arn).map(Box::new),
            skipped: seen.skipped(),
            status,
        })
    }

    /// Events after a known one, oldest first.
    async fn events_after(
        &self,
        stack_arn: &str,
        known: Option<&str>,
        newest_only: bool,
    ) -> Result<Vec<StackEvent>, InfraError> {
        let mut found = Vec::new();
        let mut token = None;
        'pages: loop {
            let page = self
                .cloudformation
                .describe_stack_events()
                .stack_name(stack_arn)
                .set_next_token(token)
                .send()
                .await
                .map_err(|e| InfraError::Call {
                    what: "read the stack's events",
                    source: describe("cloudformation:DescribeStackEvents", &e),
                })?;
            token = page.next_token().map(str::to_owned);
            for event in page.stack_events.unwrap_or_default() {
                if known.is_some() && event.event_id() == known {
                    break 'pages;
                }
                found.push(event);
                if newest_only {
                    break 'pages;
                }
            }
            if token.is_none() {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }
}

struct Seen {
    last: Option<String>,
    events: Vec<StackEvent>,
    done: BTreeMap<String, ResourceStatus>,
    total: Option<usize>,
    end: Option<StackStatus>,
}

impl Seen {
    fn new(operation: &Operation<'_>) -> Self {
        Self {
            last: operation.after.clone(),
            events: Vec::new(),
            done: BTreeMap::new(),
            total: operation.resources,
            end: None,
        }
    }

    fn take(&mut self, fresh: Vec<StackEvent>, operation: &Operation<'_>, progress: &Progress) {
        for event in fresh {
            self.last = event.event_id().map(str::to_owned).or_else(|| self.last.take());
            // Some emulators leave the token out; then the events after the baseline are ours.
            if event
                .client_request_token()
                .is_some_and(|token| token != operation.token)
            {
                continue;
            }
            progress.line(SOURCE, line(&event));
            let status = event.resource_status().cloned();
            if is_stack(&event, operation.stack_arn) {
                self.end = status.and_then(|s| terminal(s.as_str()));
            } else if let (Some(id), Some(status)) = (event.logical_resource_id(), status) {
                self.done.insert(id.to_owned(), status);
            }
            self.events.push(event);
        }
        if let Some(total) = self.total {
            progress.count("resources", self.complete() as u64, total as u64);
        }
    }

    fn complete(&self) -> usize {
        self.done.values().filter(|s| s.as_str().ends_with("_COMPLETE")).count()
    }

    fn status_line(&self) -> String {
        match self.events.last() {
            Some(event) => line(event),
            None => "waiting for CloudFormation to begin".to_owned(),
        }
    }

    fn skipped(&self) -> Vec<(String, String)> {
        let of = |e: &StackEvent| Some((e.resource_type()?.to_owned(), e.physical_resource_id()?.to_owned()));
        self.events
            .iter()
            .filter(|e| e.resource_status() == Some(&ResourceStatus::DeleteSkipped))
            .filter_map(of)
            .collect()
    }
}

fn is_stack(event: &StackEvent, stack_arn: &str) -> bool {
    event.resource_type() == Some("AWS::CloudFormation::Stack") && event.physical_resource_id() == Some(stack_arn)
}

/// The status that an operation ends in. After `UPDATE_COMPLETE_CLEANUP_IN_PROGRESS` nothing can fail any more, but the
/// next operation would be refused until it is over.
fn terminal(status: &str) -> Option<StackStatus> {
    (status.ends_with("_COMPLETE") || status.ends_with("_FAILED")).then(|| StackStatus::from(status))
}

fn line(event: &StackEvent) -> String {
    let status = event.resource_status().map_or("?", |s| s.as_str());
    let (kind, id) = (
        event.resource_type().unwrap_or("?"),
        event.logical_resource_id().unwrap_or("?"),
    );
    match event
        .resource_status_reason()
        .map(tidy)
        .filter(|r| !r.is_empty() && status.ends_with("_FAILED"))
    {
        Some(reason) => format!("{status} {kind} {id}: {reason}"),
        None => format!("{status} {kind} {id}"),
    }
}

/// The first failure that is not merely the consequence of another one.
pub(crate) fn first_cause(events: &[StackEvent], stack_arn: &str) -> Option<Cause> {
    let failed = events
        .iter()
        .filter(|e| e.resource_status().is_some_and(|s| s.as_str().ends_with("_FAILED")));
    let cause = |event: &StackEvent| Cause {
        logical_id: event.logical_resource_id().unwrap_or_default().to_owned(),
        resource_type: event.resource_type().unwrap_or_default().to_owned(),
        status: event
            .resource_status()
            .map(|s| s.as_str().to_owned())
            .unwrap_or_default(),
        reason: tidy(
            event
                .resource_status_reason()
                .unwrap_or("CloudFormation gives no reason"),
        ),
    };
    let is_consequence = |e: &StackEvent| {
        e.resource_status_reason()
            .is_some_and(|r| r.starts_with("Resource ") && r.ends_with(" cancelled"))
    };
    failed
        .clone()
        .find(|e| !is_stack(e, stack_arn) && !is_consequence(e))
        .or_else(|| failed.clone().find(|e| is_stack(e, stack_arn)))
        .map(cause)
}

/// Takes the service's own sentence out of CloudFormation's wrapping.
fn tidy(reason: &str) -> String {
    let sentence = reason
        .strip_prefix("Resource handler returned message: \"")
        .and_then(|rest| rest.rsplit_once("\" (RequestToken:").map(|(message, _)| message))
        .unwrap_or(reason);
    sentence.trim().trim_end_matches('.').to_owned()
}
