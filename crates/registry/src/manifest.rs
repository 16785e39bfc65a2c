//! Manifests and indexes: the small documents that name an image's blobs.
//!
//! Invariant: a manifest that was read has the digest that it was asked for by.

use bytes::Bytes;
use nuages_model::{Descriptor, Digest, ImageRef};
use oci_spec::image::{ImageIndex, ImageManifest};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};

use crate::auth::Scope;
use crate::body::{Body, Meter};
use crate::client::{Call, protocol};
use crate::{RegistryError, Repository};

/// An OCI image's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI index: one image for several platforms.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// All four, always: without them some registries answer 404, and Amazon ECR converts what it has into what it thinks we
/// want.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// The specification lets registries refuse manifests above 4 MiB.
const LONGEST: usize = 8 * 1024 * 1024;

/// A manifest or index, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub content: Bytes,
}

impl Manifest {
    /// The blobs that it names: the configuration, then the layers. None for an index.
    pub fn blobs(&self) -> Result<Vec<Descriptor>, RegistryError> {
        if self.is_index() {
            return Ok(Vec::new());
        }
        let read = ImageManifest::from_reader(self.content.as_ref())
            .map_err(|error| protocol("read the manifest", error.to_string()))?;
        std::iter::once(read.config())
            .chain(read.layers())
            .map(descriptor)
            .collect()
    }

    /// The manifests that an index names. None for a manifest.
    pub fn children(&self) -> Result<Vec<Descriptor>, RegistryError> {
        if !self.is_index() {
            return Ok(Vec::new());
        }
        let read = ImageIndex::from_reader(self.content.as_ref())
            .map_err(|error| protocol("read the index", error.to_string()))?;
        read.manifests().iter().map(descriptor).collect()
    }

    pub(crate) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }
}

pub(crate) fn descriptor(from: &oci_spec::image::Descriptor) -> Result<Descriptor, RegistryError> {
    let digest = from.digest().to_string();
    Ok(Descriptor {
        media_type: from.media_type().to_string(),
        digest: digest
            .parse()
            .map_err(|_| protocol("read the manifest", format!("`{digest}` is no sha256 digest")))?,
        size: from.size(),
    })
}

/// How a manifest was taken.
pub(crate) struct PutManifest {
    pub(crate) digest: Digest,
    /// Whether the registry said that it lists the manifest among its subject's referrers.
    pub(crate) knows_subject: bool,
}

