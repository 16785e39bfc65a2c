//! Uploads: opened, sent whole or in parts, and finished by a digest.
//!
//! Invariant: what does not have its digest is never a blob.

use ::http::{Method, Request, Response};
use bytes::Bytes;
use nuages_model::Digest;

use super::state::{State, Upload};
use super::wire::{error, plain, query};
use super::{Mount, Shared};

impl Shared {
    pub(super) fn upload(&self, request: &Request<Bytes>, repository: &str, id: &str) -> Response<Bytes> {
        let mut state = self.state();
        if *request.method() == Method::POST {
            return self
                .mount(&mut state, request, repository)
                .unwrap_or_else(|| open(&mut state, repository));
        }
        let Some(upload) = state
            .uploads
            .remove(id)
            .filter(|upload| upload.repository == repository)
        else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry");
        };
        match *request.method() {
            Method::PATCH => self.add_part(&mut state, request, id, upload),
            Method::PUT => self.finish(&mut state, request, upload),
            Method::GET => {
                let held = upload.content.len();
                let end = if self.behaviour.range_sticks {
                    upload.first_part.unwrap_or(0)
                } else {
                    held
                };
                let headers = how_far(repository, id, held, end);
                state.uploads.insert(id.to_owned(), upload);
                plain(204, &headers, Bytes::new())
            }
            Method::DELETE => plain(204, &[], Bytes::new()),
            _ => error(405, "UNSUPPORTED", "no such method"),
        }
    }

    /// The answer to a request that names a blob of another repository; `None` if an upload is opened instead.
    fn mount(&self, state: &mut State, request: &Request<Bytes>, repository: &str) -> Option<Response<Bytes>> {
        let digest: Digest = query(request, "mount").next()?.parse().ok()?;
        let from = query(request, "from").next()?;
        let allowed = match self.behaviour.mount {
            Mount::Never => false,
            Mount::Always => true,
            Mount::Referenced => state.is_referenced(&from, &digest),
            Mount::Refused => return Some(error(405, "UNSUPPORTED", "mounting is not supported")),
        };
        let there = state.blobs.get(&(from, digest.clone())).cloned();
        let content = there.filter(|_| allowed)?;
        state.blobs.insert((repository.to_owned(), digest), content);
        Some(plain(201, &[("location", "/v2/mounted".into())], Bytes::new()))
    }

    fn add_part(&self, state: &mut State, request: &Request<Bytes>, id: &str, mut upload: Upload) -> Response<Bytes> {
        let (held, length) = (upload.content.len(), request.body().len());
        let expected = format!("{held}-{}", (held + length).saturating_sub(1));
        if range(request).is_some_and(|range| range != expected) {
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
        let held = upload.content.len();
        let end = if self.behaviour.range_sticks { first } else { held };
        let headers = how_far(&upload.repository, id, held, end);
        state.uploads.insert(id.to_owned(), upload);
        plain(self.behaviour.patch_status, &headers, Bytes::new())
    }

    fn finish(&self, state: &mut State, request: &Request<Bytes>, mut upload: Upload) -> Response<Bytes> {
        if range(request).is_some() && self.behaviour.refuse_ranged_put {
            return error(416, "BLOB_UPLOAD_INVALID", "a part was expected");
        }
        if !request.body().is_empty() && !self.behaviour.whole_put {
            return error(413, "SIZE_INVALID", "too large");
        }
        if !request.body().is_empty() && !request.headers().contains_key("content-length") {
            return error(411, "SIZE_INVALID", "a length is required");
        }
        upload.content.extend_from_slice(request.body());
        let said = query(request, "digest").next().and_then(|digest| digest.parse().ok());
        let Some(digest): Option<Digest> = said else {
            return error(400, "DIGEST_INVALID", "no digest");
        };
        if Digest::of(&upload.content) != digest {
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        let location = format!("/v2/{}/blobs/{digest}", upload.repository);
        let key = (upload.repository, digest.clone());
        state.blobs.insert(key, upload.content.into());
        let mut response = plain(201, &[("location", location)], Bytes::new());
        self.say_digest(&mut response, &digest);
        response
    }
}

fn open(state: &mut State, repository: &str) -> Response<Bytes> {
    state.counter += 1;
    let id = format!("upload-{}", state.counter);
    // A path and a query, as real registries answer.
    let location = format!("/v2/{repository}/blobs/uploads/{id}?state=0");
    let upload = Upload {
        repository: repository.to_owned(),
        ..Upload::default()
    };
    state.uploads.insert(id, upload);
    plain(202, &[("location", location)], Bytes::new())
}

/// Where to go on with an upload, and where it says that it ends.
fn how_far(repository: &str, id: &str, held: usize, end: usize) -> [(&'static str, String); 2] {
    [
        ("location", format!("/v2/{repository}/blobs/uploads/{id}?state={held}")),
        ("range", format!("0-{}", end.saturating_sub(1))),
    ]
}

fn range(request: &Request<Bytes>) -> Option<&str> {
    request.headers().get("content-range")?.to_str().ok()
}
