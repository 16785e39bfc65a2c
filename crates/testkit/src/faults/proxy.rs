//! A proxy before any endpoint of AWS, or before a registry, over TCP.
//!
//! Invariant: before AWS, what is no call of its API, layers and pages, goes through untouched.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::request::Parts;
use ::http::{HeaderValue, Method, Request, Response, header};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::Instant;

use super::carry::{Answer, Moment, call_id, carry_out, operation};
use super::{Fault, Rules, When};
use crate::recording::Call;
use crate::relay::{self, Body, BoxError};

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
    rules: Rules,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a proxy stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// AWS's APIs.
    Aws,
    /// A registry. Its requests are calls, too: `registry:HEAD blob`, `registry:PATCH upload`, `registry:GET token`.
    Registry,
}

impl FaultProxy {
    /// Starts one before this endpoint of AWS, on a free loopback port. Without rules it passes everything on.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::start_with(Before::Aws, upstream, Rules::default()).await
    }

    /// The same before either, by rules that others may have, too: then all calls are counted together.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start_with(before: Before, upstream: SocketAddr, rules: Rules) -> Self {
        let (shared, past) = (rules.clone(), Past::default());
        let answer = move |request| pass(before, upstream, request, shared.clone(), past.clone());
        let (address, task) = relay::listen(answer).await;
        Self { address, rules, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this befalls these calls. Of several rules that fit, the first one holds.
    pub fn rule(&self, when: When, fault: Fault) {
        self.rules.add(when, fault);
    }

    /// The operations that were asked for, in order: `ecs:UpdateService`.
    pub fn calls(&self) -> Vec<String> {
        self.rules.calls()
    }
}

/// Answers that were given before, to the same question: what a stale read gives again.
#[derive(Debug, Clone, Default)]
struct Past(Arc<Mutex<HashMap<Question, Given>>>);

/// Address and body.
type Question = (String, Bytes);

type Given = VecDeque<(Instant, Response<Bytes>)>;

/// No more answers to one question are kept.
const KEPT: usize = 64;

impl Past {
    fn keep(&self, operation: &str, question: &Request<Bytes>, answer: &Response<Bytes>) {
        if !Fault::Stale(Duration::ZERO).befalls(operation) {
            return;
        }
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let given = past.entry(asked(operation, question)).or_default();
        given.push_back((Instant::now(), answer.clone()));
        if given.len() > KEPT {
            given.pop_front();
        }
    }

    /// The newest answer that is so old.
    fn ago(&self, operation: &str, question: &Request<Bytes>, by: Duration) -> Option<Response<Bytes>> {
        let past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let given = past.get(&asked(operation, question))?;
        let old = given.iter().rev().find(|(at, _)| at.elapsed() >= by);
        old.map(|(_, answer)| answer.clone())
    }
}

fn asked(operation: &str, question: &Request<Bytes>) -> Question {
    (format!("{operation} {}", question.uri()), question.body().clone())
}

