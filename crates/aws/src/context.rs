//! Credentials, region, endpoint and identity, read where the AWS CLI reads them.
//!
//! Invariant: [`AwsContext::connect`] answers only after STS has said who we are, and only if that is the account that
//! was expected. Without credentials it says so at once, rather than after the timeouts of an instance's metadata.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_types::SdkConfig;
use aws_types::os_shim_internal::{Env, Fs};
use nuages_model::{AccountId, Region, Secret};
use url::Url;

use crate::error::{Kind, ServiceError, chain, describe};
use crate::http_client;
use crate::identity::Identity;
use crate::profile::{self, Named, Standing};
use crate::quirks::{EmulatorKind, Quirks};

/// What a connection is made from. Everything left out comes from the environment and the shared AWS configuration.
#[derive(Debug, Clone, Default)]
pub struct AwsSettings {
    /// The region to work in.
    pub region: Option<Region>,
    /// The profile of the shared configuration.
    pub profile: Option<String>,
    /// An endpoint for all services, as `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<Url>,
    /// Access key id and secret key, for emulators.
    pub static_credentials: Option<(String, Secret<String>)>,
    /// The account that it must be.
    pub expected_account: Option<AccountId>,
    /// The emulator at the endpoint, where it is one.
    pub emulator: Option<EmulatorKind>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// Nobody gave credentials.
    #[error("found no AWS credentials: {why}")]
    NoCredentials {
        /// What the places said that were looked at.
        why: String,
    },
    /// The profile that was named is nowhere.
    #[error(
        "there is no AWS profile `{profile}`: {} has no `[profile {profile}]`, and {} no `[{profile}]`",
        config.display(),
        credentials.display()
    )]
    NoProfile {
        /// Its name.
        profile: String,
        /// The configuration file that was looked at.
        config: PathBuf,
        /// The credentials file that was looked at.
        credentials: PathBuf,
        /// The profiles that are there.
        known: Vec<String>,
    },
    /// The shared configuration cannot be read.
    #[error("failed to read the profiles of the AWS tools: {why}")]
    BadProfiles {
        /// What is wrong with it, and where.
        why: String,
    },
    /// Nobody named a region.
    #[error("no AWS region is set")]
    NoRegion,
    /// The identity could not be asked for.
    #[error("failed to ask AWS who we are")]
    Identity(#[source] ServiceError),
    /// The answer made no sense.
    #[error("AWS's answer about our identity cannot be read: {0}")]
    BadIdentity(String),
    /// These are the credentials of another account.
    #[error("the credentials belong to account {actual} ({arn}), and this environment is in account {expected}")]
    WrongAccount {
        /// The account of the configuration.
        expected: AccountId,
        /// The account of the credentials.
        actual: AccountId,
        /// Whose credentials they are.
        arn: String,
    },
    /// `AWS_CA_BUNDLE` cannot be used.
    #[error("failed to read the certificates of AWS_CA_BUNDLE at {}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The endpoint override is no URL.
    #[error("the endpoint `{url}` (AWS_ENDPOINT_URL) is not a URL")]
    BadEndpoint {
        /// The override.
        url: String,
    },
}

