//! What a fake registry holds.
//!
//! Invariant: a digest is looked up in its repository; nothing is shared between repositories but by a mount.

use std::collections::{BTreeMap, HashMap, HashSet};

use ::http::Method;
use bytes::Bytes;
use nuages_model::Digest;

use super::{Fault, Seen};

/// An upload that was opened and is not finished.
#[derive(Debug, Default)]
pub(super) struct Upload {
    pub(super) repository: String,
    pub(super) content: Vec<u8>,
    pub(super) first_part: Option<usize>,
    pub(super) last_part: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) blobs: HashMap<(String, Digest), Bytes>,
    pub(super) manifests: HashMap<(String, Digest), (String, Bytes)>,
    pub(super) tags: BTreeMap<(String, String), Digest>,
    pub(super) uploads: HashMap<String, Upload>,
    pub(super) tokens: HashSet<String>,
    pub(super) counter: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) seen: Vec<Seen>,
}

impl State {
    pub(super) fn resolve(&self, repository: &str, reference: &str) -> Option<Digest> {
        match reference.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => self.tags.get(&(repository.to_owned(), reference.to_owned())).cloned(),
        }
    }

    pub(super) fn is_referenced(&self, repository: &str, digest: &Digest) -> bool {
        self.manifests.iter().any(|((name, _), (_, content))| {
            name == repository
                && serde_json::from_slice(content)
                    .is_ok_and(|parsed: serde_json::Value| named(&parsed).contains(digest))
        })
    }

    pub(super) fn inconsistencies(&self) -> Vec<String> {
        let wrong = self
            .blobs
            .iter()
            .filter(|((_, digest), content)| Digest::of(content) != *digest);
        let wrong = wrong.map(|((name, digest), _)| format!("the blob {name}@{digest} has another digest"));
        let known = |name: &str, digest: &Digest| {
            let key = (name.to_owned(), digest.clone());
            self.blobs.contains_key(&key) || self.manifests.contains_key(&key)
        };
        let adrift = self
            .tags
            .iter()
            .filter(|((name, _), digest)| !self.manifests.contains_key(&(name.clone(), (*digest).clone())));
        let adrift = adrift.map(|((name, tag), digest)| format!("{name}:{tag} names {digest}, which is not there"));
        let broken = self.manifests.iter().flat_map(|((name, digest), (_, content))| {
            let mut found = Vec::new();
            if Digest::of(content) != *digest {
                found.push(format!("the manifest {name}@{digest} has another digest"));
            }
            let parsed = serde_json::from_slice(content).unwrap_or_default();
            let missing = named(&parsed).into_iter().filter(|one| !known(name, one));
            found.extend(missing.map(|one| format!("{name}@{digest} names {one}, which is not there")));
            found
        });
        wrong.chain(adrift).chain(broken).collect()
    }

    pub(super) fn keep_part(&mut self, method: &Method, path: &str, content: &[u8]) {
        if *method == Method::PATCH
            && let Some((_, id)) = path.split_once("/blobs/uploads/")
            && let Some(upload) = self.uploads.get_mut(id)
        {
            upload.content.extend_from_slice(content);
        }
    }
}

/// The digests that a manifest or index names.
pub(super) fn named(manifest: &serde_json::Value) -> Vec<Digest> {
    let lists = ["layers", "manifests"]
        .iter()
        .filter_map(|key| manifest.get(key)?.as_array())
        .flatten();
    lists
        .chain(manifest.get("config"))
        .filter_map(|descriptor| descriptor.get("digest")?.as_str()?.parse().ok())
        .collect()
}
