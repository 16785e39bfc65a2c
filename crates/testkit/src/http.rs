//! An HTTP server inside the test, one handler for all requests.
//!
//! Invariant: every request is recorded before it is answered, and the server ends with its handle.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::recording;

/// A request as it was received, whole.
pub type Received = Request<Bytes>;

/// What is answered to it, whole.
pub type Answer = Response<Bytes>;

/// A running server.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeServer {
    /// Starts a server on a free loopback port.
    ///
    /// ```
    /// use nuages_testkit::http::{FakeServer, text};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let server = FakeServer::start(|request| async move { text(200, request.uri().path().to_owned()) }).await;
    /// assert!(server.url().starts_with("http://127.0.0.1:"));
    /// # }
    /// ```
    pub async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler = Arc::new(handler);
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            // The connections' tasks end with this one, so that nothing outlives the test.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let handler = Arc::clone(&handler);
                let seen = Arc::clone(&seen);
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let handler = Arc::clone(&handler);
                        let seen = Arc::clone(&seen);
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = match body.collect().await {
                                Ok(body) => body.to_bytes(),
                                Err(_) => return Ok::<_, Infallible>(text(400, "broken body").map(Full::new)),
                            };
                            let request = Request::from_parts(parts, body);
                            recording::note(&request);
                            seen.lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(request.clone());
                            Ok(handler(request).await.map(Full::new))
                        }
                    });
                    // A client that goes away in the middle is not the server's failure.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A plain text answer.
pub fn text(status: u16, body: impl Into<String>) -> Response<Bytes> {
    respond(status, "text/plain; charset=utf-8", body.into())
}

/// A JSON answer, as AWS's JSON protocols give it.
pub fn json(status: u16, body: &serde_json::Value) -> Response<Bytes> {
    respond(status, "application/x-amz-json-1.1", body.to_string())
}

/// An XML answer, as AWS's query protocol gives it.
pub fn xml(status: u16, body: impl Into<String>) -> Response<Bytes> {
    respond(status, "text/xml", body.into())
}

fn respond(status: u16, content_type: &str, body: String) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000")
        .body(Bytes::from(body))
        .expect("a static answer")
}

/// The operation that an AWS request asks for: the last part of `X-Amz-Target` (JSON protocols) or the form's `Action`
/// (query protocol).
pub fn operation(request: &Received) -> Option<String> {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.to_str().ok()?.rsplit('.').next().map(str::to_owned);
    }
    std::str::from_utf8(request.body())
        .ok()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("Action="))
        .map(str::to_owned)
}
