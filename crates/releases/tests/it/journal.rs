//! Plans and journals, over the file: the same answers as the store in memory, whatever is asked.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nuages_model::World;
use nuages_releases::{EnvironmentStore, WorldChange};
use nuages_saga::memory::MemoryStore;
use nuages_saga::{
    ApplyError, Cancel, Check, DeploymentId, End, Entry, Events, Fence, Holder, Journal, JournalEvent, JournalStore,
    LeaseGuard, LeaseTiming, Observation, Outcome, Plan, Registry, Reversal, Runner, SagaError, Step, StepContext,
    StepError, StepSpec, StoreError, StoredPlan,
};
use nuages_testkit::clock::on_paused_time;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Place, TTL, elsewhere, held};

fn plan() -> Plan {
    Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0")
}

/// Appends to a text.
struct Append(Arc<std::sync::Mutex<String>>, Params);

#[derive(serde::Deserialize)]
struct Params {
    text: String,
    fails: bool,
}

#[async_trait]
impl Step for Append {
    async fn check(&self, _: &StepContext) -> Result<Check, StepError> {
        Ok(Check::Change {
            before: json!(*self.0.lock().unwrap()),
            diff: vec![],
        })
    }
    async fn apply(&self, _: &StepContext, _: &Value) -> Result<Value, ApplyError> {
        self.0.lock().unwrap().push_str(&self.1.text);
        if self.1.fails {
            Err(ApplyError::Unknown(StepError::message("no")))
        } else {
            Ok(json!({}))
        }
    }
    async fn observe(&self, _: &StepContext, _: &Value) -> Result<Observation, StepError> {
        Ok(Observation::Indeterminate {
            why: "nobody knows".into(),
        })
    }
    async fn undo(&self, _: &StepContext, before: &Value, _: Option<&Value>) -> Result<(), StepError> {
        before.as_str().unwrap().clone_into(&mut self.0.lock().unwrap());
        Ok(())
    }
    fn reversal(&self) -> Reversal {
        Reversal::Undo
    }
    fn by_hand(&self, _: &Value, _: Option<&Value>) -> Vec<String> {
        vec![]
    }
}

#[tokio::test]
async fn a_saga_runs_over_the_file_and_its_history_is_read_back() {
    let place = Place::new();
    let store = Arc::new(place.environment().await);
    let text = Arc::new(std::sync::Mutex::new(String::new()));
    let mut registry = Registry::new();
    let of = text.clone();
    registry.add("append", 1, move |params: Params| Ok(Append(of.clone(), params)));
    let runner = Runner::new(registry, store.clone(), "0.1.0");
    let step = |id: &str, fails: bool| {
        StepSpec::new(
            id.parse().unwrap(),
            "append",
            1,
            id,
            json!({"text": id, "fails": fails}),
        )
    };
    let scope = Events::none().task("test", "Test");
    for (fails, expected) in [(false, "ab"), (true, "ab")] {
        let plan = plan().stage("one", [step("a", false)]).stage("two", [step("b", fails)]);
        let lease = LeaseGuard::acquire(store.clone(), Holder::here("deploy"), LeaseTiming::default())
            .await
            .unwrap();
        let report = runner.run(&plan, &lease, &scope, &Cancel::new()).await.unwrap();
        lease.release().await;
        assert_eq!(
            matches!(report.outcome, Outcome::Finished),
            !fails,
            "{:?}",
            report.outcome
        );
        assert_eq!(*text.lock().unwrap(), expected);
        assert!(store.unfinished().await.unwrap().is_none());
    }
    let all = place.environment().await.deployments(10).await.unwrap();
    assert!(
        matches!(all[0].end, Some(End::Restored { .. })) && all[1].end == Some(End::Finished),
        "{all:?}"
    );
}

