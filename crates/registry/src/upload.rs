//! The ladder by which a blob reaches a registry: is it there → mount it → send it whole → send it in parts.
//!
//! Invariant: how much was sent is known from our own count. A registry's `Range` is believed only where it moves us to a
//! place that this count allows: Amazon ECR's stands still after the first part although it keeps the rest.

use std::sync::atomic::{AtomicBool, Ordering};

use nuages_model::{Blob, Descriptor, Digest, Progress, PutOutcome};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName};
use reqwest::{Method, Response, Url};

use crate::auth::Scope;
use crate::body::{Body, Meter};
use crate::client::{Call, protocol};
use crate::manifest::header;
use crate::{RegistryError, Repository};

const OCTETS: &str = "application/octet-stream";

/// A blob above this is sent in parts once its connection broke, so that the next break does not cost all of it.
const WORTH_RESUMING: u64 = 16 * 1024 * 1024;

impl Repository {
    /// Stores a blob unless it is there.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        blob: Blob,
        progress: &Progress,
    ) -> Result<PutOutcome, RegistryError> {
        let body = match blob {
            Blob::Bytes(bytes) => Body::Bytes(bytes),
            Blob::File(path) => {
                let metadata = tokio::fs::metadata(&path).await;
                let length = metadata.map_err(|source| RegistryError::File {
                    what: "read",
                    path: path.clone(),
                    source,
                })?;
                Body::Part {
                    path,
                    offset: 0,
                    length: length.len(),
                }
            }
        };
        let what = format!("send the blob {}", descriptor.digest.short());
        if body.length() != descriptor.size {
            return Err(protocol(
                &what,
                format!("it has {} bytes instead of {}", body.length(), descriptor.size),
            ));
        }
        let upload = Upload {
            repository: self,
            what,
            digest: &descriptor.digest,
            body,
            meter: Meter::new(progress, descriptor.digest.short(), descriptor.size),
            scope: Scope::push(self.name()),
        };
        let outcome = upload.climb().await;
        if let Ok(PutOutcome::Present | PutOutcome::Mounted) = outcome {
            progress.bytes(descriptor.digest.short(), descriptor.size, Some(descriptor.size));
        }
        outcome
    }

    /// Takes a blob from one of the repositories to mount from, without its bytes. `false` where the registry does not.
    pub async fn mount_blob(&self, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let upload = Upload {
            repository: self,
            what: format!("mount the blob {}", descriptor.digest.short()),
            digest: &descriptor.digest,
            body: Body::None,
            meter: Meter::silent(),
            scope: Scope::push(self.name()),
        };
        match upload.mount().await {
            Mount::Done => Ok(true),
            Mount::Upload(session) => {
                self.keep_session(&descriptor.digest, session);
                Ok(false)
            }
            Mount::Failed => Ok(false),
        }
    }
}

/// How an attempt to mount ended.
enum Mount {
    Done,
    /// Not mounted, and an upload was opened instead: that is the one to use.
    Upload(Url),
    Failed,
}

struct Upload<'a> {
    repository: &'a Repository,
    what: String,
    digest: &'a Digest,
    body: Body,
    meter: Meter,
    scope: Scope,
}

