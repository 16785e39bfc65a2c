//! A world that can be changed by steps of every reversal, and a process that can die at any point.
//!
//! Every effect and every write of the journal stands between two numbered points. A process that is told to die at a
//! point does nothing afterwards: all its other points block too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use nuages_saga::memory::MemoryStore;
use nuages_saga::{
    ApplyError, Cancel, Check, DeploymentId, Entry, Events, Fence, Holder, JournalStore, Lease, LeaseGuard,
    LeaseTiming, Observation, Plan, Registry, Report, Reversal, Runner, SagaError, Step, StepContext, StepError,
    StepId, StepSpec, StoreError, StoredPlan, Summary,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) fn id(text: &str) -> StepId {
    text.parse().unwrap()
}

/// A process, as far as it can die.
#[derive(Debug)]
pub(crate) struct Life {
    points: AtomicUsize,
    dies_at: usize,
    dead: watch::Sender<bool>,
}

impl Life {
    pub(crate) fn until(dies_at: usize) -> Arc<Self> {
        Arc::new(Self {
            points: AtomicUsize::new(0),
            dies_at,
            dead: watch::Sender::new(false),
        })
    }

    pub(crate) fn long() -> Arc<Self> {
        Self::until(usize::MAX)
    }

    pub(crate) fn points(&self) -> usize {
        self.points.load(SeqCst)
    }

