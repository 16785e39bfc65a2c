//! A client's requests, written down as it sends them.
//!
//! Invariant: the request goes on as it is.

use ::http::HeaderMap;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::{Call, write};

/// The same client, whose requests are kept for the check.
///
/// ```
/// let http = nuages_testkit::recording::recorded(aws_smithy_http_client::Builder::new().build_http());
/// ```
pub fn recorded(inner: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(Client { inner })
}

#[derive(Debug)]
struct Client {
    inner: SharedHttpClient,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            inner: self.inner.http_connector(settings, components),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers() {
            if let (Ok(name), Ok(value)) = (name.parse::<::http::HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        let body = request.body().bytes().unwrap_or_default();
        if let Ok(uri) = request.uri().parse()
            && let Some(call) = Call::read(request.method(), &uri, &headers, body)
        {
            write(&call);
        }
        self.inner.call(request)
    }
}
