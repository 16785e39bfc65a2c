//! A registry in the test's own process: the OCI distribution specification with state, and every way in which real
//! registries differ or fail as a switch.
//!
//! Invariant: it never accepts what a strict registry would refuse: a blob whose digest is wrong, a manifest whose blobs
//! are missing, a part that is not where the last one ended.

mod behaviour;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nuages_model::Digest;
use tokio::net::TcpListener;

pub use behaviour::{Behaviour, Fault, Immutable, Mount, Seen, What};

#[derive(Debug, Default)]
struct Upload {
    repository: String,
    content: Vec<u8>,
    first_part: Option<usize>,
    last_part: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<(String, Digest), Bytes>,
    manifests: HashMap<(String, Digest), (String, Bytes)>,
    tags: BTreeMap<(String, String), Digest>,
    uploads: HashMap<String, Upload>,
    tokens: HashSet<String>,
    counter: u64,
    faults: Vec<Fault>,
    seen: Vec<Seen>,
}

struct Shared {
    behaviour: Behaviour,
    address: SocketAddr,
    elsewhere: SocketAddr,
    state: Mutex<State>,
}

/// A running registry.
pub struct FakeRegistry {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl std::fmt::Debug for FakeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRegistry")
            .field("host", &self.host())
            .finish_non_exhaustive()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

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

impl FakeRegistry {
    /// Starts a registry on free loopback ports.
    ///
    /// ```
    /// use nuages_testkit::fake_registry::{Behaviour, FakeRegistry};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let registry = FakeRegistry::start(Behaviour::default()).await;
    /// registry.add_blob("blog", b"content");
    /// assert!(registry.host().starts_with("127.0.0.1:"));
    /// # }
    /// ```
    pub async fn start(behaviour: Behaviour) -> Self {
        let bind = || async { TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port") };
        let (home, elsewhere) = (bind().await, bind().await);
        let address = |listener: &TcpListener| listener.local_addr().expect("the address of a bound socket");
        let shared = Arc::new(Shared {
            behaviour,
            address: address(&home),
            elsewhere: address(&elsewhere),
            state: Mutex::default(),
        });
        let tasks = [(home, false), (elsewhere, true)]
            .map(|(listener, elsewhere)| tokio::spawn(serve(listener, Arc::clone(&shared), elsewhere)))
            .into();
        Self { shared, tasks }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.shared.address.to_string()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Makes something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Faults that did not happen yet.
    pub fn pending_faults(&self) -> usize {
        self.state().faults.len()
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// All requests so far, as `METHOD /path status`, without digests and upload ids.
    pub fn log(&self) -> Vec<String> {
        let short = |seen: &Seen| {
            let path = seen.uri.path();
            let path = match path.split_once("/blobs/uploads/") {
                Some((front, "")) => format!("{front}/blobs/uploads/"),
                Some((front, _)) => format!("{front}/blobs/uploads/ID"),
                None => match path.split_once("/blobs/sha256:") {
                    Some((front, _)) => format!("{front}/blobs/DIGEST"),
                    None => path.to_owned(),
                },
            };
            format!("{} {path} {}", seen.method, seen.status)
        };
        self.state().seen.iter().map(short).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.state().seen.clear();
    }

    /// Takes back every token it gave.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Puts a blob in place.
    pub fn add_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let content = Bytes::copy_from_slice(content);
        self.state()
            .blobs
            .insert((repository.to_owned(), digest.clone()), content);
        digest
    }

    /// Puts a manifest in place, under a tag.
    pub fn add_manifest(&self, repository: &str, media_type: &str, content: &[u8], tag: &str) -> Digest {
        let digest = Digest::of(content);
        let mut state = self.state();
        let entry = (media_type.to_owned(), Bytes::copy_from_slice(content));
        state.manifests.insert((repository.to_owned(), digest.clone()), entry);
        state
            .tags
            .insert((repository.to_owned(), tag.to_owned()), digest.clone());
        digest
    }

    /// A blob's content.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.state()
            .blobs
            .get(&(repository.to_owned(), digest.clone()))
            .cloned()
    }

    /// Loses a blob.
    pub fn lose_blob(&self, repository: &str, digest: &Digest) {
        self.state().blobs.remove(&(repository.to_owned(), digest.clone()));
    }

    /// What a tag names.
    pub fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.state().tags.get(&(repository.to_owned(), tag.to_owned())).cloned()
    }