impl Upload<'_> {
    /// The whole unit is repeated: after a broken connection nobody knows what the registry kept. Where it then holds
    /// something else than we believe, an upload is begun anew, once.
    async fn climb(&self) -> Result<PutOutcome, RegistryError> {
        let (in_parts, begun_anew) = (AtomicBool::new(false), AtomicBool::new(false));
        self.repository
            .registry()
            .retry(|| async {
                match self.climb_once(&in_parts).await {
                    Err(error) if is_out_of_step(&error) && !begun_anew.swap(true, Ordering::Relaxed) => {
                        tracing::debug!(%error, "beginning the upload anew");
                        self.climb_once(&in_parts).await
                    }
                    done => done,
                }
            })
            .await
    }

    async fn climb_once(&self, in_parts: &AtomicBool) -> Result<PutOutcome, RegistryError> {
        let there = match self.repository.take_seen(self.digest) {
            Some(there) => there,
            None => self.repository.ask_for_blob(self.digest).await?,
        };
        if there {
            return Ok(PutOutcome::Present);
        }
        self.meter.at(0);
        let Some(session) = self.begin().await? else {
            return Ok(PutOutcome::Mounted);
        };
        if in_parts.load(Ordering::Relaxed) {
            self.send_parts(session).await?;
            return Ok(PutOutcome::Sent);
        }
        match self.send_whole(session).await {
            Ok(()) => Ok(PutOutcome::Sent),
            Err(error) if wants_parts(&error) => {
                in_parts.store(true, Ordering::Relaxed);
                self.meter.at(0);
                let session = self.open_session(None).await?;
                self.send_parts(self.session_of(session).await?).await?;
                Ok(PutOutcome::Sent)
            }
            Err(error) => {
                if self.body.length() >= WORTH_RESUMING && is_broken(&error) {
                    in_parts.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// Mounts the blob, or opens an upload; `None` if it was mounted.
    async fn begin(&self) -> Result<Option<Url>, RegistryError> {
        if let Some(session) = self.repository.take_session(self.digest) {
            return Ok(Some(session));
        }
        match self.mount().await {
            Mount::Done => return Ok(None),
            Mount::Upload(session) => return Ok(Some(session)),
            Mount::Failed => {}
        }
        let response = self.open_session(None).await?;
        match response.status().as_u16() {
            // Some registries find the blob at this point.
            201 => Ok(None),
            _ => self.session_of(response).await.map(Some),
        }
    }

    /// Whatever goes wrong with a mount, sending is still possible.
    async fn mount(&self) -> Mount {
        for source in self.repository.mount_sources() {
            let Ok(response) = self.open_session(Some(source)).await else {
                continue;
            };
            match response.status().as_u16() {
                201 => return Mount::Done,
                202 => {
                    if let Ok(session) = self.session_of(response).await {
                        return Mount::Upload(session);
                    }
                }
                _ => {}
            }
        }
        Mount::Failed
    }

    async fn open_session(&self, mount_from: Option<&str>) -> Result<Response, RegistryError> {
        let registry = self.repository.registry();
        let mut url = self.repository.url("blobs/uploads/", &self.what)?;
        let mut scope = self.scope.clone();
        if let Some(source) = mount_from {
            url.query_pairs_mut()
                .append_pair("mount", self.digest.as_str())
                .append_pair("from", source);
            scope = scope.and_pull(source);
        }
        registry.send(Call::new(&self.what, Method::POST, url, &scope)).await
    }

    async fn session_of(&self, response: Response) -> Result<Url, RegistryError> {
        let registry = self.repository.registry();
        if response.status().as_u16() != 202 {
            return Err(registry.refused(&self.what, response).await);
        }
        self.next(&response).await
    }

    /// Where to go on: every answer may name a new place.
    async fn next(&self, response: &Response) -> Result<Url, RegistryError> {
        self.repository
            .registry()
            .location(&self.what, response.url(), response)
            .await?
            .ok_or_else(|| protocol(&self.what, "it opened an upload without saying where"))
    }

    /// One PUT with everything, and no `Content-Range`, which Amazon ECR would take for a part.
    async fn send_whole(&self, session: Url) -> Result<(), RegistryError> {
        self.commit(session, self.body.clone()).await
    }

    async fn commit(&self, mut session: Url, body: Body) -> Result<(), RegistryError> {
        let registry = self.repository.registry();
        session.query_pairs_mut().append_pair("digest", self.digest.as_str());
        let call = Call::new(&self.what, Method::PUT, session, &self.scope)
            .header(CONTENT_TYPE, OCTETS)
            .body(body, &self.meter);
        let response = registry.send(call).await?;
        if !response.status().is_success() {
            return Err(registry.refused(&self.what, response).await);
        }
        match header(&response, "docker-content-digest").and_then(|said| said.parse::<Digest>().ok()) {
            Some(found) if found != *self.digest => Err(RegistryError::WrongDigest {
                what: self.what.clone(),
                expected: self.digest.clone(),
                found,
            }),
            _ => Ok(()),
        }
    }

    async fn send_parts(&self, mut session: Url) -> Result<(), RegistryError> {
        let registry = self.repository.registry();
        let (size, part) = (self.body.length(), registry.options().part_size.max(1));
        let mut sent = 0;
        let mut broken = 0;
        while sent < size {
            let length = part.min(size - sent);
            self.meter.at(sent);
            let call = Call::new(&self.what, Method::PATCH, session.clone(), &self.scope)
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_RANGE, &format!("{sent}-{}", sent + length - 1))
                .body(self.body.part(sent, length), &self.meter);
            match registry.send(call).await {
                // The specification says 202; Amazon ECR says 201.
                Ok(response) if matches!(response.status().as_u16(), 200..=204) => {
                    session = self.next(&response).await?;
                    sent += length;
                    broken = 0;
                }
                Ok(response) => return Err(registry.refused(&self.what, response).await),
                Err(error) if is_broken(&error) && broken < 3 => {
                    broken += 1;
                    tokio::time::sleep(registry.options().first_pause * broken).await;
                    match self.ask_how_far(&session, sent, length).await {
                        Some((at, next)) => {
                            sent = at;
                            session = next;
                        }
                        None => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.commit(session, Body::None).await
    }

    /// How much of an upload the registry holds after a break, if its answer fits what we know: no less than what it
    /// confirmed, and no more than what was on its way.
    async fn ask_how_far(&self, session: &Url, sent: u64, length: u64) -> Option<(u64, Url)> {
        let registry = self.repository.registry();
        let response = registry
            .send(Call::new(&self.what, Method::GET, session.clone(), &self.scope))
            .await
            .ok()?;
        if response.status().as_u16() != 204 {
            return None;
        }
        let range = header(&response, HeaderName::from_static("range").as_str())?;
        let end: u64 = range.trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
        // `0-0` is said of an empty upload, too.
        let at = if end == 0 { 0 } else { end + 1 };
        if !(sent..=sent + length).contains(&at) {
            return None;
        }
        let next = self.next(&response).await.unwrap_or_else(|_| session.clone());
        Some((at, next))
    }
}

/// Answers of registries, and of what stands before them, to a body that they want in parts.
fn wants_parts(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::Refused {
            status: 404 | 405 | 411 | 413 | 415 | 416,
            ..
        }
    ) || matches!(error, RegistryError::Refused { status: 400, code, .. }
            if matches!(code.as_deref(), Some("BLOB_UPLOAD_INVALID" | "BLOB_UPLOAD_UNKNOWN" | "SIZE_INVALID")))
}

/// Answers to a part that does not fit what the registry holds, or to an upload that it has finished already: its `Range`
/// or our count was wrong, or something on the way sent a request twice.
fn is_out_of_step(error: &RegistryError) -> bool {
    wants_parts(error)
        || matches!(error, RegistryError::Refused { status: 400, code, .. } if code.as_deref() == Some("DIGEST_INVALID"))
}

fn is_broken(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unreachable { .. } | RegistryError::Stalled { .. })
}
