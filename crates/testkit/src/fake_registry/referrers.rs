//! What refers to an image, as registries since version 1.1 of the specification list it.
//!
//! Invariant: who names a subject is told that it is listed, and is.

use ::http::{Request, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Shared;
use super::wire::{error, plain, query};

impl Shared {
    pub(super) fn referrers(&self, request: &Request<Bytes>, repository: &str, image: &str) -> Response<Bytes> {
        if !self.behaviour.referrers {
            return error(404, "UNSUPPORTED", "no such path");
        }
        let state = self.state();
        let own = state.manifests.iter().filter(|((name, _), _)| name == repository);
        let mut all: Vec<Value> = own
            .filter_map(|((_, digest), (media_type, content))| {
                let manifest: Value = serde_json::from_slice(content).ok()?;
                (manifest["subject"]["digest"] == image).then(|| {
                    json!({
                        "mediaType": media_type, "digest": digest, "size": content.len(),
                        "artifactType": manifest["artifactType"], "annotations": manifest["annotations"],
                    })
                })
            })
            .collect();
        all.sort_by_key(|entry| entry["digest"].to_string());
        let from: usize = query(request, "from").next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let page: Vec<_> = all.iter().skip(from).take(self.behaviour.page).collect();
        let next = from + page.len();
        let index = "application/vnd.oci.image.index.v1+json";
        let body = json!({ "schemaVersion": 2, "mediaType": index, "manifests": page });
        let mut headers = vec![("content-type", index.to_owned())];
        if next < all.len() {
            let link = format!("</v2/{repository}/referrers/{image}?from={next}>; rel=\"next\"");
            headers.push(("link", link));
        }
        plain(200, &headers, body.to_string().into())
    }
}
