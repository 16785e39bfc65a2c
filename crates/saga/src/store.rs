//! The port behind which plans, journals and the lease of one environment are kept.
//!
//! Invariant: a write happens whole or not at all, only under the fencing token that is current, and an entry only at
//! the position that is next. After `Ok` it survives the death of the machine.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use nuages_model::{ReleaseId, World};
use serde::{Deserialize, Serialize};

use crate::codec::DecodeError;
use crate::entry::{End, Entry};
use crate::holder::Holder;
use crate::lease::{Fence, Lease};
use crate::plan::StoredPlan;
use crate::{DeploymentId, Plan};

/// Why the store refused, or could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody holds the lease.
    #[error("{} holds the environment", .0.holder)]
    Held(Box<Lease>),
    /// The fencing token is not the current one. Nothing was written.
    #[error("the lease on the environment was lost")]
    LeaseLost,
    /// Another entry stands there already, or one before it is missing. Nothing was written.
    #[error("the journal's next position is {expected}, not {offered}")]
    Position {
        /// The next position.
        expected: u64,
        /// The one offered.
        offered: u64,
    },
    /// There is no such deployment.
    #[error("there is no deployment {0} in this store")]
    NoSuchDeployment(DeploymentId),
    /// What is stored could not be read.
    #[error("failed to read a record")]
    Decode(#[from] DecodeError),
    /// The store itself failed; whether a write happened is not known.
    #[error("{what}")]
    Backend {
        /// What was tried: a fragment that completes "failed to use the store: ".
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
        /// What to do next.
        hint: Option<String>,
    },
}

impl StoreError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Backend { hint, .. } => hint.clone(),
            Self::Decode(error) => error.hint(),
            Self::Position { .. } => Some(
                "somebody else wrote to it: see who with `nuages lease show`, then continue with `nuages resume`"
                    .into(),
            ),
            Self::NoSuchDeployment(_) => Some("`nuages history` lists those there are".into()),
            Self::Held(_) | Self::LeaseLost => None,
        }
    }
}

/// One deployment, as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id.
    pub deployment: DeploymentId,
    /// What was done: `deploy`, `rollback`, ….
    pub operation: String,
    /// The release that was made or gone back to.
    pub release: Option<ReleaseId>,
    /// The environment's identity.
    pub world: Option<World>,
    /// The version of the tool that planned it.
    pub tool: String,
    /// When it was planned.
    pub created: Timestamp,
    /// When something was last written about it.
    pub updated: Timestamp,
    /// How it ended; nothing, if it has not.
    pub end: Option<End>,
}

impl Summary {
    /// What is known of a deployment from its plan and the entries of its journal.
    pub fn of(plan: &Plan, entries: &[Entry]) -> Self {
        Self {
            deployment: plan.deployment,
            operation: plan.operation.clone(),
            release: plan.release,
            world: plan.world,
            tool: plan.tool.clone(),
            created: plan.created,
            updated: entries.last().map_or(plan.created, |entry| entry.at),
            end: entries.last().and_then(|entry| entry.event.end()),
        }
    }
}

/// Keeps plans, journals and the lease of one environment.
///
/// An implementation over rows keeps [`StoredPlan::text`] and [`Entry::encode`]'s text; a damaged or newer row then
/// reads as [`StoreError::Decode`].
#[async_trait]
pub trait JournalStore: Send + Sync + fmt::Debug {
    /// Writes a plan and its journal's first entry, both or neither. Renews the lease by `ttl`.
    async fn create(&self, fence: Fence, ttl: Duration, plan: &StoredPlan, first: &Entry) -> Result<(), StoreError>;

    /// Writes an entry at its position. Renews the lease by `ttl`.
    async fn append(
        &self,
        fence: Fence,
        ttl: Duration,
        deployment: DeploymentId,
        entry: &Entry,
    ) -> Result<(), StoreError>;

    /// A plan and its journal, in order.
    async fn load(&self, deployment: DeploymentId) -> Result<Option<(StoredPlan, Vec<Entry>)>, StoreError>;

    /// The deployments of this environment, the latest first.
    async fn deployments(&self, limit: usize) -> Result<Vec<Summary>, StoreError>;

    /// The deployment that has not ended, if there is one.
    async fn unfinished(&self) -> Result<Option<Summary>, StoreError>;

    /// Takes the lease for `ttl`: a free one, or one whose [`standing`](Lease::standing) allows it.
    async fn acquire(&self, holder: &Holder, ttl: Duration) -> Result<Lease, StoreError>;

    /// Renews the lease by `ttl` from now.
    async fn heartbeat(&self, fence: Fence, ttl: Duration) -> Result<(), StoreError>;

    /// Gives the lease back. One that is not ours any more is no error.
    async fn release(&self, fence: Fence) -> Result<(), StoreError>;

    /// The lease as it stands, free or not.
    async fn inspect(&self) -> Result<Option<Lease>, StoreError>;

    /// Takes the lease away from whoever holds it: for a person who knows that the holder is gone.
    async fn break_lease(&self) -> Result<Option<Lease>, StoreError>;
}
