//! The base image: a minimal Debian made by mmdebstrap and imported, on machines that can pull nothing.
//!
//! Invariant: mmdebstrap runs as a child process with an argument list; no shell sees a word of it.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt};
use nuages_model::Progress;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio_util::io::ReaderStream;

use super::definition::{DEFINITION_LABEL, IMAGE_LABEL, Image};
use super::mmdebstrap::Mmdebstrap;
use crate::host::debian_sources;
use crate::{EmulatorError, Engine};

const TAIL: usize = 15;
/// Nobody reads manuals in a container; copyright notices stay.
const LEFT_OUT: [&str; 5] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
];

pub(super) async fn bootstrap(
    engine: &Engine,
    image: &Image,
    refusal: &str,
    progress: &Progress,
) -> Result<(), EmulatorError> {
    let (_, suite) = image.tag.split_once(':').unwrap_or((image.tag, "stable"));
    let folder = tempfile::tempdir().map_err(|source| EmulatorError::io("make a temporary folder", source))?;
    let path = folder.path().join("base.tar");
    debootstrap(image, suite, &path, refusal, progress).await?;
    progress.status(format!("importing {}", image.tag));
    import(engine, image, &path).await
}

async fn debootstrap(
    image: &Image,
    suite: &str,
    target: &Path,
    refusal: &str,
    progress: &Progress,
) -> Result<(), EmulatorError> {
    let mmdebstrap = Mmdebstrap::find().await.map_err(|why| EmulatorError::NoWayToBuild {
        image: "python:3.13-slim".to_owned(),
        pull: refusal.to_owned(),
        why,
        debian: of_debian_family(),
    })?;
    let archive = std::fs::File::create(target).map_err(|source| EmulatorError::io("make the base archive", source))?;
    let sources = debian_sources(Path::new("/etc"), suite);
    let mut command = mmdebstrap.command();
    command.args([
        "--variant=minbase",
        "--format=tar",
        "--aptopt=Acquire::Languages \"none\"",
    ]);
    command.args(LEFT_OUT.map(|option| format!("--dpkgopt={option}")));
    command.arg(format!("--include={}", packages(image)));
    command.args([suite, "-"]);
    if sources.is_some() {
        command.arg("-");
    }
    command.stdin(Stdio::piped()).stdout(archive).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|source| EmulatorError::io("start mmdebstrap", source))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that died says why on its standard error, which is read below.
        let _ = stdin.write_all(sources.unwrap_or_default().as_bytes()).await;
    }
    let mut tail = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            progress.line(image.name, line.as_str());
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
    let status = child
        .wait()
        .await
        .map_err(|source| EmulatorError::io("wait for mmdebstrap", source))?;
    if status.success() {
        return Ok(());
    }
    let tail = Vec::from(tail).join("\n");
    if tail.to_lowercase().contains("no space left on device") {
        return Err(EmulatorError::DiskFull {
            what: "make the base image".to_owned(),
        });
    }
    Err(EmulatorError::Bootstrap {
        status: status.to_string(),
        tail,
    })
}

async fn import(engine: &Engine, image: &Image, archive: &Path) -> Result<(), EmulatorError> {
    let file = tokio::fs::File::open(archive)
        .await
        .map_err(|source| EmulatorError::io("read the base archive", source))?;
    let (repository, tag) = image.tag.split_once(':').unwrap_or((image.tag, "latest"));
    let labels = format!("LABEL {IMAGE_LABEL}={} {DEFINITION_LABEL}={}", image.name, image.hash());
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .changes(vec![labels, "CMD [\"bash\"]".to_owned()])
        .build();
    let body = bollard::body_try_stream(ReaderStream::with_capacity(file, 1 << 18));
    let stream = engine.docker().create_image(Some(options), Some(body), None);
    stream
        .map(|message| message.map(drop))
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
        .map_err(|source| EmulatorError::engine(format!("import {}", image.tag), source))
}

fn packages(image: &Image) -> String {
    let lines = image.file("packages.txt").lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join(",")
}

fn of_debian_family() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let ids = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    ids.flat_map(|ids| ids.trim_matches('"').split_whitespace())
        .any(|id| id == "debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_one_argument() {
        let list = packages(crate::images::find("base").unwrap());
        assert!(list.split(',').any(|package| package == "python3"), "{list}");
        assert!(!list.contains(['#', ' ', '\n']), "{list}");
    }
}
