//! Runs one command in a fresh container: its output as it comes, its exit code, the files it leaves.
//!
//! Invariant: the container is gone when the call is over, whichever way it ends. One that outlives its process (a kill in
//! the middle) carries a label, and [`sweep`](crate::sweep) removes it.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, DownloadFromContainerOptions, RemoveContainerOptions,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use nuages_model::Progress;
use tokio_util::sync::CancellationToken;

use crate::build_output::Tail;
use crate::error::engine_error;
use crate::{Engine, ImageError, owner};

/// A file that a container leaves is read up to here.
const LARGEST_FILE: usize = 64 * 1024 * 1024;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunSpec {
    /// The image, by id or name. It must be in the engine.
    pub image: String,
    /// The command, instead of the image's own.
    pub command: Vec<String>,
    /// The entrypoint, instead of the image's own; `Some` of nothing means none.
    pub entrypoint: Option<Vec<String>>,
    /// The environment, on top of the image's.
    pub env: BTreeMap<String, String>,
    /// The network to join; the engine's default without it.
    pub network: Option<String>,
    /// Files and folders to read when the command has ended.
    pub collect: Vec<String>,
    /// The longest that it may take.
    pub timeout: Option<Duration>,
    /// Whose output it is, for [`Progress::line`].
    pub source: String,
    /// Labels, on top of ours.
    pub labels: BTreeMap<String, String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// The command's exit code.
    pub exit_code: i64,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// The last lines of its output.
    pub tail: Vec<String>,
    /// The files that were asked for and that exist, by their path in the container. A folder's files stand under theirs.
    pub files: BTreeMap<String, Bytes>,
}

impl RunOutcome {
    /// Whether it ended well.
    pub fn passed(&self) -> bool {
        self.exit_code == 0
    }
}

/// Runs one command in a fresh container.
///
/// ```no_run
/// use nuages_image::{Engine, RunSpec, run_once};
/// use nuages_model::Progress;
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), nuages_image::ImageError> {
/// let engine = Engine::connect().await?;
/// let spec = RunSpec {
///     image: "python:3.13-slim".into(),
///     command: ["python", "-c", "print(1)"].map(String::from).into(),
///     ..RunSpec::default()
/// };
/// let outcome = run_once(&engine, &spec, &Progress::none(), &CancellationToken::new()).await?;
/// assert!(outcome.passed());
/// # Ok(())
/// # }
/// ```
pub async fn run_once(
    engine: &Engine,
    spec: &RunSpec,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<RunOutcome, ImageError> {
    let what = format!("run {}", spec.source_or_image());
    let body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        // The engine takes an empty list for none given, and one empty word for none wanted.
        entrypoint: spec
            .entrypoint
            .clone()
            .map(|words| if words.is_empty() { vec![String::new()] } else { words }),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(owner::labels(&spec.labels)),
        host_config: Some(HostConfig {
            network_mode: spec.network.clone(),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let container = Container::create(engine, body, &what).await?;
    let mut tail = Tail::default();
    let limit = spec.timeout;
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ImageError::Cancelled { what: what.clone() }),
        () = async { match limit { Some(limit) => tokio::time::sleep(limit).await, None => std::future::pending().await } } => {
            Err(ImageError::TimedOut { what: what.clone(), limit: limit.unwrap_or_default(), tail: Vec::new() })
        }
        ended = follow(engine, &container.id, spec, progress, &mut tail, &what) => ended,
    };
    let outcome = match ended {
        Ok((exit_code, out_of_memory)) => {
            collect(engine, &container.id, &spec.collect, &what)
                .await
                .map(|files| RunOutcome {
                    exit_code,
                    out_of_memory,
                    tail: tail.lines(),
                    files,
                })
        }
        Err(ImageError::TimedOut { what, limit, .. }) => Err(ImageError::TimedOut {
            what,
            limit,
            tail: tail.lines(),
        }),
        Err(error) => Err(error),
    };
    let removed = container.remove().await;
    let outcome = outcome?;
    removed?;
    Ok(outcome)
}

impl RunSpec {
    fn source_or_image(&self) -> &str {
        if self.source.is_empty() {
            &self.image
        } else {
            &self.source
        }
    }
}

async fn follow(
    engine: &Engine,
    id: &str,
    spec: &RunSpec,
    progress: &Progress,
    tail: &mut Tail,
    what: &str,
) -> Result<(i64, bool), ImageError> {
    let docker = engine.patient();
    // Attached before it starts, so that nothing it says is missed. Without what was logged: the engine reads the log a
    // moment after it attaches, and what a quick program has said by then would come twice.
    let attached = docker
        .attach_container(
            id,
            Some(AttachContainerOptions {
                stream: true,
                stdout: true,
                stderr: true,
                ..Default::default()
            }),
        )
        .await
        .map_err(engine_error(what))?;
    docker.start_container(id, None).await.map_err(engine_error(what))?;
    let mut output = attached.output;
    let (mut out, mut err) = (Tail::default(), Tail::default());
    let mut say = |line: String| {
        progress.line(spec.source_or_image(), line.clone());
        tail.push(line);
    };
    while let Some(chunk) = output.next().await {
        match chunk.map_err(engine_error(what))? {
            LogOutput::StdErr { message } => err
                .take(&String::from_utf8_lossy(&message))
                .into_iter()
                .for_each(&mut say),
            other => out
                .take(&String::from_utf8_lossy(&other.into_bytes()))
                .into_iter()
                .for_each(&mut say),
        }
    }
    [out.finish(), err.finish()].into_iter().flatten().for_each(&mut say);
    // The output ends a moment before the engine knows the exit code.
    let mut waiting = std::pin::pin!(docker.wait_container(id, None));
    while let Some(answer) = waiting.next().await {
        match answer {
            // Any code but zero comes as an error; the record below says which it was.
            Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }) => {}
            Err(error) => return Err(engine_error(what)(error)),
        }
    }
    let state = docker
        .inspect_container(id, None)
        .await
        .map_err(engine_error(what))?
        .state
        .unwrap_or_default();
    Ok((state.exit_code.unwrap_or(-1), state.oom_killed.unwrap_or(false)))
}

