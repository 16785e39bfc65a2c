//! One registry: its address, our credentials there, and how a request is sent, repeated and redirected.
//!
//! Invariant: `Authorization` goes to the registry's own origin and nowhere else, whatever the registry says.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::{Bytes, BytesMut};
use nuages_model::Secret;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use crate::address::{self, PublicOnly};
use crate::auth::{Challenge, Credentials, Scope, TokenAnswer, Tokens};
use crate::body::{Body, Meter};
use crate::{RegistryError, Repository};

/// An error's text is read up to here.
const LONGEST_ERROR: usize = 64 * 1024;
const MOST_REDIRECTS: usize = 5;

/// How a registry is spoken to. The defaults suit every registry on the internet.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether plain HTTP may be used beyond this machine.
    pub plain_http: bool,
    /// Whether the password goes to the registry before it asks for it, which saves a request (Amazon ECR).
    pub password_first: bool,
    /// So often is a request tried that failed for a passing reason.
    pub attempts: usize,
    /// The pause after the first failure; it doubles.
    pub first_pause: Duration,
    /// So long may nothing move.
    pub stall: Duration,
    /// The size of the parts of an upload where the registry refuses a whole one. Amazon ECR takes none below 5 MiB.
    pub part_size: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain_http: false,
            password_first: false,
            attempts: 5,
            first_pause: Duration::from_millis(300),
            stall: Duration::from_secs(90),
            part_size: 10 * 1024 * 1024,
        }
    }
}

/// A registry.
///
/// ```no_run
/// use nuages_registry::{Credentials, Options, Registry};
///
/// # async fn example() -> Result<(), nuages_registry::RegistryError> {
/// let registry = Registry::new("localhost:5000", Credentials::Anonymous, Options::default())?;
/// for tag in registry.repository("blog").tags().await? {
///     println!("{tag}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    host: String,
    base: Url,
    credentials: Credentials,
    options: Options,
    client: Client,
    /// Whether the registry is on the internet, and the client for where it sends us.
    abroad: tokio::sync::OnceCell<(bool, Client)>,
    tokens: Mutex<Tokens>,
    scheme: Mutex<Scheme>,
    /// One at a time asks for a token, so that parallel uploads do not each ask for the same one.
    asking: tokio::sync::Mutex<()>,
}

/// What the registry wants to see.
#[derive(Debug, Clone)]
enum Scheme {
    Unknown,
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("host", &self.0.host)
            .finish_non_exhaustive()
    }
}

/// One request, which can be made again. Its body may be a secret: it is not shown.
pub(crate) struct Call<'a> {
    /// Completes "failed to …".
    pub(crate) what: &'a str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) scope: &'a Scope,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) meter: Meter,
}

impl<'a> Call<'a> {
    pub(crate) fn new(what: &'a str, method: Method, url: Url, scope: &'a Scope) -> Self {
        Self {
            what,
            method,
            url,
            scope,
            headers: HeaderMap::new(),
            body: Body::None,
            meter: Meter::silent(),
        }
    }

    pub(crate) fn header(mut self, name: reqwest::header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn body(mut self, body: Body, meter: &Meter) -> Self {
        self.body = body;
        self.meter = meter.clone();
        self
    }
}

impl Registry {
    /// A registry at this host, with its port where it has one. Nothing is asked yet.
    pub fn new(host: &str, credentials: Credentials, options: Options) -> Result<Self, RegistryError> {
        let base = address::base(host, options.plain_http)?;
        let reach = if base.scheme() == "http" {
            Reach::PlainHome
        } else {
            Reach::Home
        };
        let client = client(reach).map_err(|error| RegistryError::BadHost {
            host: host.to_owned(),
            why: error.without_url().to_string(),
        })?;
        let scheme = if options.password_first {
            Scheme::Basic
        } else {
            Scheme::Unknown
        };
        Ok(Self(Arc::new(Inner {
            host: host.to_owned(),
            base,
            credentials,
            options,
            client,
            abroad: tokio::sync::OnceCell::new(),
            tokens: Mutex::default(),
            scheme: Mutex::new(scheme),
            asking: tokio::sync::Mutex::default(),
        })))
    }

