//! What is recorded of releases, and which of them serves.

use nuages_model::World;
use nuages_releases::{EnvironmentKey, EnvironmentStore, ReleaseOutcome, ReleaseRef, ReleasesError, WorldChange};
use nuages_saga::{Fence, JournalStore};
use proptest::prelude::*;

use crate::support::{Place, draft, held, key};

#[tokio::test]
async fn reads_back_what_was_recorded_also_after_a_restart() {
    let place = Place::new();
    let environment = place.environment().await;
    let fence = held(&environment).await;
    let mut plain = draft("plain");
    (plain.git, plain.url) = (None, None);
    (plain.world, plain.parent) = (Some(World::generate()), Some(draft("x").id));
    for wanted in [draft("one"), plain] {
        let recorded = environment.record(fence, wanted.clone()).await.unwrap();
        assert_eq!(recorded.draft, wanted);
        let reopened = place.environment().await;
        assert_eq!(
            reopened.release(ReleaseRef::Id(wanted.id)).await.unwrap().unwrap(),
            recorded
        );
        assert_eq!(
            reopened
                .release(recorded.number.to_string().parse().unwrap())
                .await
                .unwrap()
                .unwrap(),
            recorded
        );
        // The shape of `releases --json`.
        let line = serde_json::to_string(&recorded).unwrap();
        assert_eq!(
            serde_json::from_str::<nuages_releases::Release>(&line).unwrap(),
            recorded
        );
    }
}

#[tokio::test]
async fn numbers_rise_within_an_environment_and_a_repetition_keeps_its_number() {
    let place = Place::new();
    let staging = place.environment().await;
    let production = place.open().await.environment(key("production")).await.unwrap();
    let (fence, other) = (held(&staging).await, held(&production).await);
    let first = draft("one");
    let number = |release: nuages_releases::Release| release.number.to_string();
    assert_eq!(number(staging.record(fence, first.clone()).await.unwrap()), "v1");
    assert_eq!(number(staging.record(fence, draft("two")).await.unwrap()), "v2");
    assert_eq!(number(production.record(other, draft("one")).await.unwrap()), "v1");
    place.pass(std::time::Duration::from_secs(5));
    let mut again = first.clone();
    again.outcome = ReleaseOutcome::Failed;
    let recorded = staging.record(fence, again.clone()).await.unwrap();
    assert_eq!((recorded.number.get(), &recorded.draft), (1, &again));
    assert!(recorded.created < staging.releases(1).await.unwrap()[0].created + std::time::Duration::from_secs(5));
    assert_eq!(staging.releases(10).await.unwrap().len(), 2);
    // A release of another environment is not found here.
    assert!(production.release(ReleaseRef::Id(first.id)).await.unwrap().is_none());
    let stray = production
        .mark(other, first.id, ReleaseOutcome::Failed)
        .await
        .unwrap_err();
    assert!(matches!(stray, ReleasesError::NoSuchRelease(_)));
    assert!(matches!(
        production.set_serving(other, Some(first.id)).await,
        Err(ReleasesError::NoSuchRelease(_))
    ));
}

#[tokio::test]
async fn an_environment_that_serves_in_another_region_is_known() {
    let place = Place::new();
    let of = async |change: fn(&mut EnvironmentKey)| {
        let mut key = key("staging");
        change(&mut key);
        place.open().await.environment(key).await.unwrap()
    };
    let here = place.environment().await;
    let there = of(|key| key.region = "us-east-1".parse().unwrap()).await;
    let strangers = [
        of(|key| (key.region, key.account) = ("us-east-1".parse().unwrap(), "999999999999".parse().unwrap())).await,
        of(|key| (key.region, key.app) = ("us-east-1".parse().unwrap(), "shop".parse().unwrap())).await,
        of(|key| (key.region, key.env) = ("us-east-1".parse().unwrap(), "production".parse().unwrap())).await,
    ];
    for serving in [&here].into_iter().chain(&strangers) {
        serving.record_serving(held(serving).await, draft("1")).await.unwrap();
    }
    assert_eq!(here.serving_elsewhere().await.unwrap(), []);
    let fence = held(&there).await;
    there.record(fence, draft("1")).await.unwrap();
    assert_eq!(
        here.serving_elsewhere().await.unwrap(),
        [],
        "it was recorded, and does not serve"
    );
    there.record_serving(fence, draft("2")).await.unwrap();
    let [(region, number)] = &here.serving_elsewhere().await.unwrap()[..] else {
        panic!("one region")
    };
    assert_eq!((region.as_str(), number.to_string().as_str()), ("us-east-1", "v2"));
    there.set_serving(fence, None).await.unwrap();
    assert_eq!(here.serving_elsewhere().await.unwrap(), [], "it was taken down");
}

