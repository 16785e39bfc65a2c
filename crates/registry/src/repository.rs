//! One repository of a registry: its blobs and tags.
//!
//! Invariant: what was read has the digest and the size that were asked for, or it is an error and no file is left.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use nuages_model::{
    Blob, BlobSink, BlobSource, Descriptor, Digest, ImageRef, Progress, PutOutcome, Sha256, SinkError, SourceError,
};
use reqwest::header::RANGE;
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use crate::auth::Scope;
use crate::client::{Call, protocol};
use crate::manifest::header;
use crate::{Registry, RegistryError};

/// A list of tags is read up to here, a page at a time.
const LONGEST_PAGE: usize = 4 * 1024 * 1024;
const MOST_PAGES: usize = 10_000;

/// A repository.
///
/// ```no_run
/// use nuages_model::{Blob, BlobSink as _, Descriptor, Digest, Progress};
/// use nuages_registry::{Credentials, Options, Registry};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new("localhost:5000", Credentials::Anonymous, Options::default())?;
/// let repository = registry.repository("blog");
/// let content = bytes::Bytes::from_static(b"hello");
/// let descriptor =
///     Descriptor { media_type: "text/plain".into(), digest: Digest::of(&content), size: content.len() as u64 };
/// repository.put_blob(&descriptor, Blob::Bytes(content), &Progress::none()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Repository {
    registry: Registry,
    name: String,
    mount_from: Vec<String>,
    /// What a HEAD said of a blob a moment ago, so that asking and then sending does not ask twice.
    seen: Arc<Mutex<HashMap<Digest, bool>>>,
    /// Uploads that a mount opened in its own place.
    sessions: Arc<Mutex<HashMap<Digest, Url>>>,
}

impl Repository {
    pub(crate) fn new(registry: Registry, name: &str) -> Self {
        Self {
            registry,
            name: name.to_owned(),
            mount_from: Vec::new(),
            seen: Arc::default(),
            sessions: Arc::default(),
        }
    }

    /// Repositories of the same registry that may hold the same blobs already.
    #[must_use]
    pub fn mounting_from(mut self, repositories: impl IntoIterator<Item = String>) -> Self {
        self.mount_from = repositories.into_iter().filter(|name| *name != self.name).collect();
        self
    }

