//! A store that lasts as long as its process: for tests, and for embedding.
//!
//! Invariant: it refuses all that a durable store refuses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::DeploymentId;
use crate::entry::Entry;
use crate::holder::Holder;
use crate::lease::{Fence, Lease, Standing};
use crate::plan::StoredPlan;
use crate::store::{JournalStore, StoreError, Summary};

/// Keeps plans, journals and the lease of one environment in memory. Its clock is tokio's.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    epoch: (Timestamp, Mutex<Option<Instant>>),
}

#[derive(Debug, Default)]
struct State {
    deployments: BTreeMap<DeploymentId, (StoredPlan, Vec<Entry>)>,
    last_fence: u64,
    lease: Option<Lease>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            epoch: (Timestamp::now(), Mutex::new(None)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        let began = *self
            .epoch
            .1
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(Instant::now);
        later(self.epoch.0, began.elapsed())
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl State {
    fn require(&self, fence: Fence) -> Result<(), StoreError> {
        let current = self.lease.as_ref().is_some_and(|lease| lease.fence == fence);
        if current { Ok(()) } else { Err(StoreError::LeaseLost) }
    }

    fn renew(&mut self, fence: Fence, now: Timestamp, ttl: Duration) -> Result<(), StoreError> {
        let lease = self
            .lease
            .as_mut()
            .filter(|lease| lease.fence == fence)
            .ok_or(StoreError::LeaseLost)?;
        lease.renewed = now;
        lease.expires = later(now, ttl);
        Ok(())
    }
}

#[async_trait]
impl JournalStore for MemoryStore {
    async fn create(&self, fence: Fence, ttl: Duration, plan: &StoredPlan, first: &Entry) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.state();
        state.require(fence)?;
        if first.position != 0 || state.deployments.contains_key(&plan.deployment) {
            let expected = state
                .deployments
                .get(&plan.deployment)
                .map_or(0, |(_, entries)| entries.len() as u64);
            return Err(StoreError::Position {
                expected,
                offered: first.position,
            });
        }
        state
            .deployments
            .insert(plan.deployment, (plan.clone(), vec![first.clone()]));
        state.renew(fence, now, ttl)
    }

    async fn append(
        &self,
        fence: Fence,
        ttl: Duration,
        deployment: DeploymentId,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.state();
        state.require(fence)?;
        let (_, entries) = state
            .deployments
            .get_mut(&deployment)
            .ok_or(StoreError::NoSuchDeployment(deployment))?;
        let expected = entries.len() as u64;
        if entry.position != expected {
            return Err(StoreError::Position {
                expected,
                offered: entry.position,
            });
        }
        entries.push(entry.clone());
        state.renew(fence, now, ttl)
    }

    async fn load(&self, deployment: DeploymentId) -> Result<Option<(StoredPlan, Vec<Entry>)>, StoreError> {
        Ok(self.state().deployments.get(&deployment).cloned())
    }

    async fn deployments(&self, limit: usize) -> Result<Vec<Summary>, StoreError> {
        let state = self.state();
        let latest = state.deployments.values().rev().take(limit);
        latest
            .map(|(plan, entries)| Ok(Summary::of(&plan.plan()?, entries)))
            .collect()
    }

    async fn unfinished(&self) -> Result<Option<Summary>, StoreError> {
        let all = self.deployments(usize::MAX).await?;
        Ok(all.into_iter().find(|summary| summary.end.is_none()))
    }

    async fn acquire(&self, holder: &Holder, ttl: Duration) -> Result<Lease, StoreError> {
        let now = self.now();
        let mut state = self.state();
        if let Some(lease) = &state.lease
            && lease.standing(now, holder) == Standing::Held
        {
            return Err(StoreError::Held(Box::new(lease.clone())));
        }
        state.last_fence += 1;
        let lease = Lease {
            fence: Fence(state.last_fence),
            holder: holder.clone(),
            acquired: now,
            renewed: now,
            expires: later(now, ttl),
        };
        state.lease = Some(lease.clone());
        Ok(lease)
    }

    async fn heartbeat(&self, fence: Fence, ttl: Duration) -> Result<(), StoreError> {
        let now = self.now();
        self.state().renew(fence, now, ttl)
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.state().lease.take_if(|lease| lease.fence == fence);
        Ok(())
    }

    async fn inspect(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.state().lease.clone())
    }

    async fn break_lease(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.state().lease.take())
    }
}
