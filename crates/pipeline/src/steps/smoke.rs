//! `http.smoke`: asks the application, through the load balancer, whether it is ready and whether a page comes.
//!
//! Invariant: while it waits for an answer the tasks are watched: one that dies ends the wait, and says why itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_ecs::{Cluster, Patience, RolloutOutcome};
use nuages_model::Progress;
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::rollout::{RolloutParams, failure};
use super::{Tools, stop_token};

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmokeParams {
    /// The environment's URL.
    pub(crate) url: Url,
    /// The load balancer's own name, which is asked even where the domain's record is not everywhere yet.
    pub(crate) via: Option<String>,
    /// The path that says whether it can serve.
    pub(crate) ready: String,
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
const REQUEST: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(250);
/// How often the tasks are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// More of a page than this is not read.
const MAX_PAGE: usize = 4 << 20;

impl SmokeParams {
    /// A client that reaches the URL's host where it really is.
    pub(crate) async fn client(&self) -> Result<reqwest::Client, StepError> {
        // Whoever chose a provider of cryptography first is kept; in a rollback nobody has.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::limited(5))
            .user_agent(concat!("nuages-smoke/", env!("CARGO_PKG_VERSION")));
        if let Some(host) = self.url.host_str() {
            let port = self.url.port_or_known_default().unwrap_or(80);
            if host == "localhost" || host.ends_with(".localhost") {
                // RFC 6761, 6.3: these names are loopback's, whether or not the resolver knows it.
                client = client.resolve(host, SocketAddr::from(([127, 0, 0, 1], port)));
            } else if let Some(via) = self.via.as_deref().filter(|via| *via != host) {
                let addresses = tokio::net::lookup_host((via, port)).await.map_err(|source| {
                    StepError::new(source).context(format!("the load balancer `{via}` has no address yet"))
                })?;
                client = client.resolve_to_addrs(host, &addresses.collect::<Vec<_>>());
            }
        }
        client.build().map_err(StepError::new)
    }

    /// Asks for a path; the error says what came instead.
    pub(crate) async fn ask(&self, client: &reqwest::Client, path: &str) -> Result<(u16, String), String> {
        let url = self.url.join(path).map_err(|e| e.to_string())?;
        let mut answer = client
            .get(url.clone())
            .send()
            .await
            .map_err(|e| format!("GET {url}: {}", chain(&e)))?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| format!("GET {url}: {}", chain(&e)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_PAGE {
                break;
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        if (200..300).contains(&status) {
            Ok((status, text))
        } else {
            let first: String = telling(&text).chars().take(200).collect();
            Err(format!(
                "GET {url} answered {status}{}{first}",
                if first.is_empty() { "" } else { ": " }
            ))
        }
    }
}

/// What an answer says in one line: an HTML page's title, or the first line of anything else.
fn telling(body: &str) -> &str {
    if body.trim_start().starts_with('<') {
        let title = body
            .split_once("<title>")
            .and_then(|(_, rest)| rest.split_once("</title>"));
        return title.map_or("", |(title, _)| title.trim());
    }
    body.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(this) = next {
        causes.push(this.to_string());
        next = this.source();
    }
    causes.last().cloned().unwrap_or_default()
}

impl Smoke {
    /// Asks until both answers are good, or time is up.
    async fn answer(&self, cx: &StepContext, client: &reqwest::Client) -> Result<SmokeOutput, StepError> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let asked = async {
                self.1.ask(client, &self.1.ready).await?;
                self.1.ask(client, &self.1.page).await
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
                return Err(StepError::message(why).with_hint(hint));
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
        let asks = format!("ask {} and {} of {}", self.1.ready, self.1.page, self.1.url);
        Ok(TypedCheck::Change {
            before: (),
            diff: vec![asks],
        })
    }

    async fn apply(&self, cx: &StepContext, (): ()) -> Result<SmokeOutput, ApplyError> {
        let client = self.1.client().await.map_err(ApplyError::clean)?;
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
        LIMIT + REQUEST * 2
    }
}

#[cfg(test)]
mod tests {
    use super::telling;

    #[test]
    fn a_page_is_told_by_its_title() {
        assert_eq!(
            telling("\n<!doctype html>\n<title>\n Server Error (500)</title>"),
            "Server Error (500)"
        );
        assert_eq!(telling("<html></html>"), "");
        assert_eq!(
            telling("\n {\"status\": \"not ready\"}\nmore"),
            "{\"status\": \"not ready\"}"
        );
    }
}
