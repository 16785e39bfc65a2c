//! Runs the driver as a task and reads its report from the log.
//!
//! Invariant: calling [`apply`] again with the same run attaches to its task; it never starts a second one. A running
//! migration is never stopped from here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nuages_model::{Note, Progress, TaskHandle, TaskOutcome, TaskRunner};

use crate::assemble::{Fed, Reassembler};
use crate::explain::explain;
use crate::report::{ApplyReport, DatabaseReport, Outcome, ProbeReport, Report};
use crate::{Failure, MigrateError, MigrationRun, Missing, Verb};

/// A log arrives after its container has ended, so an incomplete report is asked for again, after these pauses.
const LATE: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What fits into a task's key, behind a release's id and a letter.
const ATTEMPTS: u64 = 100_000_000;

/// Reads what is applied and what is pending, and writes nothing.
///
/// ```no_run
/// # async fn example(runner: &dyn nuages_model::TaskRunner) -> Result<(), nuages_migrate::MigrateError> {
/// use nuages_migrate::{MigrationRun, probe};
/// use nuages_model::{Progress, ReleaseId};
///
/// let run = MigrationRun::new(ReleaseId::generate());
/// let report = probe(runner, &run, &Progress::none()).await?;
/// for (alias, migration) in report.pending() {
///     println!("{migration} on {alias}");
/// }
/// # Ok(()) }
/// ```
pub async fn probe(
    runner: &dyn TaskRunner,
    run: &MigrationRun,
    progress: &Progress,
) -> Result<ProbeReport, MigrateError> {
    let (_, report) = drive(runner, run, Verb::Probe, progress).await?;
    Ok(ProbeReport {
        python: report.python,
        django: report.django,
        databases: report.databases,
    })
}

/// Applies every pending migration, or attaches to the task of this run that does or did.
///
/// After a failure the error holds what was applied before it, and what stands in the databases after it.
///
/// ```no_run
/// # async fn example(runner: &dyn nuages_model::TaskRunner) -> Result<(), nuages_migrate::MigrateError> {
/// use nuages_migrate::{MigrationRun, apply};
/// use nuages_model::{Progress, ReleaseId};
///
/// let run = MigrationRun::new(ReleaseId::generate());
/// let report = apply(runner, &run, &Progress::none()).await?;
/// let recorded_with_the_release = report.applied_set();
/// # Ok(()) }
/// ```
pub async fn apply(
    runner: &dyn TaskRunner,
    run: &MigrationRun,
    progress: &Progress,
) -> Result<ApplyReport, MigrateError> {
    match drive(runner, run, Verb::Apply, progress).await {
        Ok((outcome, report)) => Ok(apply_report(outcome, report)),
        Err(MigrateError::NoReport { outcome, source }) => ask(runner, run, outcome, source, progress).await,
        Err(error) => Err(error),
    }
}

/// The task ended well and its report was lost: the database itself knows what is applied.
async fn ask(
    runner: &dyn TaskRunner,
    run: &MigrationRun,
    outcome: Box<Outcome>,
    source: Missing,
    progress: &Progress,
) -> Result<ApplyReport, MigrateError> {
    progress.warning(format!(
        "the migration's task ended, and {source}: asking the database what is applied"
    ));
    // A key that no probe had: an older one's answer is from before the migration.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut again = run.clone();
    again.attempt = u32::try_from(since % ATTEMPTS).unwrap_or_default();
    let Ok(found) = probe(runner, &again, progress).await else {
        return Err(MigrateError::NoReport { outcome, source });
    };
    let pending: Vec<String> = found
        .pending()
        .iter()
        .map(|(alias, name)| format!("{alias} {name}"))
        .collect();
    if pending.is_empty() {
        return Ok(ApplyReport {
            outcome: *outcome,
            python: found.python,
            django: found.django,
            databases: found.databases,
        });
    }
    Err(MigrateError::Pending { outcome, pending })
}

