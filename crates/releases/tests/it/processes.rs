//! Real processes over one file: this test binary, started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nuages_releases::Store;
use nuages_saga::{Holder, JournalStore, StoreError};

use crate::support::{Place, draft, key};

const FOLDER: &str = "NUAGES_TEST_STORE_FOLDER";
const ROUNDS: u32 = 15;

fn again(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn in_child() -> Option<nuages_releases::EnvironmentStore> {
    let path = Path::new(&std::env::var_os(FOLDER)?).join("nuages.db");
    Some(
        Store::open(&path)
            .await
            .unwrap()
            .environment(key("staging"))
            .await
            .unwrap(),
    )
}

#[tokio::test]
#[ignore = "a process of the test below"]
async fn records_releases_whenever_it_has_the_lease() {
    let Some(environment) = in_child().await else { return };
    let mark = environment.store().path().with_extension("acting");
    for round in 0..ROUNDS {
        let lease = loop {
            match environment
                .acquire(&Holder::here("deploy"), Duration::from_mins(10))
                .await
            {
                Ok(lease) => break lease,
                Err(StoreError::Held(_)) => tokio::time::sleep(Duration::from_millis(3)).await,
                Err(error) => panic!("{error:?}"),
            }
        };
        // Fails where another process acts at the same time.
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&mark)
            .expect("nobody else acts");
        let image = format!("{}-{round}", std::process::id());
        environment.record_serving(lease.fence, draft(&image)).await.unwrap();
        std::fs::remove_file(&mark).unwrap();
        JournalStore::release(&environment, lease.fence).await.unwrap();
    }
}

#[tokio::test]
async fn of_several_processes_one_acts_at_a_time_and_no_number_is_given_twice() {
    let place = Place::new();
    // The children make the file too.
    let children: Vec<Child> = (0..3)
        .map(|_| {
            again(
                "processes::records_releases_whenever_it_has_the_lease",
                place.folder.path(),
            )
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let store = Store::open(&place.folder.path().join("nuages.db")).await.unwrap();
    let releases = store
        .environment(key("staging"))
        .await
        .unwrap()
        .releases(1000)
        .await
        .unwrap();
    let numbers: Vec<u32> = releases.iter().rev().map(|release| release.number.get()).collect();
    assert_eq!(numbers, (1..=3 * ROUNDS).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "a process of the test below"]
async fn takes_the_lease_and_waits_to_be_killed() {
    let Some(environment) = in_child().await else { return };
    let lease = environment
        .acquire(&Holder::here("deploy"), Duration::from_hours(1))
        .await
        .unwrap();
    environment.record(lease.fence, draft("1")).await.unwrap();
    println!("\nheld {}", lease.fence);
    tokio::time::sleep(Duration::from_mins(5)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_killed_process_is_taken_over_at_once_and_what_it_wrote_is_there() {
    let place = Place::new();
    let mut child = again("processes::takes_the_lease_and_waits_to_be_killed", place.folder.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with("held "))
        .expect("it took the lease");
    let store = Store::open(&place.folder.path().join("nuages.db")).await.unwrap();
    let environment = store.environment(key("staging")).await.unwrap();
    let refused = environment
        .acquire(&Holder::here("deploy"), Duration::from_hours(1))
        .await;
    assert!(matches!(refused, Err(StoreError::Held(_))), "{refused:?}");

    child.kill().unwrap();
    child.wait().unwrap();
    let lease = environment
        .acquire(&Holder::here("resume"), Duration::from_hours(1))
        .await
        .unwrap();
    assert_eq!(format!("held {}", lease.fence.0 - 1), held);
    assert_eq!(environment.releases(10).await.unwrap().len(), 1);
}
