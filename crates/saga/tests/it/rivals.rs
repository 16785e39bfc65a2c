//! Deployers on machines of their own that want the same environment, and are stopped now and then.
//!
//! A machine that is stopped does nothing for a while, heartbeats and all, and does not know of it. Its process id says
//! nothing to the others: only the lease's time does.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nuages_saga::memory::MemoryStore;
use nuages_saga::{
    ApplyError, Cancel, Check, DeploymentId, Entry, Events, Fence, Holder, JournalStore, Lease, LeaseGuard,
    LeaseTiming, Observation, Outcome, Plan, Registry, Reversal, Runner, SagaError, Step, StepContext, StepError,
    StepSpec, StoreError, StoredPlan, Summary,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::crash::{proptest, runtime};
use crate::sim::plan;

/// Stops of one machine: at its n-th point, for so many seconds.
type Stops = BTreeMap<usize, u64>;

#[derive(Debug, Clone)]
struct Schedule {
    machines: Vec<Stops>,
    /// When each begins, in seconds.
    begins: Vec<u64>,
    /// How long one call of each plan's steps takes, in milliseconds.
    latency: u64,
    steps: usize,
    /// Seconds between two heartbeats. Where they are far apart nothing tells a machine in the middle of a step that
    /// its lease is gone, as where the stopped step is the first to go on.
    heartbeat: u64,
}

fn schedules(points: usize) -> impl Strategy<Value = Schedule> {
    let stops = prop::collection::btree_map(0..points, 1_u64..90, 0..6);
    (
        prop::collection::vec(stops, 2..=3),
        prop::collection::vec(0_u64..40, 3),
        1_u64..8000,
        1_usize..=4,
        prop_oneof![Just(8_u64), Just(3600)],
    )
        .prop_map(|(machines, begins, latency, steps, heartbeat)| Schedule {
            machines,
            begins,
            latency,
            steps,
            heartbeat,
        })
}

#[derive(Debug)]
struct Machine {
    name: String,
    stops: Stops,
    points: AtomicUsize,
    stands_until: Mutex<Instant>,
    /// Whether it can be stopped in the middle of a call too.
    in_calls: bool,
    stopped_in_calls: AtomicUsize,
    lost: AtomicUsize,
}

impl Machine {
    fn holder(&self) -> Holder {
        Holder {
            boot: Some(self.name.clone()),
            host: self.name.clone(),
            ..Holder::here("deploy")
        }
    }

    /// A point at which it may be stopped.
    async fn point(&self) -> bool {
        let stop = self.stops.get(&self.points.fetch_add(1, SeqCst));
        if let Some(seconds) = stop {
            *self.stands_until.lock().unwrap() = Instant::now() + Duration::from_secs(*seconds);
        }
        self.stand().await;
        stop.is_some()
    }

    /// Stands still as long as the machine does.
    async fn stand(&self) {
        loop {
            let until = *self.stands_until.lock().unwrap();
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// What happens in the world, and who was seen doing what he must not.
#[derive(Debug, Default)]
struct Account {
    calling: BTreeSet<String>,
    effects: BTreeMap<String, u32>,
    calls: u32,
    faults: Vec<String>,
}

#[derive(Debug)]
struct Referee {
    store: Arc<MemoryStore>,
    account: Mutex<Account>,
}

impl Referee {
    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    /// A call begins or has its effect: nobody else may be calling, and the lease must be the caller's own.
    async fn watch(&self, machine: &str, when: &str) {
        let lease = self.store.inspect().await.unwrap();
        let holder = lease.and_then(|lease| lease.holder.boot);
        let mut account = self.account();
        if holder.as_deref() != Some(machine) {
            account
                .faults
                .push(format!("{machine} {when} while the lease was of {holder:?}"));
        }
        let others = account.calling.iter().filter(|other| *other != machine).count();
        if others > 0 {
            account
                .faults
                .push(format!("{machine} {when} while somebody else was calling"));
        }
    }
}

#[derive(Debug, Deserialize)]
struct Params {
    latency: u64,
}

/// One call to the world.
struct Call {
    referee: Arc<Referee>,
    machine: Arc<Machine>,
    params: Params,
}

fn name(cx: &StepContext) -> String {
    format!("{}/{}", cx.deployment(), cx.step())
}

#[async_trait]
impl Step for Call {
    async fn check(&self, cx: &StepContext) -> Result<Check, StepError> {
        self.machine.point().await;
        Ok(if self.referee.account().effects.contains_key(&name(cx)) {
            Check::Satisfied { after: Value::Null }
        } else {
            Check::Change {
                before: Value::Null,
                diff: Vec::new(),
            }
        })
    }

    async fn apply(&self, cx: &StepContext, _: &Value) -> Result<Value, ApplyError> {
        let machine = &self.machine;
        if machine.in_calls && machine.point().await {
            machine.stopped_in_calls.fetch_add(1, SeqCst);
        }
        self.referee.watch(&machine.name, "began a call").await;
        self.referee.account().calling.insert(machine.name.clone());
        tokio::time::sleep(Duration::from_millis(self.params.latency)).await;
        if machine.in_calls {
            machine.stand().await;
        }
        self.referee.watch(&machine.name, "had an effect").await;
        let mut account = self.referee.account();
        account.calling.remove(&machine.name);
        account.calls += 1;
        *account.effects.entry(name(cx)).or_default() += 1;
        Ok(Value::Null)
    }

    async fn observe(&self, cx: &StepContext, _: &Value) -> Result<Observation, StepError> {
        self.machine.point().await;
        Ok(if self.referee.account().effects.contains_key(&name(cx)) {
            Observation::Done(Value::Null)
        } else {
            Observation::NotDone
        })
    }

    async fn undo(&self, _: &StepContext, _: &Value, _: Option<&Value>) -> Result<(), StepError> {
        Err(StepError::message("nothing fails here, so nothing is undone"))
    }

    fn reversal(&self) -> Reversal {
        Reversal::Undo
    }

    fn by_hand(&self, _: &Value, _: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
}

/// The shared store, as one machine reaches it.
#[derive(Debug)]
struct Reached {
    inner: Arc<MemoryStore>,
    machine: Arc<Machine>,
}

#[async_trait]
impl JournalStore for Reached {
    async fn create(&self, fence: Fence, ttl: Duration, plan: &StoredPlan, first: &Entry) -> Result<(), StoreError> {
        self.machine.point().await;
        let answer = self.inner.create(fence, ttl, plan, first).await;
        self.machine.point().await;
        answer
    }
    async fn append(&self, fence: Fence, ttl: Duration, of: DeploymentId, entry: &Entry) -> Result<(), StoreError> {
        self.machine.point().await;
        let answer = self.inner.append(fence, ttl, of, entry).await;
        self.machine.point().await;
        answer
    }
    async fn load(&self, of: DeploymentId) -> Result<Option<(StoredPlan, Vec<Entry>)>, StoreError> {
        self.machine.point().await;
        self.inner.load(of).await
    }
    async fn deployments(&self, limit: usize) -> Result<Vec<Summary>, StoreError> {
        self.inner.deployments(limit).await
    }
    async fn unfinished(&self) -> Result<Option<Summary>, StoreError> {
        self.machine.point().await;
        self.inner.unfinished().await
    }
    async fn acquire(&self, holder: &Holder, ttl: Duration) -> Result<Lease, StoreError> {
        self.machine.point().await;
        let answer = self.inner.acquire(holder, ttl).await;
        self.machine.point().await;
        answer
    }
    // The heartbeat goes its own way: it stands still with its machine, and is no point of its own.
    async fn heartbeat(&self, fence: Fence, ttl: Duration) -> Result<(), StoreError> {
        self.machine.stand().await;
        let answer = self.inner.heartbeat(fence, ttl).await;
        self.machine.stand().await;
        answer
    }
    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.machine.point().await;
        self.inner.release(fence).await
    }
    async fn inspect(&self) -> Result<Option<Lease>, StoreError> {
        self.inner.inspect().await
    }
    async fn break_lease(&self) -> Result<Option<Lease>, StoreError> {
        self.inner.break_lease().await
    }
}

fn runner(referee: &Arc<Referee>, machine: &Arc<Machine>, store: &Arc<dyn JournalStore>) -> Runner {
    let mut registry = Registry::new();
    let (referee, machine) = (referee.clone(), machine.clone());
    registry.add("call", 1, move |params: Params| {
        Ok(Call {
            referee: referee.clone(),
            machine: machine.clone(),
            params,
        })
    });
    Runner::new(registry, store.clone(), "0.1.0")
}

/// Deploys as a person would who tries until it is done, and finishes first what another left.
async fn deployer(referee: Arc<Referee>, machine: Arc<Machine>, begins: u64, timing: LeaseTiming, wanted: Plan) {
    tokio::time::sleep(Duration::from_secs(begins)).await;
    let store: Arc<dyn JournalStore> = Arc::new(Reached {
        inner: referee.store.clone(),
        machine: machine.clone(),
    });
    let runner = runner(&referee, &machine, &store);
    let (events, cancel) = (Events::none(), Cancel::new());
    let scope = events.task("deploy", "Deploy");
    for _ in 0..1000 {
        let acquired = LeaseGuard::acquire(store.clone(), machine.holder(), timing).await;
        let lease = match acquired {
            Ok(lease) => lease,
            Err(SagaError::Held(_)) => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        let ran = async {
            if let Some(open) = store.unfinished().await? {
                runner.resume(open.deployment, &lease, &scope, &cancel).await?;
            }
            if store.load(wanted.deployment).await?.is_none() {
                let plan = runner.plan(wanted.clone(), &scope).await?;
                let report = runner.run(&plan, &lease, &scope, &cancel).await?;
                assert_eq!(report.outcome, Outcome::Finished);
            }
            Ok::<(), SagaError>(())
        };
        match ran.await {
            Ok(()) => {
                lease.release().await;
                return;
            }
            // Somebody else has it, and finishes or finished what was begun, or began something of his own.
            Err(
                SagaError::LeaseLost
                | SagaError::Unfinished(_)
                | SagaError::AlreadyEnded(_)
                | SagaError::Store(StoreError::LeaseLost | StoreError::Position { .. }),
            ) => {
                machine.lost.fetch_add(1, SeqCst);
            }
            Err(error) => panic!("{error:?}"),
        }
        lease.release().await;
    }
    panic!("{} never came to its turn", machine.name);
}

struct Played {
    account: Account,
    lost: usize,
    stopped_in_calls: usize,
}

/// Plays a schedule to its end.
async fn play(schedule: &Schedule, in_calls: bool) -> Result<Played, TestCaseError> {
    let store = Arc::new(MemoryStore::new());
    let referee = Arc::new(Referee {
        store: store.clone(),
        account: Mutex::default(),
    });
    let mut machines = Vec::new();
    let mut deployers = Vec::new();
    for (number, stops) in schedule.machines.iter().enumerate() {
        let machine = Arc::new(Machine {
            name: format!("machine {number}"),
            stops: stops.clone(),
            points: AtomicUsize::new(0),
            stands_until: Mutex::new(Instant::now()),
            in_calls,
            stopped_in_calls: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        });
        let mut wanted = plan();
        for step in 0..schedule.steps {
            let spec = StepSpec::new(
                format!("step/{step}").parse().unwrap(),
                "call",
                1,
                "Call",
                json!({"latency": schedule.latency}),
            );
            wanted = wanted.stage(format!("stage {step}"), [spec]);
        }
        machines.push(machine.clone());
        let timing = LeaseTiming {
            heartbeat: Duration::from_secs(schedule.heartbeat),
            ..LeaseTiming::default()
        };
        deployers.push(deployer(
            referee.clone(),
            machine,
            schedule.begins[number],
            timing,
            wanted,
        ));
    }
    futures_util::future::join_all(deployers).await;
    prop_assert!(store.unfinished().await.unwrap().is_none(), "something is still open");
    let account = std::mem::take(&mut *referee.account());
    prop_assert_eq!(
        account.effects.len(),
        schedule.machines.len() * schedule.steps,
        "every plan was carried out"
    );
    let sum = |of: fn(&Machine) -> &AtomicUsize| machines.iter().map(|machine| of(machine).load(SeqCst)).sum();
    Ok(Played {
        account,
        lost: sum(|machine| &machine.lost),
        stopped_in_calls: sum(|machine| &machine.stopped_in_calls),
    })
}

#[test]
fn two_never_act_at_once_however_they_are_stopped() {
    let (cases, lost, calls) = (Cell::new(0), Cell::new(0), Cell::new(0));
    proptest(1000)
        .run(&schedules(60), |schedule| {
            runtime().block_on(async {
                let played = play(&schedule, false).await?;
                prop_assert_eq!(played.account.faults, Vec::<String>::new());
                prop_assert!(
                    played.account.effects.values().all(|times| *times == 1),
                    "{:?}",
                    played.account.effects
                );
                cases.set(cases.get() + 1);
                lost.set(lost.get() + played.lost);
                calls.set(calls.get() + played.account.calls);
                Ok(())
            })
        })
        .unwrap();
    println!(
        "{} schedules, {} calls, the lease lost {} times",
        cases.get(),
        calls.get(),
        lost.get()
    );
    assert!(lost.get() > 300, "stops that lose no lease show nothing");
}

/// AWS takes no fencing tokens: a call that was begun in time and stopped with its machine goes out late. No other does.
#[test]
fn only_the_call_in_hand_can_be_late() {
    let (cases, late) = (Cell::new(0), Cell::new(0));
    proptest(500)
        .run(&schedules(60), |schedule| {
            runtime().block_on(async {
                let played = play(&schedule, true).await?;
                let twice: usize = played.account.effects.values().filter(|times| **times > 1).count();
                prop_assert!(
                    twice <= played.stopped_in_calls,
                    "{twice} calls were repeated, and {} were stopped",
                    played.stopped_in_calls
                );
                // A late call is seen when it begins and when it has its effect, by itself and by whoever calls beside it.
                prop_assert!(
                    played.account.faults.len() <= 6 * played.stopped_in_calls,
                    "{} stopped calls: {:?}",
                    played.stopped_in_calls,
                    played.account.faults
                );
                cases.set(cases.get() + 1);
                late.set(late.get() + usize::from(!played.account.faults.is_empty()));
                Ok(())
            })
        })
        .unwrap();
    println!("{} schedules, a late call in {} of them", cases.get(), late.get());
    assert!(late.get() > 10, "the window was never hit, so nothing is shown");
}
