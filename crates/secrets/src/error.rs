//! What can go wrong with secrets, as sentences.
//!
//! Invariant: a variant's text completes "failed to …" and never holds a value.

use nuages_aws::ServiceError;

use crate::EnvFileError;

/// Why secrets were not found, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The wish itself is wrong.
    #[error("use the secret of `{variable}`: {why}")]
    Invalid {
        /// The variable.
        variable: String,
        /// What is wrong.
        why: String,
    },
    /// There is no such secret or parameter.
    #[error("find `{id}`, which `{variable}` needs")]
    NotFound {
        /// The variable.
        variable: String,
        /// The name or ARN that was looked for.
        id: String,
    },
    /// The secret is there and its JSON lacks the key.
    #[error("find the key `{key}` of the secret `{secret}`, which `{variable}` needs: it has {}", listed(.available))]
    KeyMissing {
        /// The variable.
        variable: String,
        /// The secret's name.
        secret: String,
        /// The key that was looked for.
        key: String,
        /// The keys that it has.
        available: Vec<String>,
    },
    /// A key is wanted of something that has none.
    #[error("take the key `{key}` of the secret `{secret}` for `{variable}`: {why}")]
    NoKeys {
        /// The variable.
        variable: String,
        /// The secret's name.
        secret: String,
        /// The key that was looked for.
        key: String,
        /// What it is instead.
        why: &'static str,
    },
    /// Somebody scheduled it for deletion.
    #[error("use the secret `{secret}` for `{variable}`: it is scheduled for deletion")]
    Deleted {
        /// The variable.
        variable: String,
        /// The secret's name.
        secret: String,
    },
    /// A secret has our name, and is not ours.
    #[error("make the secret `{secret}` for `{variable}`: the name is taken by a secret without the tags of {scope}")]
    Taken {
        /// The variable.
        variable: String,
        /// The secret's name.
        secret: String,
        /// Whose tags it lacks, `APP/ENV`.
        scope: String,
    },
    /// The value is not ours to change.
    #[error("change the value of `{variable}`: {why}")]
    NotOurs {
        /// The variable.
        variable: String,
        /// Whose it is.
        why: &'static str,
    },
    /// An AWS call failed.
    #[error("{what}")]
    Service {
        /// What was tried.
        what: String,
        /// The call's failure.
        #[source]
        source: ServiceError,
    },
    /// AWS answered something that makes no sense.
    #[error("understand AWS's answer about `{id}`: {why}")]
    BadAnswer {
        /// What it was asked about.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system's random number generator failed.
    #[error("get random bytes from the operating system")]
    Random,
    /// A `.env` file is malformed.
    #[error("read the environment file")]
    EnvFile(#[from] EnvFileError),
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no keys".into(),
        names => names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
    }
}

impl SecretsError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { id, .. } => {
                let command = if id.starts_with('/') || id.contains(":parameter/") {
                    format!("`aws ssm put-parameter --type SecureString --name {id} --value file://FILE`")
                } else {
                    format!("`aws secretsmanager create-secret --name {id} --secret-string file://FILE`")
                };
                format!(
                    "{command} makes it, with `--endpoint-url` where the environment is an emulator; `optional = true` in \
                     [secrets] lets a release do without it"
                )
            }
            Self::KeyMissing { key, available, .. } => match nearest(key, available) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add the key to the secret, or `optional = true` to [secrets]".into(),
            },
            Self::NoKeys { .. } => "leave `key` out to take the whole secret".into(),
            Self::Deleted { secret, .. } => {
                format!("`aws secretsmanager restore-secret --secret-id {secret}` brings it back")
            }
            Self::Taken { .. } => {
                "give the entry another `name`, or write `secret = …` to use the one that is there as it is".into()
            }
            Self::Service { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}

/// A key that differs in case or separators only.
fn nearest<'a>(key: &str, available: &'a [String]) -> Option<&'a String> {
    let bare = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    available.iter().find(|other| bare(other) == bare(key))
}
