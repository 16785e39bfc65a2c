//! `http.smoke`: asks the application, through the load balancer, whether it is ready, several times in a row, whether it
//! is alive at the path that the load balancer itself asks for ever, and whether a page comes.
//!
//! Invariant: while it waits for an answer the tasks are watched: one that dies ends the wait, and says why itself. So
//! does an answer that stays the same although the application itself gives it: no load balancer is to blame then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_ecs::{Cluster, Patience, RolloutOutcome};
use nuages_model::Progress;
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::rollout::{RolloutParams, failure};
use super::site::{Bad, PAUSE, REQUEST, Site};
use super::{Tools, stop_token};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmokeParams {
    /// Where it is asked.
    #[serde(flatten)]
    pub(crate) site: Site,
    /// The path that the load balancer asks for ever. An emulator's has no such question, and takes any target for
    /// healthy. None in plans of versions that did not ask it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<String>,
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
/// An answer of the application's own that is given so often, and for so long, is the one that it has.
const STEADY: (u32, Duration) = (5, Duration::from_secs(5));

/// Whether the application itself answered so. The others come from what stands before it while tasks come and go, or
/// say themselves that they will not last.
fn is_its_own(status: u16) -> bool {
    matches!(status, 400..=501) && !matches!(status, 408 | 425 | 429)
}

/// The same bad answer, again and again.
#[derive(Debug)]
struct Same<'a> {
    path: &'a str,
    status: u16,
    times: u32,
    since: Instant,
}

impl<'a> Same<'a> {
    /// After this answer; none where it may be another one the next time.
    fn after(before: Option<Self>, path: &'a str, bad: &Bad) -> Option<Self> {
        let &Bad::Answer { status, .. } = bad else { return None };
        let begun = Self {
            path,
            status,
            times: 0,
            since: Instant::now(),
        };
        let same = before.filter(|before| (before.path, before.status) == (path, status));
        let same = same.unwrap_or(begun);
        is_its_own(status).then_some(Self {
            times: same.times + 1,
            ..same
        })
    }

    fn is_steady(&self) -> bool {
        self.times >= STEADY.0 && self.since.elapsed() >= STEADY.1
    }
}

impl Smoke {
    /// Asks until all answers are good, or a bad one stays, or time is up.
    async fn answer(&self, cx: &StepContext, client: &reqwest::Client) -> Result<SmokeOutput, StepError> {
        let deadline = Instant::now() + LIMIT;
        let SmokeParams { site, live, page, .. } = &self.1;
        let mut same = None;
        loop {
            let asked = async {
                let ready = site.is_ready(client, Duration::ZERO).await;
                ready.map_err(|bad| (site.ready.as_str(), bad))?;
                if let Some(live) = live {
                    site.ask(client, live).await.map_err(|bad| (live.as_str(), bad))?;
                }
                site.ask(client, page).await.map_err(|bad| (page.as_str(), bad))
            };
            let (path, bad) = match asked.await {
                Ok((status, page)) => {
                    return Ok(SmokeOutput {
                        status,
                        bytes: page.len() as u64,
                    });
                }
                Err(bad) => bad,
            };
            same = Same::after(same, path, &bad);
            let steady = same.as_ref().is_some_and(Same::is_steady);
            if steady || Instant::now() >= deadline {
                return Err(StepError::message(bad.to_string()).with_hint(self.hint(cx, path, &bad)));
            }
            // Every retry fails in words of its own (addresses, ports); to the one who waits they all mean this.
            cx.progress().status("no good answer through the load balancer yet");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What mends a bad answer of this path.
    fn hint(&self, cx: &StepContext, path: &str, bad: &Bad) -> String {
        const SERVICE: &str = "in `health` of [services.web]";
        let status = match bad {
            Bad::Answer { status, .. } => *status,
            Bad::Silent(_) => 0,
        };
        let ready = path == self.1.site.ready;
        let live = self.1.live.as_deref() == Some(path);
        match status {
            400 => {
                "Django answers 400 to a host that is not in ALLOWED_HOSTS: add the value of NUAGES_PUBLIC_HOST to it, \
                    which every task gets"
                    .into()
            }
            404 | 410 if ready => {
                format!(
                    "the project has nothing at `{path}`: add it, or name the path that it has with `ready` {SERVICE}"
                )
            }
            404 | 410 if live => {
                format!(
                    "the project has nothing at `{path}`, which the load balancer asks for ever: add it, or name the \
                     path that it has with `live` {SERVICE}"
                )
            }
            404 | 410 => format!(
                "the project has no page at `{path}`: add one, or name one that it has with `page = \"/…\"` {SERVICE}"
            ),
            401 | 403 if !ready && !live => {
                format!("`{path}` is not for everybody: name a page that is with `page = \"/…\"` {SERVICE}")
            }
            _ => format!(
                "every task runs, and the application does not answer well: see `nuages logs --env {}`",
                cx.env()
            ),
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
        let SmokeParams { site, live, page, .. } = &self.1;
        let live = live.as_ref().map_or_else(String::new, |live| format!(", {live}"));
        let asks = format!("ask {}{live} and {page} of {}", site.ready, site.url);
        Ok(TypedCheck::Change {
            before: (),
            diff: vec![asks],
        })
    }

    async fn apply(&self, cx: &StepContext, (): ()) -> Result<SmokeOutput, ApplyError> {
        let client = self.1.site.client().await.map_err(ApplyError::clean)?;
        tokio::select! {
            biased;
            () = cx.stopped() => Err(ApplyError::clean(StepError::message("interrupted"))),
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
        LIMIT + REQUEST * 4
    }
}

#[cfg(test)]
mod tests;