impl Repository {
    /// What a tag or digest names, without its content. `None` if there is no such thing.
    pub async fn head_manifest(&self, reference: &str) -> Result<Option<Descriptor>, RegistryError> {
        let what = format!("look up {}:{reference}", self.name());
        let scope = Scope::pull(self.name());
        let found = self
            .registry()
            .retry(|| async {
                let call =
                    Call::new(&what, Method::HEAD, self.manifest_url(reference)?, &scope).header(ACCEPT, ACCEPTED);
                let response = self.registry().send(call).await?;
                match response.status().as_u16() {
                    200 => Ok(Some(response)),
                    404 => Ok(None),
                    _ => Err(self.registry().refused(&what, response).await),
                }
            })
            .await?;
        let Some(response) = found else { return Ok(None) };
        let said = header(&response, "docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        let size = header(&response, "content-length").and_then(|length| length.parse().ok());
        match (said, size) {
            (Some(digest), Some(size)) => Ok(Some(Descriptor {
                media_type: media_type(&response),
                digest,
                size,
            })),
            // A registry that does not say has to be asked for the whole.
            _ => match self.manifest(reference).await {
                Ok(found) => Ok(Some(Descriptor {
                    media_type: found.media_type,
                    digest: found.digest,
                    size: found.content.len() as u64,
                })),
                Err(RegistryError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Reads a manifest or index by tag or digest.
    pub async fn manifest(&self, reference: &str) -> Result<Manifest, RegistryError> {
        let what = format!("read the manifest {}:{reference}", self.name());
        let scope = Scope::pull(self.name());
        self.registry()
            .retry(|| async {
                let call =
                    Call::new(&what, Method::GET, self.manifest_url(reference)?, &scope).header(ACCEPT, ACCEPTED);
                let response = self.registry().send(call).await?;
                match response.status().as_u16() {
                    200 => {}
                    404 => {
                        return Err(RegistryError::NotFound {
                            what: format!("the manifest {}:{reference}", self.name()),
                            host: self.registry().host().to_owned(),
                        });
                    }
                    _ => return Err(self.registry().refused(&what, response).await),
                }
                let said = header(&response, "docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
                let mut media_type = media_type(&response);
                let content = self.registry().read(&what, response, LONGEST).await?;
                let digest = Digest::of(&content);
                let expected = reference.parse::<Digest>().ok().or(said);
                if let Some(expected) = expected.filter(|expected| *expected != digest) {
                    return Err(RegistryError::WrongDigest {
                        what: what.clone(),
                        expected,
                        found: digest,
                    });
                }
                // Some proxies lose the type; the document says it too.
                if !ACCEPTED.contains(media_type.as_str())
                    && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&content)
                    && let Some(own) = value.get("mediaType").and_then(serde_json::Value::as_str)
                {
                    own.clone_into(&mut media_type);
                }
                Ok(Manifest {
                    media_type,
                    digest,
                    content,
                })
            })
            .await
    }

    /// Stores a manifest under a tag (or its own digest), after all that it names. On an immutable tag that names the
    /// same manifest already this succeeds.
    pub async fn push_manifest(&self, media_type: &str, content: Bytes, tag: &str) -> Result<Digest, RegistryError> {
        self.put_manifest_of(media_type, content, tag)
            .await
            .map(|put| put.digest)
    }

    pub(crate) async fn put_manifest_of(
        &self,
        media_type: &str,
        content: Bytes,
        tag: &str,
    ) -> Result<PutManifest, RegistryError> {
        let what = format!("tag the image {}:{tag}", self.name());
        let scope = Scope::push(self.name());
        let ours = Digest::of(&content);
        let put = self
            .registry()
            .retry(|| async {
                let call = Call::new(&what, Method::PUT, self.manifest_url(tag)?, &scope)
                    .header(CONTENT_TYPE, media_type)
                    .body(Body::Bytes(content.clone()), &Meter::silent());
                let response = self.registry().send(call).await?;
                if !response.status().is_success() {
                    return Err(self.registry().refused(&what, response).await);
                }
                let subject = header(&response, "oci-subject").is_some();
                let digest =
                    header(&response, "docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
                Ok((digest, subject))
            })
            .await;
        let (put, knows_subject) = match put {
            Ok((digest, subject)) => (Ok(digest), subject),
            Err(error) => (Err(error), false),
        };
        let digest = self.what_was_put(put, what, ours, tag).await?;
        Ok(PutManifest { digest, knows_subject })
    }

    /// Whether the tag names our manifest now, whatever was answered.
    async fn what_was_put(
        &self,
        put: Result<Option<Digest>, RegistryError>,
        what: String,
        ours: Digest,
        tag: &str,
    ) -> Result<Digest, RegistryError> {
        match put {
            Ok(Some(found)) if found != ours => Err(RegistryError::WrongDigest {
                what,
                expected: ours,
                found,
            }),
            Ok(Some(_)) => Ok(ours),
            // Who does not say what was stored may have stored nothing.
            Ok(None) => match self.head_manifest(tag).await? {
                Some(there) if there.digest == ours => Ok(ours),
                Some(there) => Err(RegistryError::WrongDigest {
                    what,
                    expected: ours,
                    found: there.digest,
                }),
                None => Err(protocol(&what, "it took the manifest, and does not have it")),
            },
            Err(error) if may_be_immutable(&error) => match self.head_manifest(tag).await {
                Ok(Some(there)) if there.digest == ours => Ok(ours),
                Ok(Some(there)) => Err(RegistryError::TagTaken {
                    tag: tag.to_owned(),
                    ours,
                    theirs: there.digest,
                }),
                // What the tag names would say more than the refusal, and could not be asked for.
                Err(look_up) if look_up.is_transient() => Err(look_up),
                Ok(None) | Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Removes a manifest and the tags that name it. Whether its blobs go is up to the registry.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        let what = format!("delete the manifest {}@{digest}", self.name());
        let scope = Scope::delete(self.name());
        self.registry()
            .retry(|| async {
                let call = Call::new(&what, Method::DELETE, self.manifest_url(digest.as_str())?, &scope);
                let response = self.registry().send(call).await?;
                match response.status().as_u16() {
                    200..=299 | 404 => Ok(()),
                    _ => Err(self.registry().refused(&what, response).await),
                }
            })
            .await
    }

    fn manifest_url(&self, reference: &str) -> Result<reqwest::Url, RegistryError> {
        let what = "address the manifest";
        // What is no tag and no digest could lead to another place of the registry.
        let valid = reference.parse::<Digest>().is_ok()
            || ImageRef::new("localhost", "any").is_ok_and(|image| image.with_tag(reference).is_ok());
        if !valid {
            return Err(protocol(what, format!("`{reference}` is neither a tag nor a digest")));
        }
        self.url(&format!("manifests/{reference}"), what)
    }
}

/// How registries say that a tag may not move: Amazon ECR with `TAG_INVALID`, others with a conflict.
fn may_be_immutable(error: &RegistryError) -> bool {
    match error {
        RegistryError::Denied { .. } | RegistryError::Refused { status: 409 | 412, .. } => true,
        RegistryError::Refused {
            status: 400 | 405,
            code,
            ..
        } => {
            // Where the code was lost on the way, it may be any.
            matches!(
                code.as_deref(),
                None | Some("TAG_INVALID" | "DENIED" | "UNSUPPORTED" | "MANIFEST_INVALID")
            )
        }
        _ => false,
    }
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

fn media_type(response: &Response) -> String {
    header(response, "content-type")
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(media_type: &str, content: &str) -> Manifest {
        let content = Bytes::from(content.to_owned());
        Manifest {
            media_type: media_type.into(),
            digest: Digest::of(&content),
            content,
        }
    }

    #[test]
    fn names_what_it_holds() {
        let digest = Digest::of(b"x");
        let one = manifest(
            OCI_MANIFEST,
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}",
                "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":1}},
                "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":7}}]}}"#
            ),
        );
        assert_eq!(
            one.blobs().unwrap().iter().map(|blob| blob.size).collect::<Vec<_>>(),
            [1, 7]
        );
        assert!(one.children().unwrap().is_empty());
        let index = manifest(
            OCI_INDEX,
            &format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":9}}]}}"#
            ),
        );
        assert_eq!(index.children().unwrap()[0].size, 9);
        assert!(index.blobs().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(content in "[{}\\[\\]\":,a-z0-9]{0,40}") {
            let _ = manifest(OCI_MANIFEST, &content).blobs();
            let _ = manifest(OCI_INDEX, &content).children();
        }
    }
}
