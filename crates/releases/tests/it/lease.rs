//! The lease, over the file.

use std::time::Duration;

use nuages_saga::{Fence, Holder, JournalStore, StoreError};

use crate::support::{Place, TTL, elsewhere, key};

#[tokio::test]
async fn one_holds_at_a_time_until_it_runs_out() {
    let place = Place::new();
    let (one, two) = (place.environment().await, place.environment().await);
    let first = one.acquire(&elsewhere("a"), TTL).await.unwrap();
    place.pass(TTL.saturating_sub(Duration::from_secs(1)));
    let held = two.acquire(&elsewhere("b"), TTL).await.unwrap_err();
    assert!(matches!(&held, StoreError::Held(lease) if **lease == first), "{held:?}");
    one.heartbeat(first.fence, TTL).await.unwrap();
    place.pass(TTL.saturating_sub(Duration::from_secs(1)));
    assert!(two.acquire(&elsewhere("b"), TTL).await.is_err(), "it was renewed");
    place.pass(Duration::from_secs(1));
    let second = two.acquire(&elsewhere("b"), TTL).await.unwrap();
    assert!(second.fence > first.fence);
    assert!(matches!(
        one.heartbeat(first.fence, TTL).await,
        Err(StoreError::LeaseLost)
    ));

    // Somebody who lost it gives nothing back.
    JournalStore::release(&one, first.fence).await.unwrap();
    assert_eq!(one.inspect().await.unwrap().unwrap(), second);
    JournalStore::release(&two, second.fence).await.unwrap();
    assert!(one.inspect().await.unwrap().is_none());
    let third = one.acquire(&elsewhere("a"), TTL).await.unwrap();
    assert!(third.fence > second.fence, "the token rises over a release");
    assert!(matches!(
        two.heartbeat(second.fence, TTL).await,
        Err(StoreError::LeaseLost)
    ));
    assert_eq!(two.break_lease().await.unwrap(), Some(third));
    assert_eq!(two.break_lease().await.unwrap(), None);
}

#[tokio::test]
async fn environments_do_not_wait_for_each_other() {
    let place = Place::new();
    let store = place.open().await;
    let staging = store.environment(key("staging")).await.unwrap();
    let production = store.environment(key("production")).await.unwrap();
    staging.acquire(&elsewhere("a"), TTL).await.unwrap();
    production.acquire(&elsewhere("b"), TTL).await.unwrap();
    assert!(
        store
            .environment(key("staging"))
            .await
            .unwrap()
            .acquire(&elsewhere("b"), TTL)
            .await
            .is_err()
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_dead_holder_of_this_machine_is_taken_over_at_once() {
    let place = Place::new();
    let environment = place.environment().await;
    let here = Holder::here("deploy");
    let dead = Holder {
        started: Some("in another life".into()),
        ..here.clone()
    };
    let first = environment.acquire(&dead, TTL).await.unwrap();
    assert!(
        environment.acquire(&elsewhere("b"), TTL).await.is_err(),
        "from elsewhere nobody can tell"
    );
    assert!(environment.acquire(&here, TTL).await.unwrap().fence > first.fence);
    assert!(matches!(
        environment.heartbeat(Fence(99), TTL).await,
        Err(StoreError::LeaseLost)
    ));
}