/// The task of this run, running or ended, if it was started: how an interrupted step is observed.
///
/// ```no_run
/// # async fn example(runner: &dyn nuages_model::TaskRunner) -> Result<(), nuages_migrate::MigrateError> {
/// use nuages_migrate::{MigrationRun, Verb, find};
/// let run = MigrationRun::new(nuages_model::ReleaseId::generate());
/// assert!(find(runner, &run, Verb::Apply).await?.is_none());
/// # Ok(()) }
/// ```
pub async fn find(runner: &dyn TaskRunner, run: &MigrationRun, verb: Verb) -> Result<Option<TaskHandle>, MigrateError> {
    runner.find(&run.key(verb)?).await.map_err(|source| MigrateError::Task {
        what: "look for the migration's task",
        source,
    })
}

fn apply_report(outcome: Outcome, report: Report) -> ApplyReport {
    ApplyReport {
        outcome,
        python: report.python,
        django: report.django,
        databases: report.databases,
    }
}

async fn drive(
    runner: &dyn TaskRunner,
    run: &MigrationRun,
    verb: Verb,
    progress: &Progress,
) -> Result<(Outcome, Report), MigrateError> {
    let request = run.task(verb)?;
    let handle = runner.start(&request).await.map_err(|source| MigrateError::Task {
        what: "start the migration's task",
        source,
    })?;

    let log = Arc::new(Mutex::new(Reassembler::new(request.key.as_str())));
    let task = follow(runner, &handle, &log, &listener(&log, Some(progress.clone()))).await?;
    let mut result = read(&log);
    for pause in LATE {
        // A task whose driver never spoke has no report to wait for.
        if result.is_ok() || !(task.succeeded() || lock(&log).started()) {
            break;
        }
        tokio::time::sleep(pause).await;
        // Its output was shown once.
        follow(runner, &handle, &log, &listener(&log, None)).await?;
        result = read(&log);
    }
    conclude(verb, &task, result)
}

async fn follow(
    runner: &dyn TaskRunner,
    handle: &TaskHandle,
    log: &Mutex<Reassembler>,
    listener: &Progress,
) -> Result<TaskOutcome, MigrateError> {
    let outcome = runner
        .wait(handle, listener)
        .await
        .map_err(|source| MigrateError::Task {
            what: "follow the migration's task",
            source,
        })?;
    let mut log = lock(log);
    for line in &outcome.log_tail {
        log.feed(line);
    }
    drop(log);
    Ok(outcome)
}

fn lock(log: &Mutex<Reassembler>) -> std::sync::MutexGuard<'_, Reassembler> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the report's lines out of the log and passes the rest on.
fn listener(log: &Arc<Mutex<Reassembler>>, shown: Option<Progress>) -> Progress {
    let log = log.clone();
    Progress::new(move |note| {
        let fed = match &note {
            Note::Line { text, .. } => lock(&log).take(text),
            _ => Fed::Other,
        };
        let Some(shown) = &shown else { return };
        match fed {
            Fed::Other => shown.send(note),
            Fed::Count { done, total } => shown.count("migrations", done, total),
            Fed::Part => {}
        }
    })
}

fn read(log: &Mutex<Reassembler>) -> Result<Report, Missing> {
    let bytes = lock(log).finish()?;
    serde_json::from_slice(&bytes).map_err(|error| Missing::Unreadable(error.to_string()))
}

fn conclude(
    verb: Verb,
    task: &TaskOutcome,
    result: Result<Report, Missing>,
) -> Result<(Outcome, Report), MigrateError> {
    let outcome = Outcome::from(task);
    let probe = verb == Verb::Probe;
    match result {
        Ok(report) if task.succeeded() && report.failure.is_none() => Ok((outcome, report)),
        Err(source) if task.succeeded() => Err(MigrateError::NoReport {
            outcome: Box::new(outcome),
            source,
        }),
        result => {
            let report = result.ok();
            let driver = report.as_ref().and_then(|r| r.failure.clone());
            // A good report beside a bad end: another container of the task failed, or the platform stopped it.
            let (cause, hint) = explain(driver.as_ref(), &outcome, probe);
            let report = report
                .filter(|r| !probe && r.databases.values().any(|d| *d != DatabaseReport::default()))
                .map(|r| apply_report(outcome.clone(), r));
            Err(MigrateError::Failed(Box::new(Failure {
                probe,
                cause,
                hint,
                driver,
                outcome,
                report,
            })))
        }
    }
}
