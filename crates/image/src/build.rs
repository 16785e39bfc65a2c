//! Builds an image from a Dockerfile, through BuildKit where the engine has it and through the classic builder elsewhere.
//!
//! Invariant: an error says which step failed and carries the last lines that *that step* printed. Dropping or cancelling
//! a build ends it in the engine too.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use futures_util::StreamExt as _;
use nuages_model::{Digest, LastWords, Progress, Sha256};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::advice::{advice, in_build};
use crate::build_output::{BuildKitOutput, ClassicOutput};
use crate::ca_bundle::{self, CaBundle};
use crate::{Context, Dockerfile, Engine, ImageConfig, ImageError, inspect};

/// Arguments that a Dockerfile gets from the environment if it declares them: how this machine reaches its package index.
pub const PASSED_THROUGH: [&str; 5] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
];

/// Which of the engine's two builders does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builder {
    /// BuildKit where the engine has it.
    #[default]
    Auto,
    /// BuildKit.
    BuildKit,
    /// The engine's first builder.
    Classic,
}

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// The folder whose files the build may see.
    pub context: PathBuf,
    /// Files that are not the build's, wherever they are: a store of records in the project's folder.
    pub left_out: Vec<PathBuf>,
    /// The Dockerfile, relative to the context or absolute. Empty means `Dockerfile`.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one without it.
    pub target: Option<String>,
    /// Values for `ARG`. They may end in the image's history: no secrets.
    pub args: BTreeMap<String, String>,
    /// The platform, such as `linux/arm64`; the engine's own without it.
    pub platform: Option<String>,
    /// Certificates for the build alone.
    pub ca_bundle: Option<CaBundle>,
    /// Labels for the image.
    pub labels: BTreeMap<String, String>,
    /// A name for the image in the engine, so that pruning leaves it alone.
    pub tag: Option<String>,
    /// Which builder.
    pub builder: Builder,
    /// Whether to run every step again.
    pub no_cache: bool,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// The image's id in the engine: the digest of its configuration (of its manifest, where containerd keeps the images).
    pub image_id: Digest,
    /// Which builder did it.
    pub builder: Builder,
    /// The image's configuration.
    pub config: ImageConfig,
}

impl BuildRequest {
    /// A build of this folder's Dockerfile.
    pub fn new(context: impl Into<PathBuf>) -> Self {
        Self {
            context: context.into(),
            ..Self::default()
        }
    }

    fn dockerfile(&self) -> &Path {
        if self.dockerfile.as_os_str().is_empty() {
            Path::new("Dockerfile")
        } else {
            &self.dockerfile
        }
    }

    /// Lists what the build will see. Blocks while it walks the folder.
    pub fn open_context(&self, progress: &Progress) -> Result<Context, ImageError> {
        Context::open_without(&self.context, self.dockerfile(), &self.left_out, progress)
    }

    /// A digest of all that decides the result apart from the files: Dockerfile, stage, arguments, platform, labels.
    pub fn fingerprint(&self, context: &Context) -> Digest {
        let mut hash = Sha256::new();
        let mut part = |name: &str, content: &[u8]| {
            // Lengths part the fields, so that no two requests run into one.
            hash.update(format!("{name} {}\n", content.len()).as_bytes());
            hash.update(content);
        };
        part("dockerfile", context.dockerfile_text());
        part("target", self.target.as_deref().unwrap_or_default().as_bytes());
        part("platform", self.platform.as_deref().unwrap_or_default().as_bytes());
        for (key, value) in &self.args {
            part("arg", key.as_bytes());
            part("value", value.as_bytes());
        }
        for (key, value) in &self.labels {
            part("label", key.as_bytes());
            part("value", value.as_bytes());
        }
        hash.finish()
    }

    /// The values that the build gets: the request's own, and what the Dockerfile declares of the machine's.
    fn arguments(&self, dockerfile: &Dockerfile, progress: &Progress) -> Result<HashMap<String, String>, ImageError> {
        let declared = dockerfile.arguments();
        let mut args: HashMap<String, String> = self.args.clone().into_iter().collect();
        for name in PASSED_THROUGH {
            if declared.contains(name)
                && !args.contains_key(name)
                && let Ok(value) = std::env::var(name)
            {
                args.insert(name.to_owned(), value);
            }
        }
        if let Some(bundle) = &self.ca_bundle
            && let Some(encoded) = bundle.encoded()?
        {
            if declared.contains(ca_bundle::ARGUMENT) {
                args.insert(ca_bundle::ARGUMENT.to_owned(), encoded);
            } else {
                progress.warning(format!(
                    "`[build] ca_bundle` is set, and the Dockerfile does not use it; declare `ARG {}=\"\"` in the stage that \
                     installs packages",
                    ca_bundle::ARGUMENT
                ));
            }
        }
        Ok(args)
    }
}

