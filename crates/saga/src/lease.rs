//! Who may act on an environment: one holder at a time, with a fencing token that only rises.
//!
//! Invariant: a holder that cannot renew in time stops acting before anybody else may begin. AWS itself takes no
//! fencing token; what is left is the one call that was under way when the lease ran out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::SagaError;
use crate::holder::Holder;
use crate::store::{JournalStore, StoreError};

/// The number of a lease. Every new one is greater than all before it, so a write that carries an old one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number.
    pub fence: Fence,
    /// Whose it is.
    pub holder: Holder,
    /// Since when.
    pub acquired: Timestamp,
    /// When it was renewed last.
    pub renewed: Timestamp,
    /// Until when, unless it is renewed.
    pub expires: Timestamp,
}

/// Whether a lease may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is held.
    Held,
    /// It ran out.
    Expired,
    /// Its holder ran on this machine and is gone.
    HolderDead,
}

impl Lease {
    /// Whether somebody on this machine may take it over now.
    pub fn standing(&self, now: Timestamp, here: &Holder) -> Standing {
        if self.holder.is_running_beside(here) == Some(false) {
            Standing::HolderDead
        } else if now >= self.expires {
            Standing::Expired
        } else {
            Standing::Held
        }
    }
}

/// How long a lease lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTiming {
    /// A lease that was not renewed for this long may be taken over.
    pub ttl: Duration,
    /// It is renewed this often.
    pub heartbeat: Duration,
    /// Nothing is begun in the last part of the lease's time.
    pub margin: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            heartbeat: Duration::from_secs(8),
            margin: Duration::from_secs(10),
        }
    }
}

/// An instant on both clocks. A stopped process is seen by either, a suspended machine by the wall clock alone, and
/// a wall clock that was set back must not hide what the other one shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    pub(crate) fn age(self) -> Duration {
        self.steady.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn JournalStore>,
    fence: Fence,
    timing: LeaseTiming,
    renewed: Mutex<Moment>,
    lost: watch::Sender<bool>,
}

impl Shared {
    fn renewed_at(&self, moment: Moment) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        // The latest wins: an append and a heartbeat may answer in either order.
        if moment.steady >= renewed.steady {
            *renewed = moment;
        }
    }

    fn age(&self) -> Duration {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).age()
    }

    fn window(&self) -> Duration {
        self.timing.ttl.saturating_sub(self.timing.margin)
    }

    async fn renew(&self) -> Result<(), StoreError> {
        // Taken before the call: the store counts from some moment during it.
        let moment = Moment::now();
        self.store.heartbeat(self.fence, self.timing.ttl).await?;
        self.renewed_at(moment);
        Ok(())
    }
}

/// A lease that is held, and renewed by a task of its own until it is released or dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nuages_saga::SagaError> {
/// use std::sync::Arc;
/// use nuages_saga::{Holder, LeaseGuard, LeaseTiming, SagaError, memory::MemoryStore};
///
/// let store = Arc::new(MemoryStore::new());
/// let lease = LeaseGuard::acquire(store.clone(), Holder::here("deploy"), LeaseTiming::default()).await?;
/// let second = LeaseGuard::acquire(store.clone(), Holder::here("deploy"), LeaseTiming::default()).await;
/// assert!(matches!(second, Err(SagaError::Held(_))));
/// lease.release().await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LeaseGuard {
    shared: Arc<Shared>,
    heartbeat: JoinHandle<()>,
}

impl LeaseGuard {
    /// Takes the lease: a free one, one that ran out, or one whose holder on this machine is gone. Does not wait.
    pub async fn acquire(store: Arc<dyn JournalStore>, holder: Holder, timing: LeaseTiming) -> Result<Self, SagaError> {
        let moment = Moment::now();
        let lease = store.acquire(&holder, timing.ttl).await?;
        let shared = Arc::new(Shared {
            store,
            fence: lease.fence,
            timing,
            renewed: Mutex::new(moment),
            lost: watch::Sender::new(false),
        });
        let heartbeat = tokio::spawn(beat(shared.clone()));
        Ok(Self { shared, heartbeat })
    }

    /// The token that every write carries.
    pub fn fence(&self) -> Fence {
        self.shared.fence
    }

    /// Waits until the lease is lost; for ever, if it is not.
    pub async fn lost(&self) {
        let _ = self.shared.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Makes sure that the lease is ours and will be for a while. Called before anything is changed; asks the store
    /// only when the last answer is old.
    pub async fn confirm(&self) -> Result<(), SagaError> {
        if *self.shared.lost.borrow() {
            return Err(SagaError::LeaseLost);
        }
        // Twice: the answer itself may have come so late that it says nothing.
        for _ in 0..2 {
            if self.shared.age() < self.shared.window() {
                return Ok(());
            }
            match self.shared.renew().await {
                Ok(()) => {}
                Err(StoreError::LeaseLost) => {
                    self.shared.lost.send_replace(true);
                    return Err(SagaError::LeaseLost);
                }
                Err(other) => return Err(other.into()),
            }
        }
        if self.shared.age() < self.shared.window() {
            Ok(())
        } else {
            Err(SagaError::LeaseLost)
        }
    }

    /// An append renewed the lease, and was begun at this moment.
    pub(crate) fn renewed_at(&self, moment: Moment) {
        self.shared.renewed_at(moment);
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.shared.timing.ttl
    }

    /// Gives the lease back. A store that cannot be reached is no error: the lease runs out.
    pub async fn release(self) {
        self.heartbeat.abort();
        let released = self.shared.store.release(self.shared.fence);
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(2), released).await {
            tracing::debug!(%error, "the lease was not released and will run out");
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

async fn beat(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.timing.heartbeat);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let left = shared.window().saturating_sub(shared.age());
        let renewed = tokio::time::timeout(left.max(Duration::from_secs(1)), shared.renew()).await;
        let lost = match renewed {
            Ok(Ok(())) => false,
            Ok(Err(StoreError::LeaseLost)) => true,
            // The store cannot be reached just now: there is still time to try again.
            Ok(Err(_)) | Err(_) => shared.age() >= shared.window(),
        };
        if lost {
            shared.lost.send_replace(true);
            return;
        }
    }
}
