//! Where a test finds an emulator, and what it calls its things there.
//!
//! Invariant: what goes through the environment comes out the same.

use std::fmt;

use aws_types::SdkConfig;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::aws::REGION;

/// The kinds of emulator that tests share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// MiniStack, with the Docker socket.
    MiniStack,
    /// LocalStack, community edition.
    LocalStack,
    /// A PostgreSQL server.
    Postgres,
    /// An OCI registry.
    Registry,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::MiniStack, Self::LocalStack, Self::Postgres, Self::Registry];

    /// The environment variable with the address of one that runs already.
    pub fn variable(self) -> &'static str {
        match self {
            Self::MiniStack => "NUAGES_TEST_MINISTACK",
            Self::LocalStack => "NUAGES_TEST_LOCALSTACK",
            Self::Postgres => "NUAGES_TEST_POSTGRES",
            Self::Registry => "NUAGES_TEST_REGISTRY",
        }
    }

    /// The environment variable with its default account.
    pub fn account_variable(self) -> String {
        format!("{}_ACCOUNT", self.variable())
    }

    /// The name of its definition in `fixtures/images`.
    pub fn image(self) -> &'static str {
        match self {
            Self::MiniStack => "ministack",
            Self::LocalStack => "localstack",
            Self::Postgres => "postgres",
            Self::Registry => "registry",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MiniStack => "MiniStack",
            Self::LocalStack => "LocalStack",
            Self::Postgres => "PostgreSQL",
            Self::Registry => "a registry",
        })
    }
}

/// A running emulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What it is.
    pub kind: Kind,
    /// Its address, such as `http://127.0.0.1:32768` or `postgres://postgres:nuages@127.0.0.1:32769/postgres`.
    pub url: String,
    /// The port in it.
    pub port: u16,
    /// The account it answers for when it is not told one: the only one that its containers and its registry know.
    pub account: String,
    /// The region it is asked about.
    pub region: String,
}

impl Endpoint {
    pub(super) fn new(kind: Kind, port: u16, account: &str) -> Self {
        let url = match kind {
            Kind::Postgres => format!(
                "postgres://postgres:{}@127.0.0.1:{port}/postgres",
                super::start::PASSWORD
            ),
            _ => format!("http://127.0.0.1:{port}"),
        };
        Self {
            kind,
            url,
            port,
            account: account.to_owned(),
            region: REGION.to_owned(),
        }
    }

    /// The emulator that somebody started before us, where its address stands in the environment.
    pub fn from_env(kind: Kind) -> Option<Self> {
        Self::from_variables(kind, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(kind: Kind, read: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let url = read(kind.variable())?;
        let port = url.rsplit_once(':')?.1.split('/').next()?.parse().ok()?;
        let account = read(&kind.account_variable()).unwrap_or_else(|| "000000000000".to_owned());
        Some(Self {
            kind,
            url,
            port,
            account,
            region: REGION.to_owned(),
        })
    }

    /// The variables that carry this endpoint to another process.
    pub fn variables(&self) -> [(String, String); 2] {
        [
            (self.kind.variable().to_owned(), self.url.clone()),
            (self.kind.account_variable(), self.account.clone()),
        ]
    }

    /// The host and port, as an image's name begins when it is pushed here: `localhost:32768`.
    pub fn registry_host(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

/// An SDK configuration for this emulator. The access key is the account: emulators take it as the caller's.
///
/// ```
/// # use nuages_testkit::emulators::{Endpoint, Kind, sdk_config, unique_account};
/// # fn example(emulator: &Endpoint) {
/// let config = sdk_config(emulator, &unique_account());
/// assert_eq!(config.endpoint_url(), Some(emulator.url.as_str()));
/// # }
/// ```
pub fn sdk_config(endpoint: &Endpoint, account: &str) -> SdkConfig {
    crate::aws::sdk_config(&endpoint.url, account, &endpoint.region)
}

/// A name that no other test uses: `PREFIX-` and ten lower-case letters and digits. With a prefix of up to 21 characters
/// it fits the 32 of a load balancer's name.
///
/// ```
/// use nuages_testkit::emulators::unique_name;
/// assert_ne!(unique_name("blog"), unique_name("blog"));
/// ```
pub fn unique_name(prefix: &str) -> String {
    let mut bytes = [0_u8; 10];
    fill(&mut bytes);
    let letters = bytes.map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)]));
    format!("{prefix}-{}", letters.iter().collect::<String>())
}

/// An account that no other test uses.
///
/// ```
/// let account = nuages_testkit::emulators::unique_account();
/// assert!(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
/// ```
pub fn unique_account() -> String {
    let mut bytes = [0_u8; 8];
    fill(&mut bytes);
    format!("{:012}", 100_000_000_000 + u64::from_be_bytes(bytes) % 900_000_000_000)
}

pub(super) fn fill(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the system gives random bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn an_endpoint_survives_the_environment() {
        for kind in Kind::ALL {
            let endpoint = Endpoint::new(kind, 32_768, "123456789012");
            let variables: HashMap<_, _> = endpoint.variables().into();
            assert_eq!(
                Endpoint::from_variables(kind, |name| variables.get(name).cloned()),
                Some(endpoint)
            );
            assert_eq!(Endpoint::from_variables(kind, |_| None), None);
        }
    }

    #[test]
    fn every_kind_has_a_definition() {
        for kind in Kind::ALL {
            assert_eq!(nuages_emulator::images::find(kind.image()).unwrap().name, kind.image());
        }
    }
}