#[tokio::test]
async fn what_was_done_in_an_environment_that_is_gone_can_still_be_read() {
    let place = Place::new();
    let store = place.environment().await;
    let fence = held(&store).await;
    let plan = plan();
    let stored = StoredPlan::of(&plan);
    let first = Journal::new(plan.clone())
        .next(JournalEvent::Planned { plan: stored.digest() })
        .unwrap();
    store.create(fence, TTL, &stored, &first).await.unwrap();
    store.taken_down(fence).await.unwrap();
    assert!(store.deployments(10).await.unwrap().is_empty());
    assert!(store.unfinished().await.unwrap().is_none(), "nobody can finish it");
    let all = store.deployments_of_all_worlds(10).await.unwrap();
    assert_eq!(
        all.iter().map(|one| one.deployment).collect::<Vec<_>>(),
        [plan.deployment]
    );
    assert!(store.load(plan.deployment).await.unwrap().is_some());
}

#[tokio::test]
async fn a_damaged_or_newer_entry_stops_resume_and_is_not_written_over() {
    let place = Place::new();
    let store = Arc::new(place.environment().await);
    let fence = held(&store).await;
    let plan = plan();
    let stored = StoredPlan::of(&plan);
    let first = Journal::new(plan.clone())
        .next(JournalEvent::Planned { plan: stored.digest() })
        .unwrap();
    store.create(fence, TTL, &stored, &first).await.unwrap();
    JournalStore::release(&*store, fence).await.unwrap();
    let runner = Runner::new(Registry::new(), store.clone(), "0.1.0");
    let good = first.encode();
    for (text, newer) in [
        (good.replace(r#""format":1"#, r#""format":3"#), true),
        (good.replace("planned", "plant"), false),
    ] {
        place.raw().execute("UPDATE entries SET entry = ?1", [&text]).unwrap();
        let lease = LeaseGuard::acquire(store.clone(), Holder::here("resume"), LeaseTiming::default())
            .await
            .unwrap();
        let scope = Events::none().task("test", "Test");
        let error = runner
            .resume(plan.deployment, &lease, &scope, &Cancel::new())
            .await
            .unwrap_err();
        lease.release().await;
        assert!(matches!(error, SagaError::Decode { .. }), "{error:?}");
        assert_eq!(error.hint().is_some_and(|hint| hint.contains("install")), newer);
        let kept: Vec<String> = {
            let raw = place.raw();
            let mut rows = raw.prepare("SELECT entry FROM entries").unwrap();
            rows.query_map((), |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect()
        };
        assert_eq!(kept, [text]);
    }
}

#[tokio::test]
async fn another_world_takes_an_unfinished_deployment_with_it() {
    let place = Place::new();
    let store = place.environment().await;
    let fence = held(&store).await;
    let (first, second) = (World::generate(), World::generate());
    store.enter_world(fence, first).await.unwrap();
    let plan = plan().world(first);
    let stored = StoredPlan::of(&plan);
    let mut journal = Journal::new(plan.clone());
    let entry = journal.next(JournalEvent::Planned { plan: stored.digest() }).unwrap();
    store.create(fence, TTL, &stored, &entry).await.unwrap();
    journal.accept(&entry).unwrap();
    assert!(store.unfinished().await.unwrap().is_some());
    let change = store.enter_world(fence, second).await.unwrap();
    assert_eq!(
        change,
        WorldChange::Changed {
            from: first,
            releases: 0,
            deployments: 1,
            unfinished: true
        }
    );
    assert!(store.unfinished().await.unwrap().is_none());
    let late = journal.next(JournalEvent::UndoBegan {
        reason: nuages_saga::UndoReason::Aborted,
    });
    assert!(late.is_err());
    let started = JournalEvent::Started {
        holder: Holder::here("x"),
        mode: nuages_saga::Mode::Resume,
        tool: "0".into(),
    };
    let started = journal.next(started).unwrap();
    let error = store.append(fence, TTL, plan.deployment, &started).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSuchDeployment(_)));
    assert!(store.load(plan.deployment).await.unwrap().is_some(), "it is kept");
}

#[derive(Debug, Clone)]
enum Ask {
    Acquire(&'static str),
    Heartbeat(u64),
    Release(u64),
    Create(u64, usize),
    Append(u64, usize, u64),
    Pass(u64),
    Break,
    Look,
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        4 => prop_oneof![Just("a"), Just("b")].prop_map(Ask::Acquire),
        2 => (0_u64..6).prop_map(Ask::Heartbeat),
        1 => (0_u64..6).prop_map(Ask::Release),
        2 => (0_u64..6, 0_usize..2).prop_map(|(fence, plan)| Ask::Create(fence, plan)),
        6 => (0_u64..6, 0_usize..2, 0_u64..5).prop_map(|(fence, plan, position)| Ask::Append(fence, plan, position)),
        3 => (1_u64..40).prop_map(Ask::Pass),
        1 => Just(Ask::Break),
        2 => Just(Ask::Look),
    ]
}

/// What a store answers, without the times, of which each has its own.
async fn answer(store: &dyn JournalStore, plans: &[Plan], ask: &Ask) -> String {
    let brief = |result: Result<String, StoreError>| match result {
        Ok(text) => text,
        Err(StoreError::Held(lease)) => format!("held by {} under {}", lease.holder.host, lease.fence),
        Err(other) => format!("{other:?}"),
    };
    let entry = |position, plan: &Plan| {
        let event = match position {
            0 => JournalEvent::Planned {
                plan: StoredPlan::of(plan).digest(),
            },
            4 => JournalEvent::Ended { end: End::Finished },
            _ => JournalEvent::UndoBegan {
                reason: nuages_saga::UndoReason::Aborted,
            },
        };
        Entry {
            position,
            at: jiff::Timestamp::UNIX_EPOCH,
            event,
        }
    };
    brief(match ask {
        Ask::Acquire(name) => store
            .acquire(&elsewhere(name), TTL)
            .await
            .map(|lease| format!("has {}", lease.fence)),
        Ask::Heartbeat(fence) => store.heartbeat(Fence(*fence), TTL).await.map(|()| "renewed".into()),
        Ask::Release(fence) => store.release(Fence(*fence)).await.map(|()| "released".into()),
        Ask::Create(fence, plan) => {
            let plan = &plans[*plan];
            let created = store
                .create(Fence(*fence), TTL, &StoredPlan::of(plan), &entry(0, plan))
                .await;
            created.map(|()| "created".into())
        }
        Ask::Append(fence, plan, position) => {
            let plan = &plans[*plan];
            let appended = store
                .append(Fence(*fence), TTL, plan.deployment, &entry(*position, plan))
                .await;
            appended.map(|()| "appended".into())
        }
        Ask::Break => store
            .break_lease()
            .await
            .map(|lease| format!("broke {:?}", lease.map(|lease| lease.fence))),
        Ask::Look => {
            let mut seen = format!("{:?}", store.inspect().await.unwrap().map(|lease| lease.fence));
            for plan in plans {
                let loaded: Option<(StoredPlan, Vec<Entry>)> = store.load(plan.deployment).await.unwrap();
                let _ = write!(seen, " {loaded:?}");
            }
            let ids = |all: Vec<nuages_saga::Summary>| {
                all.into_iter().map(|one| (one.deployment, one.end)).collect::<Vec<_>>()
            };
            let all = ids(store.deployments(10).await.unwrap());
            let _ = write!(seen, " {all:?}");
            let open: Option<DeploymentId> = store.unfinished().await.unwrap().map(|one| one.deployment);
            Ok(format!("{seen} {open:?}"))
        }
        Ask::Pass(_) => Ok(String::new()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_file_answers_as_the_memory_does(asks in prop::collection::vec(ask(), 1..40)) {
        on_paused_time(async {
            let place = Place::new();
            let file: EnvironmentStore = place.environment().await;
            let memory = MemoryStore::new();
            let plans = [plan(), plan()];
            for (number, ask) in asks.iter().chain([&Ask::Look]).enumerate() {
                if let Ask::Pass(seconds) = ask {
                    tokio::time::advance(Duration::from_secs(*seconds)).await;
                    place.pass(Duration::from_secs(*seconds));
                }
                let (ours, theirs) = (answer(&file, &plans, ask).await, answer(&memory, &plans, ask).await);
                prop_assert_eq!(ours, theirs, "question {} of {:?}", number, asks);
            }
            Ok(())
        })?;
    }
}