async fn collect(
    engine: &Engine,
    id: &str,
    paths: &[String],
    what: &str,
) -> Result<BTreeMap<String, Bytes>, ImageError> {
    let mut files = BTreeMap::new();
    for path in paths {
        let asked = DownloadFromContainerOptions { path: path.clone() };
        let docker = engine.patient();
        let stream = docker.download_from_container(id, Some(asked));
        let archive = stream
            .try_fold(Vec::new(), |mut archive: Vec<u8>, chunk| async move {
                archive.extend_from_slice(&chunk);
                if archive.len() > LARGEST_FILE {
                    return Err(std::io::Error::other("the file is larger than 64 MiB").into());
                }
                Ok(archive)
            })
            .await;
        let archive = match archive {
            Ok(archive) => archive,
            // A command that failed early has not written its report.
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => continue,
            Err(error) => return Err(engine_error(format!("read {path} of what {what} left"))(error)),
        };
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let unreadable = ImageError::file("read", path);
        let found = read_tar(&archive, parent).map_err(unreadable)?;
        files.extend(found);
    }
    Ok(files)
}

fn read_tar(archive: &[u8], parent: &str) -> std::io::Result<BTreeMap<String, Bytes>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = format!("{parent}/{}", entry.path()?.display());
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content.into());
    }
    Ok(files)
}

/// A container that is removed when this is dropped, for instance because its task was aborted.
pub(crate) struct Container {
    engine: Engine,
    pub(crate) id: String,
    removed: bool,
}

impl Container {
    pub(crate) async fn create(engine: &Engine, body: ContainerCreateBody, what: &str) -> Result<Self, ImageError> {
        let image = body.image.clone().unwrap_or_default();
        let created = engine
            .docker()
            .create_container(None::<CreateContainerOptions>, body)
            .await;
        match created {
            Ok(created) => Ok(Self {
                engine: engine.clone(),
                id: created.id,
                removed: false,
            }),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                Err(ImageError::NoImage { image })
            }
            Err(error) => Err(engine_error(what)(error)),
        }
    }

    pub(crate) async fn remove(mut self) -> Result<(), ImageError> {
        self.removed = true;
        remove(&self.engine, &self.id).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let (engine, id) = (self.engine.clone(), std::mem::take(&mut self.id));
        // Without a runtime the process is about to end, and the sweep of the next one finds the label.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = remove(&engine, &id).await {
                    tracing::warn!(%error, id, "a container was left behind");
                }
            });
        }
    }
}

/// Removes a container with its anonymous volumes. One that is gone or going already is no error.
pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<(), ImageError> {
    let how = RemoveContainerOptions {
        v: true,
        force: true,
        link: false,
    };
    match engine.docker().remove_container(id, Some(how)).await {
        Ok(())
        | Err(bollard::errors::Error::DockerResponseServerError {
            status_code: 404 | 409, ..
        }) => Ok(()),
        Err(error) => Err(engine_error("remove a container")(error)),
    }
}

/// Filters for the engine's lists.
pub(crate) fn label_filter(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_place() {
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["reports/a.xml", "reports/deep/b.xml"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(2);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &b"<>"[..]).unwrap();
        }
        let files = read_tar(&tar.into_inner().unwrap(), "/tmp").unwrap();
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["/tmp/reports/a.xml", "/tmp/reports/deep/b.xml"]
        );
    }
}
