//! Two deployers, and a process that was stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use nuages_saga::memory::MemoryStore;
use nuages_saga::{
    DeploymentId, Entry, Fence, Holder, JournalEvent, JournalStore, Lease, LeaseGuard, LeaseTiming, SagaError,
    StepEvent, StoreError, StoredPlan, Summary,
};

use crate::sim::{Fails, Kind, Life, Process, World, acts, id, place, plan};

#[tokio::test(start_paused = true)]
async fn held_free_and_run_out() {
    let store: Arc<dyn JournalStore> = Arc::new(MemoryStore::new());
    let timing = LeaseTiming::default();
    let take = || LeaseGuard::acquire(store.clone(), Holder::here("deploy"), timing);
    let first = take().await.unwrap();
    tokio::time::sleep(timing.ttl * 10).await;
    let error = take().await.unwrap_err();
    assert!(
        matches!(&error, SagaError::Held(lease) if lease.fence == first.fence()),
        "it is renewed as long as it is held"
    );
    assert!(error.hint().unwrap().contains("is free at"));

    let fence = first.fence();
    drop(first);
    assert!(take().await.is_err(), "it was not given back");
    tokio::time::sleep(timing.ttl).await;
    let second = take().await.unwrap();
    assert!(second.fence() > fence);
    second.release().await;
    let third = take().await.unwrap();
    assert!(store.break_lease().await.unwrap().is_some());
    third.lost().await;
    assert!(matches!(third.confirm().await, Err(SagaError::LeaseLost)));
    let fourth = take().await.unwrap();
    assert!(matches!(
        store.heartbeat(Fence(1), timing.ttl).await,
        Err(StoreError::LeaseLost)
    ));
    store.release(Fence(1)).await.unwrap();
    assert_eq!(
        store.inspect().await.unwrap().unwrap().fence,
        fourth.fence(),
        "a stranger gives nothing back"
    );
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_dead_holder_on_this_machine_is_taken_over_at_once() {
    let store = MemoryStore::new();
    let here = Holder::here("deploy");
    let dead = Holder {
        started: Some("before all time".into()),
        ..here.clone()
    };
    let first = store.acquire(&dead, Duration::from_mins(10)).await.unwrap();
    let second = store.acquire(&here, Duration::from_mins(10)).await.unwrap();
    assert!(second.fence > first.fence);
    let elsewhere = Holder {
        boot: Some("another machine".into()),
        ..here
    };
    assert!(matches!(
        store.acquire(&elsewhere, Duration::from_mins(10)).await,
        Err(StoreError::Held(_))
    ));
}

/// A store after whose n-th intent the whole process stands still for a while, heartbeats and all.
#[derive(Debug)]
struct Stopped {
    inner: Arc<MemoryStore>,
    seconds: u64,
    beats: AtomicU64,
    rival: bool,
}

#[async_trait]
impl JournalStore for Stopped {
    async fn create(&self, fence: Fence, ttl: Duration, plan: &StoredPlan, first: &Entry) -> Result<(), StoreError> {
        self.inner.create(fence, ttl, plan, first).await
    }
    async fn append(&self, fence: Fence, ttl: Duration, of: DeploymentId, entry: &Entry) -> Result<(), StoreError> {
        self.inner.append(fence, ttl, of, entry).await?;
        if matches!(
            &entry.event,
            JournalEvent::Step {
                happened: StepEvent::Intent { .. },
                ..
            }
        ) {
            tokio::time::advance(Duration::from_secs(self.seconds)).await;
            if self.rival {
                self.inner.acquire(&Holder::here("rival"), ttl).await?;
            }
        }
        Ok(())
    }
    async fn load(&self, of: DeploymentId) -> Result<Option<(StoredPlan, Vec<Entry>)>, StoreError> {
        self.inner.load(of).await
    }
    async fn deployments(&self, limit: usize) -> Result<Vec<Summary>, StoreError> {
        self.inner.deployments(limit).await
    }
    async fn unfinished(&self) -> Result<Option<Summary>, StoreError> {
        self.inner.unfinished().await
    }
    async fn acquire(&self, holder: &Holder, ttl: Duration) -> Result<Lease, StoreError> {
        self.inner.acquire(holder, ttl).await
    }
    async fn heartbeat(&self, fence: Fence, ttl: Duration) -> Result<(), StoreError> {
        self.beats.fetch_add(1, SeqCst);
        self.inner.heartbeat(fence, ttl).await
    }
    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.inner.release(fence).await
    }
    async fn inspect(&self) -> Result<Option<Lease>, StoreError> {
        self.inner.inspect().await
    }
    async fn break_lease(&self) -> Result<Option<Lease>, StoreError> {
        self.inner.break_lease().await
    }
}

async fn stopped_for(seconds: u64, rival: bool) -> (Arc<World>, Result<nuages_saga::Report, SagaError>, u64) {
    let (world, inner) = (World::new(), Arc::new(MemoryStore::new()));
    let store = Arc::new(Stopped {
        inner,
        seconds,
        beats: AtomicU64::new(0),
        rival,
    });
    let process = Process::over(&world, store.clone(), &Life::long());
    let report = process
        .deploy(plan().stage("one", [acts("a", Kind::Make, Fails::Never)]))
        .await;
    (world, report, store.beats.load(SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_after_its_intent_asks_before_it_acts() {
    let (world, report, beats) = stopped_for(60, false).await;
    assert_eq!(report.unwrap().outcome, nuages_saga::Outcome::Finished);
    assert!(beats >= 1 && world.is_done(&id("a"), Kind::Make));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_and_replaced_does_not_act() {
    let (world, report, _) = stopped_for(60, true).await;
    assert!(matches!(report.unwrap_err(), SagaError::LeaseLost));
    assert!(
        world.applied().is_empty(),
        "it acted under a lease that was somebody else's"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_ends_the_run() {
    let (world, _, process) = place();
    let wanted = plan().stage(
        "one",
        [crate::sim::acts_with(
            "m",
            Kind::Job,
            Fails::Never,
            &serde_json::json!({"millis": 500_000}),
        )],
    );
    let steals = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        process.store.break_lease().await.unwrap();
    };
    let (report, ()) = tokio::join!(process.deploy(wanted.clone()), steals);
    assert!(matches!(report.unwrap_err(), SagaError::LeaseLost));
    assert_eq!(
        process.resume(wanted.deployment).await.unwrap().outcome,
        nuages_saga::Outcome::Finished
    );
    assert_eq!(world.starts(&id("m")), 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_deployers_one_acts_at_a_time() {
    let (world, store, _) = place();
    let tries = (0..20).map(|number| {
        let process = Process::new(&world, &store, &Life::long());
        async move {
            let name = format!("j{number}");
            process
                .deploy(plan().stage("one", [acts(&name, Kind::Job, Fails::Never)]))
                .await
                .unwrap()
                .outcome
        }
    });
    let outcomes = futures_util::future::join_all(tries).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == nuages_saga::Outcome::Finished)
    );
    // Nobody's intent stands between another's intent and its outcome: the store refuses a second unfinished one.
    assert_eq!(store.deployments(100).await.unwrap().len(), 20);
    assert_eq!(world.violations(), Vec::<String>::new());
}
