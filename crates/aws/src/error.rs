//! Any SDK error as one sentence, with what is needed to act on it.
//!
//! Invariant: [`Effect::None`] is said only where the call certainly changed nothing; every doubt is
//! [`Effect::Unknown`], and whoever sees it looks before repeating.

use std::error::Error as StdError;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Too many requests; the same call later will do.
    Throttled,
    /// The identity may not do this.
    AccessDenied,
    /// There are no credentials, or they are expired or invalid.
    Credentials,
    /// What the call names does not exist.
    NotFound,
    /// It exists already, or is in use, or something else is under way.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// No answer: no connection, or none in time.
    Unreachable,
    /// The service failed.
    Server,
    /// None of these.
    Other,
}

/// Whether the call may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Certainly nothing.
    None,
    /// It may have.
    Unknown,
}

/// A failed call.
#[derive(Debug, Clone)]
pub struct ServiceError {
    /// The API's name for the call, such as `ecs:RunTask`.
    pub operation: &'static str,
    /// The service's error code.
    pub code: Option<String>,
    /// The service's sentence, or the transport's.
    pub message: String,
    /// The request's id, for AWS support.
    pub request_id: Option<String>,
    /// What sort of failure.
    pub kind: Kind,
    /// Whether it may have changed something.
    pub effect: Effect,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: ", self.operation)?;
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(self.message.trim_end_matches('.'))?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl StdError for ServiceError {}

impl ServiceError {
    /// Whether the service answered this code.
    pub fn is_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The next thing to do, where it follows from the kind of failure.
    pub fn hint(&self) -> Option<String> {
        Some(match self.kind {
            Kind::Credentials => {
                "sign in again (`aws sso login`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), then \
                 repeat the command"
                    .into()
            }
            Kind::AccessDenied => format!(
                "allow `{}` for this identity; `nuages infra bootstrap` prints the whole policy that deploys need",
                self.operation
            ),
            Kind::Unreachable => "check the network, AWS_ENDPOINT_URL and proxies, then repeat the command".into(),
            Kind::Throttled | Kind::Server => "repeat the command; nothing is done twice".into(),
            _ => return None,
        })
    }
}

/// Describes an SDK error. `operation` is the IAM action, such as `ecs:RunTask`.
pub fn describe<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let mut described = ServiceError {
        operation,
        code: None,
        message: String::new(),
        request_id: error.request_id().map(str::to_owned),
        kind: Kind::Other,
        effect: Effect::Unknown,
    };
    match error {
        // The service answered that all is well, and in what words cannot be read: the same as no answer.
        SdkError::ServiceError(context) if context.raw().status().is_success() && context.err().code().is_none() => {
            described.kind = Kind::Server;
            described.message = unreadable(context.raw().status().as_u16(), context.err());
        }
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let cause = context.err();
            described.code = cause.code().map(str::to_owned);
            described.message = match cause.message() {
                Some(message) if !message.is_empty() => message.to_owned(),
                _ => format!("HTTP status {status} without a message"),
            };
            described.kind = classify(described.code.as_deref().unwrap_or_default(), status);
            // A service that refuses a request (4xx) has not carried it out; one that fails (5xx) may have.
            described.effect = if (400..500).contains(&status) {
                Effect::None
            } else {
                Effect::Unknown
            };
        }
        SdkError::ConstructionFailure(_) => {
            described.kind = Kind::Invalid;
            described.effect = Effect::None;
            described.message = chain(error.source().unwrap_or(error));
        }
        SdkError::DispatchFailure(failure) => {
            described.message = failure
                .as_connector_error()
                .map_or_else(|| chain(error.source().unwrap_or(error)), |cause| chain(cause));
            let credentials = has_credentials_cause(error);
            described.kind = if credentials {
                Kind::Credentials
            } else {
                Kind::Unreachable
            };
            // A refused connection carried nothing; a broken one may have.
            if credentials || failure.is_user() || refused(error) {
                described.effect = Effect::None;
            }
        }
        SdkError::TimeoutError(_) => {
            described.kind = Kind::Unreachable;
            described.message = "no answer in time".into();
        }
        SdkError::ResponseError(context) => {
            described.kind = Kind::Server;
            let status = context.raw().status().as_u16();
            described.message = unreadable(status, error.source().unwrap_or(error));
        }
        other => described.message = chain(other.source().unwrap_or(error)),
    }
    described
}

fn unreadable(status: u16, cause: &(dyn StdError + 'static)) -> String {
    format!("an answer (HTTP status {status}) that cannot be read: {}", chain(cause))
}

fn classify(code: &str, status: u16) -> Kind {
    // Codes carry the same few words in every service; the full list of none of them is documented.
    let has = |words: &[&str]| words.iter().any(|w| code.contains(w));
    if status == 429
        || has(&[
            "Throttl",
            "TooManyRequests",
            "RequestLimitExceeded",
            "SlowDown",
            "RateExceeded",
        ])
    {
        Kind::Throttled
    } else if has(&[
        "ExpiredToken",
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "SignatureDoesNotMatch",
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "MissingAuthenticationToken",
    ]) {
        Kind::Credentials
    } else if has(&["AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden"]) || status == 403 {
        Kind::AccessDenied
    } else if has(&["NotFound", "NoSuch", "DoesNotExist"]) || status == 404 {
        Kind::NotFound
    } else if has(&[
        "AlreadyExists",
        "Conflict",
        "InUse",
        "ResourceExists",
        "InProgress",
        "Concurrent",
    ]) || status == 409
    {
        Kind::Conflict
    } else if status >= 500 {
        Kind::Server
    } else if (400..500).contains(&status) {
        Kind::Invalid
    } else {
        Kind::Other
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

fn has_credentials_cause(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(<dyn StdError>::is::<aws_credential_types::provider::error::CredentialsError>)
}

fn refused(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|e| {
        e.downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// An error and its causes in one line, without repeating a cause that the sentence before it already quotes, and without
/// the layers that only handed it on.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).filter(|cause| !nuages_model::is_wrapper(*cause)) {
        let sentence = cause.to_string();
        if text.is_empty() {
            text = sentence;
        } else if !text.contains(&sentence) {
            text.push_str(": ");
            text.push_str(&sentence);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (code, status, kind) in [
            ("ThrottlingException", 400, Kind::Throttled),
            ("ExpiredTokenException", 400, Kind::Credentials),
            ("AccessDeniedException", 400, Kind::AccessDenied),
            ("ClusterNotFoundException", 400, Kind::NotFound),
            ("RepositoryAlreadyExistsException", 400, Kind::Conflict),
            ("ValidationError", 400, Kind::Invalid),
            ("ServerException", 500, Kind::Server),
        ] {
            assert_eq!(classify(code, status), kind, "{code}");
        }
    }

    #[test]
    fn one_sentence() {
        let error = ServiceError {
            operation: "ecs:RunTask",
            code: Some("AccessDeniedException".into()),
            message: "not authorized.".into(),
            request_id: Some("r-1".into()),
            kind: Kind::AccessDenied,
            effect: Effect::None,
        };
        assert_eq!(
            error.to_string(),
            "ecs:RunTask failed: AccessDeniedException: not authorized (request r-1)"
        );
        assert!(error.hint().unwrap().contains("`ecs:RunTask`"));
    }
}