impl AwsError {
    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoCredentials { .. } => {
                "set AWS_PROFILE (after `aws configure sso`), or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and repeat \
                 the command; an environment with `emulator = \"ministack\"` needs none"
                    .into()
            }
            Self::NoProfile { profile, known, .. } if known.is_empty() => format!(
                "neither file names a profile: `aws configure sso --profile {profile}` makes it, or unset AWS_PROFILE"
            ),
            Self::NoProfile { known, .. } => format!("set AWS_PROFILE to one that is there: {}", listed(known)),
            Self::BadProfiles { .. } => "correct that file: `aws configure list-profiles` reads it, too".into(),
            Self::NoRegion => "set `region` of the environment in nuages.toml, or AWS_REGION".into(),
            Self::Identity(error) if error.kind == Kind::Unreachable => {
                "check the network, proxies and AWS_ENDPOINT_URL, and that `region` in nuages.toml is one that AWS has"
                    .into()
            }
            // A region that an account has not opted into knows none of its keys.
            Self::Identity(error) if error.is_code("InvalidClientTokenId") => {
                "sign in again, or set other credentials; where they are good elsewhere, the account has not enabled \
                 `region` of nuages.toml (`aws account enable-region --region-name REGION`)"
                    .into()
            }
            Self::Identity(error) => return error.hint(),
            Self::WrongAccount { expected, .. } => {
                format!("use credentials of {expected} (AWS_PROFILE), or correct `account` in nuages.toml")
            }
            Self::CaBundle { .. } => "point AWS_CA_BUNDLE at a PEM file, or unset it".into(),
            Self::BadEndpoint { .. } => {
                "set AWS_ENDPOINT_URL to a URL such as http://127.0.0.1:4566, or unset it".into()
            }
            Self::BadIdentity(_) => return None,
        })
    }
}

/// The names, as many as a line holds.
fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let mut quoted: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    if names.len() > MOST {
        quoted.push(format!("{} more", names.len() - MOST));
    }
    quoted.join(", ")
}

/// A proven connection to one account and region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AwsContext {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sdk: SdkConfig,
    identity: Identity,
    region: Region,
    quirks: Quirks,
}

/// How long the credential chain may take where nothing but an instance's metadata service could answer.
const METADATA_ONLY: Duration = Duration::from_secs(2);
/// How long it may take where a profile is configured: single sign-on and credential processes need time.
const CONFIGURED: Duration = Duration::from_mins(1);

impl AwsContext {
    /// Loads the configuration, resolves credentials, and asks STS who we are.
    pub async fn connect(settings: &AwsSettings) -> Result<Self, AwsError> {
        let endpoint = match &settings.endpoint_url {
            Some(url) => Some(url.clone()),
            None => match std::env::var("AWS_ENDPOINT_URL") {
                Ok(text) if !text.is_empty() => {
                    Some(Url::parse(&text).map_err(|_| AwsError::BadEndpoint { url: text })?)
                }
                _ => None,
            },
        };
        let named = settings
            .emulator
            .or_else(|| std::env::var("NUAGES_EMULATOR").ok().and_then(|name| name.parse().ok()));
        let quirks = Quirks::from_endpoint(endpoint.as_ref(), named);
        let plain = endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
        let http = if plain {
            http_client::build_plain()
        } else {
            http_client::build()?
        };

        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .operation_attempt_timeout(Duration::from_secs(30))
                    .build(),
            );
        if let Some(url) = &endpoint {
            loader = loader.endpoint_url(url.as_str());
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some((key, secret)) = &settings.static_credentials {
            loader = loader.credentials_provider(Credentials::new(key, secret.expose(), None, None, "nuages"));
        }
        // A region that we know is not looked for: the chain's last resort is an instance's metadata service.
        let known = settings.region.clone().or_else(region_from_environment).or_else(|| {
            settings
                .static_credentials
                .as_ref()
                .and_then(|_| quirks.default_region())
        });
        if let Some(region) = &known {
            loader = loader.region(aws_config::Region::new(region.as_str().to_owned()));
        }
        let patience = if metadata_is_the_only_hope(settings) {
            METADATA_ONLY
        } else {
            CONFIGURED
        };
        let env = Env::real();
        if settings.static_credentials.is_none() {
            profile::whole_pair(&env)?;
        }
        let named = Named::find(settings.profile.as_deref(), &env);
        let standing = if settings.static_credentials.is_none() && profile::matters(&env) {
            profile::check(named.as_ref(), &env, &Fs::real()).await?
        } else {
            Standing::Unnamed
        };
        let empty = named.filter(|_| standing == Standing::Empty);
        let sdk = tokio::time::timeout(patience, loader.load())
            .await
            .map_err(|_| nobody_answered(empty.as_ref()))?;
        let region = match known {
            Some(region) => region,
            None => sdk
                .region()
                .and_then(|r| r.as_ref().parse().ok())
                .or_else(|| quirks.default_region())
                .ok_or(AwsError::NoRegion)?,
        };
        check_credentials(&sdk, patience, empty.as_ref()).await?;

        let answer = aws_sdk_sts::Client::new(&sdk)
            .get_caller_identity()
            .send()
            .await
            .map_err(|e| AwsError::Identity(describe("sts:GetCallerIdentity", &e)))?;
        let bad = |what: &str| AwsError::BadIdentity(format!("{what} is missing or malformed"));
        let identity = Identity {
            account: answer
                .account()
                .and_then(|a| a.parse().ok())
                .ok_or_else(|| bad("the account"))?,
            arn: answer
                .arn()
                .and_then(|a| a.parse().ok())
                .ok_or_else(|| bad("the ARN"))?,
            user_id: answer.user_id().unwrap_or_default().to_owned(),
        };
        if let Some(expected) = settings.expected_account.as_ref().filter(|e| **e != identity.account) {
            return Err(AwsError::WrongAccount {
                expected: expected.clone(),
                actual: identity.account.clone(),
                arn: identity.arn.to_string(),
            });
        }
        Ok(Self {
            inner: Arc::new(Inner {
                sdk,
                identity,
                region,
                quirks,
            }),
        })
    }