async fn pass(
    before: Before,
    upstream: SocketAddr,
    request: Request<Incoming>,
    rules: Rules,
    past: Past,
) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let service = match before {
        Before::Registry => Some("registry".to_owned()),
        Before::Aws => Call::service_of(parts.uri.path(), &parts.headers).filter(|service| service != "registry"),
    };
    let Some(service) = service else {
        let request = Request::from_parts(parts, relay::streamed(body));
        return Ok(relay::send(upstream, request).await?.map(relay::streamed));
    };
    let request = Request::from_parts(parts, body.collect().await?.to_bytes());
    let operation = operation(&service, &request);
    let fault = rules.meet(&operation, call_id(&request));
    let send = |moment| {
        let (request, past, operation) = (&request, &past, &operation);
        async move {
            if let Moment::Ago(by) = moment
                && let Some(old) = past.ago(operation, request, by)
            {
                return Ok(old);
            }
            let again = |parts: &Parts| Request::from_parts(parts.clone(), relay::whole(request.body().clone()));
            let (parts, ()) = request.clone().map(|_| ()).into_parts();
            let (head, body) = relay::send(upstream, again(&parts)).await?.into_parts();
            let answer = Response::from_parts(head, body.collect().await?.to_bytes());
            past.keep(operation, request, &answer);
            Ok(answer)
        }
    };
    Ok(match carry_out(fault, &service, &request, send).await? {
        Answer::Whole(answer) => {
            let (mut head, body) = answer.into_parts();
            head.headers.remove(header::TRANSFER_ENCODING);
            // The body is not always the one that this was said of; with HEAD there is none.
            if request.method() == Method::HEAD {
                return Ok(Response::from_parts(head, relay::whole(Bytes::new())));
            }
            head.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(head, relay::whole(body))
        }
        // There is no half of nothing: it breaks in the midst of its head.
        Answer::Half(answer) if answer.body().is_empty() => return Err("the connection broke".into()),
        Answer::Half(answer) => {
            let (mut head, body) = answer.into_parts();
            let said = HeaderValue::from(body.len().max(2));
            head.headers.insert(header::CONTENT_LENGTH, said);
            Response::from_parts(head, half(&body))
        }
    })
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

    use super::super::FAULTS;
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
                "DescribeServices" => r#"{"services":["web"]}"#,
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
                Fault::LostAnswer | Fault::Unanswered | Fault::Truncated => (None, 1),
                Fault::Malformed => (Some(200), 1),
                Fault::Twice => (Some(200), 2),
                _ => unreachable!("it is none of them"),
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

    #[tokio::test]
    async fn a_stale_read_gives_an_earlier_answer_again() {
        let number = std::sync::atomic::AtomicUsize::new(0);
        let service = FakeServer::start(move |_| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::ready(text(200, format!("answer {number}")))
        })
        .await;
        let proxy = FaultProxy::start(service.address()).await;
        proxy.rule(When::Nth(0), Fault::Stale(Duration::ZERO));
        proxy.rule(When::Nth(2), Fault::Stale(Duration::ZERO));
        proxy.rule(When::Nth(3), Fault::Stale(Duration::from_hours(1)));
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(ask(&proxy, "DescribeServices").await.unwrap().1);
        }
        assert_eq!(
            heard,
            ["answer 0", "answer 1", "answer 1", "answer 2"],
            "nothing is older than the first"
        );
    }

    #[tokio::test]
    async fn a_registry_s_requests_are_calls_too() {
        let service = FakeServer::start(|_| async { text(404, "{}") }).await;
        let proxy = FaultProxy::start_with(Before::Registry, service.address(), Rules::default()).await;
        proxy.rule(When::NthOf("registry:PUT manifest".into(), 0), Fault::Throttle);
        let ask = async |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path);
            let request = request
                .header("host", "registry")
                .body(relay::whole(Bytes::new()))
                .unwrap();
            let (head, body) = relay::send(proxy.address, request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
        };
        assert_eq!(ask("HEAD", "/v2/blog/blobs/sha256:0").await.0, 404);
        assert_eq!(ask("POST", "/v2/blog/blobs/uploads/?mount=x").await.0, 404);
        let refused = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"Rate exceeded"}]}"#;
        assert_eq!(ask("PUT", "/v2/blog/manifests/v1").await, (429, refused.to_owned()));
        assert_eq!(ask("GET", "/token?scope=x").await.0, 404);
        assert_eq!(
            proxy.calls(),
            [
                "registry:HEAD blob",
                "registry:POST upload",
                "registry:PUT manifest",
                "registry:GET token"
            ]
        );
        assert_eq!(service.requests().len(), 3);
    }

    /// An ECS behind a proxy, a task of it, and its load balancer's group.
    async fn ecs() -> (crate::fake_ecs::FakeEcs, FakeServer, FaultProxy) {
        let fake = crate::fake_ecs::FakeEcs::new("blog");
        let served = fake.serve().await;
        let proxy = FaultProxy::start(served.address()).await;
        (fake, served, proxy)
    }

    #[tokio::test]
    async fn a_task_that_was_not_started_is_said_with_status_200() {
        let (fake, _served, proxy) = ecs().await;
        proxy.rule(When::NthOf("ecs:RunTask".into(), 0), Fault::Failures);
        let client = aws_sdk_ecs::Client::new(crate::aws::as_if_real(&proxy.url()).sdk());
        let definition = aws_sdk_ecs::types::ContainerDefinition::builder()
            .name("web")
            .image("web@sha256:0");
        let register = client.register_task_definition().family("web");
        let register = register.container_definitions(definition.memory(512).build());
        register.send().await.unwrap();
        let run = async || {
            let call = client
                .run_task()
                .cluster("blog")
                .task_definition("web")
                .client_token("once");
            call.send().await.unwrap()
        };
        let answer = run().await;
        let reason = answer.failures()[0].reason().unwrap_or_default();
        assert!(
            answer.tasks().is_empty() && reason.starts_with("Capacity is unavailable"),
            "{answer:?}"
        );
        assert_eq!(fake.tasks_started(), 0);

        // It is not remembered that it failed, and then that it ran: however often it is sent.
        proxy.rule(When::NthOf("ecs:RunTask".into(), 1), Fault::Twice);
        let (first, second) = (run().await, run().await);
        let task = first.tasks()[0].task_arn().unwrap();
        assert_eq!(second.tasks()[0].task_arn(), Some(task));
        assert_eq!(fake.tasks_started(), 1);

        proxy.rule(When::NthOf("ecs:DescribeTasks".into(), 0), Fault::Missing);
        let describe = async || {
            client
                .describe_tasks()
                .cluster("blog")
                .tasks(task)
                .send()
                .await
                .unwrap()
        };
        let answer = describe().await;
        assert!(answer.tasks().is_empty());
        assert_eq!(answer.failures()[0].reason(), Some("MISSING"));
        assert_eq!(describe().await.tasks().len(), 1);
    }

    #[tokio::test]
    async fn targets_are_called_unhealthy() {
        let healthy = "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions><member>\
                       <Target><Id>10.0.0.1</Id><Port>8000</Port></Target><TargetHealth><State>healthy</State>\
                       </TargetHealth></member></TargetHealthDescriptions></DescribeTargetHealthResult>\
                       </DescribeTargetHealthResponse>";
        let service = FakeServer::start(move |_| std::future::ready(crate::http::xml(200, healthy))).await;
        let proxy = FaultProxy::start(service.address()).await;
        let operation = "elasticloadbalancing:DescribeTargetHealth";
        proxy.rule(When::NthOf(operation.into(), 0), Fault::Unhealthy);
        let client = aws_sdk_elasticloadbalancingv2::Client::new(crate::aws::as_if_real(&proxy.url()).sdk());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let asked = client
                .describe_target_health()
                .target_group_arn("arn:aws:elasticloadbalancing:x");
            let answer = asked.send().await.unwrap();
            let health = answer.target_health_descriptions()[0].target_health().unwrap();
            seen.push((health.state().unwrap().as_str().to_owned(), health.reason().cloned()));
        }
        let timed_out = aws_sdk_elasticloadbalancingv2::types::TargetHealthReasonEnum::Timeout;
        assert_eq!(
            seen,
            [("unhealthy".to_owned(), Some(timed_out)), ("healthy".to_owned(), None)]
        );
        assert_eq!(proxy.calls(), [operation, operation]);
    }

    #[tokio::test]
    async fn a_call_may_be_late_and_so_may_its_answer() {
        let by = Duration::from_millis(300);
        for (fault, effects) in [(Fault::Delayed(by), 0), (Fault::Late(by), 1)] {
            let service = FakeServer::start(|_| async { text(200, "{}") }).await;
            let proxy = FaultProxy::start(service.address()).await;
            proxy.rule(When::Nth(0), fault);
            let mut asked = std::pin::pin!(ask(&proxy, "UpdateService"));
            let early = tokio::time::timeout(by / 2, &mut asked).await;
            assert!(early.is_err(), "{fault:?}: {early:?}");
            assert_eq!(service.requests().len(), effects, "{fault:?}");
            assert_eq!(asked.await, Some((200, "{}".to_owned())), "{fault:?}");
            assert_eq!(service.requests().len(), 1, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_page_may_stand_in_a_service_s_place() {
        let service = FakeServer::start(|_| async { text(200, "{}") }).await;
        let proxy = FaultProxy::start(service.address()).await;
        proxy.rule(When::Nth(0), Fault::Portal);
        let (status, page) = ask(&proxy, "UpdateService").await.unwrap();
        assert!(status == 200 && page.starts_with("<html>"), "{page}");
        assert!(service.requests().is_empty());
    }
}
