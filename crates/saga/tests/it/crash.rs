//! Death at every point, and everything after it.

use std::cell::Cell;
use std::sync::Arc;

use nuages_saga::memory::MemoryStore;
use nuages_saga::{
    DeploymentId, End, JournalStore, Outcome, Phase, Plan, Report, SagaError, StepId, StepSpec, StepState, output,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use crate::sim::{Fails, Kind, Life, Process, World, acts_with, id, plan};

/// What a plan is made of: stages of steps.
type Shape = Vec<Vec<(Kind, Fails)>>;

fn shapes(stages: usize, steps: usize) -> impl Strategy<Value = Shape> {
    let kind = prop_oneof![
        4 => Just(Kind::Set), 3 => Just(Kind::Make), 3 => Just(Kind::Job), 1 => Just(Kind::Probe)
    ];
    let fails = prop_oneof![
        9 => Just(Fails::Never), 1 => Just(Fails::Clean), 1 => Just(Fails::Half), 1 => Just(Fails::Lost)
    ];
    prop::collection::vec(prop::collection::vec((kind, fails), 1..=steps), 1..=stages)
}

/// Each later step refers to one of the stage before it.
fn planned(shape: &Shape) -> Plan {
    let mut all = plan();
    let mut last: Option<StepId> = None;
    for (number, stage) in shape.iter().enumerate() {
        let steps: Vec<StepSpec> = stage
            .iter()
            .enumerate()
            .map(|(index, (kind, fails))| {
                let given = last.as_ref().map(|step| output(step, "/value"));
                acts_with(&format!("s{number}/{index}"), *kind, *fails, &json!({"given": given}))
            })
            .collect();
        last = steps.first().map(|step| step.id.clone());
        all = all.stage(format!("stage {number}"), steps);
    }
    all
}

fn kinds(shape: &Shape) -> Vec<(StepId, Kind)> {
    let mut kinds = Vec::new();
    for (number, stage) in shape.iter().enumerate() {
        for (index, (kind, _)) in stage.iter().enumerate() {
            kinds.push((id(&format!("s{number}/{index}")), *kind));
        }
    }
    kinds
}

struct Scene {
    shape: Shape,
    plan: Plan,
    world: Arc<World>,
    store: Arc<MemoryStore>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    Resume,
    Abort,
}

impl Scene {
    fn new(shape: &Shape) -> Self {
        Self {
            shape: shape.clone(),
            plan: planned(shape),
            world: World::new(),
            store: Arc::new(MemoryStore::new()),
        }
    }

    fn process(&self, life: &Arc<Life>) -> Process {
        Process::new(&self.world, &self.store, life)
    }

    /// Deploys with a process that dies at this point.
    async fn deploy(&self, life: &Arc<Life>) -> Option<Report> {
        let process = self.process(life);
        life.live(process.deploy(self.plan.clone()))
            .await
            .map(|report| report.unwrap())
    }

    async fn open(&self) -> Option<DeploymentId> {
        self.store.unfinished().await.unwrap().map(|summary| summary.deployment)
    }

    /// What is open is finished or undone by another process. It may die too.
    async fn recover(&self, how: Recovery, life: &Arc<Life>) -> Option<Option<Report>> {
        let Some(deployment) = self.open().await else {
            return Some(None);
        };
        let process = self.process(life);
        let recovered = async {
            match how {
                Recovery::Resume => process.resume(deployment).await,
                Recovery::Abort => process.abort(deployment).await,
            }
        };
        life.live(recovered).await.map(|report| Some(report.unwrap()))
    }

    /// The world is whole, one way or the other, and the journal says which.
    async fn judge(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.world.violations(), Vec::<String>::new());
        prop_assert!(self.open().await.is_none(), "something is still open");
        let journal = match self.process(&Life::long()).runner.journal(self.plan.deployment).await {
            Err(SagaError::NoSuchDeployment(_)) => {
                prop_assert!(
                    self.world.applied().is_empty(),
                    "something was applied without a journal"
                );
                return Ok(());
            }
            journal => journal.unwrap(),
        };
        match journal.phase() {
            Phase::Ended(End::Finished) => {
                for (step, kind) in kinds(&self.shape) {
                    prop_assert!(self.world.is_done(&step, kind), "finished, but {} is not done", step);
                }
            }
            Phase::Ended(End::Restored { kept }) => {
                for (step, kind) in kinds(&self.shape) {
                    let stays = kept.contains(&step);
                    let whole = if stays {
                        self.world.is_done(&step, kind)
                    } else {
                        self.world.is_undone(&step, kind)
                    };
                    prop_assert!(whole, "restored, and kept {:?}, but {} is not so", kept, step);
                    prop_assert!(!stays || kind == Kind::Job);
                }
            }
            other => prop_assert!(false, "it ended as {:?}", other),
        }
        for (step, kind) in kinds(&self.shape) {
            if kind == Kind::Job {
                // One that failed by itself may be started again; one that did not, never.
                let failing = journal
                    .step(&step)
                    .is_some_and(|record| record.state != StepState::Applied);
                prop_assert!(self.world.starts(&step) <= 1 || failing);
            }
        }
        Ok(())
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

pub(crate) fn proptest(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// So many points does a run have that nobody cuts off.
async fn points(shape: &Shape) -> Result<usize, TestCaseError> {
    let scene = Scene::new(shape);
    let life = Life::long();
    let report = scene.deploy(&life).await.unwrap();
    let must_fail = shape.iter().flatten().any(|(kind, fails)| match fails {
        Fails::Never => false,
        Fails::Lost => *kind == Kind::Probe,
        Fails::Clean | Fails::Half => true,
    });
    match report.outcome {
        Outcome::Finished => prop_assert!(!must_fail),
        Outcome::Restored { failure, .. } => prop_assert!(must_fail && failure.is_some()),
        other => prop_assert!(false, "{:?}", other),
    }
    scene.judge().await?;
    Ok(life.points())
}

#[test]
fn death_at_every_point_then_resume_or_abort() {
    let cases = Cell::new(0_u32);
    proptest(30)
        .run(&shapes(3, 3), |shape| {
            runtime().block_on(async {
                for point in 0..points(&shape).await? {
                    for how in [Recovery::Resume, Recovery::Abort] {
                        let scene = Scene::new(&shape);
                        let died = scene.deploy(&Life::until(point)).await.is_none();
                        prop_assert!(died, "there is no point {}", point);
                        let report = scene.recover(how, &Life::long()).await.unwrap();
                        if let (Recovery::Abort, Some(report)) = (how, &report) {
                            prop_assert!(
                                matches!(report.outcome, Outcome::Restored { .. }),
                                "{:?}",
                                report.outcome
                            );
                        }
                        scene.judge().await?;
                        cases.set(cases.get() + 1);
                    }
                }
                Ok(())
            })
        })
        .unwrap();
    println!("{} deaths, each recovered from", cases.get());
    assert!(
        cases.get() > 1500,
        "{} cases are fewer than these plans have points",
        cases.get()
    );
}

#[test]
fn death_at_every_point_and_again_at_every_point_of_the_recovery() {
    let cases = Cell::new(0_u32);
    proptest(4)
        .run(&shapes(2, 2), |shape| {
            runtime().block_on(async {
                for first in 0..points(&shape).await? {
                    for how in [Recovery::Resume, Recovery::Abort] {
                        for second in 0.. {
                            let scene = Scene::new(&shape);
                            scene.deploy(&Life::until(first)).await;
                            if scene.recover(how, &Life::until(second)).await.is_some() {
                                scene.judge().await?;
                                break;
                            }
                            scene.recover(Recovery::Resume, &Life::long()).await.unwrap();
                            scene.judge().await?;
                            cases.set(cases.get() + 1);
                        }
                    }
                }
                Ok(())
            })
        })
        .unwrap();
    println!("{} pairs of deaths, each recovered from", cases.get());
    assert!(
        cases.get() > 1500,
        "{} cases are fewer than these plans have pairs",
        cases.get()
    );
}

#[test]
fn an_undo_that_fails_is_stuck_wherever_the_process_died_and_is_finished_afterwards() {
    let cases = Cell::new((0_u32, 0_u32));
    proptest(20)
        .run(&shapes(2, 2), |shape| {
            runtime().block_on(async {
                for point in 0..points(&shape).await? {
                    let scene = Scene::new(&shape);
                    scene.deploy(&Life::until(point)).await;
                    scene.world.break_undo(true);
                    let report = scene.recover(Recovery::Abort, &Life::long()).await.unwrap();
                    let (all, stuck) = cases.get();
                    cases.set((all + 1, stuck));
                    if let Some(Outcome::Stuck { steps, .. }) = report.map(|report| report.outcome) {
                        prop_assert!(steps.iter().all(|step| step.by_hand[0].starts_with("set-back")));
                        prop_assert!(scene.open().await.is_some(), "what is stuck has not ended");
                        cases.set((all + 1, stuck + 1));
                        scene.world.break_undo(false);
                        scene.recover(Recovery::Resume, &Life::long()).await.unwrap();
                    }
                    scene.judge().await?;
                }
                Ok(())
            })
        })
        .unwrap();
    let (all, stuck) = cases.get();
    println!("{all} deaths with a broken undo, {stuck} of them stuck and finished afterwards");
    assert!(stuck > 100, "{stuck} stuck");
}
