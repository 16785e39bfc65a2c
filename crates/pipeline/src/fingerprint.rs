//! "Nothing changed": a hash over all that goes into a release.
//!
//! Invariant: two releases with equal fingerprints would run the same code with the same settings and secrets. A commit
//! with identical content has the same fingerprint; a rotated secret has another.

use nuages_config::Config;
use nuages_model::{Digest, SecretVersion, Sha256};

use crate::session::TOOL_VERSION;

/// Rises when the meaning of a release changes although its inputs do not.
const FORMAT: &str = "1";

/// The fingerprint of a release. `source` is the digest of the build's inputs: files, Dockerfile, arguments, base image.
pub(crate) fn of<'a>(
    source: &Digest,
    config: &Config,
    secrets: impl Iterator<Item = (&'a str, &'a SecretVersion)>,
) -> String {
    let mut hash = Sha256::new();
    let mut part = |name: &str, value: &str| {
        // Lengths part the fields, so that no two sets of inputs run into one.
        hash.update(format!("{name} {}\n{value}\n", value.len()).as_bytes());
    };
    part("format", FORMAT);
    part("builder", TOOL_VERSION);
    part("source", source.as_str());
    part("config", config.fingerprint().as_str());
    for (variable, version) in secrets {
        part(variable, &version.value_from());
        part("version", version.version_id.as_deref().unwrap_or_default());
    }
    hash.finish().hex().to_owned()
}
