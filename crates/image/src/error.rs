//! Why an image could not be built, inspected, exported or run.
//!
//! Invariant: the sentence says what failed; what to do about it is [`ImageError::hint`], and never part of the sentence.

use std::path::PathBuf;

use nuages_model::{SinkError, SourceError};

use crate::engine::EngineError;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The Docker engine is missing, too old, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),

    /// The engine answered a request with an error.
    #[error("failed to {what}: the Docker engine said: {message}")]
    Refused {
        /// What was asked, completing "failed to …".
        what: String,
        /// The engine's own words.
        message: String,
        /// The HTTP status, where the error came as one.
        status: Option<u16>,
    },

    /// The connection to the engine broke, or its answer made no sense.
    #[error("failed to {what}")]
    Transport {
        /// What was asked, completing "failed to …".
        what: String,
        /// The cause.
        #[source]
        source: Box<bollard::errors::Error>,
    },

    /// A step of the Dockerfile failed.
    #[error("failed to build {dockerfile}: {step}: {message}")]
    Build {
        /// The Dockerfile, as the person named it.
        dockerfile: String,
        /// The step that failed, such as `[2/5] RUN pip install …`.
        step: String,
        /// The engine's last word on it.
        message: String,
        /// The last lines that the step printed.
        tail: Vec<String>,
        /// What would mend it, where the cause is known.
        advice: Option<String>,
    },

    /// There is no Dockerfile.
    #[error("failed to find the Dockerfile {}", path.display())]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// The Dockerfile or `.dockerignore` cannot be understood.
    #[error("failed to read {}: line {line}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
        /// What is wrong with it.
        why: String,
    },

    /// A file or folder of this machine could not be read or written.
    #[error("failed to {what} {}", path.display())]
    File {
        /// What was tried, such as `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },

    /// A file changed between two looks at it.
    #[error("failed to read {}: it changed while it was being read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },

    /// What is to be put into a layer is nothing that a layer holds.
    #[error("failed to add {} to the image: {why}", path.display())]
    NoFile {
        /// What was to be added.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },

    /// A path cannot stand in an image.
    #[error("failed to put something at {} in the image: {why}", path.display())]
    NoPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A folder is no OCI image layout.
    #[error("failed to read {} as an OCI image layout: {why}", path.display())]
    NoLayout {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// The image to build on is not there, or is nothing to build on.
    #[error("failed to build on the image {image}: {why}")]
    Base {
        /// As it was named.
        image: String,
        /// What is wrong with it.
        why: String,
    },

    /// The image to build on could not be read.
    #[error("failed to read the image to build on")]
    Source(#[from] SourceError),

    /// The project's packages cannot be installed for the base image.
    #[error("failed to install the project's packages: {why}")]
    Packages {
        /// What is wrong with them.
        why: String,
        /// What would mend it, where it is known.
        hint: Option<String>,
    },

    /// `nuages.lock` cannot be used, or lacks what must stand in it.
    #[error("failed to use {}: {why}", file.display())]
    Pins {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What would mend it.
        hint: String,
    },

    /// The base image's Python cannot be run here.
    #[error("failed to run the base image's Python: {why}")]
    Python {
        /// What stands in the way.
        why: String,
    },

    /// The project's `collectstatic` failed.
    #[error("failed to collect the static files: {why}")]
    Collect {
        /// What was wrong, and where.
        why: String,
        /// What would mend it, where it is known.
        hint: Option<String>,
        /// The last lines that it said.
        tail: Vec<String>,
    },

    /// The bundle of certificates for the build cannot be used.
    #[error("failed to prepare the certificates for the build: {why}")]
    CaBundle {
        /// What is wrong with it.
        why: String,
        /// What would mend it.
        advice: String,
    },

    /// There is no such image on this engine.
    #[error("failed to find the image {image} in the Docker engine")]
    NoImage {
        /// As it was named.
        image: String,
    },

    /// What the engine exported is not an image as we know them.
    #[error("failed to export the image {image}: {why}")]
    Export {
        /// As it was named.
        image: String,
        /// What is wrong with it.
        why: String,
    },

    /// The far side did not take a blob or manifest.
    #[error("failed to push the image")]
    Sink(#[from] SinkError),

    /// The far side computed another digest than we did.
    #[error("failed to push the image: its digest is {ours}, and the registry answered {theirs}")]
    DigestMismatch {
        /// What we computed.
        ours: nuages_model::Digest,
        /// What the far side answered.
        theirs: nuages_model::Digest,
    },

    /// It took longer than it may.
    #[error("failed to {what} within {} s", limit.as_secs())]
    TimedOut {
        /// What was waited for, completing "failed to …".
        what: String,
        /// The limit.
        limit: std::time::Duration,
        /// The last lines of output.
        tail: Vec<String>,
    },

    /// The person cancelled.
    #[error("failed to {what}: it was cancelled")]
    Cancelled {
        /// What was under way, completing "failed to …".
        what: String,
    },
}

impl ImageError {
    /// What to do next, where it is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => Some(error.hint()),
            Self::Build { advice, .. } => advice.clone(),
            Self::CaBundle { advice, .. } => Some(advice.clone()),
            Self::Packages { hint, .. } | Self::Collect { hint, .. } => hint.clone(),
            Self::Python { .. } => {
                Some("start a Docker engine, install that Python on this machine, or set `builder = \"docker\"`".into())
            }
            Self::Pins { hint, .. } => Some(hint.clone()),
            Self::NoDockerfile { .. } => {
                Some("write a Dockerfile, or name it with `[build] dockerfile = \"…\"` in nuages.toml".into())
            }
            Self::File { source, .. } if is_full(source) => Some(
                "the disk is full: free some space (`docker system df` shows what Docker holds) and run again".into(),
            ),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("make the file readable, or list it in .dockerignore".into())
            }
            Self::Changed { .. } => Some("let the program that writes it finish, or list it in .dockerignore".into()),
            Self::Refused { message, .. } if is_disk_full(message) => Some(
                "the engine's disk is full: `docker system df` shows what fills it, `docker system prune` frees it"
                    .into(),
            ),
            Self::Transport { .. } => {
                Some("see whether the engine still runs (`docker info`), then run this again".into())
            }
            _ => None,
        }
    }

    /// The last lines of output that belong to the error, if it has any.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Build { tail, .. } | Self::TimedOut { tail, .. } | Self::Collect { tail, .. } => tail,
            _ => &[],
        }
    }

    pub(crate) fn packages(why: impl Into<String>, hint: Option<String>) -> Self {
        Self::Packages { why: why.into(), hint }
    }

    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}

/// Whether there was no room to write.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Words of the operating system that reach us only as the engine's text.
pub(crate) fn is_disk_full(message: &str) -> bool {
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

/// Turns bollard's error into ours; `what` completes "failed to …".
pub(crate) fn engine_error(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> ImageError {
    use bollard::errors::Error;
    let what = what.into();
    move |error| match error {
        Error::DockerResponseServerError { status_code, message } => ImageError::Refused {
            what,
            message,
            status: Some(status_code),
        },
        Error::DockerStreamError { error } => ImageError::Refused {
            what,
            message: error,
            status: None,
        },
        other => ImageError::Transport {
            what,
            source: Box::new(other),
        },
    }
}