    /// The repository's path in its registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn mount_sources(&self) -> &[String] {
        &self.mount_from
    }

    pub(crate) fn blob_url(&self, digest: &Digest) -> Result<Url, RegistryError> {
        self.url(&format!("blobs/{digest}"), "address the blob")
    }

    pub(crate) fn url(&self, rest: &str, what: &str) -> Result<Url, RegistryError> {
        ImageRef::new("localhost", &self.name).map_err(|error| protocol(what, error.to_string()))?;
        self.registry.url(&format!("v2/{}/{rest}", self.name), what)
    }

    /// Takes back what a HEAD said, so that it decides once.
    pub(crate) fn take_seen(&self, digest: &Digest) -> Option<bool> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(digest)
    }

    fn remember(&self, digest: &Digest, there: bool) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.clone(), there);
    }

    pub(crate) fn take_session(&self, digest: &Digest) -> Option<Url> {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(digest)
    }

    pub(crate) fn keep_session(&self, digest: &Digest, session: Url) {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.clone(), session);
    }

    /// Whether the blob is there.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let there = self.registry.retry(|| self.ask_for_blob(digest)).await?;
        self.remember(digest, there);
        Ok(there)
    }

    pub(crate) async fn ask_for_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let what = format!("look up the blob {}", digest.short());
        let scope = Scope::pull(&self.name);
        let response = self
            .registry
            .send(Call::new(&what, Method::HEAD, self.blob_url(digest)?, &scope))
            .await?;
        match response.status().as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.registry.refused(&what, response).await),
        }
    }

    /// Reads a blob into a file, checks its digest, and gives it its name only then. What broke off is continued.
    pub async fn pull_blob(
        &self,
        descriptor: &Descriptor,
        path: &Path,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let broken = |what, source| RegistryError::File {
            what,
            path: path.to_owned(),
            source,
        };
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{}.part", std::process::id()));
        let part = std::path::PathBuf::from(part);
        let file = tokio::fs::File::create(&part)
            .await
            .map_err(|source| broken("write", source))?;
        let download = tokio::sync::Mutex::new(Download {
            file,
            hash: Sha256::new(),
            done: 0,
        });
        let done = self
            .registry
            .retry(|| async {
                let mut download = download.lock().await;
                self.pull_some(descriptor, &mut download, progress, path).await
            })
            .await;
        let Download { mut file, hash, .. } = download.into_inner();
        let done = match done {
            Ok(()) => match hash.finish() {
                found if found == descriptor.digest => file.flush().await.map_err(|source| broken("write", source)),
                found => Err(RegistryError::WrongDigest {
                    what: format!("read the blob {}", descriptor.digest.short()),
                    expected: descriptor.digest.clone(),
                    found,
                }),
            },
            Err(error) => Err(error),
        };
        drop(file);
        match done {
            Ok(()) => tokio::fs::rename(&part, path)
                .await
                .map_err(|source| broken("name", source)),
            Err(error) => {
                // The error is what matters; a part that stays is overwritten by the next attempt.
                let _ = tokio::fs::remove_file(&part).await;
                Err(error)
            }
        }
    }

    async fn pull_some(
        &self,
        descriptor: &Descriptor,
        download: &mut Download,
        progress: &Progress,
        path: &Path,
    ) -> Result<(), RegistryError> {
        let what = format!("read the blob {}", descriptor.digest.short());
        let scope = Scope::pull(&self.name);
        if download.done == descriptor.size {
            return Ok(());
        }
        let mut call = Call::new(&what, Method::GET, self.blob_url(&descriptor.digest)?, &scope);
        if download.done > 0 {
            call = call.header(RANGE, &format!("bytes={}-", download.done));
        }
        let mut response = self.registry.send(call).await?;
        match response.status().as_u16() {
            206 if download.done > 0 => {}
            // The whole again, or for the first time.
            200 => download.restart().await.map_err(|source| RegistryError::File {
                what: "write",
                path: path.to_owned(),
                source,
            })?,
            404 => {
                return Err(RegistryError::NotFound {
                    what: format!("the blob {}", descriptor.digest),
                    host: self.registry.host().to_owned(),
                });
            }
            _ => return Err(self.registry.refused(&what, response).await),
        }
        while let Some(chunk) = self.registry.chunk(&what, &mut response).await? {
            download.done += chunk.len() as u64;
            if download.done > descriptor.size {
                return Err(protocol(&what, format!("it is longer than {} bytes", descriptor.size)));
            }
            download.hash.update(&chunk);
            download
                .file
                .write_all(&chunk)
                .await
                .map_err(|source| RegistryError::File {
                    what: "write",
                    path: path.to_owned(),
                    source,
                })?;
            progress.bytes(descriptor.digest.short(), download.done, Some(descriptor.size));
        }
        if download.done < descriptor.size {
            return Err(protocol(
                &what,
                format!("it ends after {} of {} bytes", download.done, descriptor.size),
            ));
        }
        Ok(())
    }

    /// Where a list goes on. The next page is of this registry, whatever host the link names.
    pub(crate) fn next_page(what: &str, url: &Url, response: &Response) -> Result<Option<Url>, RegistryError> {
        let Some(link) = header(response, "link").and_then(next_page) else {
            return Ok(None);
        };
        let target = url.join(&link).map_err(|error| protocol(what, error.to_string()))?;
        let mut own = url.clone();
        own.set_path(target.path());
        own.set_query(target.query());
        Ok(Some(own))
    }

    /// All tags, in the registry's order.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            // Some registries answer `null` for none.
            tags: Option<Vec<String>>,
        }
        let what = format!("list the tags of {}", self.name);
        let scope = Scope::pull(&self.name);
        let mut tags = Vec::new();
        let mut next = Some(self.url("tags/list?n=1000", &what)?);
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { return Ok(tags) };
            let (page, link) = self
                .registry
                .retry(|| async {
                    let response = self
                        .registry
                        .send(Call::new(&what, Method::GET, url.clone(), &scope))
                        .await?;
                    match response.status().as_u16() {
                        200 => {}
                        404 => {
                            return Err(RegistryError::NotFound {
                                what: format!("the repository {}", self.name),
                                host: self.registry.host().to_owned(),
                            });
                        }
                        _ => return Err(self.registry.refused(&what, response).await),
                    }
                    let link = Self::next_page(&what, &url, &response)?;
                    let page = self.registry.read(&what, response, LONGEST_PAGE).await?;
                    let page: Page =
                        serde_json::from_slice(&page).map_err(|error| protocol(&what, error.to_string()))?;
                    Ok((page, link))
                })
                .await?;
            tags.extend(page.tags.unwrap_or_default());
            next = link;
        }
        Err(protocol(&what, "its list of tags has no end"))
    }
}

