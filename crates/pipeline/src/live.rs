//! What serves right now, compared with what the record says.
//!
//! Invariant: reads only; anything that cannot be told counts as different.

use std::time::Duration;

use nuages_aws::{AwsContext, Kind};
use nuages_config::{Config, Project};
use nuages_ecs::{Cluster, ServiceStatus};
use nuages_infra::StackOutputs;
use nuages_model::{ImageRef, Progress, ServiceName};
use nuages_releases::Release;
use tokio::time::Instant;
use url::Url;

use crate::error::PipelineError;
use crate::session::{OpenOptions, Session, aws_settings, find_emulator, has_own_emulator, is_absent};
use crate::ui::Ui;

/// Tasks that were started again need some seconds before they answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// An emulator that was restarted starts its database first, and then all tasks at once.
const RESTART: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(500);

/// Why the environment does not answer that it is ready; none where it does, or where there is nothing to ask.
pub(crate) async fn silent(
    session: &Session,
    outputs: &StackOutputs,
    url: Option<&Url>,
    progress: &Progress,
) -> Option<String> {
    let site = crate::parts::site(&session.config, outputs, url)?;
    let client = match site.client().await {
        Ok(client) => client,
        Err(error) => return Some(error.to_string()),
    };
    let patience = if session.restarted() { RESTART } else { PATIENCE };
    let deadline = Instant::now() + patience;
    loop {
        match site.ask(&client, &site.ready).await {
            Ok(_) => return None,
            Err(why) if Instant::now() >= deadline => return Some(why.to_string()),
            Err(_) => {
                progress.status("waiting until the application answers");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A service that runs, and that no record tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    /// The service.
    pub service: ServiceName,
    /// Its task definition, as `FAMILY:REVISION`.
    pub definition: String,
    /// The digest of its image, or the image as the task definition names it.
    pub image: Option<String>,
}

impl std::fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.definition)?;
        match &self.image {
            Some(image) => write!(f, " ({image})"),
            None => Ok(()),
        }
    }
}

/// What makes good that a store has no record of what serves.
pub const OTHER_STORE: &str =
    "where another store has the records (another clone's or person's), name it with `--store PATH`";

/// The services that run although this store knows of no release: it was lost, or another one has the records.
pub(crate) async fn unrecorded(session: &Session, cluster: &str) -> Result<Vec<Unrecorded>, PipelineError> {
    running(&session.aws, &session.config, cluster).await
}

/// The services that run in a cluster, as a record would tell of them.
async fn running(aws: &AwsContext, config: &Config, cluster: &str) -> Result<Vec<Unrecorded>, PipelineError> {
    let cluster = Cluster::new(aws, cluster);
    let names: Vec<&str> = config.services.keys().map(ServiceName::as_str).collect();
    let states = cluster.observe_all(&names).await?;
    let mut found = Vec::new();
    for (service, state) in config.services.keys().zip(states) {
        if !state.exists() {
            continue;
        }
        let arn = &state.settings.task_definition;
        let definition = cluster.definition(arn).await?;
        let image = definition.as_ref().and_then(|definition| {
            let mut containers = definition.container_definitions().iter();
            containers.find(|one| one.name() == Some(service.as_str()))?.image()
        });
        found.push(Unrecorded {
            service: service.clone(),
            definition: arn.rsplit('/').next().unwrap_or_default().to_owned(),
            image: image.map(in_short),
        });
    }
    Ok(found)
}

/// What serves in an environment, whatever is on record of it: nothing is started or written.
pub async fn serving_now(project: &Project, options: &OpenOptions, ui: &Ui) -> Result<Vec<Unrecorded>, PipelineError> {
    let config = project.environment(&options.env)?;
    let emulator = if has_own_emulator(&config) {
        if is_absent(&config).await? {
            return Ok(Vec::new());
        }
        find_emulator(&config, ui).await?
    } else {
        None
    };
    let aws = AwsContext::connect(&aws_settings(&config, emulator.as_ref())?).await?;
    let cluster = format!("{}-{}", config.app.name, config.env.name);
    match running(&aws, &config, &cluster).await {
        Err(PipelineError::Ecs(error)) if error.kind() == Some(Kind::NotFound) => Ok(Vec::new()),
        found => found,
    }
}

/// All of them in one sentence.
pub fn sentence(running: &[Unrecorded]) -> String {
    let each = running.iter().map(|one| format!("`{}` runs {one}", one.service));
    each.collect::<Vec<_>>().join(", ")
}

/// The digest of an image, as far as people compare it; else its whole name.
fn in_short(image: &str) -> String {
    let parsed = image.parse::<ImageRef>().ok();
    let digest = parsed.as_ref().and_then(ImageRef::digest);
    digest.map_or_else(|| image.to_owned(), |digest| format!("sha256:{}", digest.short()))
}

/// How what runs differs from what is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    why: String,
    /// Tasks come or go, and it may be over soon.
    passing: bool,
}

impl Difference {
    fn lasting(why: String) -> Self {
        Self { why, passing: false }
    }
}

/// Why the live state is not the recorded release's; none where it is. Tasks that a restarted emulator starts again are
/// waited for.
pub(crate) async fn differs(
    session: &Session,
    cluster: &str,
    release: &Release,
    progress: &Progress,
) -> Result<Option<String>, PipelineError> {
    let cluster = Cluster::new(&session.aws, cluster);
    let deadline = Instant::now() + RESTART;
    loop {
        match difference(session, &cluster, release).await? {
            Some(found) if found.passing && session.restarted() && Instant::now() < deadline => {
                progress.status(format!("waiting for what the emulator starts again: {}", found.why));
                tokio::time::sleep(PAUSE).await;
            }
            found => return Ok(found.map(|found| found.why)),
        }
    }
}

