//! Who we are to a registry, and the tokens it gives us.
//!
//! Invariant: a password goes to the registry itself, or to the token service that *it* names, over TLS (or to this very
//! machine); a token is cached for exactly the scope it was asked for, and given up before it ends.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuages_model::Secret;
use serde::Deserialize;

/// Who we are.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user with a password, for the registry's own token service or for the registry itself.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret<String>,
    },
    /// A token that stands for a user at the registry's token service (OAuth 2's refresh token), as `docker login` keeps it.
    Identity(Secret<String>),
    /// A token for the registry itself.
    Bearer(Secret<String>),
}

impl Credentials {
    /// A user with a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password {
            username: username.into(),
            password: Secret::new(password.into()),
        }
    }

    /// A token that stands for a user at the registry's token service.
    pub fn identity(token: impl Into<String>) -> Self {
        Self::Identity(Secret::new(token.into()))
    }

    /// A token for the registry itself.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self::Bearer(Secret::new(token.into()))
    }

    /// What goes to the registry itself before it named a token service.
    pub(crate) fn first(&self) -> Option<Secret<String>> {
        match self {
            Self::Bearer(token) => Some(Secret::new(format!("Bearer {}", token.expose()))),
            Self::Anonymous | Self::Password { .. } | Self::Identity(_) => None,
        }
    }

    pub(crate) fn basic(&self) -> Option<Secret<String>> {
        match self {
            Self::Anonymous | Self::Identity(_) | Self::Bearer(_) => None,
            Self::Password { username, password } => Some(Secret::new(format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{}", password.expose()))
            ))),
        }
    }
}

/// What we want to do, in the words of the token specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope(String);

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self(format!("repository:{repository}:pull"))
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self(format!("repository:{repository}:pull,push"))
    }

    pub(crate) fn delete(repository: &str) -> Self {
        Self(format!("repository:{repository}:delete,pull"))
    }

    pub(crate) fn none() -> Self {
        Self(String::new())
    }

    pub(crate) fn and_pull(self, repository: &str) -> Self {
        Self(format!("{} repository:{repository}:pull", self.0))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|part| !part.is_empty())
    }
}

/// What a registry asks for in `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// Reads one header's value (RFC 9110, section 11.6.1); of several challenges in it, the first that is known.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let lower = header.to_ascii_lowercase();
        // A parameter's value may hold the name of another scheme; a scheme stands first or after a comma.
        let find = |scheme: &str| {
            lower.match_indices(scheme).map(|(at, _)| at).find(|at| {
                let before = lower[..*at].trim_end();
                (before.is_empty() || before.ends_with(','))
                    && lower[at + scheme.len()..]
                        .chars()
                        .next()
                        .is_none_or(|c| c.is_whitespace() || c == ',')
            })
        };
        if let Some(at) = find("bearer") {
            let parameters = parameters(&header[at + "bearer".len()..]);
            let realm = parameters.get("realm").filter(|realm| !realm.is_empty())?.clone();
            return Some(Self::Bearer {
                realm,
                service: parameters.get("service").cloned(),
            });
        }
        find("basic").map(|_| Self::Basic)
    }
}

/// `key="value", key=value …`, up to what cannot be one.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((key, after)) = rest.split_once('=') else {
            return found;
        };
        let key = key.trim().to_ascii_lowercase();
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = None;
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => value.extend(chars.next().map(|(_, c)| c)),
                    '"' => {
                        end = Some(at + 1);
                        break;
                    }
                    c => value.push(c),
                }
            }
            let Some(end) = end else { return found };
            rest = &quoted[end..];
        } else {
            let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
            value.push_str(&after[..end]);
            rest = &after[end..];
        }
        found.entry(key).or_insert(value);
    }
}

/// What a token service answers.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenAnswer([redacted])")
    }
}

/// The tokens we hold.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<Scope, (Secret<String>, Instant)>);

impl Tokens {
    pub(crate) fn get(&self, scope: &Scope) -> Option<&Secret<String>> {
        self.0
            .get(scope)
            .filter(|(_, end)| Instant::now() < *end)
            .map(|(header, _)| header)
    }

    pub(crate) fn forget(&mut self, scope: &Scope) {
        self.0.remove(scope);
    }

    /// Keeps a token, and answers the header it makes.
    pub(crate) fn keep(&mut self, scope: &Scope, answer: TokenAnswer) -> Option<Secret<String>> {
        let token = if answer.token.is_empty() {
            answer.access_token
        } else {
            answer.token
        };
        if token.is_empty() {
            return None;
        }
        let header = Secret::new(format!("Bearer {token}"));
        // Without a time the specification says 60 seconds. A tenth is left for clocks and slow requests.
        let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(60).clamp(1, 24 * 60 * 60)).mul_f64(0.9);
        self.0
            .insert(scope.clone(), (header.clone(), Instant::now() + lifetime));
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_challenges() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(str::to_owned),
            })
        };
        assert_eq!(
            Challenge::read(r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a:pull""#),
            bearer("https://auth.example/token", Some("reg"))
        );
        assert_eq!(
            Challenge::read(r#"bearer service=reg, realm="https://a/""#),
            bearer("https://a/", Some("reg"))
        );
        assert_eq!(
            Challenge::read(r#"Basic realm="x", Bearer realm="https://a/""#),
            bearer("https://a/", None)
        );
        assert_eq!(
            Challenge::read(r#"Basic realm="Bearer of news""#),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::read("Basic"), Some(Challenge::Basic));
        assert_eq!(Challenge::read("Bearer"), None);
        assert_eq!(Challenge::read("Negotiate"), None);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let credentials = Credentials::password("AWS", "hunter2");
        let mut tokens = Tokens::default();
        let answer: TokenAnswer = serde_json::from_str(r#"{"token":"hunter2","expires_in":300}"#).unwrap();
        let shown = format!("{credentials:?} {answer:?}");
        tokens.keep(&Scope::pull("a"), answer).unwrap();
        let shown = format!("{shown} {tokens:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_token_serves_its_scope_alone() {
        let mut tokens = Tokens::default();
        let answer = || serde_json::from_str::<TokenAnswer>(r#"{"access_token":"t"}"#).unwrap();
        tokens.keep(&Scope::pull("a"), answer());
        assert_eq!(tokens.get(&Scope::pull("a")).unwrap().expose(), "Bearer t");
        assert!(tokens.get(&Scope::push("a")).is_none());
        tokens.forget(&Scope::pull("a"));
        assert!(tokens.get(&Scope::pull("a")).is_none());
        let empty: TokenAnswer = serde_json::from_str("{}").unwrap();
        assert!(tokens.keep(&Scope::pull("a"), empty).is_none());
    }

    proptest! {
        #[test]
        fn never_panics(header in "(Bearer|Basic|x)?[ ,]{0,2}([a-z]{1,5}=?\"?[^\"]{0,6}\"?,? ?){0,4}") {
            Challenge::read(&header);
        }
    }
}
