//! Who may ask what: passwords, and tokens that are good for some scopes.
//!
//! Invariant: a token opens what it was given for, and nothing else.

use ::http::{Method, Request, Response};
use bytes::Bytes;

use super::Shared;
use super::wire::{error, plain, query, values};

impl Shared {
    pub(super) fn refuse_stranger(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        let sent = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let refuse = |challenge: String| {
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            Some(plain(
                401,
                &[("www-authenticate", challenge)],
                Bytes::from_static(body.as_bytes()),
            ))
        };
        if let Some((user, password)) = &self.behaviour.basic
            && sent != basic(user, password)
        {
            return refuse("Basic realm=\"fake\"".into());
        }
        if self.behaviour.bearer.is_some() {
            let token = sent.strip_prefix("Bearer ").unwrap_or_default();
            // A token holds the scopes that it was given for.
            let needed = needed_scope(request);
            let known = self.state().tokens.contains(token);
            if !known || !needed.iter().all(|scope| token.contains(scope.as_str())) {
                // Whoever came by a proxy finds the token service there, too.
                let asked = request.headers().get("host").and_then(|host| host.to_str().ok());
                let host = asked.map_or_else(|| self.address.to_string(), str::to_owned);
                return refuse(format!(
                    r#"Bearer realm="http://{host}/token",service="fake",scope="{}""#,
                    needed.join(" ")
                ));
            }
        }
        None
    }

    pub(super) fn token(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (user, password) = self.behaviour.bearer.clone().unwrap_or_default();
        let sent = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        // Whoever has no password has an identity token, which stands in a form; here it is the password itself.
        let form = String::from_utf8_lossy(request.body());
        let identity = format!("grant_type=refresh_token&refresh_token={password}&");
        let known = match *request.method() {
            Method::POST => form.starts_with(&identity),
            _ => user.is_empty() || sent == Some(&basic(&user, &password)),
        };
        if !known {
            return error(401, "UNAUTHORIZED", "wrong password");
        }
        let scopes: Vec<_> = match *request.method() {
            Method::POST => values(&form, "scope").collect(),
            _ => query(request, "scope").collect(),
        };
        let mut state = self.state();
        state.counter += 1;
        let token = format!("{}.{}", state.counter, scopes.join(" ").replace(' ', ";"));
        state.tokens.insert(token.clone());
        plain(
            200,
            &[],
            serde_json::json!({ "token": token, "expires_in": 300 })
                .to_string()
                .into(),
        )
    }
}

/// What a request needs, as the scopes of a token.
fn needed_scope(request: &Request<Bytes>) -> Vec<String> {
    let Some(rest) = request
        .uri()
        .path()
        .strip_prefix("/v2/")
        .filter(|rest| !rest.is_empty())
    else {
        return Vec::new();
    };
    let end = ["/blobs/", "/manifests/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|part| rest.find(part))
        .min();
    let repository = &rest[..end.unwrap_or(rest.len())];
    let action = match *request.method() {
        Method::GET | Method::HEAD if !rest.contains("/blobs/uploads/") => "pull",
        Method::DELETE => "delete",
        _ => "pull,push",
    };
    let own = format!("repository:{repository}:{action}");
    query(request, "from")
        .map(|from| format!("repository:{from}:pull"))
        .chain([own])
        .collect()
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        aws_smithy_types::base64::encode(format!("{user}:{password}"))
    )
}
