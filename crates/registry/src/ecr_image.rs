//! One image in Amazon ECR, looked at and tagged through ECR's own API: no login is needed, and the SDK repeats what was
//! lost.
//!
//! Invariant: a manifest that was read has the digest that it was asked for by, and is put again byte for byte.

use aws_sdk_ecr::types::{ImageFailureCode, ImageIdentifier};
use bytes::Bytes;
use nuages_aws::error::describe;
use nuages_model::Digest;

use crate::client::protocol;
use crate::manifest::{ACCEPTED, Manifest};
use crate::{Ecr, RegistryError};

impl Ecr {
    /// The manifest that a tag or digest names; `None` if there is no such image.
    ///
    /// ```no_run
    /// # async fn example(ecr: nuages_registry::Ecr) -> Result<(), nuages_registry::RegistryError> {
    /// if let Some(manifest) = ecr.image("blog-staging", "build-3f2a91c0").await? {
    ///     println!("{}", manifest.digest);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn image(&self, repository: &str, reference: &str) -> Result<Option<Manifest>, RegistryError> {
        let what = format!("look up {repository}:{reference}");
        let wanted = reference.parse::<Digest>().ok();
        let id = match &wanted {
            Some(digest) => ImageIdentifier::builder().image_digest(digest.as_str()),
            None => ImageIdentifier::builder().image_tag(reference),
        };
        let asked = self.client.batch_get_image().repository_name(repository);
        // ECR converts a manifest into a type that is accepted; with all of them named it stays what it is.
        let types = ACCEPTED.split(',').map(|one| one.trim().to_owned());
        let asked = asked
            .image_ids(id.build())
            .set_accepted_media_types(Some(types.collect()));
        let answer = asked.send().await.map_err(|error| RegistryError::Ecr {
            what: what.clone(),
            source: describe("ecr:BatchGetImage", &error),
        })?;
        let Some(found) = answer.images().first() else {
            return match answer.failures().first() {
                None => Ok(None),
                Some(failure) if failure.failure_code() == Some(&ImageFailureCode::ImageNotFound) => Ok(None),
                Some(failure) => {
                    let code = failure.failure_code().map_or("no reason", ImageFailureCode::as_str);
                    let why = failure.failure_reason().unwrap_or_default();
                    Err(protocol(&what, format!("{code}: {why}")))
                }
            };
        };
        let content = found.image_manifest().unwrap_or_default().to_owned();
        let digest = Digest::of(content.as_bytes());
        let said = found.image_id().and_then(|id| id.image_digest()?.parse().ok());
        if let Some(expected) = wanted.or(said).filter(|expected| *expected != digest) {
            return Err(RegistryError::WrongDigest {
                what,
                expected,
                found: digest,
            });
        }
        Ok(Some(Manifest {
            media_type: found.image_manifest_media_type().unwrap_or_default().to_owned(),
            digest,
            content: Bytes::from(content),
        }))
    }

    /// Gives an image one more tag, by putting the same manifest again. It is no error if the tag names it already.
    pub async fn tag(&self, repository: &str, digest: &Digest, tag: &str) -> Result<(), RegistryError> {
        let taken = |theirs: Digest| RegistryError::TagTaken {
            tag: tag.to_owned(),
            ours: digest.clone(),
            theirs,
        };
        // Whether a tag that names another image may move is for the repository to say.
        if self
            .image(repository, tag)
            .await?
            .is_some_and(|there| there.digest == *digest)
        {
            return Ok(());
        }
        let Some(manifest) = self.image(repository, digest.as_str()).await? else {
            return Err(RegistryError::NotFound {
                what: format!("the image {repository}@{digest}"),
                host: self.place(),
            });
        };
        let text = String::from_utf8_lossy(&manifest.content).into_owned();
        let put = self.client.put_image().repository_name(repository).image_tag(tag);
        let put = put
            .image_digest(digest.as_str())
            .image_manifest(text)
            .set_image_manifest_media_type(Some(manifest.media_type).filter(|it| !it.is_empty()));
        let Err(error) = put.send().await else { return Ok(()) };
        let source = describe("ecr:PutImage", &error);
        let exists = ["ImageAlreadyExistsException", "ImageTagAlreadyExistsException"];
        if exists.iter().any(|code| source.is_code(code)) {
            // The answer to an earlier try may have been lost.
            match self.image(repository, tag).await? {
                Some(there) if there.digest == *digest => return Ok(()),
                Some(there) => return Err(taken(there.digest)),
                None => {}
            }
        }
        Err(RegistryError::Ecr {
            what: format!("tag the image {repository}:{tag}"),
            source,
        })
    }
}
