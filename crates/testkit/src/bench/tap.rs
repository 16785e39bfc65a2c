//! A way to the emulator on which calls are counted.
//!
//! Invariant: it changes nothing of what passes, the Host header neither; of a request it keeps the time and the
//! operation's name alone.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

type Body = Either<Full<Bytes>, Incoming>;

/// A call that passed.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) at: Timestamp,
    pub(super) operation: String,
}

/// A running tap; it ends with its handle.
pub(super) struct Tap {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tap {
    /// Starts one before the emulator at this port.
    pub(super) async fn start(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let upstream = SocketAddr::from(([127, 0, 0, 1], port));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        note(&request, &kept);
                        async move { Ok::<_, Infallible>(pass(upstream, request).await) }
                    });
                    // A client that goes away in the middle is not the tap's failure.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { address, calls, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes the calls to ECS since the last time, in order.
    pub(super) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn note(request: &Request<Incoming>, kept: &Mutex<Vec<Call>>) {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let Some(operation) = target.and_then(|target| target.strip_prefix("AmazonEC2ContainerServiceV20141113.")) else {
        return;
    };
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(Call {
        at: Timestamp::now(),
        operation: operation.to_owned(),
    });
}

async fn pass(upstream: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let passed = async {
        let stream = TcpStream::connect(upstream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer's last byte, or when either side goes away.
        tokio::spawn(connection);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(sender.send_request(request).await?)
    };
    match passed.await {
        Ok(response) => response.map(Either::Right),
        Err(error) => {
            let mut response = Response::new(Either::Left(Full::from(error.to_string())));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
