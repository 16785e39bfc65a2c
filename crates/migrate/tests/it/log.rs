//! Logs as platforms deliver them.

use nuages_migrate::{MigrateError, Missing, apply};
use nuages_model::Progress;

use crate::local_runner::{Delivery, LocalRunner, recording, run};
use crate::python::DJANGO;

async fn delivered(delivery: Delivery) -> Result<usize, MigrateError> {
    let data = tempfile::tempdir().expect("a temporary directory");
    let runner = LocalRunner::new(data.path()).delivering(delivery);
    apply(&runner, &run(DJANGO), &Progress::none())
        .await
        .map(|report| report.ran().len())
}

#[tokio::test]
async fn doubled_and_out_of_order() {
    assert_eq!(delivered(Delivery::DoubledAndReversed).await.unwrap(), 3);
}

#[tokio::test]
async fn later_than_the_end_of_the_task_and_shown_once() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let runner = LocalRunner::new(data.path()).delivering(Delivery::Late);
    let (progress, notes) = recording();
    assert_eq!(apply(&runner, &run(DJANGO), &progress).await.unwrap().ran().len(), 3);
    let notes = notes.lock().unwrap();
    let heads = notes
        .iter()
        .filter(|n| format!("{n:?}").contains("Running migrations:"))
        .count();
    assert_eq!(heads, 1, "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_is_unknown_and_not_success() {
    let error = delivered(Delivery::Lost).await.unwrap_err();
    assert!(
        matches!(
            error,
            MigrateError::NoReport {
                source: Missing::Nothing,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("safe"));
}

#[tokio::test(start_paused = true)]
async fn the_database_knows_what_a_lost_report_would_have_said() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let whole = LocalRunner::new(data.path());
    let report = apply(&whole, &run(DJANGO), &Progress::none()).await.unwrap();
    let other = tempfile::tempdir().expect("a temporary directory");
    let lossy = LocalRunner::new(other.path()).delivering(Delivery::ApplyLost);
    let (progress, notes) = recording();
    let asked = apply(&lossy, &run(DJANGO), &progress).await.unwrap();
    assert_eq!(asked.applied_set(), report.applied_set());
    let warned = format!("{:?}", notes.lock().unwrap());
    assert!(warned.contains("asking the database"), "{warned}");
}
