//! `http.smoke`: asks the application, through the load balancer, whether it is ready, several times in a row, and
//! whether a page comes.
//!
//! Invariant: while it waits for an answer the tasks are watched: one that dies ends the wait, and says why itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_ecs::{Cluster, Patience, RolloutOutcome};
use nuages_model::Progress;
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::rollout::{RolloutParams, failure};
use super::site::{PAUSE, REQUEST, Site};
use super::{Tools, stop_token};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmokeParams {
    /// Where it is asked.
    #[serde(flatten)]
    pub(crate) site: Site,
    /// A page that people see.
    pub(crate) page: String,
    /// The deployments whose tasks answer.
    #[serde(default)]
    pub(crate) rollout: Option<RolloutParams>,
}

/// What it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmokeOutput {
    /// The page's status.
    pub(crate) status: u16,
    /// The page's size in bytes.
    pub(crate) bytes: u64,
}

pub(crate) struct Smoke(pub(crate) Arc<Tools>, pub(crate) SmokeParams);

/// A load balancer takes some seconds to send requests to new targets.
const LIMIT: Duration = Duration::from_mins(1);
/// How often the tasks are looked at.
const WATCH: Duration = Duration::from_secs(1);

impl Smoke {
    /// Asks until all answers are good, or time is up.
    async fn answer(&self, cx: &StepContext, client: &reqwest::Client) -> Result<SmokeOutput, StepError> {
        let deadline = Instant::now() + LIMIT;
        let site = &self.1.site;
        loop {
            let asked = async {
                site.is_ready(client, Duration::ZERO).await?;
                site.ask(client, &self.1.page).await
            };
            let why = match asked.await {
                Ok((status, page)) => {
                    return Ok(SmokeOutput {
                        status,
                        bytes: page.len() as u64,
                    });
                }
                Err(why) => why,
            };
            if cx.stop_requested() || Instant::now() >= deadline {
                let hint = format!(
                    "every task runs, and the application does not answer well: see `nuages logs --env {}`",
                    cx.env()
                );
                return Err(StepError::message(why.to_string()).with_hint(hint));
            }
            // Every retry fails in words of its own (addresses, ports); to the one who waits they all mean this.
            cx.progress().status("no good answer through the load balancer yet");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends as soon as a task failed, with what is known of it.
    async fn failure(&self, cx: &StepContext) -> StepError {
        let Some(rollout) = &self.1.rollout else {
            return std::future::pending().await;
        };
        let (cancel, _guard) = stop_token(cx);
        let cluster = Cluster::new(&self.0.aws, &rollout.cluster);
        let watched = rollout.watched();
        loop {
            tokio::time::sleep(WATCH).await;
            let patience = Patience {
                timeout: LIMIT * 2,
                cancel: &cancel,
                progress: &Progress::none(),
            };
            // What else it may say is not the smoke test's: the load balancer's answer decides.
            if let Ok(failed @ RolloutOutcome::Failed { .. }) = cluster.follow(&watched, patience).await {
                return failure(&failed);
            }
        }
    }
}

#[async_trait]
impl TypedStep for Smoke {
    type Before = ();
    type After = SmokeOutput;

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<(), SmokeOutput>, StepError> {
        let asks = format!("ask {} and {} of {}", self.1.site.ready, self.1.page, self.1.site.url);
        Ok(TypedCheck::Change {
            before: (),
            diff: vec![asks],
        })
    }

    async fn apply(&self, cx: &StepContext, (): ()) -> Result<SmokeOutput, ApplyError> {
        let client = self.1.site.client().await.map_err(ApplyError::clean)?;
        tokio::select! {
            biased;
            answer = self.answer(cx, &client) => answer.map_err(ApplyError::clean),
            failure = self.failure(cx) => Err(ApplyError::clean(failure)),
        }
    }

    async fn observe(&self, _: &StepContext, (): ()) -> Result<TypedObservation<SmokeOutput>, StepError> {
        Ok(TypedObservation::NotDone)
    }

    async fn undo(&self, _: &StepContext, (): (), _: Option<SmokeOutput>) -> Result<(), StepError> {
        Ok(())
    }

    fn reversal(&self) -> Reversal {
        Reversal::Nothing
    }

    fn by_hand(&self, (): (), _: Option<SmokeOutput>) -> Vec<String> {
        Vec::new()
    }

    fn deadline(&self) -> Duration {
        LIMIT + REQUEST * 3
    }
}