    /// A context around a configuration whose identity is asserted, not asked for: for tests and for tools that have
    /// proven it themselves.
    pub fn assume(sdk: SdkConfig, identity: Identity, region: Region, quirks: Quirks) -> Self {
        Self {
            inner: Arc::new(Inner {
                sdk,
                identity,
                region,
                quirks,
            }),
        }
    }

    /// What SDK clients are made from: `aws_sdk_ecs::Client::new(aws.sdk())`.
    pub fn sdk(&self) -> &SdkConfig {
        &self.inner.sdk
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The region.
    pub fn region(&self) -> &Region {
        &self.inner.region
    }

    /// How the other side differs from AWS.
    pub fn quirks(&self) -> &Quirks {
        &self.inner.quirks
    }
}

fn region_from_environment() -> Option<Region> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok())
}

/// Whether neither the settings, the environment nor a shared file could give credentials.
fn metadata_is_the_only_hope(settings: &AwsSettings) -> bool {
    const SOURCES: [&str; 6] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_DEFAULT_PROFILE",
    ];
    if settings.static_credentials.is_some() || settings.profile.is_some() {
        return false;
    }
    if SOURCES
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
    {
        return false;
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let file = |variable: &str, default: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|h| h.join(default)))
    };
    ![
        file("AWS_CONFIG_FILE", ".aws/config"),
        file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
    ]
    .iter()
    .flatten()
    .any(|path| path.exists())
}

fn nobody_answered(empty: Option<&Named>) -> AwsError {
    AwsError::NoCredentials {
        why: match empty {
            Some(Named(profile)) => format!(
                "the profile `{profile}` has no key, role, single sign-on or credential process, and no instance metadata \
                 service answered"
            ),
            None => "the environment and the shared configuration have none, and no instance metadata service answered"
                .into(),
        },
    }
}

async fn check_credentials(sdk: &SdkConfig, patience: Duration, empty: Option<&Named>) -> Result<(), AwsError> {
    let Some(provider) = sdk.credentials_provider() else {
        return Err(AwsError::NoCredentials {
            why: "no provider is configured".into(),
        });
    };
    match tokio::time::timeout(patience, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(CredentialsError::CredentialsNotLoaded(_))) | Err(_) => Err(nobody_answered(empty)),
        // Whatever a metadata service says to a machine that has no role tells a person nothing.
        Ok(Err(_)) if patience == METADATA_ONLY || empty.is_some() => Err(nobody_answered(empty)),
        Ok(Err(error)) => Err(AwsError::NoCredentials { why: chain(&error) }),
    }
}
