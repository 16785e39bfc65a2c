//! Emulators are shared while somebody wants them, and gone when nobody does.

use std::path::Path;
use std::process::{Child, Command};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use nuages_emulator::images::{self, ImageSet, Source};
use nuages_emulator::{Engine, health};
use nuages_model::Progress;
use nuages_testkit::emulators::{
    Endpoint, Kind, Owner, Sweep, ministack, postgres, sdk_config, start, sweep, unique_account, unique_name,
};

/// A process that owns something until it is dropped.
struct Runner(Child);

impl Runner {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn owner(&self) -> Owner {
        Owner::of(self.0.id())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn registry_for(owner: &Owner, folder: &Path) -> Endpoint {
    start(&[Kind::Registry], owner, folder).await.unwrap().remove(0)
}

async fn answers(endpoint: &Endpoint) -> bool {
    health::get(endpoint.port, "/v2/")
        .await
        .is_ok_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn two_owners_share_one_and_it_goes_with_the_last() {
    let engine = Engine::connect().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Runner::new(), Runner::new());
    let (one_owner, other_owner) = (one.owner(), other.owner());
    let (first, second) = tokio::join!(
        registry_for(&one_owner, folder.path()),
        registry_for(&other_owner, folder.path())
    );
    assert_eq!(first, second);

    sweep(&engine, &Sweep::Owner(one_owner.pid)).await.unwrap();
    assert!(answers(&first).await, "the other runner still wants it");
    let record = std::fs::read(folder.path().join("registry.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let name = record["name"].as_str().unwrap();
    sweep(&engine, &Sweep::Owner(other_owner.pid)).await.unwrap();
    assert!(!answers(&first).await);
    // The sweep of another test may be the one that takes the network away.
    let gone = async {
        while engine.docker().inspect_network(name, None).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone)
        .await
        .unwrap();
    assert!(engine.docker().inspect_container(name, None).await.is_err());
    assert!(!folder.path().join("registry.json").exists());
}

#[tokio::test]
async fn what_a_dead_owner_left_is_swept_and_the_next_start_is_anew() {
    let engine = Engine::connect().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let runner = Runner::new();
    let left = registry_for(&runner.owner(), folder.path()).await;
    drop(runner);
    sweep(&engine, &Sweep::Dead).await.unwrap();
    assert!(!answers(&left).await);

    let living = Runner::new();
    let next = registry_for(&living.owner(), folder.path()).await;
    assert!(answers(&next).await);
    sweep(&engine, &Sweep::Dead).await.unwrap();
    assert!(answers(&next).await, "its owner lives");
    sweep(&engine, &Sweep::Owner(living.owner().pid)).await.unwrap();
}

#[tokio::test]
async fn children_of_an_emulator_that_is_gone_are_swept() {
    let engine = Engine::connect().await.unwrap();
    images::ensure(
        &engine,
        &ImageSet::Only(vec!["python".into()]),
        Source::Auto,
        &Progress::none(),
    )
    .await
    .unwrap();
    let (orphan, stranger) = (unique_name("orphan"), unique_name("stranger"));
    for (name, instance) in [(&orphan, "nuages-test-gone:4566"), (&stranger, "somebody-else:4566")] {
        let body = ContainerCreateBody {
            image: Some("python:3.13-slim".into()),
            labels: Some([("ministack.instance".to_owned(), instance.to_owned())].into()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        engine.docker().create_container(Some(options), body).await.unwrap();
    }
    sweep(&engine, &Sweep::Dead).await.unwrap();
    let orphan_left = engine.docker().inspect_container(&orphan, None).await.is_ok();
    let stranger_left = engine.docker().inspect_container(&stranger, None).await.is_ok();
    nuages_emulator::children::remove_container(&engine, &stranger)
        .await
        .unwrap();
    assert!(!orphan_left);
    assert!(stranger_left, "another MiniStack's children are none of ours");
}

#[tokio::test]
async fn ministack_keeps_accounts_apart() {
    let emulator = ministack().await;
    let (one, other) = (unique_account(), unique_account());
    let secrets = |account: &str| aws_sdk_secretsmanager::Client::new(&sdk_config(&emulator, account));
    let name = unique_name("secret");
    secrets(&one)
        .create_secret()
        .name(&name)
        .secret_string("x")
        .send()
        .await
        .unwrap();
    assert!(secrets(&one).describe_secret().secret_id(&name).send().await.is_ok());
    assert!(secrets(&other).describe_secret().secret_id(&name).send().await.is_err());
    let repository = unique_name("blog");
    let registry = aws_sdk_ecr::Client::new(&sdk_config(&emulator, "test"));
    let made = registry
        .create_repository()
        .repository_name(&repository)
        .send()
        .await
        .unwrap();
    let uri = made.repository.unwrap().repository_uri.unwrap();
    assert!(
        uri.starts_with(&emulator.account),
        "{uri}: a caller without an account has the emulator's own"
    );
}

#[tokio::test]
async fn postgres_listens_where_it_says() {
    let server = postgres().await;
    tokio::net::TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
}