    /// The host as it was given.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// One of its repositories.
    pub fn repository(&self, name: &str) -> Repository {
        Repository::new(self.clone(), name)
    }

    /// Whether it answers, and takes our credentials.
    pub async fn check(&self) -> Result<(), RegistryError> {
        let what = "reach the registry";
        let scope = Scope::none();
        self.retry(|| async {
            let response = self
                .send(Call::new(what, Method::GET, self.url("v2/", what)?, &scope))
                .await?;
            if response.status().is_success() {
                Ok(())
            } else {
                Err(self.refused(what, response).await)
            }
        })
        .await
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn url(&self, path: &str, what: &str) -> Result<Url, RegistryError> {
        self.0
            .base
            .join(path)
            .map_err(|error| protocol(what, error.to_string()))
    }

    /// Repeats what failed for a passing reason, with growing pauses that no two clients share.
    pub(crate) async fn retry<T, F, Fut>(&self, attempt: F) -> Result<T, RegistryError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, RegistryError>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.0.options.first_pause)
            .with_max_delay(Duration::from_secs(20))
            .with_max_times(self.0.options.attempts.saturating_sub(1))
            .with_jitter();
        attempt
            .retry(pauses)
            .when(RegistryError::is_transient)
            .adjust(|error, pause| match (error, pause) {
                // `None` means that no attempt is left.
                (
                    RegistryError::Refused {
                        retry_after: Some(asked),
                        ..
                    },
                    Some(pause),
                ) => Some(pause.max((*asked).min(Duration::from_mins(1)))),
                (_, pause) => pause,
            })
            .notify(|error, pause| tracing::debug!(%error, ?pause, "asking the registry again"))
            .await
    }

    /// Sends one request, signs it where it may be signed, and follows where the registry points.
    pub(crate) async fn send(&self, mut call: Call<'_>) -> Result<Response, RegistryError> {
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send_signed(&call).await?;
            if call.method != Method::GET && is_page(&response) {
                return Err(protocol(call.what, "it is a web page"));
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let Some(target) = self.location(call.what, &call.url, &response).await? else {
                return Ok(response);
            };
            call.url = target;
        }
        Err(protocol(call.what, "it redirects in a circle"))
    }

