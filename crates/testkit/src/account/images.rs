//! Amazon ECR's images, as its API tells them.
//!
//! Invariant: a tag never moves, as in the repositories that nuages makes.

use std::collections::{BTreeMap, BTreeSet};

use ::http::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::aws::ACCOUNT;
use crate::http::{Received, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The images of all repositories.
#[derive(Debug, Clone, Default)]
pub(super) struct Images {
    /// By repository and digest: manifest and tags.
    known: BTreeMap<(String, String), (String, BTreeSet<String>)>,
}

fn digest_of(manifest: &str) -> String {
    nuages_model::Digest::of(manifest.as_bytes()).as_str().to_owned()
}

fn refused(code: &str, message: &str) -> Response<Bytes> {
    json(400, &json!({"__type": code, "message": message}))
}

impl Images {
    pub(super) fn push(&mut self, repository: &str, manifest: &str) -> String {
        let digest = digest_of(manifest);
        let key = (repository.to_owned(), digest.clone());
        self.known
            .entry(key)
            .or_insert_with(|| (manifest.to_owned(), BTreeSet::new()));
        digest
    }

    pub(super) fn tags(&self, repository: &str, digest: &str) -> Vec<String> {
        let found = self.known.get(&(repository.to_owned(), digest.to_owned()));
        found
            .map(|(_, tags)| tags.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(super) fn digests(&self) -> BTreeSet<String> {
        self.known.keys().map(|(_, digest)| digest.clone()).collect()
    }

    /// Digest and manifest of what an image id names.
    fn find(&self, repository: &str, id: &Value) -> Option<(String, String)> {
        let (digest, tag) = (id["imageDigest"].as_str(), id["imageTag"].as_str());
        let mut of_repository = self.known.iter().filter(|((name, _), _)| name == repository);
        let found = of_repository.find(|((_, known), (_, tags))| match (digest, tag) {
            (Some(digest), _) => known == digest,
            (None, Some(tag)) => tags.contains(tag),
            (None, None) => false,
        });
        found.map(|((_, digest), (manifest, _))| (digest.clone(), manifest.clone()))
    }

    pub(super) fn answer(&mut self, operation: &str, request: &Received) -> Response<Bytes> {
        let input: Value = serde_json::from_slice(request.body()).expect("a JSON request");
        let repository = input["repositoryName"].as_str().unwrap_or_default().to_owned();
        let asked = input["imageIds"].as_array().cloned().unwrap_or_default();
        match operation {
            "BatchGetImage" => {
                assert!((1..=100).contains(&asked.len()), "{} images", asked.len());
                let (mut images, mut failures) = (Vec::new(), Vec::new());
                for id in asked {
                    match self.find(&repository, &id) {
                        Some((digest, manifest)) => images.push(json!({
                            "registryId": ACCOUNT, "repositoryName": repository, "imageManifest": manifest,
                            "imageManifestMediaType": MANIFEST,
                            "imageId": {"imageDigest": digest, "imageTag": id["imageTag"]},
                        })),
                        None => failures.push(json!({
                            "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
                        })),
                    }
                }
                json(200, &json!({"images": images, "failures": failures}))
            }
            "PutImage" => self.put(&repository, &input),
            "ListImages" => {
                let of = |key: &&(String, String)| key.0 == repository;
                let ids = self
                    .known
                    .keys()
                    .filter(of)
                    .map(|(_, digest)| json!({"imageDigest": digest}));
                json(200, &json!({"imageIds": ids.collect::<Vec<_>>()}))
            }
            "BatchDeleteImage" => {
                let mut gone = Vec::new();
                for id in asked {
                    if let Some((digest, _)) = self.find(&repository, &id) {
                        self.known.remove(&(repository.clone(), digest));
                        gone.push(id);
                    }
                }
                json(200, &json!({"imageIds": gone, "failures": []}))
            }
            other => panic!("the scripted account's ECR does not know {other}"),
        }
    }

    fn put(&mut self, repository: &str, input: &Value) -> Response<Bytes> {
        let manifest = input["imageManifest"].as_str().unwrap_or_default();
        let digest = digest_of(manifest);
        if input["imageDigest"].as_str().is_some_and(|said| said != digest) {
            return refused("ImageDigestDoesNotMatchException", "The digest is another one");
        }
        let tag = input["imageTag"].as_str().unwrap_or_default();
        match self.find(repository, &json!({"imageTag": tag})) {
            Some((there, _)) if there == digest => {
                return refused(
                    "ImageAlreadyExistsException",
                    "Image with this digest and tag already exists",
                );
            }
            Some(_) => return refused("ImageTagAlreadyExistsException", "The tag is immutable"),
            None => {}
        }
        self.push(repository, manifest);
        let key = (repository.to_owned(), digest.clone());
        if let Some((_, tags)) = self.known.get_mut(&key) {
            tags.insert(tag.to_owned());
        }
        let id = json!({"imageDigest": digest, "imageTag": tag});
        json(
            200,
            &json!({"image": {"registryId": ACCOUNT, "repositoryName": repository, "imageId": id}}),
        )
    }
}