struct Download {
    file: tokio::fs::File,
    hash: Sha256,
    done: u64,
}

impl Download {
    async fn restart(&mut self) -> std::io::Result<()> {
        use tokio::io::AsyncSeekExt as _;
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        self.hash = Sha256::new();
        self.done = 0;
        Ok(())
    }
}

/// The address in `<…>; rel="next"` (RFC 8288).
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|one| {
        let (address, rest) = one.trim().strip_prefix('<')?.split_once('>')?;
        let next = rest.split(';').any(|parameter| {
            matches!(parameter.trim().split_once('='), Some((key, value))
                if key.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next"))
        });
        next.then(|| address.to_owned())
    })
}

#[async_trait]
impl BlobSink for Repository {
    async fn has(&self, digest: &Digest) -> Result<bool, SinkError> {
        self.has_blob(digest)
            .await
            .map_err(|error| error.into_sink(format!("the blob {}", digest.short())))
    }

    async fn mount(&self, descriptor: &Descriptor) -> Result<bool, SinkError> {
        self.mount_blob(descriptor)
            .await
            .map_err(|error| error.into_sink(format!("the blob {}", descriptor.digest.short())))
    }

    async fn put_blob(
        &self,
        descriptor: &Descriptor,
        blob: Blob,
        progress: &Progress,
    ) -> Result<PutOutcome, SinkError> {
        self.push_blob(descriptor, blob, progress)
            .await
            .map_err(|error| error.into_sink(format!("the blob {}", descriptor.digest.short())))
    }

    async fn put_manifest(&self, media_type: &str, manifest: Bytes, tag: &str) -> Result<Digest, SinkError> {
        self.push_manifest(media_type, manifest, tag)
            .await
            .map_err(|error| error.into_sink(format!("the manifest {}:{tag}", self.name)))
    }
}

#[async_trait]
impl BlobSource for Repository {
    async fn find_manifest(&self, reference: &str) -> Result<Option<(Descriptor, Bytes)>, SourceError> {
        match self.manifest(reference).await {
            Ok(found) => {
                let descriptor = Descriptor {
                    media_type: found.media_type,
                    digest: found.digest,
                    size: found.content.len() as u64,
                };
                Ok(Some((descriptor, found.content)))
            }
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into_source(format!("the manifest {}:{reference}", self.name))),
        }
    }

    async fn fetch_blob(&self, descriptor: &Descriptor, path: &Path, progress: &Progress) -> Result<(), SourceError> {
        self.pull_blob(descriptor, path, progress)
            .await
            .map_err(|error| error.into_source(format!("the blob {}", descriptor.digest.short())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_next_page() {
        assert_eq!(
            next_page(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#).as_deref(),
            Some("/v2/a/tags/list?n=2&last=b")
        );
        assert_eq!(
            next_page(r#"<x>; rel="prev", <y>; foo=bar; REL=next"#).as_deref(),
            Some("y")
        );
        assert_eq!(next_page("<x>"), None);
    }

    proptest! {
        #[test]
        fn never_panics(link in "[<>a-z;=\", ]{0,40}") {
            next_page(&link);
        }
    }
}
