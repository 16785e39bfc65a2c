//! Build and push: from the working tree to a digest in the registry.
//!
//! Invariant: both are content-addressed. Building or pushing the same content again changes nothing and sends nothing,
//! and nothing is tagged as a release here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nuages_config::{CaBundle as ConfigCaBundle, Config};
use nuages_emulator::local::{LocalEmulator, LocalSettings};
use nuages_image::{BuildRequest, Built, CaBundle, Engine, Fingerprint};
use nuages_infra::StackOutputs;
use nuages_model::{Digest, ImageRef, Sha256};
use nuages_registry::Ecr;
use nuages_saga::{MessageLevel, TaskScope};

use crate::error::PipelineError;
use crate::inputs::Inputs;
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

/// On every image that is built for an application, with its name.
const LABEL: &str = "dev.nuages.app";

/// Blobs that no push needed lately are removed above this.
const BLOBS: u64 = 5 << 30;

/// What is built for the deployment. `store` is the file of records: a project's folder may hold it, and no image does.
pub(crate) fn request(config: &Config, store: &Path) -> BuildRequest {
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
        labels: BTreeMap::from([(LABEL.to_owned(), config.app.name.to_string())]),
        tag: Some(format!(
            "{}deploy",
            tags_of(config.app.name.as_str(), &config.project_dir)
        )),
        left_out: COMPANIONS.map(|end| append(store, end)).into(),
        ..BuildRequest::default()
    }
}

/// SQLite's own files beside a store.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

