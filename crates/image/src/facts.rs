//! What an image says of itself, wherever it is.
//!
//! Invariant: values of environment variables are not among the facts: images of others hold secrets that they should not.

use nuages_model::{Descriptor, Digest};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::Base;

/// An image's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Its manifest's digest.
    pub digest: Option<Digest>,
    /// The digest of the index that its manifest was chosen from.
    pub index: Option<Digest>,
    /// Its platform, such as `linux/amd64`.
    pub platform: String,
    /// When it was made, as far as it says.
    pub created: Option<String>,
    /// `USER`; empty means root.
    pub user: String,
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub command: Vec<String>,
    /// `WORKDIR`.
    pub working_dir: String,
    /// `EXPOSE`, such as `8000/tcp`, sorted.
    pub exposed_ports: Vec<String>,
    /// The names of its environment variables, sorted.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerFacts>,
}

/// A layer's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerFacts {
    /// Its blob.
    #[serde(flatten)]
    pub blob: Descriptor,
    /// The digest of what is in the blob, uncompressed.
    pub diff_id: Digest,
    /// What made it, as the image's history says.
    pub made_by: Option<String>,
}

impl Facts {
    /// The size of all its layers, as they are sent.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.blob.size).sum()
    }
}

impl Base {
    /// What the image says of itself.
    ///
    /// ```
    /// use nuages_image::Base;
    ///
    /// let facts = Base::scratch("linux/arm64").facts();
    /// assert_eq!(facts.platform, "linux/arm64");
    /// assert!(facts.layers.is_empty());
    /// ```
    pub fn facts(&self) -> Facts {
        let config = self.config();
        let run = &config["config"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let words = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let names = |value: &Value| {
            value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect()
        };
        let mut env: Vec<String> = words(&run["Env"]).into_iter().map(name_of).collect();
        env.sort_unstable();
        // Entries without a layer are of instructions such as ENV.
        let made_by: Vec<Option<String>> = config["history"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|step| step["empty_layer"] != true)
            .map(|step| Some(text(&step["created_by"])).filter(|text| !text.is_empty()))
            .collect();
        let mut made_by = made_by.into_iter();
        let layers = self.layers().iter().map(|layer| LayerFacts {
            blob: layer.descriptor.clone(),
            diff_id: layer.diff_id.clone(),
            made_by: made_by.next().flatten(),
        });
        Facts {
            digest: self.digest().cloned(),
            index: self.index().cloned(),
            platform: self.platform(),
            created: config["created"].as_str().map(str::to_owned),
            user: text(&run["User"]),
            entrypoint: words(&run["Entrypoint"]),
            command: words(&run["Cmd"]),
            working_dir: text(&run["WorkingDir"]),
            exposed_ports: names(&run["ExposedPorts"]),
            env,
            labels: run["Labels"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            layers: layers.collect(),
        }
    }
}

fn name_of(variable: String) -> String {
    match variable.split_once('=') {
        Some((name, _)) => name.to_owned(),
        None => variable,
    }
}
