//! A proxy before any endpoint of AWS that loses, spoils, repeats or delays what goes through it, call by call.
//!
//! Invariant: what it does to a call depends on the rules and on the calls before it alone, so that a run can be repeated.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::request::Parts;
use ::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::recording::Call;
use crate::relay::{self, Body, BoxError};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused: too many requests. It has no effect.
    Throttle,
    /// It is refused with status 500. It has no effect.
    ServerError,
    /// Nothing is answered, ever. It has no effect.
    Hang,
    /// The connection is closed before an answer. It has no effect.
    Reset,
    /// It has its effect, and the connection is closed before the answer.
    LostAnswer,
    /// It has its effect, and half of the answer comes.
    Truncated,
    /// It has its effect, and the answer is nonsense.
    Malformed,
    /// It reaches the service twice; the second answer comes.
    Twice,
    /// It comes later than it was sent.
    Delayed(Duration),
}

/// Every fault but delays, for tests that go through all.
pub const FAULTS: [Fault; 8] = [
    Fault::Throttle,
    Fault::ServerError,
    Fault::Hang,
    Fault::Reset,
    Fault::LostAnswer,
    Fault::Truncated,
    Fault::Malformed,
    Fault::Twice,
];

/// Which calls a fault befalls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The n-th call of all, from 0.
    Nth(usize),
    /// The n-th call of an operation such as `ecs:UpdateService`, from 0.
    NthOf(String, usize),
    /// Each call of an operation.
    EachOf(String),
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<(When, Fault)>,
    calls: Vec<String>,
}

/// A running proxy; it ends with its handle.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use nuages_testkit::faults::{Fault, FaultProxy, When};
/// use nuages_testkit::http::{FakeServer, text};
///
/// let service = FakeServer::start(|_| async { text(200, "{}") }).await;
/// let proxy = FaultProxy::start(service.address()).await;
/// proxy.rule(When::NthOf("ecs:UpdateService".into(), 0), Fault::LostAnswer);
/// assert!(proxy.url().starts_with("http://127.0.0.1:"));
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultProxy {
    /// Starts one before this address, on a free loopback port. Without rules it passes everything on.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let (address, task) = relay::listen(move |request| pass(upstream, request, Arc::clone(&shared))).await;
        Self { address, state, task }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this befalls these calls. Of several rules that fit, the first one holds.
    pub fn rule(&self, when: When, fault: Fault) {
        locked(&self.state).rules.push((when, fault));
    }

    /// The operations that were asked for, in order: `ecs:UpdateService`.
    pub fn calls(&self) -> Vec<String> {
        locked(&self.state).calls.clone()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Takes note of a call, and says what befalls it.
    fn befalls(&mut self, operation: String) -> Option<Fault> {
        let of_its_kind = self.calls.iter().filter(|known| **known == operation).count();
        let fits = |when: &When| match when {
            When::Nth(n) => *n == self.calls.len(),
            When::NthOf(name, n) => *name == operation && *n == of_its_kind,
            When::EachOf(name) => *name == operation,
        };
        let fault = self.rules.iter().find(|(when, _)| fits(when)).map(|(_, fault)| *fault);
        self.calls.push(operation);
        fault
    }
}

async fn pass(
    upstream: SocketAddr,
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let service = Call::service_of(parts.uri.path(), &parts.headers);
    // Layers and pages are no calls of AWS's API.
    if service.as_deref().is_none_or(|service| service == "registry") {
        let request = Request::from_parts(parts, relay::streamed(body));
        return Ok(relay::send(upstream, request).await?.map(relay::streamed));
    }
    let body = body.collect().await?.to_bytes();
    let call = Call::read(parts.method.as_str(), &parts.uri, &parts.headers, &body);
    let operation = call.map_or_else(String::new, |call| match call.operation() {
        "" => format!("{}:{} {}", call.service, call.method, call.path),
        operation => format!("{}:{operation}", call.service),
    });
    let fault = locked(&state).befalls(operation);
    let again = |parts: &Parts| Request::from_parts(parts.clone(), relay::whole(body.clone()));
    match fault {
        Some(Fault::Throttle) => Ok(refusal(
            &parts,
            StatusCode::BAD_REQUEST,
            "ThrottlingException",
            "Rate exceeded",
        )),
        Some(Fault::ServerError) => Ok(refusal(
            &parts,
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailure",
            "We encountered an internal error",
        )),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => Err("the connection is closed".into()),
        Some(Fault::LostAnswer) => {
            relay::send(upstream, again(&parts)).await?.collect().await?;
            Err("the answer is lost".into())
        }
        Some(Fault::Truncated) => {
            let (mut head, answer) = relay::send(upstream, again(&parts)).await?.into_parts();
            let answer = answer.collect().await?.to_bytes();
            head.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(answer.len().max(2)));
            Ok(Response::from_parts(head, half(&answer)))
        }
        Some(Fault::Malformed) => {
            let (mut head, answer) = relay::send(upstream, again(&parts)).await?.into_parts();
            answer.collect().await?;
            head.headers.remove(header::CONTENT_LENGTH);
            Ok(Response::from_parts(head, relay::whole("<html>{\"half")))
        }
        Some(Fault::Twice) => {
            relay::send(upstream, again(&parts)).await?.collect().await?;
            Ok(relay::send(upstream, again(&parts)).await?.map(relay::streamed))
        }
        Some(Fault::Delayed(by)) => {
            tokio::time::sleep(by).await;
            Ok(relay::send(upstream, again(&parts)).await?.map(relay::streamed))
        }
        None => Ok(relay::send(upstream, again(&parts)).await?.map(relay::streamed)),
    }
}

