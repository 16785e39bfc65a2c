//! The life of a local environment on a real engine.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use nuages_emulator::images::{self, ImageSet, Source};
use nuages_emulator::local::{Found, LocalDatabase, LocalEmulator, LocalSettings, LocalStatus, Running};
use nuages_emulator::{EmulatorError, Engine};
use nuages_model::Progress;
use nuages_testkit::aws::sdk_config;

/// A project of its own, whose local environment goes away with it, whatever becomes of the test.
struct Project {
    engine: Engine,
    settings: LocalSettings,
    _folder: tempfile::TempDir,
}

impl Project {
    async fn new() -> Self {
        let engine = Engine::connect().await.unwrap();
        let wanted = ImageSet::Only(vec!["ministack".into(), "postgres".into()]);
        images::ensure(&engine, &wanted, Source::Auto, &Progress::none())
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        nuages_testkit::emulators::own(folder.path()).unwrap();
        let mut settings = LocalSettings::new("lifetime", folder.path()).unwrap();
        // Apart from an environment that a person may have running, and from the other tests.
        settings.preferred_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self {
            engine,
            settings,
            _folder: folder,
        }
    }

    async fn ensure(&self) -> Running {
        LocalEmulator::ensure(&self.engine, &self.settings, &Progress::none())
            .await
            .unwrap()
    }

    fn parameters(&self, running: &Running) -> aws_sdk_ssm::Client {
        aws_sdk_ssm::Client::new(&sdk_config(&running.endpoint, "test", &self.settings.region))
    }

    async fn write(&self, running: &Running, value: &str) {
        let put = self
            .parameters(running)
            .put_parameter()
            .name("/it")
            .value(value)
            .overwrite(true);
        put.r#type(aws_sdk_ssm::types::ParameterType::String)
            .send()
            .await
            .unwrap();
    }

    async fn read(&self, running: &Running) -> Option<String> {
        let got = self.parameters(running).get_parameter().name("/it").send().await;
        got.ok()?.parameter?.value
    }

    async fn kill(&self) {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        self.engine
            .docker()
            .kill_container(&self.settings.name(), Some(options))
            .await
            .unwrap();
    }

    /// Every container, network and volume that is this environment's.
    async fn belongings(&self) -> Vec<String> {
        let docker = self.engine.docker();
        let name = self.settings.name();
        let mut all = Vec::new();
        let containers = ListContainersOptionsBuilder::default().all(true).build();
        for container in docker.list_containers(Some(containers)).await.unwrap() {
            let labels = container.labels.unwrap_or_default();
            let names = container.names.unwrap_or_default();
            if names.contains(&format!("/{name}"))
                || labels
                    .get("ministack.instance")
                    .is_some_and(|instance| *instance == format!("{name}:4566"))
            {
                all.extend(names);
            }
        }
        let filters = HashMap::from([("name", vec![name.as_str()])]);
        let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
        all.extend(
            docker
                .list_networks(Some(networks))
                .await
                .unwrap()
                .into_iter()
                .filter_map(|found| found.name),
        );
        let volumes = docker
            .list_volumes(Some(ListVolumesOptionsBuilder::default().build()))
            .await
            .unwrap();
        let volumes = volumes
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| volume.name);
        all.extend(volumes.filter(|volume| volume.starts_with(&name) || volume.ends_with(&self.database_volume())));
        all
    }

    fn database(&self) -> String {
        format!("db-{}", self.settings.key())
    }

    async fn make_database(&self, running: &Running) {
        let databases = aws_sdk_rds::Client::new(&sdk_config(&running.endpoint, "test", &self.settings.region));
        databases
            .create_db_instance()
            .db_instance_identifier(self.database())
            .db_instance_class("db.t4g.micro")
            .engine("postgres")
            .engine_version("17")
            .allocated_storage(20)
            .master_username("blog")
            .master_user_password("not-a-secret")
            .send()
            .await
            .unwrap();
    }

    async fn look_at_database(&self) -> LocalDatabase {
        LocalEmulator::database(&self.engine, &self.settings, &self.database())
            .await
            .unwrap()
    }

    async fn start_database(&self) -> LocalDatabase {
        LocalEmulator::start_database(&self.engine, &self.settings, &self.database())
            .await
            .unwrap()
    }

    fn database_volume(&self) -> String {
        format!("-instance-{}-data", self.database())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let settings = self.settings.clone();
        // A runtime cannot be entered twice on one thread.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let engine = Engine::connect().await.unwrap();
                LocalEmulator::down(&engine, &settings, &Progress::none())
                    .await
                    .unwrap();
            });
        })
        .join();
    }
}