    /// Where a response points, if it is safe to go there.
    pub(crate) async fn location(
        &self,
        what: &str,
        from: &Url,
        response: &Response,
    ) -> Result<Option<Url>, RegistryError> {
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(None);
        };
        let target = location
            .to_str()
            .ok()
            .and_then(|location| from.join(location).ok())
            .ok_or_else(|| protocol(what, "its `Location` is no address"))?;
        // Asked only where it matters: a registry that stays at home needs no look-up.
        let public = !address::same_origin(&self.0.base, &target) && self.abroad(what).await?.0;
        address::check_target(what, &self.0.base, public, &target)?;
        Ok(Some(target))
    }

    async fn send_signed(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        if !address::same_origin(&self.0.base, &call.url) {
            return self.send_plain(call, &self.abroad(call.what).await?.1, None).await;
        }
        let known = self.known_authorization(call.scope);
        let response = self.send_plain(call, &self.0.client, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenges: Vec<String> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let Some(header) = self.answer_challenge(call, &challenges, known.as_ref()).await? else {
            return Err(self.refused(call.what, response).await);
        };
        self.send_plain(call, &self.0.client, Some(&header)).await
    }

    async fn send_plain(
        &self,
        call: &Call<'_>,
        client: &Client,
        authorization: Option<&Secret<String>>,
    ) -> Result<Response, RegistryError> {
        let mut request = client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone());
        if let Some(header) = authorization {
            let mut value =
                HeaderValue::from_str(header.expose()).map_err(|_| protocol(call.what, "its token is no header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
            // A stream's length is not known by itself, and many registries refuse a body without one.
            request = request
                .header(CONTENT_LENGTH, call.body.length())
                .body(call.body.open(&call.meter).await?);
        }
        tokio::select! {
            biased;
            response = request.send() => response.map_err(|error| self.unreachable(call.what, error)),
            () = call.meter.stalled(self.0.options.stall) => {
                Err(RegistryError::Stalled { what: call.what.to_owned(), limit: self.0.options.stall })
            }
        }
    }

    fn known_authorization(&self, scope: &Scope) -> Option<Secret<String>> {
        let scheme = self.0.scheme.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match scheme {
            Scheme::Unknown => self.0.credentials.first(),
            Scheme::Basic => self.0.credentials.basic(),
            Scheme::Bearer { .. } => self
                .0
                .tokens
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(scope)
                .cloned(),
        }
    }

    /// What to send after a 401; `None` if there is nothing better than what was sent.
    async fn answer_challenge(
        &self,
        call: &Call<'_>,
        challenges: &[String],
        sent: Option<&Secret<String>>,
    ) -> Result<Option<Secret<String>>, RegistryError> {
        let Some(challenge) = challenges.iter().find_map(|header| Challenge::read(header)) else {
            return Ok(None);
        };
        let scheme = match challenge {
            Challenge::Basic => Scheme::Basic,
            Challenge::Bearer { realm, service } => {
                let realm = Url::parse(&realm).map_err(|_| protocol(call.what, "its token service is no address"))?;
                let public = !address::same_origin(&self.0.base, &realm) && self.abroad(call.what).await?.0;
                address::check_target(call.what, &self.0.base, public, &realm)?;
                Scheme::Bearer { realm, service }
            }
        };
        *self.0.scheme.lock().unwrap_or_else(PoisonError::into_inner) = scheme.clone();
        match scheme {
            Scheme::Unknown => Ok(None),
            Scheme::Basic => Ok(self.0.credentials.basic().filter(|header| Some(header) != sent)),
            Scheme::Bearer { realm, service } => {
                let _one_at_a_time = self.0.asking.lock().await;
                // Another request may have got a new one while this one waited.
                if let Some(header) = self
                    .known_authorization(call.scope)
                    .filter(|header| Some(header) != sent)
                {
                    return Ok(Some(header));
                }
                self.0
                    .tokens
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .forget(call.scope);
                self.ask_for_token(call.what, realm, service.as_deref(), call.scope)
                    .await
            }
        }
    }

    /// The token service of the registry: Docker's "Token Authentication Specification"; with an identity token its
    /// "Token Authentication" by `OAuth2`.
    async fn ask_for_token(
        &self,
        what: &str,
        mut realm: Url,
        service: Option<&str>,
        scope: &Scope,
    ) -> Result<Option<Secret<String>>, RegistryError> {
        let client = if address::same_origin(&self.0.base, &realm) {
            &self.0.client
        } else {
            &self.abroad(what).await?.1
        };
        let call = if let Credentials::Identity(token) = &self.0.credentials {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token")
                .append_pair("refresh_token", token.expose())
                .append_pair("client_id", "nuages")
                .append_pair("scope", scope.as_str());
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            Call::new(what, Method::POST, realm, scope)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::Bytes(form.finish().into()), &Meter::silent())
        } else {
            {
                let mut query = realm.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for part in scope.parts() {
                    query.append_pair("scope", part);
                }
            }
            Call::new(what, Method::GET, realm, scope)
        };
        let response = self
            .send_plain(&call, client, self.0.credentials.basic().as_ref())
            .await?;
        if !response.status().is_success() {
            return Err(self.refused(what, response).await);
        }
        let answer = self.read(what, response, LONGEST_ERROR).await?;
        let answer: TokenAnswer =
            serde_json::from_slice(&answer).map_err(|_| protocol(what, "its token service answers no token"))?;
        let kept = self
            .0
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keep(scope, answer);
        Ok(kept)
    }

    async fn abroad(&self, what: &str) -> Result<&(bool, Client), RegistryError> {
        self.0
            .abroad
            .get_or_try_init(|| async {
                let public = address::is_public(&self.0.base).await;
                let client = client(Reach::Abroad { public }).map_err(|error| self.unreachable(what, error))?;
                Ok((public, client))
            })
            .await
    }

    /// Reads an answer that must be small.
    pub(crate) async fn read(&self, what: &str, mut response: Response, limit: usize) -> Result<Bytes, RegistryError> {
        let mut content = BytesMut::new();
        while let Some(chunk) = self.chunk(what, &mut response).await? {
            if content.len() + chunk.len() > limit {
                return Err(protocol(what, format!("it is longer than {limit} bytes")));
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content.freeze())
    }

    /// The next piece of an answer.
    pub(crate) async fn chunk(&self, what: &str, response: &mut Response) -> Result<Option<Bytes>, RegistryError> {
        let limit = self.0.options.stall;
        match tokio::time::timeout(limit, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| self.unreachable(what, error)),
            Err(_) => Err(RegistryError::Stalled {
                what: what.to_owned(),
                limit,
            }),
        }
    }

    fn unreachable(&self, what: &str, error: reqwest::Error) -> RegistryError {
        // An upload's address may carry a signature.
        RegistryError::Unreachable {
            what: what.to_owned(),
            host: self.0.host.clone(),
            source: error.without_url(),
        }
    }

    /// Makes an error of an answer that is one.
    pub(crate) async fn refused(&self, what: &str, response: Response) -> RegistryError {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        let text = self.read(what, response, LONGEST_ERROR).await.unwrap_or_default();
        let first = serde_json::from_slice::<Errors>(&text)
            .ok()
            .and_then(|errors| errors.errors.into_iter().next());
        let (code, message) = match first {
            Some(one) => (Some(one.code).filter(|code| !code.is_empty()), one.message),
            // Something between us and the registry: its first line is enough.
            None => (
                None,
                String::from_utf8_lossy(&text)
                    .trim()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(200)
                    .collect(),
            ),
        };
        if matches!(status, 401 | 403) {
            let message = match (code, message) {
                (Some(code), message) if message.is_empty() => code,
                (_, message) if message.is_empty() => format!("HTTP status {status}"),
                (_, message) => message,
            };
            return RegistryError::Denied {
                what: what.to_owned(),
                host: self.0.host.clone(),
                message,
            };
        }
        RegistryError::Refused {
            what: what.to_owned(),
            status,
            code,
            message,
            retry_after,
        }
    }
}

pub(crate) fn protocol(what: &str, why: impl Into<String>) -> RegistryError {
    RegistryError::Protocol {
        what: what.to_owned(),
        why: why.into(),
    }
}

/// Whether something answered in the registry's place as if all were well: the login page of a network, or of a proxy. No
/// registry says anything but errors in HTML. What was read has a digest to be known by, and needs no such look.
fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    response.status().is_success() && kind.is_some_and(|kind| kind.starts_with("text/html"))
}

/// What a client is for.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// The registry itself.
    Home,
    /// The registry itself, without TLS.
    PlainHome,
    /// Wherever the registry points.
    Abroad { public: bool },
}

fn client(reach: Reach) -> Result<Client, reqwest::Error> {
    // Whoever chose a provider of cryptography first is kept.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("nuages/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(15))
        .pool_idle_timeout(Duration::from_secs(30));
    match reach {
        Reach::Home | Reach::Abroad { public: false } => builder,
        // No proxy stands before it, and loading the system's certificates would be time for nothing.
        Reach::PlainHome => builder.no_proxy().tls_certs_only([]),
        Reach::Abroad { public: true } => builder.dns_resolver(Arc::new(PublicOnly)),
    }
    .build()
}
