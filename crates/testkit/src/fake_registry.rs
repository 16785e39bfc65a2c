//! A registry in the test's own process: the OCI distribution specification with state, and every way in which real
//! registries differ or fail as a switch.
//!
//! Invariant: it never accepts what a strict registry would refuse: a blob whose digest is wrong, a manifest whose blobs
//! are missing, a part that is not where the last one ended.

mod behaviour;
mod blobs;
mod login;
mod manifests;
mod referrers;
mod serve;
mod state;
mod uploads;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::{Method, Request, Response};
use bytes::Bytes;
use nuages_model::Digest;
use tokio::net::TcpListener;

pub use behaviour::{Behaviour, Fault, Immutable, Mount, Seen, What};
use serve::serve;
use state::State;
use wire::{error, plain};

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

    /// Where it listens, for a proxy before it.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
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

    /// Loses all of a repository.
    pub fn lose_all(&self, repository: &str) {
        let mut state = self.state();
        state.blobs.retain(|(name, _), _| name != repository);
        state.manifests.retain(|(name, _), _| name != repository);
        state.tags.retain(|(name, _), _| name != repository);
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

    /// What does not fit together in what it holds: a blob that has not its digest, a tag that names no manifest, a
    /// manifest whose blobs are missing. Nothing of it may ever be seen, whatever befell whoever pushes.
    pub fn inconsistencies(&self) -> Vec<String> {
        self.state().inconsistencies()
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let state = self.state();
        let own = state.tags.keys().filter(|(name, _)| name == repository);
        own.map(|(_, tag)| tag.clone()).collect()
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
        if let Some((repository, image)) = rest.split_once("/referrers/") {
            return self.referrers(request, repository, image);
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return self.tags(request, repository);
        }
        error(404, "UNSUPPORTED", "no such path")
    }

    fn say_digest(&self, response: &mut Response<Bytes>, digest: &Digest) {
        if self.behaviour.says_digest {
            response
                .headers_mut()
                .insert("docker-content-digest", digest.as_str().parse().expect("a digest"));
        }
    }
}
