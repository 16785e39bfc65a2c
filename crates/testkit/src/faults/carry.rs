//! Carrying a fault out, whatever lies between the caller and the service.
//!
//! Invariant: the service hears of a call as often as the fault says: never, once or twice.

use std::time::Duration;

use ::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Bytes;

use super::Fault;
use super::spoil::{spoil, spoil_headers};
use crate::relay::BoxError;

/// What comes back to the caller.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of it.
    Whole(Response<Bytes>),
    /// Half of it; then the connection breaks.
    Half(Response<Bytes>),
}

/// Which state of the service a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// As it is.
    Now,
    /// As it was so long ago.
    Ago(Duration),
}

/// The operation that a request asks for, such as `ecs:UpdateService`; of a path where its service has no names in its
/// requests.
pub(crate) fn operation<B: AsRef<[u8]>>(service: &str, request: &Request<B>) -> String {
    if service == "registry" {
        return format!(
            "registry:{} {}",
            request.method(),
            part_of_registry(request.uri().path())
        );
    }
    if let Some(target) = request.headers().get("x-amz-target") {
        let target = target.to_str().unwrap_or_default();
        return format!("{service}:{}", target.rsplit('.').next().unwrap_or_default());
    }
    let form = std::str::from_utf8(request.body().as_ref()).unwrap_or_default();
    match form.split('&').find_map(|pair| pair.strip_prefix("Action=")) {
        Some(action) => format!("{service}:{action}"),
        None if request.uri().path().ends_with("/hostedzonesbyname") => format!("{service}:ListHostedZonesByName"),
        None => format!("{service}:{} {}", request.method(), request.uri().path()),
    }
}

/// What a request to a registry is about.
fn part_of_registry(path: &str) -> &'static str {
    let parts = [
        ("/blobs/uploads/", "upload"),
        ("/blobs/", "blob"),
        ("/manifests/", "manifest"),
        ("/tags/", "tags"),
        ("/v2/", "registry"),
    ];
    let part = parts.iter().find(|(text, _)| path.contains(text));
    part.map_or("token", |(_, part)| part)
}

/// What the SDK gives every repetition of one call.
pub(crate) fn call_id<B>(request: &Request<B>) -> Option<&str> {
    request.headers().get("amz-sdk-invocation-id")?.to_str().ok()
}

/// Does to a call what befalls it. `send` asks the service.
pub(crate) async fn carry_out<B, S, A>(
    fault: Option<Fault>,
    service: &str,
    request: &Request<B>,
    send: S,
) -> Result<Answer, BoxError>
where
    S: Fn(Moment) -> A,
    A: Future<Output = Result<Response<Bytes>, BoxError>>,
{
    let refused = |status, code, message| Ok(Answer::Whole(refusal(service, request, status, code, message)));
    match fault {
        None => Ok(Answer::Whole(send(Moment::Now).await?)),
        Some(Fault::Throttle) if service == "registry" => {
            refused(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "Rate exceeded")
        }
        Some(Fault::Throttle) => refused(StatusCode::BAD_REQUEST, "ThrottlingException", "Rate exceeded"),
        Some(Fault::ServerError) => refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalFailure",
            "We encountered an internal error",
        ),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => Err("the connection is closed".into()),
        Some(Fault::LostAnswer) => {
            send(Moment::Now).await?;
            Err("the answer is lost".into())
        }
        Some(Fault::Unanswered) => {
            send(Moment::Now).await?;
            std::future::pending().await
        }
        Some(Fault::Truncated) => Ok(Answer::Half(send(Moment::Now).await?)),
        Some(Fault::Malformed) => Ok(Answer::Whole(send(Moment::Now).await?.map(|_| "<html>{\"half".into()))),
        Some(Fault::Spoiled(how)) => {
            let mut answer = send(Moment::Now).await?;
            spoil_headers(how, answer.headers_mut());
            Ok(Answer::Whole(answer.map(|body| spoil(how, &body).into())))
        }
        Some(Fault::Portal) => {
            let mut page = Response::new(Bytes::from_static(b"<html><title>Log in</title></html>"));
            page.headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            Ok(Answer::Whole(page))
        }
        Some(Fault::Twice) => {
            send(Moment::Now).await?;
            Ok(Answer::Whole(send(Moment::Now).await?))
        }
        Some(Fault::Delayed(by)) => {
            tokio::time::sleep(by).await;
            Ok(Answer::Whole(send(Moment::Now).await?))
        }
        Some(Fault::Late(by)) => {
            let answer = send(Moment::Now).await?;
            tokio::time::sleep(by).await;
            Ok(Answer::Whole(answer))
        }
        Some(Fault::Stale(by)) => Ok(Answer::Whole(send(Moment::Ago(by)).await?)),
        Some(Fault::Failures) => Ok(Answer::Whole(crate::http::json(
            200,
            &serde_json::json!({"tasks": [], "failures": [
                {"reason": "Capacity is unavailable at this time. Please try again later or in a different availability zone"},
            ]}),
        ))),
        Some(Fault::Missing) => Ok(Answer::Whole(crate::http::json(
            200,
            &serde_json::json!({"services": [], "tasks": [], "clusters": [], "failures": [
                {"arn": "arn:aws:ecs:eu-west-1:123456789012:x", "reason": "MISSING"},
            ]}),
        ))),
        Some(Fault::Unhealthy) => {
            let answer = send(Moment::Now).await?;
            let ill =
                "<State>unhealthy</State><Reason>Target.Timeout</Reason><Description>Request timed out</Description>";
            let text = |body: Bytes| String::from_utf8_lossy(&body).replace("<State>healthy</State>", ill);
            Ok(Answer::Whole(answer.map(|body| text(body).into())))
        }
    }
}

/// An error as the call's protocol writes it.
fn refusal<B>(service: &str, request: &Request<B>, status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let (kind, text) = if service == "registry" {
        (
            "application/json",
            format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}"),
        )
    } else if request.headers().contains_key("x-amz-target") {
        (
            "application/x-amz-json-1.1",
            format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}"),
        )
    } else if service == "ec2" {
        (
            "text/xml",
            format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
                 <RequestID>0</RequestID></Response>"
            ),
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
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
