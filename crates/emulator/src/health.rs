//! Asking an emulator, over plain HTTP on this machine, whether it serves.
//!
//! Invariant: every wait has a deadline and ends with the last thing that was seen.

use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{EmulatorError, Engine};

/// How long a health check may take.
const ONE_QUESTION: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// What an emulator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A string member of the JSON object in the body.
    pub fn text(&self, member: &str) -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(value.get(member)?.as_str()?.to_owned())
    }
}

/// Sends one request to a port of this machine. The error is a fragment fit for "the last thing seen".
///
/// ```no_run
/// # async fn example() -> Result<(), String> {
/// let answer = nuages_emulator::health::get(4566, "/_ministack/health").await?;
/// assert_eq!(answer.status, 200);
/// # Ok(()) }
/// ```
pub async fn get(port: u16, path: &str) -> Result<Answer, String> {
    let request = http::Request::get(path)
        .body(Full::default())
        .map_err(|error| error.to_string())?;
    send(port, request, ONE_QUESTION).await
}

pub(crate) async fn send(
    port: u16,
    mut request: http::Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Answer, String> {
    let host = http::HeaderValue::from_str(&format!("127.0.0.1:{port}")).map_err(|error| error.to_string())?;
    request.headers_mut().insert(http::header::HOST, host);
    let exchange = async {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        driver.abort();
        Ok(Answer { status, body })
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}s", limit.as_secs())),
    }
}

/// Waits until `GET path` on this port answers 200, as long as the container runs and the time is not over.
pub async fn wait(
    engine: &Engine,
    container: &str,
    port: u16,
    path: &str,
    limit: Duration,
) -> Result<Answer, EmulatorError> {
    let start = Instant::now();
    let mut questions = 0_u32;
    loop {
        let last = match get(port, path).await {
            Ok(answer) if answer.status == 200 => return Ok(answer),
            Ok(answer) => format!("it answers {}", answer.status),
            Err(error) => error,
        };
        questions += 1;
        // The engine is asked less often than the emulator: a container that died answers nothing anyway.
        if questions.is_multiple_of(5) {
            stopped(engine, container).await?;
        }
        if start.elapsed() >= limit {
            let tail = log_tail(engine, container).await;
            return Err(EmulatorError::NotReady {
                what: container.to_owned(),
                waited: start.elapsed(),
                last,
                tail,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn stopped(engine: &Engine, container: &str) -> Result<(), EmulatorError> {
    let inspected = engine
        .docker()
        .inspect_container(container, None)
        .await
        .map_err(|source| EmulatorError::engine(format!("look at the container {container}"), source))?;
    let Some(state) = inspected.state else { return Ok(()) };
    if state.running == Some(true) || state.exit_code.is_none() || state.restarting == Some(true) {
        return Ok(());
    }
    let tail = log_tail(engine, container).await;
    Err(EmulatorError::Stopped {
        what: container.to_owned(),
        code: state.exit_code.unwrap_or(-1),
        tail,
    })
}

/// The last lines of a container's log, or nothing where there is none.
pub async fn log_tail(engine: &Engine, container: &str) -> String {
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .tail("20")
        .build();
    let mut stream = engine.docker().logs(container, Some(options));
    let mut text = String::new();
    while let Some(Ok(chunk)) = stream.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
    }
    text.trim_end().to_owned()
}
