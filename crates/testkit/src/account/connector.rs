//! The HTTP client under the SDK, which is the other side itself: there is no socket.
//!
//! Invariant: what the rules say befalls a call as it would on a wire.

use std::fmt;
use std::sync::Arc;

use ::http::{Request, Response};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;

use crate::faults::Rules;
use crate::faults::carry::{Answer, Moment, call_id, carry_out, operation};
use crate::http::Received;
use crate::recording::Call;
use crate::relay::BoxError;

/// Answers a request to this service.
type Answers = dyn Fn(&str, &Received, Moment) -> Response<Bytes> + Send + Sync;

#[derive(Clone)]
pub(super) struct Connector {
    rules: Rules,
    answers: Arc<Answers>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(
        rules: Rules,
        answers: impl Fn(&str, &Received, Moment) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self {
            rules,
            answers: Arc::new(answers),
        }
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<SdkBody>, BoxError> {
        let service = Call::service_of(request.uri().path(), request.headers()).unwrap_or_default();
        let fault = self.rules.meet(&operation(&service, &request), call_id(&request));
        let send = |moment| std::future::ready(Ok((self.answers)(&service, &request, moment)));
        Ok(match carry_out(fault, &service, &request, send).await? {
            Answer::Whole(answer) => answer.map(SdkBody::from),
            Answer::Half(answer) => answer.map(|body| {
                let first = body.slice(..body.len() / 2);
                let frames = stream::iter([Ok(Frame::data(first)), Err(BoxError::from("the connection broke"))]);
                SdkBody::from_body_1_x(StreamBody::new(frames))
            }),
        })
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let (parts, body) = request.into_parts();
            let body = Bytes::copy_from_slice(body.bytes().unwrap_or_default());
            let answer = connector.ask(Request::from_parts(parts, body)).await;
            let answer = answer.map_err(ConnectorError::io)?;
            HttpResponse::try_from(answer).map_err(|e| ConnectorError::user(e.into()))
        })
    }
}
