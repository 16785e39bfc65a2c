//! What belongs to an image without being part of it: its bill of materials, signatures, reports.
//!
//! Invariant: what refers to an image can be found from it in every registry: where the registry keeps no list of its own,
//! the list is an index under the tag that the specification sets aside for it (OCI distribution specification, "Referrers
//! Tag Schema").

use std::collections::BTreeMap;

use bytes::Bytes;
use nuages_model::{Blob, Descriptor, Digest, Progress};
use oci_spec::image::ImageIndex;
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::Scope;
use crate::client::{Call, protocol};
use crate::manifest::{OCI_INDEX, OCI_MANIFEST, descriptor};
use crate::{RegistryError, Repository};

/// A list of referrers is read up to here.
const LONGEST: usize = 4 * 1024 * 1024;
const MOST_PAGES: usize = 100;

/// The configuration of what is no image (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// What is to belong to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referring {
    /// What it is, as a media type.
    pub artifact_type: String,
    /// How its content is written, as a media type.
    pub media_type: String,
    /// Its content.
    pub content: Bytes,
    /// What else is said of it.
    pub annotations: BTreeMap<String, String>,
}

/// What belongs to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Its manifest.
    #[serde(flatten)]
    pub manifest: Descriptor,
    /// What it is, as a media type.
    #[serde(default)]
    pub artifact_type: String,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Repository {
    /// Stores something that belongs to an image of this repository, and answers its manifest's digest. The same thing
    /// again changes nothing.
    ///
    /// ```no_run
    /// use nuages_registry::{Credentials, Options, Referring, Registry};
    ///
    /// # async fn example(sbom: bytes::Bytes) -> Result<(), nuages_registry::RegistryError> {
    /// let registry = Registry::new("localhost:5000", Credentials::Anonymous, Options::default())?;
    /// let repository = registry.repository("blog");
    /// let Some(image) = repository.head_manifest("v1").await? else { return Ok(()) };
    /// let sbom = Referring {
    ///     artifact_type: "application/vnd.cyclonedx+json".into(),
    ///     media_type: "application/vnd.cyclonedx+json".into(),
    ///     content: sbom,
    ///     annotations: [].into(),
    /// };
    /// repository.refer(&image, sbom).await?;
    /// assert_eq!(repository.referrers(&image.digest).await?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn refer(&self, image: &Descriptor, what: Referring) -> Result<Digest, RegistryError> {
        let layer = Descriptor {
            media_type: what.media_type,
            digest: Digest::of(&what.content),
            size: what.content.len() as u64,
        };
        let config = Descriptor {
            media_type: EMPTY_TYPE.into(),
            digest: Digest::of(EMPTY),
            size: EMPTY.len() as u64,
        };
        let quiet = Progress::none();
        self.push_blob(&config, Blob::Bytes(Bytes::from_static(EMPTY)), &quiet)
            .await?;
        self.push_blob(&layer, Blob::Bytes(what.content), &quiet).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": what.artifact_type,
            "config": config,
            "layers": [layer],
            "subject": image,
            "annotations": what.annotations,
        });
        let manifest = Bytes::from(manifest.to_string());
        let referrer = Referrer {
            manifest: Descriptor {
                media_type: OCI_MANIFEST.into(),
                digest: Digest::of(&manifest),
                size: manifest.len() as u64,
            },
            artifact_type: what.artifact_type,
            annotations: what.annotations,
        };
        let own = referrer.manifest.digest.to_string();
        let put = self.put_manifest_of(OCI_MANIFEST, manifest, &own).await?;
        if !put.knows_subject {
            self.list_under_tag(&image.digest, referrer).await?;
        }
        Ok(put.digest)
    }

    /// What belongs to an image, in the registry's order.
    pub async fn referrers(&self, image: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        match self.listed(image).await? {
            Some(listed) => Ok(listed),
            None => self.listed_under_tag(image).await,
        }
    }

    /// The registry's own list; `None` where it keeps none.
    async fn listed(&self, image: &Digest) -> Result<Option<Vec<Referrer>>, RegistryError> {
        let what = format!("list what belongs to {}@{}", self.name(), image.short());
        let scope = Scope::pull(self.name());
        let mut found = Vec::new();
        let mut next = Some(self.url(&format!("referrers/{image}"), &what)?);
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { return Ok(Some(found)) };
            let page = self
                .registry()
                .retry(|| async {
                    let call = Call::new(&what, Method::GET, url.clone(), &scope).header(ACCEPT, OCI_INDEX);
                    let response = self.registry().send(call).await?;
                    match response.status().as_u16() {
                        200 => {}
                        // A registry that was made before there was such a list, or one in front of it that guards its paths.
                        404 | 405 => return Ok(None),
                        _ => return Err(self.registry().refused(&what, response).await),
                    }
                    let link = Self::next_page(&what, &url, &response)?;
                    let content = self.registry().read(&what, response, LONGEST).await?;
                    Ok(Some((content, link)))
                })
                .await?;
            let Some((content, link)) = page else { return Ok(None) };
            found.extend(entries(&what, &content)?);
            next = link;
        }
        Err(protocol(&what, "its list has no end"))
    }

    async fn listed_under_tag(&self, image: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        match self.manifest(&fallback_tag(image)).await {
            Ok(index) => entries("read the list of referrers", &index.content),
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Two who do this at the same moment may lose one of the entries: the specification has no better way without a list
    /// of the registry's own. The second look tells, and the entry is made again.
    async fn list_under_tag(&self, image: &Digest, referrer: Referrer) -> Result<(), RegistryError> {
        for _ in 0..3 {
            let mut listed = self.listed_under_tag(image).await?;
            if listed
                .iter()
                .any(|other| other.manifest.digest == referrer.manifest.digest)
            {
                return Ok(());
            }
            listed.push(referrer.clone());
            let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed });
            self.push_manifest(OCI_INDEX, Bytes::from(index.to_string()), &fallback_tag(image))
                .await?;
        }
        Err(protocol(
            "list what belongs to the image",
            "the list under the image's tag keeps changing",
        ))
    }
}

/// Where the list is kept by those who cannot leave it to the registry.
fn fallback_tag(image: &Digest) -> String {
    format!("sha256-{}", image.hex())
}

fn entries(what: &str, content: &[u8]) -> Result<Vec<Referrer>, RegistryError> {
    let index = ImageIndex::from_reader(content).map_err(|error| protocol(what, error.to_string()))?;
    let entry = |from: &oci_spec::image::Descriptor| {
        Ok(Referrer {
            manifest: descriptor(from)?,
            artifact_type: from
                .artifact_type()
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            annotations: from.annotations().clone().unwrap_or_default().into_iter().collect(),
        })
    };
    index.manifests().iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_list_has_a_tag_of_its_own() {
        let image = Digest::of(b"x");
        assert_eq!(fallback_tag(&image), image.as_str().replace(':', "-"));
    }

    proptest! {
        #[test]
        fn never_panics(content in "[{}\\[\\]\":,a-z0-9]{0,60}") {
            let _ = entries("x", content.as_bytes());
        }
    }
}
