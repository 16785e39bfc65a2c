//! References to images: `HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`.
//!
//! Invariant: the registry's host is always written out. What Docker adds in silence (`docker.io/library/`) is added
//! here too, so that two equal images have equal references.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Why an image reference was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not an image reference: {why}")]
pub struct ImageRefError {
    value: String,
    why: &'static str,
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// A reference without tag and digest; add them with [`with_tag`](Self::with_tag) and [`with_digest`](Self::with_digest).
    pub fn new(host: &str, repository: &str) -> Result<Self, ImageRefError> {
        format!("{host}/{repository}").parse()
    }

    /// The registry, with its port where it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's path within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if it is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it is pinned.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same image by this digest, without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository at this tag, without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ImageRefError> {
        check_tag(tag).map_err(|why| ImageRefError {
            value: tag.chars().take(200).collect(),
            why,
        })?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }
}

// OCI distribution specification, "Pulling manifests": a tag's pattern.
fn check_tag(tag: &str) -> Result<(), &'static str> {
    let mut bytes = tag.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if first && tag.len() <= 128 && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        Ok(())
    } else {
        Err("a tag has 1 to 128 letters, digits, `_`, `.` or `-`, and does not begin with `.` or `-`")
    }
}

// The same section: a name's components are lowercase letters and digits, parted by `.`, `_`, `__` or dashes.
fn check_repository(repository: &str) -> Result<(), &'static str> {
    let component = |c: &str| {
        let mut rest = c;
        loop {
            let word = rest
                .bytes()
                .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                .count();
            if word == 0 {
                return false;
            }
            rest = &rest[word..];
            if rest.is_empty() {
                return true;
            }
            let parting = if rest.starts_with("__") {
                2
            } else if rest.starts_with('-') {
                rest.bytes().take_while(|b| *b == b'-').count()
            } else if rest.starts_with(['.', '_']) {
                1
            } else {
                return false;
            };
            rest = &rest[parting..];
        }
    };
    if repository.len() <= 255 && repository.split('/').all(component) {
        Ok(())
    } else {
        Err("a repository is lowercase letters and digits, parted by `/`, `.`, `_` or `-`")
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let name_ok = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    if name_ok && port_ok {
        Ok(())
    } else {
        Err("the registry's host is not a host name with an optional port")
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;
    fn from_str(value: &str) -> Result<Self, ImageRefError> {
        let refuse = |why| ImageRefError {
            value: value.chars().take(200).collect(),
            why,
        };
        let (rest, digest) = match value.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse()
                        .map_err(|_| refuse("what follows `@` is not a sha256 digest"))?,
                ),
            ),
            None => (value, None),
        };
        // A colon after the last slash parts the tag; before it, it parts the host's port.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && (path.contains('/') || !is_host(path)) => (path, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(refuse)?;
        }
        let (host, repository) = match path.split_once('/') {
            Some((host, repository)) if is_host(host) => (host.to_owned(), repository.to_owned()),
            Some(_) => ("docker.io".to_owned(), path.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{path}")),
        };
        check_host(&host).map_err(refuse)?;
        check_repository(&repository).map_err(refuse)?;
        Ok(Self {
            host,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

// Docker's rule for telling a host from the first folder of a repository.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

impl TryFrom<String> for ImageRef {
    type Error = ImageRefError;
    fn try_from(value: String) -> Result<Self, ImageRefError> {
        value.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> String {
        image.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn docker_defaults_are_written_out() {
        for (text, full) in [
            ("python:3.13-slim", "docker.io/library/python:3.13-slim"),
            ("python", "docker.io/library/python"),
            ("localstack/localstack:4.14.0", "docker.io/localstack/localstack:4.14.0"),
            ("localhost:4566/blog", "localhost:4566/blog"),
            ("localhost/blog:x", "localhost/blog:x"),
            (
                "1.dkr.ecr.eu-west-1.amazonaws.com/a/b:c",
                "1.dkr.ecr.eu-west-1.amazonaws.com/a/b:c",
            ),
        ] {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn refuses() {
        for bad in [
            "",
            "/",
            "a/",
            "Blog",
            "blog:",
            "blog:-x",
            "blog@sha256:1",
            "h:0/x",
            "h:99999/x",
            "-h.x/y",
            "a b",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            host in "[a-z][a-z0-9]{0,8}\\.[a-z]{2,3}(:[1-9][0-9]{1,3})?",
            repository in "[a-z0-9]{1,6}(([._]|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}"),
            pinned: bool,
        ) {
            let mut text = format!("{host}/{repository}");
            if let Some(tag) = &tag {
                text = format!("{text}:{tag}");
            }
            if pinned {
                text = format!("{text}@{}", Digest::of(b"x"));
            }
            let image: ImageRef = text.parse().unwrap();
            prop_assert_eq!(image.to_string(), text);
            prop_assert_eq!(image.host(), host);
            prop_assert_eq!(image.repository(), repository);
            prop_assert_eq!(image.tag(), tag.as_deref());
        }

        #[test]
        fn never_panics(text in ".{0,64}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), image);
            }
        }
    }
}