fn append(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// What the engine's names of a project's images begin with. Two copies of a project have the same application, and often
/// the same images: each has names of its own, and takes away no other's.
fn tags_of(app: &str, project: &Path) -> String {
    let folder = Digest::of(project.as_os_str().as_encoded_bytes());
    format!("nuages/{app}-{}:", &folder.hex()[..8])
}

/// Whether a name is one that a local environment's images had: from the project's builds, or from the environment's own
/// registry at one of the ports that are no other environment's.
fn is_name_of(name: &str, settings: &LocalSettings, others: &BTreeSet<u16>) -> bool {
    if name.starts_with(&tags_of(&settings.app, &settings.project)) {
        return true;
    }
    let Some((port, pushed)) = name.strip_prefix("localhost:").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let repository = pushed.split(['@', ':']).next().unwrap_or_default();
    let is_ours = match &settings.env {
        Some(env) => repository == format!("{}-{env}", settings.app),
        None => false,
    };
    is_ours && port.parse().is_ok_and(|port| !others.contains(&port))
}

/// Takes away the images that were built for an environment of this machine, once it is gone: by label, and by the names
/// that builds and the environment's own registry gave them. Base images carry no such label.
pub(crate) async fn forget_images(settings: &LocalSettings) -> Result<usize, PipelineError> {
    let local = nuages_emulator::Engine::connect().await?;
    let mut others = BTreeSet::new();
    for other in LocalEmulator::list(&local).await? {
        others.extend(LocalEmulator::port(&local, &other).await?);
    }
    let engine = Engine::connect().await?;
    let label = format!("{LABEL}={}", settings.app);
    Ok(nuages_image::forget(&engine, &label, |name| is_name_of(name, settings, &others)).await?)
}

/// A digest of all that the build depends on: files, Dockerfile, arguments, base image; and each of these.
pub(crate) async fn source(config: &Config, store: &Path, engine: &Engine) -> Result<(Digest, Inputs), PipelineError> {
    let request = request(config, store);
    let memory = config.project_dir.join(".nuages").join("context.json");
    let (request, context) = tokio::task::spawn_blocking(move || -> Result<(Digest, Fingerprint), PipelineError> {
        let context = request.open_context(&nuages_model::Progress::none())?;
        Ok((request.fingerprint(&context), context.fingerprint(Some(&memory))?))
    })
    .await
    .map_err(|e| PipelineError::machine("read the project's files", e))??;
    let mut hash = Sha256::new();
    hash.update(request.as_str().as_bytes());
    hash.update(context.digest.as_str().as_bytes());
    let mut inputs = Inputs {
        request,
        base: None,
        files: context.files,
    };
    if let Some(base) = &config.build.base {
        // A base that was rebuilt or pulled anew is another base. One that is not there yet will be by the time that
        // anything is built.
        if let Ok(there) = nuages_image::inspect(engine, base).await {
            let there = format!("{there:?}");
            hash.update(there.as_bytes());
            inputs.base = Some(Digest::of(there.as_bytes()));
        }
    }
    Ok((hash.finish(), inputs))
}

/// Builds the image that is deployed, and the stages that checks run in. `store` is the file of records, which is left
/// out: [`location`](nuages_releases::location) tells where it is.
pub async fn build(config: &Config, store: &Path, engine: &Engine, ui: &Ui) -> Result<BuiltImage, PipelineError> {
    let task = ui.events.task("build", "Build the image");
    match build_in(config, store, engine, &task, ui).await {
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

async fn build_in(
    config: &Config,
    store: &Path,
    engine: &Engine,
    task: &TaskScope,
    ui: &Ui,
) -> Result<BuiltImage, PipelineError> {
    let stop = ui.stop_token();
    let request = request(config, store);
    let image = nuages_image::build(engine, &request, &task.progress(), &stop).await?;
    if image.config.runs_as_root() {
        let text = "the image runs as root";
        task.message(
            MessageLevel::Warning,
            text,
            Some("add `USER 10001` to the Dockerfile's last stage".into()),
        );
    }
    let tags = tags_of(config.app.name.as_str(), &config.project_dir);
    let mut stages = BTreeMap::new();
    for check in config.checks.values() {
        if let Some(stage) = check.target.as_ref().filter(|stage| !stages.contains_key(*stage)) {
            let child = task.child(format!("build/{stage}"), format!("Stage {stage}"));
            let request = BuildRequest {
                target: Some(stage.clone()),
                tag: Some(format!("{tags}{}", stage.to_lowercase())),
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
    let store = nuages_image::BlobStore::open(blob_folder(Some(&session.config.project_dir)))?;
    let tags = |digest: &Digest| vec![Ecr::build_tag(digest)];
    let id = image.image.image_id.as_str();
    let pushed = nuages_image::push(engine, id, &store, &repository, tags, &task.progress(), stop).await?;
    // What is left of older images is only of use for pushing them again. A blob that cannot be removed now goes later.
    let _ = tokio::task::spawn_blocking(move || store.prune(BLOBS)).await;
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

/// Blobs are the same whatever project they are of, so one cache serves all. A project's own folder is for where a machine
/// has no place for caches.
pub(crate) fn blob_folder(project: Option<&Path>) -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    match (home, project) {
        (Some(home), _) => home.join("nuages").join("blobs"),
        (None, Some(project)) => project.join(".nuages").join("blobs"),
        (None, None) => std::env::temp_dir().join("nuages").join("blobs"),
    }
}

/// A number of bytes, for people.
pub fn bytes(n: u64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_project_has_image_names_of_its_own() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = |folder: &Path| LocalSettings {
            env: Some("local".into()),
            ..LocalSettings::new("blog", folder).unwrap()
        };
        let (here, there) = (settings(here.path()), settings(there.path()));
        let others = BTreeSet::from([4567]);
        let built = |of: &LocalSettings| format!("{}deploy", tags_of(&of.app, &of.project));
        assert!(is_name_of(&built(&here), &here, &others));
        assert!(!is_name_of(&built(&there), &here, &others));
        for (name, ours) in [
            ("localhost:4566/blog-local@sha256:6bab", true),
            ("localhost:4566/blog-local:build-6bab", true),
            ("localhost:4567/blog-local@sha256:6bab", false),
            ("localhost:4566/shop-local@sha256:6bab", false),
            ("localhost:4566/blog-staging@sha256:6bab", false),
            ("localhost:4566/team/blog-local:1", false),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/blog-local:1", false),
            ("nuages/blog-tools:1", false),
            ("<none>:<none>", false),
        ] {
            assert_eq!(is_name_of(name, &here, &others), ours, "{name}");
        }
    }
}
