//! A steady stream of requests, and what became of each.
//!
//! Invariant: a request is sent when its time has come, however slow the answers before it are, and every one that was
//! sent is counted once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{Request, Uri};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::relay;

/// So many requests are sent in a second.
pub(super) const RATE: u32 = 200;
/// One request in so many asks for a page that reads the database; the others, whether the process answers. All of them
/// through pages would be a measure of two cores, not of a rollout.
const PAGE: u64 = 20;
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of the requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    /// So many were sent.
    pub(super) sent: u64,
    /// So many were sent by the emulator to a container that did not listen. A load balancer of AWS sends requests to
    /// targets that answered its health checks.
    pub(super) ungated: u64,
    /// The others that were not answered well: how often for which reason.
    pub(super) others: BTreeMap<String, u64>,
}

impl Tally {
    /// The requests that were not answered well and cannot be put down to the emulator.
    pub(super) fn unexplained(&self) -> u64 {
        self.others.values().sum()
    }

    /// All requests that were not answered well.
    pub(super) fn lost(&self) -> u64 {
        self.ungated + self.unexplained()
    }

    fn count(&mut self, fate: Fate) {
        self.sent += 1;
        match fate {
            Fate::Answered => {}
            Fate::Ungated => self.ungated += 1,
            Fate::Lost(why) => *self.others.entry(why).or_default() += 1,
        }
    }
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Answered,
    Ungated,
    Lost(String),
}

/// Requests under way; they end with [`Load::stop`].
pub(super) struct Load {
    stop: CancellationToken,
    sending: JoinHandle<()>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    /// Begins to ask this host, at this address.
    pub(super) fn start(address: SocketAddr, host: &str) -> Self {
        let (stop, tally) = (CancellationToken::new(), Arc::new(Mutex::new(Tally::default())));
        let sending = tokio::spawn(send(address, host.to_owned(), stop.clone(), Arc::clone(&tally)));
        Self { stop, sending, tally }
    }

    /// Sends no more, waits for what is under way, and answers the count.
    pub(super) async fn stop(self) -> Tally {
        self.stop.cancel();
        // It ends by itself; if it panicked, what it counted stands all the same.
        let _ = self.sending.await;
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn send(address: SocketAddr, host: String, stop: CancellationToken, tally: Arc<Mutex<Tally>>) {
    let mut beat = interval(Duration::from_secs(1) / RATE);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut asking = JoinSet::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = beat.tick() => {}
            Some(_) = asking.join_next() => continue,
        }
        let path = if number.is_multiple_of(PAGE) { "/" } else { "/livez" };
        number += 1;
        let (host, tally) = (host.clone(), Arc::clone(&tally));
        asking.spawn(async move {
            let asked = timeout(PATIENCE, ask(address, &host, path)).await;
            let fate = asked.unwrap_or_else(|_| Fate::Lost("no answer in 10 s".into()));
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(fate);
        });
    }
    while asking.join_next().await.is_some() {}
}

async fn ask(address: SocketAddr, host: &str, path: &'static str) -> Fate {
    let request = Request::get(Uri::from_static(path))
        .header("host", host)
        .header("connection", "close")
        .body(relay::whole(""));
    let answered = async {
        let answer = relay::send(address, request?).await?;
        let status = answer.status();
        let body = answer.collect().await?.to_bytes();
        Ok::<_, relay::BoxError>((status.as_u16(), body))
    };
    match answered.await {
        Ok((status, body)) => fate(status, &body),
        Err(error) => Fate::Lost(error.to_string()),
    }
}

fn fate(status: u16, body: &[u8]) -> Fate {
    if (200..400).contains(&status) {
        return Fate::Answered;
    }
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = said["message"].as_str().unwrap_or_default();
    // MiniStack's own words for a target that it could not connect to.
    let connecting = said
        .strip_prefix("Target ")
        .and_then(|rest| rest.split_once(" connect error: "));
    match connecting {
        Some((_, why)) if status == 502 && (why.contains("refused") || why.contains("No route to host")) => {
            Fate::Ungated
        }
        // Which target it was makes no difference.
        Some((_, why)) => Fate::Lost(format!("{status} {why}")),
        None => Fate::Lost(format!("{status} {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{FakeServer, text};

    const REFUSED: &str = r#"{"message": "Target 10.0.0.7:8000 connect error: [Errno 111] Connection refused"}"#;

    #[test]
    fn what_the_emulator_did_is_told_apart() {
        let lost = |why: &str| Fate::Lost(why.into());
        assert_eq!(fate(200, b"ok"), Fate::Answered);
        assert_eq!(fate(502, REFUSED.as_bytes()), Fate::Ungated);
        let late = br#"{"message": "Target 10.0.0.7:8000 connect error: timed out"}"#;
        assert_eq!(fate(502, late), lost("502 timed out"));
        let none = br#"{"message": "No registered targets in target group"}"#;
        assert_eq!(fate(503, none), lost("503 No registered targets in target group"));
        assert_eq!(fate(500, b"<h1>connect error: refused</h1>"), lost("500 "));
    }

    #[tokio::test]
    async fn every_request_is_counted_once() {
        let server = FakeServer::start(|request| async move {
            match request.uri().path() {
                "/" => text(502, REFUSED),
                _ => text(200, "alive"),
            }
        })
        .await;
        let load = Load::start(server.address(), "blog.alb.localhost:4566");
        while server.requests().len() < 41 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let tally = load.stop().await;
        assert_eq!(tally.sent, server.requests().len() as u64);
        assert_eq!(tally.lost(), tally.sent.div_ceil(PAGE), "{tally:?}");
        assert_eq!(tally.unexplained(), 0);
        let hosts = server.requests();
        assert!(
            hosts
                .iter()
                .all(|request| request.headers()["host"] == "blog.alb.localhost:4566")
        );
    }

    #[tokio::test]
    async fn who_does_not_answer_is_lost() {
        let gone = {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            listener.local_addr().unwrap()
        };
        assert!(matches!(ask(gone, "blog", "/").await, Fate::Lost(_)));
    }
}
