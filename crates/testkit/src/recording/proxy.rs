//! A proxy before an emulator that writes down what a whole program asks of it.
//!
//! Invariant: an answer, and every body but that of an API call, is passed on as it comes, and the Host header as it was
//! sent: accounts, load balancers and signatures depend on it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Call, write};
use crate::emulators::Endpoint;
use crate::relay::{self, Body, BoxError};

/// A running proxy; it ends with its handle.
#[derive(Debug)]
pub struct RecordingProxy {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for RecordingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RecordingProxy {
    /// Starts one before this emulator, on a free loopback port.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(before: &Endpoint) -> Self {
        let upstream = SocketAddr::from(([127, 0, 0, 1], before.port));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&calls);
        let (address, task) = relay::listen(move |request| {
            let kept = Arc::clone(&kept);
            async move { Ok(pass(upstream, request, &kept).await) }
        })
        .await;
        Self { address, calls, task }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes what was asked since the last time, in order.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass(upstream: SocketAddr, request: Request<Incoming>, kept: &Mutex<Vec<Call>>) -> Response<Body> {
    match try_pass(upstream, request, kept).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(relay::whole(error.to_string()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

async fn try_pass(
    upstream: SocketAddr,
    request: Request<Incoming>,
    kept: &Mutex<Vec<Call>>,
) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = match Call::service_of(parts.uri.path(), &parts.headers) {
        // An API call is small, and is looked at before it goes on. Layers are neither.
        Some(service) if service != "registry" => {
            let body = body.collect().await?.to_bytes();
            keep(&parts, &body, kept);
            relay::whole(body)
        }
        Some(_) => {
            keep(&parts, &[], kept);
            relay::streamed(body)
        }
        None => relay::streamed(body),
    };
    let response = relay::send(upstream, Request::from_parts(parts, body)).await?;
    Ok(response.map(relay::streamed))
}

fn keep(parts: &::http::request::Parts, body: &[u8], kept: &Mutex<Vec<Call>>) {
    let Some(call) = Call::read(parts.method.as_str(), &parts.uri, &parts.headers, body) else {
        return;
    };
    if !call.is_registry() {
        write(&call);
    }
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(call);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpStream;

    use super::*;
    use crate::emulators::Kind;
    use crate::http::{FakeServer, text};

    fn emulator(port: u16) -> Endpoint {
        Endpoint {
            kind: Kind::MiniStack,
            url: format!("http://127.0.0.1:{port}"),
            port,
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
        }
    }

    async fn ask(proxy: &RecordingProxy, request: Request<&'static str>) -> Response<Incoming> {
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = request.map(|body| Full::new(Bytes::from_static(body.as_bytes())));
        sender.send_request(request).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_asked_goes_on_as_it_came_and_is_kept() {
        let server = FakeServer::start(|_| async { text(200, "well") }).await;
        let proxy = RecordingProxy::start(&emulator(server.address().port())).await;
        let page = Request::get("/posts/")
            .header("host", "blog.alb.localhost:1")
            .body("")
            .unwrap();
        let layer = Request::patch("/v2/blog/blobs/uploads/1").body("a layer").unwrap();
        let call = Request::post("/")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-west-1/ecs/aws4_request, Signature=1",
            )
            .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters")
            .body("{}")
            .unwrap();
        for request in [page, layer, call] {
            let answer = ask(&proxy, request).await;
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "well");
        }
        let seen = server.requests();
        assert_eq!(seen[0].headers()["host"], "blog.alb.localhost:1");
        assert_eq!(
            (&seen[1].body()[..], &seen[2].body()[..]),
            (&b"a layer"[..], &b"{}"[..])
        );
        let kept: Vec<_> = proxy.take().into_iter().map(|c| (c.service, c.method)).collect();
        assert_eq!(
            kept,
            [("registry", "PATCH"), ("ecs", "POST")].map(|(s, m)| (s.into(), m.into()))
        );
        assert_eq!(proxy.take(), []);
    }

    #[tokio::test]
    async fn an_emulator_that_is_gone_is_a_bad_gateway() {
        let server = FakeServer::start(|_| async { text(200, "") }).await;
        let proxy = RecordingProxy::start(&emulator(server.address().port())).await;
        drop(server);
        tokio::task::yield_now().await;
        let answer = ask(&proxy, Request::get("/").body("").unwrap()).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }
}
