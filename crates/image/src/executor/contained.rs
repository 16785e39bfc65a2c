//! The base's Python in a container without a network: the last way, for machines that are no Linux or of another
//! architecture.
//!
//! Nothing is mounted, so that it works with an engine on another machine: packages, project and script are an image.
//!
//! Invariant: container and image are gone when the call is over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::query_parameters::RemoveImageOptions;
use nuages_model::Progress;
use tokio_util::sync::CancellationToken;

use super::{Done, Job, Places, read_result};
use crate::container::{RunSpec, run_once};
use crate::{Base, BlobStore, Engine, ImageError, Recipe, Tree, VENV};

/// Where script and answer are in the container.
const PLACE: &str = "/nuages-run";

pub(super) async fn run(
    engine: &Engine,
    base: &Base,
    store: &BlobStore,
    job: &Job<'_>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Done, ImageError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let places = Places {
        app: job.working_dir.into(),
        site: job.packages.site().into(),
        out: Path::new(PLACE).join("out"),
        result: Path::new(PLACE).join("result.json"),
        elsewhere: [PLACE, VENV, "/usr", "/lib", "/etc", "/tmp"].map(PathBuf::from).into(),
    };
    let mut tree = Tree::new();
    tree.bytes(format!("{PLACE}/script.py"), job.script.to_owned(), false)?;
    tree.bytes(format!("{PLACE}/job.json"), places.told(&job.input).to_string(), false)?;
    tree.folder(format!("{PLACE}/out"))?;
    tree.add_context(job.project, job.working_dir)?;
    let mut recipe = Recipe::on(base.clone());
    for (title, layer) in job.packages.layers()? {
        recipe = recipe.layer(title, layer);
    }
    let recipe = recipe.layer("what is run", tree);
    let name = format!(
        "nuages-run-{}:{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    recipe.load(store, engine, &name, progress, cancel).await?;
    let mut env = job.env.clone();
    for (variable, value) in [
        ("PATH", format!("{VENV}/bin:/usr/local/bin:/usr/bin:/bin")),
        ("HOME", "/tmp".into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("PYTHONHASHSEED", "0".into()),
    ] {
        env.insert(variable.into(), value);
    }
    let words = [
        format!("{VENV}/bin/python"),
        format!("{PLACE}/script.py"),
        format!("{PLACE}/job.json"),
    ];
    let spec = RunSpec {
        image: name.clone(),
        command: words.into(),
        entrypoint: Some(Vec::new()),
        env,
        network: Some("none".into()),
        collect: vec![text(&places.out), text(&places.result)],
        timeout: Some(job.limit),
        source: job.source.to_owned(),
        ..RunSpec::default()
    };
    let ran = run_once(engine, &spec, progress, cancel).await;
    // A left image costs disk and is no failure.
    if let Err(error) = engine
        .docker()
        .remove_image(&name, None::<RemoveImageOptions>, None)
        .await
    {
        tracing::warn!(%error, name, "an image was left behind");
    }
    let ran = ran.map_err(|error| match error {
        ImageError::TimedOut { limit, tail, .. } => ImageError::TimedOut {
            what: job.what.to_owned(),
            limit,
            tail,
        },
        ImageError::Cancelled { .. } => ImageError::Cancelled {
            what: job.what.to_owned(),
        },
        other => other,
    })?;
    let folder = tempfile::tempdir_in(store.unfinished()).map_err(ImageError::file("write", store.unfinished()))?;
    for (path, content) in &ran.files {
        let below = Path::new(path).strip_prefix(&places.out).ok();
        if let Some(below) = below
            .and_then(crate::nodes::inner)
            .filter(|below| below.file_name().is_some())
        {
            let to = folder.path().join(&below);
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent).map_err(ImageError::file("make the folder", parent))?;
            }
            std::fs::write(&to, content).map_err(ImageError::file("write", to))?;
        }
    }
    Ok(Done {
        code: i32::try_from(ran.exit_code).ok(),
        tail: ran.tail,
        result: ran
            .files
            .get(&text(&places.result))
            .and_then(|content| read_result(content)),
        out: folder.path().to_owned(),
        app: places.app,
        instead: super::Instead::default(),
        _folder: Box::new(folder),
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