async fn difference(
    session: &Session,
    cluster: &Cluster,
    release: &Release,
) -> Result<Option<Difference>, PipelineError> {
    for (name, service) in &session.config.services {
        let lasting = |why: String| Ok(Some(Difference::lasting(why)));
        let Some(arn) = release.task_definitions.get(name) else {
            return lasting(format!("the service `{name}` is new"));
        };
        let state = cluster.observe(name.as_str()).await?;
        if state.status != ServiceStatus::Active {
            return lasting(format!("the service `{name}` does not run"));
        }
        let Some(primary) = state.primary() else {
            return lasting(format!("the service `{name}` has no deployment"));
        };
        if primary.task_definition != arn.as_str() {
            return lasting(format!(
                "the service `{name}` runs another task definition than the record says"
            ));
        }
        if state.settings.desired != service.count {
            let desired = state.settings.desired;
            return lasting(format!(
                "the service `{name}` is set to {desired} tasks instead of {}",
                service.count
            ));
        }
        let steady = state.deployments.len() == 1 && state.running == state.settings.desired && state.pending == 0;
        if !steady {
            let (running, desired) = (state.running, state.settings.desired);
            return Ok(Some(Difference {
                why: format!("the service `{name}` runs {running} of {desired} tasks"),
                passing: true,
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nuages_ecs::{
        ContainerSpec, LogTarget, Patience, Placement, Platform, ServiceSettings, ServiceSpec, TaskDefinitionSpec,
    };
    use nuages_model::Digest;
    use nuages_testkit::fake_ecs::FakeEcs;

    use super::*;
    use crate::stack::tests::staging;

    fn definition(digest: &Digest) -> TaskDefinitionSpec {
        let image: ImageRef = format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/blog-staging@{digest}")
            .parse()
            .unwrap();
        TaskDefinitionSpec {
            family: "blog-staging-web".into(),
            cpu: 256,
            memory: 512,
            platform: Platform::Amd64,
            execution_role: "arn:aws:iam::123456789012:role/execution".parse().unwrap(),
            task_role: None,
            containers: vec![ContainerSpec {
                name: "web".into(),
                image: image.try_into().unwrap(),
                command: vec!["gunicorn".into()],
                env: BTreeMap::new(),
                secrets: BTreeMap::new(),
                port: Some(8000),
                log: LogTarget {
                    group: "/nuages/blog".into(),
                    prefix: "app".into(),
                    region: "eu-west-1".parse().unwrap(),
                },
                stop_timeout: 30,
                health: None,
                read_only_root: false,
                user: None,
                essential: true,
                init: true,
            }],
            ephemeral_storage: None,
            tags: BTreeMap::new(),
        }
    }

    fn service(task_definition: String) -> ServiceSpec {
        ServiceSpec {
            name: "web".into(),
            settings: ServiceSettings {
                task_definition,
                desired: 2,
                placement: Placement {
                    subnets: ["subnet-1".to_owned()].into(),
                    security_groups: ["sg-task".to_owned()].into(),
                    public_ip: true,
                },
                load_balancers: Vec::new(),
                health_grace: None,
                min_percent: 100,
                max_percent: 200,
                breaker: None,
                exec: false,
                platform_version: None,
            },
            tags: BTreeMap::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_serves_is_told_where_no_record_tells_of_it() {
        let fake = FakeEcs::new("blog-staging");
        fake.add_log_group("/nuages/blog");
        let (mut session, _dir) = staging("http://127.0.0.1:1").await;
        session.environment.aws = fake.context();
        assert_eq!(
            unrecorded(&session, "blog-staging").await.unwrap(),
            [],
            "nothing serves"
        );
        let refused = crate::rollback::none_serves(&session, "blog-staging").await.unwrap();
        assert_eq!(refused.to_string(), "no release serves: there is nothing to roll back");

        let digest = Digest::of(b"an image");
        let cluster = Cluster::new(&session.aws, "blog-staging");
        let registered = cluster.register(&definition(&digest)).await.unwrap();
        let patience = Patience {
            timeout: Duration::from_mins(1),
            cancel: &tokio_util::sync::CancellationToken::new(),
            progress: &Progress::none(),
        };
        let web = service(registered.arn.to_string());
        cluster.apply(&web, "token", patience).await.unwrap();
        let found = unrecorded(&session, "blog-staging").await.unwrap();
        let [web] = &found[..] else {
            panic!("one service: {found:?}")
        };
        assert_eq!(web.service.as_str(), "web");
        assert_eq!(
            web.to_string(),
            format!("blog-staging-web:1 (sha256:{})", digest.short())
        );
        // Whoever would go back is not told that nothing serves.
        let refused = crate::rollback::none_serves(&session, "blog-staging").await.unwrap();
        let told = format!(
            "{} has no record of what serves in `staging` (`web` runs {web}), and a rollback returns to a release on record",
            session.store.store().path().display()
        );
        assert_eq!(refused.to_string(), told);
        assert_eq!(refused.hint().as_deref(), Some(OTHER_STORE));
    }

    #[test]
    fn an_image_without_a_digest_is_named_whole() {
        assert_eq!(in_short("blog:latest"), "blog:latest");
        assert_eq!(in_short("not an image"), "not an image");
    }
}
