//! The application as the load balancer shows it: where it is asked, and whether it goes on answering well.
//!
//! Invariant: one good answer proves little, since each request may go to another task. Whoever must know that the
//! site serves asks several times in a row, and begins anew after a bad answer.

#[cfg(test)]
pub(crate) mod scripted;

use std::net::SocketAddr;
use std::time::Duration;

use nuages_saga::StepError;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

/// Where an application is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Site {
    /// The environment's URL.
    pub(crate) url: Url,
    /// The load balancer's own name, which is asked even where the domain's record is not everywhere yet.
    pub(crate) via: Option<String>,
    /// The path that says whether it can serve.
    pub(crate) ready: String,
}

/// Why an answer is no good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Nobody answered.
    Silent(String),
    /// An answer came, and it was another one.
    Answer {
        /// Its HTTP status.
        status: u16,
        /// What was asked, and what came.
        why: String,
    },
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Silent(why) | Self::Answer { why, .. }) = self;
        f.write_str(why)
    }
}

/// So many good answers in a row are believed. A load balancer that chooses at random between four tasks, one of which
/// is not there yet, gives them once in about twenty times.
const IN_A_ROW: usize = 10;
/// A row of good answers is long enough after this time: an application may be slow.
const ROW: Duration = Duration::from_secs(5);
/// How long one answer is waited for.
pub(crate) const REQUEST: Duration = Duration::from_secs(15);
/// After a bad answer.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
/// Between two good ones, where there is time: a task that still ends is seen too.
const BETWEEN: Duration = Duration::from_millis(100);
/// A URL of which nobody has answered for so long cannot be reached from here.
const REACH: Duration = Duration::from_secs(20);
/// More of a page than this is not read.
const MAX_PAGE: usize = 4 << 20;

impl Site {
    /// A client that reaches the URL's host where it really is.
    pub(crate) async fn client(&self) -> Result<reqwest::Client, StepError> {
        #[cfg(test)]
        if let Some(client) = scripted::client() {
            return Ok(client);
        }
        // Whoever chose a provider of cryptography first is kept; in a rollback nobody has.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::limited(5))
            .user_agent(concat!("nuages-smoke/", env!("CARGO_PKG_VERSION")));
        if let Some(host) = self.url.host_str() {
            let port = self.url.port_or_known_default().unwrap_or(80);
            if host == "localhost" || host.ends_with(".localhost") {
                // RFC 6761, 6.3: these names are loopback's, whether or not the resolver, or a proxy, knows it.
                client = client
                    .resolve(host, SocketAddr::from(([127, 0, 0, 1], port)))
                    .no_proxy();
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
    pub(crate) async fn ask(&self, client: &reqwest::Client, path: &str) -> Result<(u16, String), Bad> {
        let url = self.url.join(path).map_err(|e| Bad::Silent(e.to_string()))?;
        let (status, text) = get(client, &url).await?;
        if (200..300).contains(&status) {
            Ok((status, text))
        } else {
            let first: String = telling(&text).chars().take(200).collect();
            let colon = if first.is_empty() { "" } else { ": " };
            Err(Bad::Answer {
                status,
                why: format!("GET {url} answered {status}{colon}{first}"),
            })
        }
    }

    /// Asks whether it is ready, several times in a row with this pause between; ends at the first bad answer.
    pub(crate) async fn is_ready(&self, client: &reqwest::Client, between: Duration) -> Result<(), Bad> {
        let began = Instant::now();
        self.ask(client, &self.ready).await?;
        for _ in 1..IN_A_ROW {
            if began.elapsed() >= ROW {
                break;
            }
            if !between.is_zero() {
                tokio::time::sleep(between).await;
            }
            self.ask(client, &self.ready).await?;
        }
        Ok(())
    }

    /// Waits until it goes on answering that it is ready. The error says what came instead when time was up, or that
    /// nobody answered at all.
    pub(crate) async fn settles(&self, limit: Duration) -> Result<(), Bad> {
        let began = Instant::now();
        // A load balancer's name may get its address meanwhile.
        let mut client = None;
        let mut last = Bad::Silent(format!("GET {}: no answer in time", self.url));
        loop {
            let row = async {
                let client = self.client_again(&mut client).await?;
                self.is_ready(client, BETWEEN).await
            };
            match tokio::time::timeout_at(began + limit, row).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(bad @ Bad::Answer { .. })) => last = bad,
                Ok(Err(bad)) if !matches!(last, Bad::Answer { .. }) => last = bad,
                // What came is told rather than that nothing came any more.
                Ok(Err(_)) | Err(_) => {}
            }
            let patience = match last {
                Bad::Answer { .. } => limit,
                Bad::Silent(_) => limit.min(REACH),
            };
            if began.elapsed() >= patience {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn client_again<'a>(&self, made: &'a mut Option<reqwest::Client>) -> Result<&'a reqwest::Client, Bad> {
        let client = match made.take() {
            Some(client) => client,
            None => self.client().await.map_err(|error| Bad::Silent(error.to_string()))?,
        };
        Ok(made.insert(client))
    }
}

/// Status and page of a URL.
async fn get(client: &reqwest::Client, url: &Url) -> Result<(u16, String), Bad> {
    #[cfg(test)]
    if let Some(answer) = scripted::answer(url) {
        return answer;
    }
    let silent = |e: reqwest::Error| Bad::Silent(format!("GET {url}: {}", last_cause(&e)));
    let mut answer = client.get(url.clone()).send().await.map_err(silent)?;
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(silent)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PAGE {
            break;
        }
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
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

fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nuages_testkit::http::{FakeServer, text};

    use super::*;

    fn at(url: &str) -> Site {
        Site {
            url: url.parse().unwrap(),
            via: None,
            ready: "/readyz".into(),
        }
    }

    /// Answers 502 to the requests of these numbers, from 0.
    async fn bad_at(bad: &'static [usize]) -> FakeServer {
        let number = AtomicUsize::new(0);
        FakeServer::start(move |_| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            std::future::ready(text(if bad.contains(&number) { 502 } else { 200 }, "so"))
        })
        .await
    }

    #[tokio::test]
    async fn a_bad_answer_begins_the_row_anew() {
        let server = bad_at(&[0, 4, 8]).await;
        at(&server.url()).settles(Duration::from_mins(1)).await.unwrap();
        let asked = server.requests();
        assert_eq!(asked.len(), 9 + IN_A_ROW, "ten good answers after the last bad one");
        assert!(asked.iter().all(|request| request.uri().path() == "/readyz"));
    }

    #[tokio::test]
    async fn what_goes_on_answering_badly_is_told_when_time_is_up() {
        let server = FakeServer::start(|_| std::future::ready(text(503, "no database"))).await;
        let bad = at(&server.url()).settles(Duration::from_secs(1)).await.unwrap_err();
        let Bad::Answer { status: 503, why } = bad else {
            panic!("{bad:?}")
        };
        assert!(why.ends_with("/readyz answered 503: no database"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_that_nobody_answers_is_given_up_soon() {
        let began = Instant::now();
        let bad = at("http://127.0.0.1:1/")
            .settles(Duration::from_mins(10))
            .await
            .unwrap_err();
        assert!(matches!(bad, Bad::Silent(_)), "{bad:?}");
        assert!(began.elapsed() < Duration::from_mins(2), "{:?}", began.elapsed());
    }

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