#[tokio::test]
async fn a_store_says_which_environments_it_knows() {
    let place = Place::new();
    let store = place.open().await;
    let (staging, production) = (key("staging"), key("production"));
    let shop = EnvironmentKey {
        app: "shop".parse().unwrap(),
        ..key("staging")
    };
    for key in [&shop, &staging, &production] {
        store.environment(key.clone()).await.unwrap();
    }
    let known = place.open().await.environments().await.unwrap();
    let keys: Vec<&EnvironmentKey> = known.iter().map(EnvironmentStore::key).collect();
    assert_eq!(keys, [&production, &staging, &shop]);
    // The records are those of their keys.
    let environment = store.environment(staging).await.unwrap();
    environment.record(held(&environment).await, draft("1")).await.unwrap();
    let mut releases = Vec::new();
    for environment in &known {
        releases.push(environment.releases(10).await.unwrap().len());
    }
    assert_eq!(releases, [0, 1, 0]);
}

#[tokio::test]
async fn a_rollback_goes_to_the_last_healthy_release_and_not_to_the_one_before() {
    let place = Place::new();
    let environment = place.environment().await;
    let fence = held(&environment).await;
    let (one, two, mut three, four) = (draft("1"), draft("2"), draft("3"), draft("4"));
    three.outcome = ReleaseOutcome::Failed;
    assert!(environment.rollback_target().await.unwrap().is_none());
    environment.record_serving(fence, one.clone()).await.unwrap();
    environment.record_serving(fence, two.clone()).await.unwrap();
    environment.record(fence, three.clone()).await.unwrap();
    let id =
        async |found: Result<Option<nuages_releases::Release>, ReleasesError>| found.unwrap().map(|release| release.id);
    assert_eq!(
        id(environment.serving().await).await,
        Some(two.id),
        "a failed release does not serve"
    );
    environment.record_serving(fence, four.clone()).await.unwrap();
    assert_eq!(id(environment.rollback_target().await).await, Some(two.id));

    environment.rolled_back(fence, four.id, two.id).await.unwrap();
    assert_eq!(id(environment.serving().await).await, Some(two.id));
    assert_eq!(id(environment.last_healthy().await).await, Some(two.id));
    assert_eq!(id(environment.rollback_target().await).await, Some(one.id));
    let left = environment.release(ReleaseRef::Id(four.id)).await.unwrap().unwrap();
    assert_eq!(left.outcome, ReleaseOutcome::RolledBackFrom);
    environment.set_serving(fence, None).await.unwrap();
    assert!(environment.serving().await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_recorded_without_the_lease() {
    let place = Place::new();
    let environment = place.environment().await;
    let one = draft("1");
    let lost =
        |result: Result<(), ReleasesError>| assert!(matches!(result, Err(ReleasesError::LeaseLost)), "{result:?}");
    lost(environment.record(Fence(1), one.clone()).await.map(drop));
    let old = held(&environment).await;
    environment.record(old, one.clone()).await.unwrap();
    environment.break_lease().await.unwrap();
    let new = held(&environment).await;
    assert!(new > old);
    lost(environment.record(old, draft("2")).await.map(drop));
    lost(environment.record_serving(old, one.clone()).await.map(drop));
    lost(environment.mark(old, one.id, ReleaseOutcome::Failed).await);
    lost(environment.set_serving(old, Some(one.id)).await);
    lost(environment.rolled_back(old, one.id, one.id).await);
    lost(environment.enter_world(old, World::generate()).await.map(drop));
    assert_eq!(environment.releases(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_world_archives_what_was_and_tells() {
    let place = Place::new();
    let environment = place.environment().await;
    let fence = held(&environment).await;
    let (first, second) = (World::generate(), World::generate());
    assert_eq!(environment.enter_world(fence, first).await.unwrap(), WorldChange::Same);
    assert_eq!(environment.enter_world(fence, first).await.unwrap(), WorldChange::Same);
    let mut old = draft("old");
    old.world = Some(first);
    environment.record_serving(fence, old.clone()).await.unwrap();

    let change = environment.enter_world(fence, second).await.unwrap();
    assert_eq!(
        change,
        WorldChange::Changed {
            from: first,
            releases: 1,
            deployments: 0,
            unfinished: false
        }
    );
    assert_eq!(environment.world().await.unwrap(), Some(second));
    assert!(environment.serving().await.unwrap().is_none());
    assert!(environment.last_healthy().await.unwrap().is_none());
    assert!(environment.releases(10).await.unwrap().is_empty());
    let all = environment.releases_of_all_worlds(10).await.unwrap();
    assert_eq!((all.len(), all[0].archived, all[0].id), (1, true, old.id));
    let new = environment.record(fence, draft("new")).await.unwrap();
    assert_eq!(new.number.get(), 2, "a number is never given twice");
}

#[tokio::test]
async fn what_was_taken_down_is_archived_and_makes_room_for_another_world() {
    let place = Place::new();
    let environment = place.environment().await;
    let fence = held(&environment).await;
    let (first, second) = (World::generate(), World::generate());
    environment.enter_world(fence, first).await.unwrap();
    let mut old = draft("old");
    old.world = Some(first);
    environment.record_serving(fence, old.clone()).await.unwrap();
    // One without a world is gone, too: there is no run in hand that it may be of.
    environment.record(fence, draft("older")).await.unwrap();

    assert!(
        environment.taken_down(Fence(fence.0 + 1)).await.is_err(),
        "without the lease"
    );
    assert_eq!(environment.releases(10).await.unwrap().len(), 2);
    assert_eq!(environment.taken_down(fence).await.unwrap(), 2);
    assert!(environment.serving().await.unwrap().is_none() && environment.world().await.unwrap().is_none());
    assert!(environment.releases(10).await.unwrap().is_empty());
    let all = environment.releases_of_all_worlds(10).await.unwrap();
    assert_eq!(
        all.iter().map(|release| release.archived).collect::<Vec<_>>(),
        [true, true]
    );
    assert_eq!(environment.taken_down(fence).await.unwrap(), 0, "once");

    // Nobody is told of another world: it was asked for.
    assert_eq!(environment.enter_world(fence, second).await.unwrap(), WorldChange::Same);
    let new = environment.record(fence, draft("new")).await.unwrap();
    assert_eq!((new.number.get(), new.archived), (3, false));
}

#[tokio::test]
async fn remembers_and_forgets() {
    let place = Place::new();
    let store = place.open().await;
    store.remember("checks", "a", &vec![1, 2]).await.unwrap();
    store.remember("probe", "a", &"other").await.unwrap();
    store.remember("checks", "a", &vec![3]).await.unwrap();
    assert_eq!(store.recall::<Vec<u32>>("checks", "a").await.unwrap(), Some(vec![3]));
    assert_eq!(
        place
            .open()
            .await
            .recall::<String>("probe", "a")
            .await
            .unwrap()
            .as_deref(),
        Some("other")
    );
    assert_eq!(
        store.recall::<u32>("checks", "a").await.unwrap(),
        None,
        "of another shape it is as good as none"
    );
    assert_eq!(store.recall::<u32>("checks", "b").await.unwrap(), None);
    place.pass(std::time::Duration::from_hours(1));
    store.remember("checks", "b", &4).await.unwrap();
    let before = jiff::Timestamp::from_millisecond(place.clock.load(std::sync::atomic::Ordering::SeqCst)).unwrap();
    assert_eq!(store.forget(before).await.unwrap(), 2);
    assert_eq!(store.recall::<u32>("checks", "b").await.unwrap(), Some(4));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reference_is_a_number_or_an_id_and_never_both(text in "v?[0-9]{0,11}|[0-9a-z]{20,28}|.{0,12}") {
        match text.parse::<ReleaseRef>() {
            Ok(ReleaseRef::Number(number)) => {
                prop_assert!(number.to_string().trim_start_matches('v') == text.trim_start_matches('v'));
            }
            Ok(ReleaseRef::Id(id)) => prop_assert_eq!(id.to_string().parse(), Ok(ReleaseRef::Id(id))),
            Err(error) => prop_assert!(error.to_string().contains("is not a release")),
        }
    }
}
