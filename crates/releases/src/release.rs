//! What is recorded of a release.
//!
//! Invariant: nothing in a record is secret: secrets stand in it as ARN and version id, and the configuration snapshot
//! holds references only.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use nuages_model::{Arn, Digest, ImageRef, ReleaseId, SecretVersion, ServiceName, World};
use nuages_saga::DeploymentId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One release of an application to one environment, without the number that the store gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDraft {
    /// Its identity.
    pub id: ReleaseId,
    /// Who made it: `ana@laptop`.
    pub created_by: String,
    /// The run that made it.
    pub deployment: Option<DeploymentId>,
    /// The release that served before it.
    pub parent: Option<ReleaseId>,
    /// The environment's identity in the account.
    pub world: Option<World>,
    /// How it stands.
    pub outcome: ReleaseOutcome,
    /// The commit that it was built from.
    pub git: Option<GitState>,
    /// The image's digest.
    pub image_digest: Digest,
    /// The image, as tasks pull it.
    pub image_reference: ImageRef,
    /// The task definition of each service.
    pub task_definitions: BTreeMap<ServiceName, Arn>,
    /// A hash over all that went into it; an equal one means that nothing changed.
    pub fingerprint: String,
    /// A hash over the resolved configuration.
    pub config_hash: String,
    /// The resolved configuration. No secrets.
    pub config: Value,
    /// The versions of the secrets that it reads.
    pub secrets: Vec<SecretVersion>,
    /// The migrations that were applied when it was made, by database alias.
    pub migrations: BTreeMap<String, MigrationState>,
    /// What its checks said.
    pub checks: Vec<CheckRecord>,
    /// What built the image: `docker 27.1`, ….
    pub builder: String,
    /// Where it is reached.
    pub url: Option<String>,
}

/// One release of an application to one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its number within the environment.
    pub number: ReleaseNumber,
    /// When it was recorded first.
    pub created: Timestamp,
    /// Whether it belongs to a world that is gone.
    pub archived: bool,
    /// All else.
    #[serde(flatten)]
    pub draft: ReleaseDraft,
}

impl std::ops::Deref for Release {
    type Target = ReleaseDraft;
    fn deref(&self) -> &ReleaseDraft {
        &self.draft
    }
}

/// A release's number within its environment, shown as `v7`.
///
/// ```
/// let number: nuages_releases::ReleaseNumber = "v7".parse()?;
/// assert_eq!((number.get(), number.to_string().as_str()), (7, "v7"));
/// # Ok::<(), nuages_releases::ReleaseNumberError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseNumber(u32);

impl ReleaseNumber {
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Why a release's number was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a release (such as `v7`)")]
pub struct ReleaseNumberError(String);

impl FromStr for ReleaseNumber {
    type Err = ReleaseNumberError;
    fn from_str(text: &str) -> Result<Self, ReleaseNumberError> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        match digits.parse() {
            Ok(number) if plain => Ok(Self(number)),
            _ => Err(ReleaseNumberError(text.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for ReleaseNumber {
    type Error = ReleaseNumberError;
    fn try_from(text: String) -> Result<Self, ReleaseNumberError> {
        text.parse()
    }
}

impl From<ReleaseNumber> for String {
    fn from(number: ReleaseNumber) -> String {
        number.to_string()
    }
}

/// Which release a person means: `v7`, or a release id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseRef {
    /// By its number.
    Number(ReleaseNumber),
    /// By its id.
    Id(ReleaseId),
}

impl FromStr for ReleaseRef {
    type Err = ReleaseNumberError;
    fn from_str(text: &str) -> Result<Self, ReleaseNumberError> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Number),
        }
    }
}

/// How a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseOutcome {
    /// It came up and passed its smoke test.
    Healthy,
    /// It did not; the environment went back.
    Failed,
    /// Its deployment was interrupted or given up, and undone.
    Interrupted,
    /// It was healthy, and somebody went back from it.
    RolledBackFrom,
}

impl ReleaseOutcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::RolledBackFrom => "rolled-back-from",
        }
    }
}

impl fmt::Display for ReleaseOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a release was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitState {
    /// The commit.
    pub commit: String,
    /// The branch, where there is one.
    pub branch: Option<String>,
    /// Whether the tree differed from the commit.
    pub dirty: bool,
}

/// The migrations of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationState {
    /// All that are applied, as `app.name`.
    pub applied: Vec<String>,
    /// The leaves of each app's graph.
    pub leaves: BTreeMap<String, Vec<String>>,
}

/// What one check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Its name in `[checks]`.
    pub name: String,
    /// What it said.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
}

/// What a check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// It passed.
    Passed {
        /// How long it took, in milliseconds.
        millis: u64,
        /// Whether it passed earlier, for the same image and inputs.
        cached: bool,
    },
    /// It was left out.
    Skipped {
        /// Why.
        reason: String,
    },
}
