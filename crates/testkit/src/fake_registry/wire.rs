//! Requests and answers as the specification writes them.
//!
//! Invariant: an error has the specification's shape, whatever it is about.

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;

pub(super) fn query(request: &Request<Bytes>, name: &str) -> impl Iterator<Item = String> {
    values(request.uri().query().unwrap_or_default(), name)
}

/// The values of one name in a query or a form.
pub(super) fn values(pairs: &str, name: &str) -> impl Iterator<Item = String> {
    pairs
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| {
            value
                .replace('+', " ")
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",")
                .replace("%20", " ")
        })
        .collect::<Vec<_>>()
        .into_iter()
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    plain(
        status,
        &[("content-type", "application/json".into())],
        body.to_string().into(),
    )
}

pub(super) fn plain(status: u16, headers: &[(&str, String)], body: Bytes) -> Response<Bytes> {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = Response::builder()
        .status(status)
        .header("docker-distribution-api-version", "registry/2.0");
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).expect("a fake's answer")
}