#[tokio::test]
async fn it_starts_is_found_again_and_comes_back_as_it_was() {
    let project = Project::new().await;
    assert_eq!(
        LocalEmulator::status(&project.engine, &project.settings).await.unwrap(),
        LocalStatus::Absent
    );

    let fresh = project.ensure().await;
    assert_eq!(
        (&fresh.found, fresh.port),
        (&Found::Fresh, project.settings.preferred_port)
    );
    assert_eq!(fresh.version, nuages_emulator::ministack::VERSION);
    project.write(&fresh, "one").await;

    assert!(
        LocalEmulator::list(&project.engine)
            .await
            .unwrap()
            .iter()
            .any(|one| one.name() == fresh.container)
    );
    let reused = project.ensure().await;
    assert_eq!((&reused.found, &reused.endpoint), (&Found::Reused, &fresh.endpoint));
    let port = LocalEmulator::port(&project.engine, &project.settings).await.unwrap();
    assert_eq!(port, Some(fresh.port));

    LocalEmulator::stop(&project.engine, &project.settings).await.unwrap();
    assert_eq!(
        LocalEmulator::status(&project.engine, &project.settings).await.unwrap(),
        LocalStatus::Stopped
    );
    let restarted = project.ensure().await;
    assert!(matches!(restarted.found, Found::Restarted { .. }), "{restarted:?}");
    assert_eq!(restarted.endpoint, fresh.endpoint);
    assert_eq!(project.read(&restarted).await.as_deref(), Some("one"));

    project
        .engine
        .docker()
        .pause_container(&project.settings.name())
        .await
        .unwrap();
    let woken = project.ensure().await;
    assert!(matches!(woken.found, Found::Restarted { .. }), "{woken:?}");
    assert_eq!(project.read(&woken).await.as_deref(), Some("one"));
}

#[tokio::test]
async fn a_restart_by_somebody_else_is_told() {
    let project = Project::new().await;
    let fresh = project.ensure().await;
    project.write(&fresh, "kept").await;
    let docker = project.engine.docker();
    let slowly = RestartContainerOptionsBuilder::default().t(60).build();
    docker
        .restart_container(&project.settings.name(), Some(slowly))
        .await
        .unwrap();
    let returned = project.ensure().await;
    assert_eq!((&returned.found, returned.port), (&Found::Returned, fresh.port));
    assert_eq!(project.read(&returned).await.as_deref(), Some("kept"));
    assert_eq!(project.ensure().await.found, Found::Reused, "it is told once");

    // Who has not seen this run before, another user say, sees that nuages has.
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let memory = cache
        .join("nuages")
        .join(format!("{}.attached", project.settings.name()));
    std::fs::remove_file(memory).unwrap();
    assert_eq!(project.ensure().await.found, Found::Reused);
}

#[tokio::test]
async fn a_kill_is_a_loss_also_when_somebody_started_it_again() {
    let project = Project::new().await;
    let fresh = project.ensure().await;
    project.write(&fresh, "before").await;
    project.kill().await;
    // Who goes on from what was there does not take what is left of it away, however often.
    for _ in 0..2 {
        let refused = LocalEmulator::wake(&project.engine, &project.settings, &Progress::none()).await;
        assert!(
            matches!(&refused, Err(EmulatorError::Lost { why, .. }) if why.contains("killed")),
            "{refused:?}"
        );
        let status = LocalEmulator::status(&project.engine, &project.settings).await.unwrap();
        assert_eq!(status, LocalStatus::Stopped);
    }
    let lost = project.ensure().await;
    assert!(
        matches!(&lost.found, Found::Lost { why } if why.contains("killed")),
        "{lost:?}"
    );
    assert_eq!(project.read(&lost).await, None);

    // An older state that comes back is no better than none.
    project.write(&lost, "old").await;
    LocalEmulator::stop(&project.engine, &project.settings).await.unwrap();
    let restarted = project.ensure().await;
    project.write(&restarted, "new").await;
    project.kill().await;
    project
        .engine
        .docker()
        .start_container(&project.settings.name(), None)
        .await
        .unwrap();
    let lost = project.ensure().await;
    assert!(
        matches!(&lost.found, Found::Lost { why } if why.contains("older")),
        "{lost:?}"
    );
    assert_eq!(project.read(&lost).await, None);
}

#[tokio::test]
async fn another_port_is_taken_and_the_state_moves_along() {
    let project = Project::new().await;
    let preferred = project.settings.preferred_port;
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, preferred)).unwrap();
    let fresh = project.ensure().await;
    assert_ne!(fresh.port, preferred);
    project.write(&fresh, "kept").await;
    drop(stranger);

    LocalEmulator::stop(&project.engine, &project.settings).await.unwrap();
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, fresh.port)).unwrap();
    let moved = project.ensure().await;
    assert!(
        matches!(&moved.found, Found::Restarted { why } if why.contains("port")),
        "{moved:?}"
    );
    assert_ne!(moved.port, fresh.port);
    assert_eq!(project.read(&moved).await.as_deref(), Some("kept"));
    drop(stranger);
}

#[tokio::test]
async fn a_container_that_was_removed_is_a_loss() {
    let project = Project::new().await;
    let fresh = project.ensure().await;
    project.write(&fresh, "gone").await;
    nuages_emulator::children::remove_container(&project.engine, &project.settings.name())
        .await
        .unwrap();
    nuages_emulator::network::remove(&project.engine, &project.settings.name())
        .await
        .unwrap();
    let listed = LocalEmulator::list(&project.engine).await.unwrap();
    let name = project.settings.name();
    assert!(listed.iter().any(|one| one.name() == name), "its volume tells of it");
    let lost = project.ensure().await;
    assert!(
        matches!(&lost.found, Found::Lost { why } if why.contains("removed")),
        "{lost:?}"
    );
    assert_eq!(project.read(&lost).await, None);
}

