//! Manifests and tags.
//!
//! Invariant: a manifest is kept once all that it names is there, and a tag that never moves stays.

use ::http::{Method, Request, Response};
use bytes::Bytes;
use nuages_model::Digest;

use super::Shared;
use super::state::named;
use super::wire::{error, plain, query};

impl Shared {
    pub(super) fn manifest(&self, request: &Request<Bytes>, repository: &str, reference: &str) -> Response<Bytes> {
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
                if let Some(subject) = parsed["subject"]["digest"]
                    .as_str()
                    .filter(|_| self.behaviour.referrers)
                {
                    let subject = subject.parse().expect("a digest");
                    response.headers_mut().insert("oci-subject", subject);
                }
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

    pub(super) fn tags(&self, request: &Request<Bytes>, repository: &str) -> Response<Bytes> {
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