/// Builds an image.
///
/// ```no_run
/// use nuages_image::{BuildRequest, Engine, build};
/// use nuages_model::Progress;
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), nuages_image::ImageError> {
/// let engine = Engine::connect().await?;
/// let built = build(&engine, &BuildRequest::new("django-sample"), &Progress::none(), &CancellationToken::new()).await?;
/// println!("{}", built.image_id);
/// # Ok(())
/// # }
/// ```
pub async fn build(
    engine: &Engine,
    request: &BuildRequest,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Built, ImageError> {
    let cancelled = || ImageError::Cancelled {
        what: format!("build {}", request.dockerfile().display()),
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(cancelled()),
        built = build_uncancelled(engine, request, progress) => built,
    }
}

async fn build_uncancelled(engine: &Engine, request: &BuildRequest, progress: &Progress) -> Result<Built, ImageError> {
    let (asked, notes) = (request.clone(), progress.clone());
    let context = tokio::task::spawn_blocking(move || asked.open_context(&notes))
        .await
        .map_err(|error| ImageError::file("walk", &request.context)(std::io::Error::other(error)))??;
    let dockerfile = Dockerfile::read(&String::from_utf8_lossy(context.dockerfile_text()));
    let args = request.arguments(&dockerfile, progress)?;
    if let Some(stage) = &request.target
        && !dockerfile.stages().iter().any(|name| name.eq_ignore_ascii_case(stage))
        && stage.parse::<usize>().is_err()
    {
        return Err(ImageError::Build {
            dockerfile: request.dockerfile().display().to_string(),
            step: format!("stage `{stage}`"),
            message: "there is no such stage".into(),
            tail: Vec::new(),
            advice: Some(match dockerfile.stages() {
                stages if stages.is_empty() => format!("name a stage with `FROM … AS {stage}`"),
                stages => format!("the stages are: {}", stages.join(", ")),
            }),
        });
    }
    let builder = match request.builder {
        Builder::Auto if engine.info().buildkit => Builder::BuildKit,
        Builder::Auto => Builder::Classic,
        asked => asked,
    };
    let options = BuildImageOptions {
        dockerfile: context.dockerfile_name().to_owned(),
        t: request.tag.clone(),
        nocache: request.no_cache,
        rm: true,
        forcerm: true,
        buildargs: (!args.is_empty()).then_some(args),
        labels: (!request.labels.is_empty()).then(|| request.labels.clone().into_iter().collect()),
        platform: request.platform.clone().unwrap_or_default(),
        target: request.target.clone().unwrap_or_default(),
        version: if builder == Builder::BuildKit {
            BuilderVersion::BuilderBuildKit
        } else {
            BuilderVersion::BuilderV1
        },
        session: (builder == Builder::BuildKit).then(session_id),
        ..BuildImageOptions::default()
    };
    progress.status("sending the build context");
    let body = context.stream(progress);
    let failure = body.failure();
    let docker = engine.patient();
    let mut answers = docker.build_image(options, None, Some(bollard::body_try_stream(body)));
    let mut output = if builder == Builder::BuildKit {
        Output::BuildKit(BuildKitOutput::new(progress))
    } else {
        Output::Classic(ClassicOutput::new(progress))
    };
    let mut image_id = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(info) => {
                if let Some(id) = output.take(info) {
                    image_id = Some(id);
                }
            }
            Err(error) => {
                // What went wrong on this side explains what the engine saw of it.
                return Err(failure
                    .take()
                    .unwrap_or_else(|| build_error(request, &dockerfile, &output, error)));
            }
        }
    }
    drop(answers);
    if let Some(error) = failure.take() {
        return Err(error);
    }
    let image_id: Digest = image_id
        .as_deref()
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| ImageError::Build {
            dockerfile: request.dockerfile().display().to_string(),
            step: output.step(),
            message: "the engine ended the build without an image".into(),
            tail: output.tail(),
            advice: None,
        })?;
    let config = inspect(engine, image_id.as_str()).await?;
    if let Some(command) = config.shell_form() {
        progress.warning(format!(
            "the image's command is in shell form, so the server never sees SIGTERM and is killed; \
             write it as a list: CMD {}",
            exec_form(command)
        ));
    }
    Ok(Built {
        image_id,
        builder,
        config,
    })
}

enum Output {
    BuildKit(BuildKitOutput),
    Classic(ClassicOutput),
}