    /// A manifest with its type.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, String, Bytes)> {
        let state = self.state();
        let digest = state.resolve(repository, reference)?;
        let (media_type, content) = state.manifests.get(&(repository.to_owned(), digest.clone()))?;
        Some((digest, media_type.clone(), content.clone()))
    }

    /// The tags of a manifest, and its length, for whoever describes images.
    pub fn image(&self, repository: &str, reference: &str) -> Option<(Digest, Vec<String>, usize)> {
        let state = self.state();
        let digest = state.resolve(repository, reference)?;
        let (_, content) = state.manifests.get(&(repository.to_owned(), digest.clone()))?;
        let names = state
            .tags
            .iter()
            .filter(|((name, _), at)| name == repository && **at == digest);
        Some((
            digest.clone(),
            names.map(|((_, tag), _)| tag.clone()).collect(),
            content.len(),
        ))
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, elsewhere: bool) {
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

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_fault(&self, method: &Method, path: &str) -> Option<What> {
        let mut state = self.state();
        let at = state
            .faults
            .iter()
            .position(|fault| fault.method == *method && path.contains(&fault.path))?;
        if state.faults[at].after > 0 {
            state.faults[at].after -= 1;
            return None;
        }
        Some(state.faults.remove(at).what)
    }

    /// The other origin, where blobs are read. Storage refuses a signed request that is signed twice, and so does this.
    fn elsewhere(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.headers().contains_key("authorization") {
            return error(400, "InvalidArgument", "only one way to sign a request is allowed");
        }
        let Some((repository, digest)) = request.uri().path().trim_start_matches('/').rsplit_once('/') else {
            return error(404, "NoSuchKey", "");
        };
        let Some(content) = digest
            .parse()
            .ok()
            .and_then(|digest| self.state().blobs.get(&(repository.to_owned(), digest)).cloned())
        else {
            return error(404, "NoSuchKey", "");
        };
        self.content(request, content)
    }

    fn content(&self, request: &Request<Bytes>, content: Bytes) -> Response<Bytes> {
        let from = request
            .headers()
            .get("range")
            .and_then(|range| range.to_str().ok())
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match from.filter(|from| self.behaviour.ranges && *from < content.len()) {
            Some(from) => plain(206, &[], content.slice(from..)),
            None => plain(200, &[], content),
        }
    }

    fn route(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path();
        if path == "/token" {
            return self.token(request);
        }
        if let Some(refusal) = self.refuse_stranger(request) {
            return refusal;
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return error(404, "UNSUPPORTED", "no such path");
        };
        if rest.is_empty() {
            return plain(200, &[], Bytes::from_static(b"{}"));
        }
        if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
            return self.upload(request, repository, id);
        }
        if let Some((repository, digest)) = rest.split_once("/blobs/") {
            return self.blob(request, repository, digest);
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return self.manifest(request, repository, reference);
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return self.tags(request, repository);
        }
        error(404, "UNSUPPORTED", "no such path")
    }

