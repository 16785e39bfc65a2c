//! What is in an image, for those who look for known faults in it: a bill of materials in `CycloneDX` 1.6 (ECMA-424).
//!
//! It is made from the lock and from what the installed packages say of themselves, and it stands beside the image in the
//! registry, not in it.
//!
//! Invariant: the same packages and base give the same bytes: no time, no random number, nothing of this machine. An
//! address is told without the password in it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::packages::{At, Packages, Pinned, without_passwords};
use crate::{Base, ImageError};

/// The media type of such a document.
const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// A longer text is a licence itself, and no name of one.
const LONGEST_NAME: usize = 100;

/// A bill of materials.
///
/// ```no_run
/// # fn example(packages: &nuages_image::Packages, base: &nuages_image::Base) -> Result<(), nuages_image::ImageError> {
/// let sbom = nuages_image::Sbom::of(packages, base)?;
/// std::fs::write("sbom.cdx.json", &sbom.content).map_err(|error| println!("{error}")).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom {
    /// What it is, in a registry's words.
    pub media_type: &'static str,
    /// The document.
    pub content: Bytes,
}

impl Sbom {
    /// Of packages on a base.
    pub fn of(packages: &Packages, base: &Base) -> Result<Self, ImageError> {
        let mut components = Vec::new();
        if let Some(digest) = base.digest() {
            components.push(json!({
                "type": "container",
                "bom-ref": "base",
                "name": base.name(),
                "version": digest.as_str(),
                "hashes": [{ "alg": "SHA-256", "content": digest.hex() }],
            }));
        }
        for (name, version, metadata) in packages.metadata()? {
            let pinned = packages.pinned().iter().filter(|pinned| pinned.name == name);
            components.push(component(&name, &version, &metadata, pinned));
        }
        let document = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "tools": { "components": [
                    { "type": "application", "name": "nuages", "version": env!("CARGO_PKG_VERSION") },
                ] },
                "properties": [{ "name": "cdx:reproducible", "value": "true" }],
            },
            "components": components,
        });
        let content = serde_json::to_vec_pretty(&document).unwrap_or_default();
        Ok(Self {
            media_type: MEDIA_TYPE,
            content: content.into(),
        })
    }
}

fn component<'a>(name: &str, version: &str, metadata: &str, pinned: impl Iterator<Item = &'a Pinned>) -> Value {
    let mut component = Map::new();
    let mut purl = format!("pkg:pypi/{name}@{}", escaped(version));
    let mut references = Vec::new();
    for pinned in pinned {
        let mut reference = Map::new();
        let (kind, address) = match &pinned.at {
            At::Version(_) | At::Wheel(_) => ("distribution", None),
            At::File(address) => {
                let address = public(address);
                purl = format!("{purl}?download_url={}", escaped(&address));
                ("distribution", Some(address))
            }
            At::Commit(address) => {
                let address = public(address);
                purl = format!("{purl}?vcs_url={}", escaped(&address));
                ("vcs", Some(address))
            }
        };
        reference.insert("type".into(), kind.into());
        // The name says where an index has it; any index may be the one that is asked.
        reference.insert("url".into(), address.unwrap_or_else(|| purl.clone()).into());
        let hashes: Vec<Value> = pinned.hashes.iter().filter_map(|hash| self::hash(hash)).collect();
        if !hashes.is_empty() {
            reference.insert("comment".into(), "a file with any of these hashes".into());
            reference.insert("hashes".into(), hashes.into());
        }
        references.push(Value::Object(reference));
    }
    component.insert("type".into(), "library".into());
    component.insert("bom-ref".into(), purl.clone().into());
    component.insert("name".into(), name.into());
    component.insert("version".into(), version.into());
    if let Some(licences) = licences(metadata) {
        component.insert("licenses".into(), licences);
    }
    component.insert("purl".into(), purl.into());
    if !references.is_empty() {
        component.insert("externalReferences".into(), references.into());
    }
    Value::Object(component)
}

fn hash(hash: &str) -> Option<Value> {
    let (kind, digits) = hash.split_once(':')?;
    let kind = match kind {
        "sha256" => "SHA-256",
        "sha384" => "SHA-384",
        "sha512" => "SHA-512",
        _ => return None,
    };
    Some(json!({ "alg": kind, "content": digits }))
}

/// What a package says of its licence: an expression of SPDX, or else names.
fn licences(metadata: &str) -> Option<Value> {
    let headers = || {
        metadata
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(':'))
    };
    let field = |name: &str| {
        let mut values = headers()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim());
        values.find(|value| !value.is_empty() && *value != "UNKNOWN")
    };
    if let Some(expression) = field("License-Expression") {
        return Some(json!([{ "expression": expression }]));
    }
    let entry = |called: &str| json!({ "license": { "name": called } });
    let classifiers = headers().filter(|(key, _)| key.eq_ignore_ascii_case("Classifier"));
    let listed = classifiers.filter_map(|(_, value)| value.trim().strip_prefix("License :: ")?.rsplit(" :: ").next());
    let listed: std::collections::BTreeSet<&str> = listed.filter(|name| *name != "OSI Approved").collect();
    if !listed.is_empty() {
        return Some(listed.into_iter().map(entry).collect());
    }
    let name = field("License").filter(|name| name.len() <= LONGEST_NAME)?;
    Some(json!([entry(name)]))
}

/// An address without who asks.
fn public(address: &str) -> String {
    without_passwords(address).replace("***@", "")
}

/// As package URLs write what is no letter, digit or `.-_~`.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_what_the_package_says() {
        let said = |metadata: &str| licences(metadata).unwrap_or_default().to_string();
        assert_eq!(
            said("Name: a\nLicense-Expression: MIT OR Apache-2.0\nLicense: x\n"),
            r#"[{"expression":"MIT OR Apache-2.0"}]"#
        );
        assert_eq!(
            said(
                "Classifier: License :: OSI Approved :: MIT License\nClassifier: Framework :: Django\nLicense: UNKNOWN\n"
            ),
            r#"[{"license":{"name":"MIT License"}}]"#
        );
        assert_eq!(
            said("License: BSD-3-Clause\n"),
            r#"[{"license":{"name":"BSD-3-Clause"}}]"#
        );
        assert_eq!(said(&format!("License: {}\n", "word ".repeat(40))), "null");
        assert_eq!(said("Name: a\n\nLicense: in the description\n"), "null");
    }

    #[test]
    fn a_package_is_told_with_where_it_comes_from() {
        let told = |at: At| {
            let pinned = Pinned {
                name: "a".into(),
                at,
                marker: None,
                hashes: [format!("sha256:{}", "0".repeat(64))].into(),
            };
            component("a", "1.0+local", "", std::iter::once(&pinned)).to_string()
        };
        let said = [
            told(At::Version("1.0+local".into())),
            told(At::File("https://me:hush@host.example/a.whl".into())),
            told(At::Commit("git+https://host.example/a@0123".into())),
        ];
        assert!(!said.join("").contains("hush"));
        insta::assert_snapshot!(said.join("\n"));
    }
}