    pub(crate) async fn point(&self) {
        if *self.dead.borrow() || self.points.fetch_add(1, SeqCst) == self.dies_at {
            self.dead.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    /// The result of the work, or nothing if the process died first.
    pub(crate) async fn live<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut death = self.dead.subscribe();
        tokio::select! {
            biased;
            _ = death.wait_for(|dead| *dead) => None,
            result = work => Some(result),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fails {
    Never,
    /// Before any effect, and it says so.
    Clean,
    /// After half of the effect.
    Half,
    /// The effect is there; the answer is lost.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Two halves of a value; can be undone.
    Set,
    /// A thing that must not be made twice; can be undone.
    Make,
    /// Work that goes on by itself once it was started; forward-only.
    Job,
    /// Leaves nothing.
    Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Until(Instant, bool),
    Done,
}

#[derive(Debug, Default)]
struct State {
    cells: BTreeMap<StepId, (u32, u32)>,
    things: Vec<(StepId, String, bool)>,
    work: BTreeMap<StepId, Work>,
    starts: BTreeMap<StepId, u32>,
    applied: Vec<StepId>,
    violations: Vec<String>,
    undo_is_broken: bool,
}

/// The world outlives every process.
#[derive(Debug, Default)]
pub(crate) struct World(Mutex<State>);

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn break_undo(&self, broken: bool) {
        self.state().undo_is_broken = broken;
    }

    /// Somebody else changes a cell.
    pub(crate) fn meddle(&self, step: &StepId) {
        self.state().cells.insert(step.clone(), (77, 77));
    }

    /// The steps whose `apply` was called, in order.
    pub(crate) fn applied(&self) -> Vec<StepId> {
        self.state().applied.clone()
    }

    pub(crate) fn starts(&self, step: &StepId) -> u32 {
        self.state().starts.get(step).copied().unwrap_or_default()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Makes a thing, unless this very request was seen before.
    fn make(&self, step: &StepId, token: String) {
        let mut state = self.state();
        if !state.things.iter().any(|(_, made_with, _)| *made_with == token) {
            if state.things.iter().any(|(of, _, alive)| of == step && *alive) {
                state.violations.push(format!("{step} was made twice"));
            }
            state.things.push((step.clone(), token, true));
        }
    }

    fn work(&self, step: &StepId) -> Option<Work> {
        let mut state = self.state();
        match state.work.get(step).copied() {
            Some(Work::Until(end, fails)) if Instant::now() >= end => {
                if fails {
                    state.work.remove(step);
                    None
                } else {
                    state.work.insert(step.clone(), Work::Done);
                    Some(Work::Done)
                }
            }
            other => other,
        }
    }

    /// Whether the step's effect is there, whole.
    pub(crate) fn is_done(&self, step: &StepId, kind: Kind) -> bool {
        match kind {
            Kind::Set => self.state().cells.get(step) == Some(&(1, 1)),
            Kind::Make => {
                self.state()
                    .things
                    .iter()
                    .filter(|(of, _, alive)| of == step && *alive)
                    .count()
                    == 1
            }
            Kind::Job => self.work(step) == Some(Work::Done),
            Kind::Probe => true,
        }
    }

    /// Whether nothing of the step's effect is there.
    pub(crate) fn is_undone(&self, step: &StepId, kind: Kind) -> bool {
        match kind {
            Kind::Set => self.state().cells.get(step).is_none_or(|cell| *cell == (0, 0)),
            Kind::Make => !self.state().things.iter().any(|(of, _, alive)| of == step && *alive),
            Kind::Job => self.work(step).is_none(),
            Kind::Probe => true,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Params {
    kind: Kind,
    fails: Fails,
    /// A value that an earlier step gave.
    given: Option<u32>,
    #[serde(default = "default_millis")]
    millis: u64,
    #[serde(default = "default_deadline")]
    deadline: u64,
}

fn default_millis() -> u64 {
    2500
}

fn default_deadline() -> u64 {
    600
}

struct Acts {
    world: Arc<World>,
    life: Arc<Life>,
    params: Params,
}

fn lost() -> ApplyError {
    ApplyError::Unknown(StepError::message("the connection was reset").with_hint("try again"))
}

#[async_trait]
impl Step for Acts {
    async fn check(&self, cx: &StepContext) -> Result<Check, StepError> {
        self.life.point().await;
        let step = cx.step();
        let done = self.params.kind != Kind::Probe && self.world.is_done(step, self.params.kind);
        if done {
            return Ok(Check::Satisfied {
                after: json!({"value": 7}),
            });
        }
        let cell = self.world.state().cells.get(step).copied().unwrap_or_default();
        Ok(Check::Change {
            before: json!(cell),
            diff: vec![format!("+ {step}")],
        })
    }

    async fn apply(&self, cx: &StepContext, before: &Value) -> Result<Value, ApplyError> {
        let (step, fails) = (cx.step().clone(), self.params.fails);
        self.life.point().await;
        assert!(
            self.params.given.is_none_or(|given| given == 7),
            "a reference is filled in with its value"
        );
        self.world.state().applied.push(step.clone());
        if fails == Fails::Clean && self.params.kind != Kind::Job {
            return Err(ApplyError::clean(StepError::message("refused")));
        }
        match self.params.kind {
            Kind::Set => {
                let was = self.world.state().cells.get(&step).copied().unwrap_or_default();
                if json!(was) != *before {
                    self.world
                        .state()
                        .violations
                        .push(format!("{step} was applied over {was:?}, not over {before}"));
                }
                self.world.state().cells.insert(step.clone(), (1, was.1));
                self.life.point().await;
                if fails == Fails::Half {
                    return Err(lost());
                }
                self.world.state().cells.insert(step.clone(), (1, 1));
                self.life.point().await;
            }
            Kind::Make => {
                self.world.make(&step, cx.token());
                self.life.point().await;
                if fails == Fails::Half {
                    // Gone again by itself, and nobody can tell.
                    self.world
                        .state()
                        .things
                        .iter_mut()
                        .filter(|(of, ..)| *of == step)
                        .for_each(|thing| thing.2 = false);
                    return Err(lost());
                }
            }
            Kind::Job => {
                let end = Instant::now() + Duration::from_millis(self.params.millis);
                if self.world.work(&step).is_some() {
                    self.world.state().violations.push(format!("{step} was started twice"));
                }
                {
                    let mut state = self.world.state();
                    *state.starts.entry(step.clone()).or_default() += 1;
                    state.work.insert(
                        step.clone(),
                        Work::Until(end, matches!(fails, Fails::Clean | Fails::Half)),
                    );
                }
                self.life.point().await;
                cx.progress().status("running");
                if fails == Fails::Lost {
                    return Err(lost());
                }
                return self.attach(cx, before).await;
            }
            Kind::Probe => {
                self.life.point().await;
                if fails != Fails::Never {
                    return Err(StepError::message("the page is wrong").into());
                }
            }
        }
        if fails == Fails::Lost {
            return Err(lost());
        }
        Ok(json!({"value": 7}))
    }

    async fn observe(&self, cx: &StepContext, before: &Value) -> Result<Observation, StepError> {
        self.life.point().await;
        let step = cx.step();
        let done = Ok(Observation::Done(json!({"value": 7})));
        match self.params.kind {
            Kind::Probe => Ok(Observation::NotDone),
            Kind::Job => match self.world.work(step) {
                None => Ok(Observation::NotDone),
                Some(Work::Done) => done,
                Some(Work::Until(..)) => Ok(Observation::Running),
            },
            kind if self.world.is_done(step, kind) => done,
            Kind::Make => Ok(Observation::NotDone),
            Kind::Set => {
                let cell = self.world.state().cells.get(step).copied().unwrap_or_default();
                if json!(cell) == *before {
                    Ok(Observation::NotDone)
                } else {
                    Ok(Observation::Indeterminate {
                        why: format!("it is {cell:?}"),
                    })
                }
            }
        }
    }

    async fn undo(&self, cx: &StepContext, before: &Value, _: Option<&Value>) -> Result<(), StepError> {
        let step = cx.step().clone();
        self.life.point().await;
        if self.world.state().undo_is_broken {
            return Err(StepError::message("access denied").context("failed to go back"));
        }
        match self.params.kind {
            Kind::Set => {
                let before: (u32, u32) = serde_json::from_value(before.clone()).unwrap();
                let now = self.world.state().cells.get(&step).copied().unwrap_or_default();
                self.world.state().cells.insert(step.clone(), (now.0, before.1));
                self.life.point().await;
                self.world.state().cells.insert(step.clone(), before);
            }
            Kind::Make => {
                self.world
                    .state()
                    .things
                    .iter_mut()
                    .filter(|(of, ..)| *of == step)
                    .for_each(|thing| thing.2 = false);
            }
            Kind::Job | Kind::Probe => self.world.state().violations.push(format!("{step} was undone")),
        }
        self.life.point().await;
        Ok(())
    }

    fn reversal(&self) -> Reversal {
        match self.params.kind {
            Kind::Set | Kind::Make => Reversal::Undo,
            Kind::Job => Reversal::ForwardOnly,
            Kind::Probe => Reversal::Nothing,
        }
    }

    fn by_hand(&self, before: &Value, _: Option<&Value>) -> Vec<String> {
        vec![format!("set-back --to '{before}'")]
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.params.deadline)
    }
}

/// A store whose writes can be cut off on either side.
#[derive(Debug)]
pub(crate) struct Mortal {
    inner: Arc<MemoryStore>,
    life: Arc<Life>,
}

#[async_trait]
impl JournalStore for Mortal {
    async fn create(&self, fence: Fence, ttl: Duration, plan: &StoredPlan, first: &Entry) -> Result<(), StoreError> {
        self.life.point().await;
        self.inner.create(fence, ttl, plan, first).await?;
        self.life.point().await;
        Ok(())
    }
    async fn append(&self, fence: Fence, ttl: Duration, of: DeploymentId, entry: &Entry) -> Result<(), StoreError> {
        self.life.point().await;
        self.inner.append(fence, ttl, of, entry).await?;
        self.life.point().await;
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

/// One process of the tool.
pub(crate) struct Process {
    pub(crate) life: Arc<Life>,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) runner: Runner,
    pub(crate) cancel: Cancel,
    pub(crate) events: Events,
}

pub(crate) fn registry(world: &Arc<World>, life: &Arc<Life>) -> Registry {
    let mut registry = Registry::new();
    let (world, life) = (world.clone(), life.clone());
    registry.add("acts", 1, move |params: Params| {
        Ok(Acts {
            world: world.clone(),
            life: life.clone(),
            params,
        })
    });
    registry
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, store: &Arc<MemoryStore>, life: &Arc<Life>) -> Self {
        let mortal = Arc::new(Mortal {
            inner: store.clone(),
            life: life.clone(),
        });
        Self::over(world, mortal, life)
    }

    pub(crate) fn over(world: &Arc<World>, store: Arc<dyn JournalStore>, life: &Arc<Life>) -> Self {
        let runner = Runner::new(registry(world, life), store.clone(), "0.1.0");
        Self {
            life: life.clone(),
            store,
            runner,
            cancel: Cancel::new(),
            events: Events::none(),
        }
    }

    /// Waits for the lease as long as it takes.
    pub(crate) async fn lease(&self) -> LeaseGuard {
        loop {
            match LeaseGuard::acquire(self.store.clone(), Holder::here("test"), LeaseTiming::default()).await {
                Ok(lease) => return lease,
                Err(SagaError::Held(_)) => tokio::time::sleep(Duration::from_secs(15)).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Plans, runs, and gives the lease back.
    pub(crate) async fn deploy(&self, plan: Plan) -> Result<Report, SagaError> {
        let scope = self.events.task("deploy", "Deploy");
        let plan = self.runner.plan(plan, &scope).await?;
        self.run(&plan).await
    }

    pub(crate) async fn run(&self, plan: &Plan) -> Result<Report, SagaError> {
        let scope = self.events.task("deploy", "Deploy");
        let lease = self.lease().await;
        let report = self.runner.run(plan, &lease, &scope, &self.cancel).await;
        lease.release().await;
        report
    }

    pub(crate) async fn resume(&self, deployment: DeploymentId) -> Result<Report, SagaError> {
        let scope = self.events.task("resume", "Resume");
        let lease = self.lease().await;
        let report = self.runner.resume(deployment, &lease, &scope, &self.cancel).await;
        lease.release().await;
        report
    }

    pub(crate) async fn abort(&self, deployment: DeploymentId) -> Result<Report, SagaError> {
        let scope = self.events.task("abort", "Abort");
        let lease = self.lease().await;
        let report = self.runner.abort(deployment, &lease, &scope, &self.cancel).await;
        lease.release().await;
        report
    }
}

/// A step of the simulated kind.
pub(crate) fn acts(name: &str, kind: Kind, fails: Fails) -> StepSpec {
    acts_with(name, kind, fails, &json!({}))
}

pub(crate) fn acts_with(name: &str, kind: Kind, fails: Fails, more: &Value) -> StepSpec {
    let mut params = json!({"kind": kind, "fails": fails, "given": null});
    params
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    StepSpec::new(id(name), "acts", 1, format!("Act on {name}"), params)
}

pub(crate) fn plan() -> Plan {
    Plan::new("deploy", "blog".parse().unwrap(), "staging".parse().unwrap(), "0.1.0")
}

/// A world, a store, and a process that lives.
pub(crate) fn place() -> (Arc<World>, Arc<MemoryStore>, Process) {
    let (world, store) = (World::new(), Arc::new(MemoryStore::new()));
    let process = Process::new(&world, &store, &Life::long());
    (world, store, process)
}