impl Output {
    /// Takes one message, and answers the image's id if it was that.
    fn take(&mut self, info: BuildInfo) -> Option<String> {
        match (self, info.aux) {
            (_, Some(BuildInfoAux::Default(image))) => image.id,
            (Self::BuildKit(output), Some(BuildInfoAux::BuildKit(status))) => {
                output.take(status);
                None
            }
            (Self::Classic(output), None) => {
                output.take(info.stream.as_deref(), info.status.as_deref(), info.id.as_deref());
                None
            }
            _ => None,
        }
    }

    fn step(&self) -> String {
        match self {
            Self::BuildKit(output) => output.failed_step(),
            Self::Classic(output) => output.step(),
        }
    }

    fn tail(&self) -> Vec<String> {
        match self {
            Self::BuildKit(output) => output.tail(),
            Self::Classic(output) => output.tail(),
        }
    }
}

fn build_error(
    request: &BuildRequest,
    dockerfile: &Dockerfile,
    output: &Output,
    error: bollard::errors::Error,
) -> ImageError {
    use bollard::errors::Error;
    let message = match error {
        Error::DockerStreamError { error } => error,
        Error::DockerResponseServerError { message, .. } => message,
        other => {
            return ImageError::Transport {
                what: format!("build {}", request.dockerfile().display()),
                source: Box::new(other),
            };
        }
    };
    let tail = output.tail();
    let advice = advice(&message, &tail, dockerfile);
    let words = LastWords::in_log(&tail).filter(|_| advice.is_none());
    // BuildKit puts its own layers of wrapping in front.
    let message = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "rpc error: code = Unknown desc = ",
    ]
    .iter()
    .fold(message.trim().to_owned(), |message, wrapping| {
        message.replace(wrapping, "")
    });
    let message = without_command(&message);
    ImageError::Build {
        dockerfile: request.dockerfile().display().to_string(),
        step: output.step(),
        message: match &words {
            Some(words) => format!("{} ({message})", words.sentence),
            None => message.to_owned(),
        },
        advice: advice.or_else(|| words.as_ref().map(in_build)),
        tail,
    }
}

/// BuildKit repeats the command of the step that failed, which stands before its message here.
fn without_command(message: &str) -> &str {
    let repeats = message.starts_with("executor failed running [") || message.starts_with("process \"");
    match message.rfind("exit code: ") {
        Some(at) if repeats => &message[at..],
        _ => message,
    }
}

/// A command line as the list that `CMD` wants.
fn exec_form(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    serde_json::to_string(&words).unwrap_or_default()
}

/// BuildKit keeps one session per build, under a name that no other build of this engine has.
fn session_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "nuages-{}-{}-{}",
        std::process::id(),
        since.as_nanos(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_not_told_twice() {
        for message in [
            "executor failed running [/bin/sh -c false]: exit code: 1",
            "process \"/bin/sh -c false\" did not complete successfully: exit code: 1",
        ] {
            assert_eq!(without_command(message), "exit code: 1");
        }
        assert_eq!(without_command("no exit code: 1"), "no exit code: 1");
    }

    #[test]
    fn a_request_is_told_from_another() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        let one = BuildRequest::new(folder.path());
        let context = one.open_context(&Progress::none()).unwrap();
        let print = |request: &BuildRequest| request.fingerprint(&context);
        let target = BuildRequest {
            target: Some("test".into()),
            ..one.clone()
        };
        let platform = BuildRequest {
            platform: Some("test".into()),
            ..one.clone()
        };
        let arg = BuildRequest {
            args: BTreeMap::from([("A".into(), "b".into())]),
            ..one.clone()
        };
        let label = BuildRequest {
            labels: BTreeMap::from([("A".into(), "b".into())]),
            ..one.clone()
        };
        let prints = [
            print(&one),
            print(&target),
            print(&platform),
            print(&arg),
            print(&label),
        ];
        let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len());
        assert_eq!(print(&one), print(&one.clone()));
    }

    #[test]
    fn only_declared_arguments_come_from_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("ca.pem");
        std::fs::write(&pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let request = BuildRequest {
            ca_bundle: Some(CaBundle::File(pem)),
            ..BuildRequest::new(folder.path())
        };
        let warned = std::sync::Arc::new(AtomicU64::new(0));
        let count = warned.clone();
        let progress = Progress::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let args = request.arguments(&Dockerfile::read("FROM a\n"), &progress).unwrap();
        assert!(args.is_empty());
        assert_eq!(warned.load(Ordering::Relaxed), 1);
        let args = request
            .arguments(&Dockerfile::read("FROM a\nARG NUAGES_CA_BUNDLE=\"\"\n"), &progress)
            .unwrap();
        assert!(args.contains_key("NUAGES_CA_BUNDLE"));
    }
}