/// An error as the call's protocol writes it.
fn refusal(parts: &Parts, status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let json = parts.headers.contains_key("x-amz-target");
    let (kind, text) = if json {
        (
            "application/x-amz-json-1.1",
            format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}"),
        )
    } else {
        (
            "text/xml",
            format!(
                "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>0</RequestId></ErrorResponse>"
            ),
        )
    };
    let mut response = Response::new(relay::whole(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The first half of an answer; then the connection breaks.
fn half(answer: &Bytes) -> Body {
    let first = answer.slice(..answer.len() / 2);
    let frames = stream::iter([Ok(Frame::data(first)), Err(BoxError::from("the connection broke"))]);
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::error::ProvideErrorMetadata as _;

    use super::*;
    use crate::http::{FakeServer, text};

    fn call(operation: &str) -> Request<Body> {
        Request::post("/")
            .header("host", "localhost")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-west-1/ecs/aws4_request, Signature=1",
            )
            .header(
                "x-amz-target",
                format!("AmazonEC2ContainerServiceV20141113.{operation}"),
            )
            .body(relay::whole(match operation {
                "UpdateService" => r#"{"service":"web"}"#,
                _ => "{}",
            }))
            .unwrap()
    }

    /// The status and the body, whole; or that there is none.
    async fn ask(proxy: &FaultProxy, operation: &str) -> Option<(u16, String)> {
        let asked = async {
            let answer = relay::send(proxy.address, call(operation)).await.ok()?;
            let status = answer.status().as_u16();
            let body = answer.collect().await.ok()?.to_bytes();
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::time::timeout(Duration::from_millis(500), asked).await.ok()?
    }

    #[tokio::test]
    async fn each_fault_befalls_its_call_and_no_other() {
        for fault in FAULTS {
            let service = FakeServer::start(|_| async { text(200, r#"{"clusterArns":[]}"#) }).await;
            let proxy = FaultProxy::start(service.address()).await;
            proxy.rule(When::NthOf("ecs:UpdateService".into(), 1), fault);
            let whole = Some((200, r#"{"clusterArns":[]}"#.to_owned()));
            assert_eq!(ask(&proxy, "UpdateService").await, whole, "{fault:?}: the first");
            let answer = ask(&proxy, "UpdateService").await;
            let effects = service.requests().len() - 1;
            let expected = match fault {
                Fault::Throttle => (Some(400), 0),
                Fault::ServerError => (Some(500), 0),
                Fault::Hang | Fault::Reset => (None, 0),
                Fault::LostAnswer | Fault::Truncated => (None, 1),
                Fault::Malformed => (Some(200), 1),
                Fault::Twice => (Some(200), 2),
                Fault::Delayed(_) => unreachable!("it is none of them"),
            };
            assert_eq!((answer.as_ref().map(|answer| answer.0), effects), expected, "{fault:?}");
            assert_eq!(answer == whole, fault == Fault::Twice, "{fault:?}: {answer:?}");
            assert_eq!(ask(&proxy, "UpdateService").await, whole, "{fault:?}: the third");
            assert_eq!(ask(&proxy, "ListClusters").await, whole, "{fault:?}: another");
            assert_eq!(proxy.calls().len(), 4);
        }
    }

    #[tokio::test]
    async fn the_sdk_takes_a_throttled_call_for_one() {
        let service = FakeServer::start(|_| async { text(200, r#"{"clusterArns":[]}"#) }).await;
        let proxy = FaultProxy::start(service.address()).await;
        proxy.rule(When::EachOf("ecs:ListClusters".into()), Fault::Throttle);
        let aws = crate::aws::ministack(&proxy.url(), "123456789012");
        let refused = aws_sdk_ecs::Client::new(aws.sdk()).list_clusters().send().await;
        let error = refused.unwrap_err();
        assert_eq!(error.code(), Some("ThrottlingException"), "{error:?}");
        assert_eq!(proxy.calls(), ["ecs:ListClusters"]);
        proxy.rule(When::Nth(1), Fault::Throttle);
        let query = Request::post("/")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-west-1/iam/aws4_request, Signature=1",
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .body(relay::whole("Action=GetRole&RoleName=x"))
            .unwrap();
        let answer = relay::send(proxy.address, query).await.unwrap();
        let body = answer.collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("<Code>ThrottlingException</Code>"));
        assert_eq!(proxy.calls()[1], "iam:GetRole");
    }
}