    fn refuse_stranger(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
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
                let address = self.address;
                return refuse(format!(
                    r#"Bearer realm="http://{address}/token",service="fake",scope="{}""#,
                    needed.join(" ")
                ));
            }
        }
        None
    }

    fn token(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (user, password) = self.behaviour.bearer.clone().unwrap_or_default();
        let sent = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if !user.is_empty() && sent != Some(&basic(&user, &password)) {
            return error(401, "UNAUTHORIZED", "wrong password");
        }
        let scopes: Vec<_> = query(request, "scope").collect();
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

    fn blob(&self, request: &Request<Bytes>, repository: &str, digest: &str) -> Response<Bytes> {
        let Ok(digest) = digest.parse::<Digest>() else {
            return error(400, "DIGEST_INVALID", "no digest");
        };
        let Some(content) = self
            .state()
            .blobs
            .get(&(repository.to_owned(), digest.clone()))
            .cloned()
        else {
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        if self.behaviour.redirect_blobs && *request.method() == Method::GET {
            let location = format!("http://{}/{repository}/{digest}", self.elsewhere);
            return plain(307, &[("location", location)], Bytes::new());
        }
        let mut response = self.content(request, content);
        self.say_digest(&mut response, &digest);
        response
    }

    fn say_digest(&self, response: &mut Response<Bytes>, digest: &Digest) {
        if self.behaviour.says_digest {
            response
                .headers_mut()
                .insert("docker-content-digest", digest.as_str().parse().expect("a digest"));
        }
    }

    fn upload(&self, request: &Request<Bytes>, repository: &str, id: &str) -> Response<Bytes> {
        let mut state = self.state();
        if *request.method() == Method::POST {
            let mount = query(request, "mount")
                .next()
                .and_then(|digest| digest.parse::<Digest>().ok());
            if let (Some(digest), Some(from)) = (mount, query(request, "from").next()) {
                let there = state.blobs.get(&(from.clone(), digest.clone())).cloned();
                let allowed = match self.behaviour.mount {
                    Mount::Never => false,
                    Mount::Always => true,
                    Mount::Referenced => state.is_referenced(&from, &digest),
                    Mount::Refused => return error(405, "UNSUPPORTED", "mounting is not supported"),
                };
                if let (true, Some(content)) = (allowed, there) {
                    state.blobs.insert((repository.to_owned(), digest), content);
                    return plain(201, &[("location", "/v2/mounted".into())], Bytes::new());
                }
            }
            state.counter += 1;
            let id = format!("upload-{}", state.counter);
            state.uploads.insert(
                id.clone(),
                Upload {
                    repository: repository.to_owned(),
                    ..Upload::default()
                },
            );
            // A path and a query, as real registries answer.
            return plain(
                202,
                &[("location", format!("/v2/{repository}/blobs/uploads/{id}?state=0"))],
                Bytes::new(),
            );
        }
        let Some(mut upload) = state
            .uploads
            .remove(id)
            .filter(|upload| upload.repository == repository)
        else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry");
        };
        let held = upload.content.len();
        let range = request
            .headers()
            .get("content-range")
            .and_then(|range| range.to_str().ok())
            .map(str::to_owned);
        match *request.method() {
            Method::PATCH => {
                let length = request.body().len();
                let expected = format!("{held}-{}", (held + length).saturating_sub(1));
                if range.is_some_and(|range| range != expected) {
                    state.uploads.insert(id.to_owned(), upload);
                    return error(416, "BLOB_UPLOAD_INVALID", &format!("expected {expected}"));
                }
                upload.content.extend_from_slice(request.body());
                let first = *upload.first_part.get_or_insert(length);
                // Only the last part may be small, and which is the last shows when another one comes.
                if upload
                    .last_part
                    .is_some_and(|last| (last as u64) < self.behaviour.min_part)
                {
                    return error(400, "SIZE_INVALID", "the layer part is too small");
                }
                upload.last_part = Some(length);
                let end = if self.behaviour.range_sticks {
                    first
                } else {
                    upload.content.len()
                };
                let headers = [
                    (
                        "location",
                        format!("/v2/{repository}/blobs/uploads/{id}?state={}", upload.content.len()),
                    ),
                    ("range", format!("0-{}", end.saturating_sub(1))),
                ];
                state.uploads.insert(id.to_owned(), upload);
                plain(self.behaviour.patch_status, &headers, Bytes::new())
            }
            Method::PUT => {
                if range.is_some() && self.behaviour.refuse_ranged_put {
                    return error(416, "BLOB_UPLOAD_INVALID", "a part was expected");
                }
                if !request.body().is_empty() && !self.behaviour.whole_put {
                    return error(413, "SIZE_INVALID", "too large");
                }
                if !request.body().is_empty() && !request.headers().contains_key("content-length") {
                    return error(411, "SIZE_INVALID", "a length is required");
                }
                upload.content.extend_from_slice(request.body());
                let Some(digest) = query(request, "digest")
                    .next()
                    .and_then(|digest| digest.parse::<Digest>().ok())
                else {
                    return error(400, "DIGEST_INVALID", "no digest");
                };
                if Digest::of(&upload.content) != digest {
                    return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                }
                state
                    .blobs
                    .insert((repository.to_owned(), digest.clone()), upload.content.into());
                let mut response = plain(
                    201,
                    &[("location", format!("/v2/{repository}/blobs/{digest}"))],
                    Bytes::new(),
                );
                self.say_digest(&mut response, &digest);
                response
            }
            Method::GET => {
                let end = if self.behaviour.range_sticks {
                    upload.first_part.unwrap_or(0)
                } else {
                    held
                };
                let headers = [
                    ("location", format!("/v2/{repository}/blobs/uploads/{id}?state={held}")),
                    ("range", format!("0-{}", end.saturating_sub(1))),
                ];
                state.uploads.insert(id.to_owned(), upload);
                plain(204, &headers, Bytes::new())
            }
            Method::DELETE => plain(204, &[], Bytes::new()),
            _ => error(405, "UNSUPPORTED", "no such method"),
        }
    }

    fn manifest(&self, request: &Request<Bytes>, repository: &str, reference: &str) -> Response<Bytes> {
        let mut state = self.state();
        match *request.method() {
            Method::PUT => {
                let media_type = request
                    .headers()
                    .get("content-type")
                    .and_then(|value| value.to_str().ok());
                let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(request.body()) else {
                    return error(400, "MANIFEST_INVALID", "not JSON");
                };
                for digest in named(&parsed) {
                    let key = (repository.to_owned(), digest.clone());
                    if !state.blobs.contains_key(&key) && !state.manifests.contains_key(&key) {
                        return error(400, "MANIFEST_BLOB_UNKNOWN", digest.as_str());
                    }
                }
                let digest = Digest::of(request.body());
                if let Ok(asked) = reference.parse::<Digest>() {
                    if asked != digest {
                        return error(400, "DIGEST_INVALID", "provided digest did not match");
                    }
                } else {
                    let key = (repository.to_owned(), reference.to_owned());
                    if self.behaviour.immutable.holds(reference) && state.tags.contains_key(&key) {
                        let text = format!(
                            "The image tag '{reference}' already exists and cannot be overwritten because the tag is immutable."
                        );
                        return error(400, "TAG_INVALID", &text);
                    }
                    state.tags.insert(key, digest.clone());
                }
                let entry = (media_type.unwrap_or_default().to_owned(), request.body().clone());
                state.manifests.insert((repository.to_owned(), digest.clone()), entry);
                let location = format!("/v2/{repository}/manifests/{digest}");
                let mut response = plain(201, &[("location", location)], Bytes::new());
                self.say_digest(&mut response, &digest);
                response
            }
            Method::GET | Method::HEAD => {
                let found = state.resolve(repository, reference).and_then(|digest| {
                    let (media_type, content) = state.manifests.get(&(repository.to_owned(), digest.clone()))?;
                    Some((digest, media_type.clone(), content.clone()))
                });
                let Some((mut digest, media_type, mut content)) = found else {
                    return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
                };
                if self.behaviour.strict_accept {
                    let accepted = request.headers().get("accept").and_then(|value| value.to_str().ok());
                    match accepted {
                        None => return error(404, "MANIFEST_UNKNOWN", "no Accept header"),
                        // By tag it is converted to suit, which makes it another manifest.
                        Some(accepted) if !accepted.contains(&media_type) && reference.parse::<Digest>().is_err() => {
                            content = Bytes::from_static(b"{\"schemaVersion\":2,\"converted\":true}");
                            digest = Digest::of(&content);
                        }
                        Some(_) => {}
                    }
                }
                let mut response = plain(200, &[("content-type", media_type)], content);
                self.say_digest(&mut response, &digest);
                response
            }
            Method::DELETE => {
                let Some(digest) = state.resolve(repository, reference) else {
                    return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
                };
                state.manifests.remove(&(repository.to_owned(), digest.clone()));
                state.tags.retain(|(name, _), at| name != repository || *at != digest);
                plain(202, &[], Bytes::new())
            }
            _ => error(405, "UNSUPPORTED", "no such method"),
        }
    }

    fn tags(&self, request: &Request<Bytes>, repository: &str) -> Response<Bytes> {
        let state = self.state();
        let last = query(request, "last").next().unwrap_or_default();
        let names = state
            .tags
            .keys()
            .filter(|(name, _)| name == repository)
            .map(|(_, tag)| tag.clone());
        let rest: Vec<String> = names.filter(|tag| *tag > last).collect();
        let page: Vec<_> = rest.iter().take(self.behaviour.page).collect();
        let body = serde_json::json!({ "name": repository, "tags": page }).to_string();
        match page.last().filter(|_| rest.len() > page.len()) {
            Some(last) => {
                let link = format!(
                    "</v2/{repository}/tags/list?last={last}&n={}>; rel=\"next\"",
                    self.behaviour.page
                );
                plain(200, &[("link", link)], body.into())
            }
            None => plain(200, &[], body.into()),
        }
    }
}

