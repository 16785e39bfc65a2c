//! Build and push: from the working tree to a digest in the registry.
//!
//! Invariant: both are content-addressed. Building or pushing the same content again changes nothing and sends nothing,
//! and nothing is tagged as a release here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nuages_config::{CaBundle as ConfigCaBundle, Config};
use nuages_image::{BuildRequest, Built, CaBundle, Engine};
use nuages_infra::StackOutputs;
use nuages_model::{Digest, ImageRef, Sha256};
use nuages_registry::Ecr;
use nuages_saga::{MessageLevel, TaskScope};

use crate::error::PipelineError;
use crate::session::Session;
use crate::ui::Ui;

/// The images of one working tree.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The image that is deployed.
    pub image: Built,
    /// The stages that checks run in, by name.
    pub stages: BTreeMap<String, Digest>,
    /// The builder, for the record.
    pub builder: String,
}

impl BuiltImage {
    /// The image of a stage; the deployed one for none.
    pub fn stage(&self, name: Option<&str>) -> &Digest {
        name.and_then(|name| self.stages.get(name))
            .unwrap_or(&self.image.image_id)
    }
}

/// An image in the registry.
#[derive(Debug, Clone)]
pub struct PushedImage {
    /// The image, by digest, as tasks pull it.
    pub image: ImageRef,
    /// Its digest.
    pub digest: Digest,
    /// The repository's name.
    pub repository: String,
}

/// What is built for the deployment.
pub(crate) fn request(config: &Config) -> BuildRequest {
    let build = &config.build;
    let mut args = build.args.clone();
    if let Some(base) = &build.base {
        args.insert("BASE".into(), base.clone());
    }
    BuildRequest {
        context: config.project_dir.join(&build.context),
        dockerfile: config.project_dir.join(&build.dockerfile),
        target: build.target.clone(),
        args,
        platform: Some(build.platform.as_str().to_owned()),
        ca_bundle: build.ca_bundle.as_ref().map(|bundle| match bundle {
            ConfigCaBundle::Host => CaBundle::Host,
            ConfigCaBundle::File(path) => CaBundle::File(config.project_dir.join(path)),
        }),
        tag: Some(format!("nuages/{}:deploy", config.app.name)),
        ..BuildRequest::default()
    }
}

/// A digest of all that the build depends on: files, Dockerfile, arguments, base image.
pub(crate) async fn source(config: &Config, engine: &Engine) -> Result<Digest, PipelineError> {
    let request = request(config);
    let memory = config.project_dir.join(".nuages").join("context.json");
    let fingerprint = tokio::task::spawn_blocking(move || -> Result<(Digest, Digest), PipelineError> {
        let context = request.open_context(&nuages_model::Progress::none())?;
        Ok((
            request.fingerprint(&context),
            context.fingerprint(Some(&memory))?.digest,
        ))
    })
    .await
    .map_err(|e| PipelineError::machine("read the project's files", e))??;
    let mut hash = Sha256::new();
    hash.update(fingerprint.0.as_str().as_bytes());
    hash.update(fingerprint.1.as_str().as_bytes());
    if let Some(base) = &config.build.base {
        // A base that was rebuilt or pulled anew is another base. One that is not there yet will be by the time that
        // anything is built.
        if let Ok(there) = nuages_image::inspect(engine, base).await {
            hash.update(format!("{there:?}").as_bytes());
        }
    }
    Ok(hash.finish())
}

