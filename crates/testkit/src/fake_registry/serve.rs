//! Connections: requests are read, answered and written, and broken where a fault says so.
//!
//! Invariant: every request is seen, with what arrived of it, before its connection breaks.

use std::io;
use std::sync::Arc;

use ::http::{Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Seen, Shared, What};

/// A broken connection: hyper closes it without an answer.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

/// A body that ends early although its length was announced.
type AnswerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, elsewhere: bool) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { answer(&shared, request, elsewhere).await }
            });
            // A connection that breaks is part of what is tested.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>, elsewhere: bool) -> Result<Response<AnswerBody>, Broken> {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let fault = shared.take_fault(&parts.method, &path);
    let limit = match &fault {
        Some(What::BreakRequest(limit)) => Some(*limit),
        _ => None,
    };
    let mut content = Vec::new();
    let mut cut = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            cut = true;
            break;
        };
        if let Some(data) = frame.data_ref() {
            content.extend_from_slice(data);
        }
        if limit.is_some_and(|limit| content.len() >= limit) {
            content.truncate(limit.unwrap_or_default());
            cut = true;
            break;
        }
    }
    let received = content.len();
    let record = |status: u16| {
        shared.state().seen.push(Seen {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            body: received,
            status,
            elsewhere,
        });
    };
    if cut || limit.is_some() {
        // What arrived of a part is kept, as docker-registry does.
        shared.state().keep_part(&parts.method, &path, &content);
        record(0);
        return Err(Broken);
    }
    let whole = Request::from_parts(parts.clone(), Bytes::from(content));
    let mut response = match &fault {
        Some(What::Answer(status, headers, text)) => {
            let mut response = Response::builder().status(*status);
            for (name, value) in headers {
                response = response.header(*name, value);
            }
            response.body(Bytes::from(text.clone())).expect("a test's answer")
        }
        _ if elsewhere => shared.elsewhere(&whole),
        _ => shared.route(&whole),
    };
    if parts.method == Method::HEAD {
        let length = response.body().len();
        response.headers_mut().insert("content-length", length.into());
        *response.body_mut() = Bytes::new();
    }
    record(if matches!(fault, Some(What::BreakAnswer)) {
        0
    } else {
        response.status().as_u16()
    });
    match fault {
        Some(What::BreakAnswer) => Err(Broken),
        Some(What::CutAnswer(at)) => {
            let length = response.body().len();
            response.headers_mut().insert("content-length", length.into());
            Ok(response.map(|body| {
                let start = body.slice(..at.min(body.len()));
                let first = futures_util::stream::iter([Ok(hyper::body::Frame::data(start))]);
                // What was given so far is sent while the rest is waited for, and only then is the end an error.
                let rest = futures_util::stream::once(async {
                    tokio::task::yield_now().await;
                    Err(io::Error::other(Broken))
                });
                http_body_util::StreamBody::new(futures_util::StreamExt::chain(first, rest)).boxed_unsync()
            }))
        }
        Some(What::Header(name, value)) => {
            response
                .headers_mut()
                .insert(name, value.parse().expect("a test's header"));
            Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync()))
        }
        _ => Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())),
    }
}