#[tokio::test]
async fn other_settings_are_another_environment() {
    let mut project = Project::new().await;
    project.ensure().await;
    project.settings.region = "us-east-1".into();
    let lost = project.ensure().await;
    assert!(
        matches!(&lost.found, Found::Lost { why } if why.contains("us-east-1")),
        "{lost:?}"
    );
}

#[tokio::test]
async fn down_leaves_nothing_of_a_database_and_of_itself() {
    let project = Project::new().await;
    let running = project.ensure().await;
    project.make_database(&running).await;
    // The emulator starts the container after it answers.
    let started = async {
        while project
            .belongings()
            .await
            .iter()
            .filter(|name| name.contains("instance"))
            .count()
            < 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(2), started)
        .await
        .unwrap();
    let status = LocalEmulator::status(&project.engine, &project.settings).await.unwrap();
    assert_eq!(
        status,
        LocalStatus::Running {
            endpoint: running.endpoint.clone(),
            children: 1
        }
    );

    let removed = LocalEmulator::down(&project.engine, &project.settings, &Progress::none())
        .await
        .unwrap();
    assert_eq!(removed.containers.len(), 2, "{removed:?}");
    assert_eq!(removed.networks, [project.settings.name()]);
    assert_eq!(removed.volumes.len(), 2, "{removed:?}");
    assert_eq!(project.belongings().await, Vec::<String>::new());
    assert!(
        LocalEmulator::down(&project.engine, &project.settings, &Progress::none())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_databases_container_is_seen_as_it_is() {
    let project = Project::new().await;
    let running = project.ensure().await;
    assert_eq!(project.look_at_database().await, LocalDatabase::Missing { data: false });
    project.make_database(&running).await;
    // The emulator starts the container after it answers.
    let up = async {
        loop {
            if let LocalDatabase::Running { address: Some(_) } = project.look_at_database().await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(2), up)
        .await
        .unwrap();

    let docker = project.engine.docker();
    let belongings = project.belongings().await;
    let container = belongings.iter().find(|name| name.starts_with("/ministack-rds-"));
    let container = container.expect("a container").trim_start_matches('/');
    docker.pause_container(container).await.unwrap();
    assert_eq!(project.look_at_database().await, LocalDatabase::Stopped);
    assert!(matches!(project.start_database().await, LocalDatabase::Running { .. }));
    let quickly = StopContainerOptionsBuilder::default().t(10).build();
    docker.stop_container(container, Some(quickly)).await.unwrap();
    assert_eq!(project.look_at_database().await, LocalDatabase::Stopped);
    let started = project.start_database().await;
    assert!(
        matches!(started, LocalDatabase::Running { address: Some(_) }),
        "{started:?}"
    );

    nuages_emulator::children::remove_container(&project.engine, container)
        .await
        .unwrap();
    assert_eq!(project.look_at_database().await, LocalDatabase::Missing { data: true });
    assert_eq!(
        project.start_database().await,
        LocalDatabase::Missing { data: true },
        "there is nothing to start"
    );
    let volume = belongings
        .iter()
        .find(|name| name.ends_with(&project.database_volume()));
    let whole = RemoveVolumeOptionsBuilder::default().build();
    let gone = docker.remove_volume(volume.expect("a volume"), Some(whole)).await;
    gone.unwrap();
    assert_eq!(project.look_at_database().await, LocalDatabase::Missing { data: false });
}

#[tokio::test]
async fn two_at_once_start_one() {
    let project = Project::new().await;
    let (one, other) = tokio::join!(project.ensure(), project.ensure());
    assert_eq!(one.endpoint, other.endpoint);
    let found = [&one.found, &other.found];
    assert!(
        found.contains(&&Found::Fresh) && found.contains(&&Found::Reused),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_strangers_container_of_that_name_is_left_alone() {
    let project = Project::new().await;
    let body = bollard::models::ContainerCreateBody {
        image: Some("python:3.13-slim".into()),
        ..bollard::models::ContainerCreateBody::default()
    };
    let name = project.settings.name();
    let options = bollard::query_parameters::CreateContainerOptionsBuilder::default()
        .name(&name)
        .build();
    project
        .engine
        .docker()
        .create_container(Some(options), body)
        .await
        .unwrap();
    let error = LocalEmulator::ensure(&project.engine, &project.settings, &Progress::none())
        .await
        .unwrap_err();
    let down = LocalEmulator::down(&project.engine, &project.settings, &Progress::none())
        .await
        .unwrap_err();
    nuages_emulator::children::remove_container(&project.engine, &name)
        .await
        .unwrap();
    assert!(matches!(error, EmulatorError::NameTaken { .. }), "{error:?}");
    assert!(matches!(down, EmulatorError::NameTaken { .. }), "{down:?}");
}