/// Builds the image that is deployed, and the stages that checks run in.
pub async fn build(config: &Config, engine: &Engine, ui: &Ui) -> Result<BuiltImage, PipelineError> {
    let task = ui.events.task("build", "Build the image");
    match build_in(config, engine, &task, ui).await {
        Ok(built) => {
            task.done(format!("sha256:{}", built.image.image_id.short()));
            Ok(built)
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

async fn build_in(config: &Config, engine: &Engine, task: &TaskScope, ui: &Ui) -> Result<BuiltImage, PipelineError> {
    let stop = ui.stop_token();
    let request = request(config);
    let image = nuages_image::build(engine, &request, &task.progress(), &stop).await?;
    if let Some(command) = image.config.shell_form() {
        let text =
            format!("the image starts its command through a shell (`{command}`), which SIGTERM does not pass on");
        task.message(
            MessageLevel::Warning,
            text,
            Some("write CMD as a JSON list in the Dockerfile".into()),
        );
    }
    if image.config.runs_as_root() {
        let text = "the image runs as root";
        task.message(
            MessageLevel::Warning,
            text,
            Some("add `USER 10001` to the Dockerfile's last stage".into()),
        );
    }
    let mut stages = BTreeMap::new();
    for check in config.checks.values() {
        if let Some(stage) = check.target.as_ref().filter(|stage| !stages.contains_key(*stage)) {
            let child = task.child(format!("build/{stage}"), format!("Stage {stage}"));
            let request = BuildRequest {
                target: Some(stage.clone()),
                tag: Some(format!("nuages/{}:{}", config.app.name, stage.to_lowercase())),
                ..request.clone()
            };
            match nuages_image::build(engine, &request, &child.progress(), &stop).await {
                Ok(built) => {
                    child.done(format!("sha256:{}", built.image_id.short()));
                    stages.insert(stage.clone(), built.image_id);
                }
                Err(error) => {
                    child.failed(&error);
                    return Err(error.into());
                }
            }
        }
    }
    let builder = format!("docker {} ({:?})", engine.info().version, image.builder).to_lowercase();
    Ok(BuiltImage { image, stages, builder })
}

/// Pushes the image under a tag of its own content.
pub async fn push(
    session: &Session,
    outputs: &StackOutputs,
    engine: &Engine,
    image: &BuiltImage,
    ui: &Ui,
) -> Result<PushedImage, PipelineError> {
    let task = ui.events.task("push", "Push the image");
    let stop = ui.stop_token();
    let pushed = push_in(session, outputs, engine, image, &task, &stop).await;
    match pushed {
        Ok((pushed, sent)) => {
            let what = format!("{}@sha256:{}", pushed.repository, pushed.digest.short());
            if sent == 0 {
                task.unchanged(format!("{what}, all there already"));
            } else {
                task.done(format!("{what}, {} sent", bytes(sent)));
            }
            Ok(pushed)
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

async fn push_in(
    session: &Session,
    outputs: &StackOutputs,
    engine: &Engine,
    image: &BuiltImage,
    task: &TaskScope,
    stop: &tokio_util::sync::CancellationToken,
) -> Result<(PushedImage, u64), PipelineError> {
    let ecr = Ecr::new(&session.aws);
    let repository = ecr.open(&outputs.repository).await?;
    let store = nuages_image::BlobStore::open(blob_folder(session))?;
    let tags = |digest: &Digest| vec![Ecr::build_tag(digest)];
    let id = image.image.image_id.as_str();
    let pushed = nuages_image::push(engine, id, &store, &repository, tags, &task.progress(), stop).await?;
    let reference = ImageRef::new(repository.registry().host(), &outputs.repository)
        .map_err(|e| PipelineError::machine("name the pushed image", e))?
        .with_digest(pushed.digest.clone());
    Ok((
        PushedImage {
            image: reference,
            digest: pushed.digest,
            repository: outputs.repository.clone(),
        },
        pushed.sent_bytes,
    ))
}

/// Blobs are the same whatever project they are of, so one cache serves all.
fn blob_folder(session: &Session) -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    home.map_or_else(
        || session.config.project_dir.join(".nuages").join("blobs"),
        |home| home.join("nuages").join("blobs"),
    )
}

/// A number of bytes, for people.
pub(crate) fn bytes(n: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people, to one decimal")]
    let n = n as f64;
    if n >= 1e6 {
        format!("{:.1} MB", n / 1e6)
    } else if n >= 1e3 {
        format!("{:.1} kB", n / 1e3)
    } else {
        format!("{n} bytes")
    }
}