impl State {
    fn resolve(&self, repository: &str, reference: &str) -> Option<Digest> {
        match reference.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => self.tags.get(&(repository.to_owned(), reference.to_owned())).cloned(),
        }
    }

    fn is_referenced(&self, repository: &str, digest: &Digest) -> bool {
        self.manifests.iter().any(|((name, _), (_, content))| {
            name == repository
                && serde_json::from_slice(content)
                    .is_ok_and(|parsed: serde_json::Value| named(&parsed).contains(digest))
        })
    }

    fn keep_part(&mut self, method: &Method, path: &str, content: &[u8]) {
        if *method == Method::PATCH
            && let Some((_, id)) = path.split_once("/blobs/uploads/")
            && let Some(upload) = self.uploads.get_mut(id)
        {
            upload.content.extend_from_slice(content);
        }
    }
}

/// The digests that a manifest or index names.
fn named(manifest: &serde_json::Value) -> Vec<Digest> {
    let lists = ["layers", "manifests"]
        .iter()
        .filter_map(|key| manifest.get(key)?.as_array())
        .flatten();
    lists
        .chain(manifest.get("config"))
        .filter_map(|descriptor| descriptor.get("digest")?.as_str()?.parse().ok())
        .collect()
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
    let end = ["/blobs/", "/manifests/", "/tags/"]
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

fn query(request: &Request<Bytes>, name: &str) -> impl Iterator<Item = String> {
    let pairs = request.uri().query().unwrap_or_default().to_owned();
    let name = name.to_owned();
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

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        aws_smithy_types::base64::encode(format!("{user}:{password}"))
    )
}

fn error(status: u16, code: &str, message: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    plain(
        status,
        &[("content-type", "application/json".into())],
        body.to_string().into(),
    )
}

fn plain(status: u16, headers: &[(&str, String)], body: Bytes) -> Response<Bytes> {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = Response::builder()
        .status(status)
        .header("docker-distribution-api-version", "registry/2.0");
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).expect("a fake's answer")
}
