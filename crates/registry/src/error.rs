//! Why a registry did not do what it was asked.
//!
//! Invariant: no variant holds a password, a token, or the query of an upload address (they can sign requests).

use std::path::PathBuf;
use std::time::Duration;

use nuages_aws::ServiceError;
use nuages_model::{Digest, SinkError, SourceError};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry's host cannot be an address.
    #[error("failed to use the registry {host}: {why}")]
    BadHost {
        /// As it was given.
        host: String,
        /// What is wrong.
        why: String,
    },

    /// No connection, or one that broke.
    #[error("failed to {what}: the registry {host} cannot be reached")]
    Unreachable {
        /// What was asked, completing "failed to …".
        what: String,
        /// The registry.
        host: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },

    /// Nothing moved for too long.
    #[error("failed to {what}: nothing moved for {} s", limit.as_secs())]
    Stalled {
        /// What was asked, completing "failed to …".
        what: String,
        /// The limit.
        limit: Duration,
    },

    /// The registry does not know us, or does not let us.
    #[error("failed to {what}: the registry {host} refused it: {message}")]
    Denied {
        /// What was asked, completing "failed to …".
        what: String,
        /// The registry.
        host: String,
        /// Its own words.
        message: String,
    },

    /// There is no such repository, manifest or blob.
    #[error("failed to find {what} in the registry {host}")]
    NotFound {
        /// What is missing.
        what: String,
        /// The registry.
        host: String,
    },

    /// There is no such image where one was to be copied from.
    #[error("failed to find the image {reference}")]
    NoImage {
        /// A tag or a digest.
        reference: String,
    },

    /// Where an image was to be copied from, which is no registry, did not give it.
    #[error(transparent)]
    Source(SourceError),

    /// Where an image was to be copied to, which is no registry, did not take it.
    #[error(transparent)]
    Sink(SinkError),

    /// The registry answered with an error.
    #[error("failed to {what}: the registry answered {status}{}", said(code.as_deref(), message))]
    Refused {
        /// What was asked, completing "failed to …".
        what: String,
        /// The HTTP status.
        status: u16,
        /// The registry's code, such as `BLOB_UNKNOWN`.
        code: Option<String>,
        /// Its own words.
        message: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },

    /// Content that is not what its digest says.
    #[error("failed to {what}: its digest is {found}, and {expected} was expected")]
    WrongDigest {
        /// What was asked, completing "failed to …".
        what: String,
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },

    /// The tag is taken by another image and must not move.
    #[error("failed to tag {ours} as `{tag}`: the tag is immutable and names {theirs}")]
    TagTaken {
        /// The tag.
        tag: String,
        /// What we wanted it to name.
        ours: Digest,
        /// What it names.
        theirs: Digest,
    },

    /// The registry sent us to a place where it is not safe to go.
    #[error("failed to {what}: the registry points to {host}, {why}")]
    UnsafeRedirect {
        /// What was asked, completing "failed to …".
        what: String,
        /// Where it points.
        host: String,
        /// Why that is refused.
        why: &'static str,
    },

    /// An answer that no registry gives.
    #[error("failed to {what}: the registry's answer makes no sense: {why}")]
    Protocol {
        /// What was asked, completing "failed to …".
        what: String,
        /// What is wrong with it.
        why: String,
    },

    /// A file of this machine could not be read or written.
    #[error("failed to {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },

    /// A file of logins that cannot be understood.
    #[error("failed to read the logins in {}: {why}", file.display())]
    Logins {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// A credential helper that gives none.
    #[error("failed to ask {program} for the login of {server}: {why}")]
    Helper {
        /// The program.
        program: String,
        /// What it was asked for.
        server: String,
        /// Its own words, or what became of it.
        why: String,
    },

    /// Amazon ECR's own API refused something.
    #[error("failed to {what}")]
    Ecr {
        /// What was asked, completing "failed to …".
        what: String,
        /// The cause.
        #[source]
        source: ServiceError,
    },
}

fn said(code: Option<&str>, message: &str) -> String {
    match (code, message) {
        (None, "") => String::new(),
        (None, message) => format!(": {message}"),
        (Some(code), "") => format!(": {code}"),
        (Some(code), message) => format!(": {code}: {message}"),
    }
}

/// A registry at the other side of a port says it in its own words.
impl From<SourceError> for RegistryError {
    fn from(error: SourceError) -> Self {
        let SourceError { what, source } = error;
        match source.downcast::<Self>() {
            Ok(own) => *own,
            Err(source) => Self::Source(SourceError { what, source }),
        }
    }
}

impl From<SinkError> for RegistryError {
    fn from(error: SinkError) -> Self {
        let SinkError { what, source } = error;
        match source.downcast::<Self>() {
            Ok(own) => *own,
            Err(source) => Self::Sink(SinkError { what, source }),
        }
    }
}

impl RegistryError {
    /// What to do next, where it is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadHost { .. } => "give the registry as HOST or HOST:PORT".into(),
            Self::Unreachable { .. } | Self::Stalled { .. } => {
                "check the network and its proxies (HTTPS_PROXY), then repeat the command; what was sent is not sent again".into()
            }
            Self::Denied { .. } => "check the credentials for this registry, and that they may push to this repository".into(),
            Self::Refused { status: 429, .. } => "the registry limits requests: wait a minute and repeat the command".into(),
            Self::Refused { status: 500.., .. } => {
                "the registry has trouble of its own: repeat the command in a while; what was sent is not sent again".into()
            }
            Self::Refused { code: Some(code), .. } if code == "MANIFEST_BLOB_UNKNOWN" => {
                "the registry does not have a layer that it said it had: repeat the command, which sends it".into()
            }
            Self::Refused { .. } => "repeat the command; what was sent is not sent again".into(),
            Self::Protocol { .. } => {
                "something else may answer in the registry's place: check the network and its proxies (HTTPS_PROXY), then repeat the command".into()
            }
            Self::WrongDigest { .. } => "it changed on its way or in the registry: repeat the command".into(),
            Self::NotFound { .. } => "push the image again".into(),
            Self::NoImage { .. } => "check the tag or the digest: nothing was copied".into(),
            Self::TagTaken { .. } => "nothing was changed; deploy by digest, or choose another tag".into(),
            Self::Logins { .. } => "mend the file, or move it away and log in again with `docker login`".into(),
            Self::Helper { server, .. } => {
                format!("log in again with `docker login {server}`, or take the helper out of Docker's config.json")
            }
            Self::Ecr { source, .. } => return source.hint(),
            _ => return None,
        })
    }

    /// Whether the same thing may work a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502..=599),
            _ => false,
        }
    }

    pub(crate) fn into_source(self, what: impl Into<String>) -> SourceError {
        SourceError {
            what: what.into(),
            source: Box::new(self),
        }
    }

    pub(crate) fn into_sink(self, what: impl Into<String>) -> SinkError {
        SinkError {
            what: what.into(),
            source: Box::new(self),
        }
    }
}
