//! Whether the state inside an emulator is the one nuages last saw there.
//!
//! MiniStack writes its state only when it stops in good order. After a kill it comes back empty, or as it was at an
//! earlier stop, and says nothing. So when nuages attaches to a run of it, it counts one up, in two places: in the emulator's own
//! state, and in a file of its container, which survives a kill. State that counts less than the file is old. Beside its count the
//! file names the run, so that a run that nuages did not begin is known as one.
//!
//! Invariant: the count in the state is written first, so that a crash between the two never looks like a loss.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::Full;

use super::LocalSettings;
use crate::{EmulatorError, Engine, health};

/// The file in the container; its folder exists in every image.
const FOLDER: &str = "/var/lib";
const FILE: &str = "nuages-attached";
/// An emulator loads a service when it is first asked for, which takes long on a machine that is busy.
const LIMIT: Duration = Duration::from_mins(1);
/// The name in the emulator's parameter store.
const PARAMETER: &str = "/nuages/attached";

/// Says how the state was lost, if it was.
pub(super) fn loss(counts: &Counts) -> Option<String> {
    match (counts.container(), counts.state) {
        (Some(_), None) => Some("it was killed, and its state with it".into()),
        (Some(seen), Some(state)) if state < seen => Some("it was killed, and came back with an older state".into()),
        _ => None,
    }
}

/// Whether nuages has already attached to this very run of the container, so that there is nothing to check: as long as
/// it runs, its state is in its memory. What is remembered here saves time and may be lost.
pub(super) fn is_known(settings: &LocalSettings, run: &str) -> bool {
    !run.is_empty() && std::fs::read_to_string(memory(settings)).is_ok_and(|known| known == run)
}

fn memory(settings: &LocalSettings) -> PathBuf {
    crate::lock::folder().join(format!("{}.attached", settings.name()))
}

/// What the file in the container says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    count: u64,
    /// The run that nuages attached to.
    run: String,
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let (count, run) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        Some(Self {
            count: count.parse().ok()?,
            run: run.to_owned(),
        })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.count, self.run)
    }
}

/// What both places say.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    mark: Option<Mark>,
    state: Option<u64>,
}

impl Counts {
    fn container(&self) -> Option<u64> {
        self.mark.as_ref().map(|mark| mark.count)
    }

    /// Whether nuages attached to this very run.
    pub(super) fn is_of(&self, run: &str) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.run == run)
    }

    /// Whether nuages attached to an earlier run.
    pub(super) fn is_of_an_earlier_run(&self, run: &str) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.run != run)
    }
}

pub(super) async fn read(engine: &Engine, settings: &LocalSettings, port: u16) -> Result<Counts, EmulatorError> {
    let (mark, state) = tokio::join!(in_container(engine, settings), in_state(settings, port));
    Ok(Counts { mark, state: state? })
}

/// Remembers that nuages has attached to this run.
pub(super) fn remember(settings: &LocalSettings, run: &str) {
    let _ = std::fs::write(memory(settings), run);
}

/// Counts one up in both places, and remembers this run of the container.
pub(super) async fn advance(
    engine: &Engine,
    settings: &LocalSettings,
    port: u16,
    counts: &Counts,
    run: &str,
) -> Result<(), EmulatorError> {
    let next = counts.state.max(counts.container()).unwrap_or(0) + 1;
    let body = serde_json::json!({"Name": PARAMETER, "Value": next.to_string(), "Type": "String", "Overwrite": true});
    ask(settings, port, "PutParameter", &body).await?;
    let mark = Mark {
        count: next,
        run: run.to_owned(),
    };
    write_container(engine, settings, &mark).await?;
    remember(settings, run);
    Ok(())
}

/// Forgets this environment.
pub(super) fn forget(settings: &LocalSettings) {
    let _ = std::fs::remove_file(memory(settings));
}

/// The count in the emulator's state.
async fn in_state(settings: &LocalSettings, port: u16) -> Result<Option<u64>, EmulatorError> {
    let answer = ask(settings, port, "GetParameter", &serde_json::json!({"Name": PARAMETER})).await?;
    Ok(answer
        .pointer("/Parameter/Value")
        .and_then(|value| value.as_str()?.parse().ok()))
}

/// What the container's file says.
pub(super) async fn in_container(engine: &Engine, settings: &LocalSettings) -> Option<Mark> {
    let options = DownloadFromContainerOptionsBuilder::default()
        .path(&format!("{FOLDER}/{FILE}"))
        .build();
    let mut stream = engine.docker().download_from_container(&settings.name(), Some(options));
    let mut packed = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        packed.extend_from_slice(&chunk.ok()?);
    }
    let mut archive = tar::Archive::new(packed.as_ref());
    let mut text = String::new();
    archive.entries().ok()?.next()?.ok()?.read_to_string(&mut text).ok()?;
    Mark::parse(&text)
}

pub(super) async fn write_container(
    engine: &Engine,
    settings: &LocalSettings,
    mark: &Mark,
) -> Result<(), EmulatorError> {
    let failed = |source| EmulatorError::io("pack the emulator's marker", source);
    let text = mark.to_string();
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, FILE, text.as_bytes())
        .map_err(failed)?;
    let packed = archive.into_inner().map_err(failed)?;
    let options = UploadToContainerOptionsBuilder::default().path(FOLDER).build();
    engine
        .docker()
        .upload_to_container(&settings.name(), Some(options), bollard::body_full(packed.into()))
        .await
        .map_err(|source| EmulatorError::engine("mark the emulator's container", source))
}

/// One call of the parameter store. The emulator takes the account and region from the scope and checks no signature.
async fn ask(
    settings: &LocalSettings,
    port: u16,
    action: &str,
    body: &serde_json::Value,
) -> Result<serde_json::Value, EmulatorError> {
    let scope = format!("test/20200101/{}/ssm/aws4_request", settings.region);
    let request = http::Request::post("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("AmazonSSM.{action}"))
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        )
        .body(Full::new(Bytes::from(body.to_string())));
    let what = || format!("read or write the emulator's marker ({action})");
    let request = request.map_err(|error| EmulatorError::io(what(), std::io::Error::other(error)))?;
    let answer = health::send(port, request, LIMIT)
        .await
        .map_err(|error| EmulatorError::io(what(), std::io::Error::other(error)))?;
    let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let unknown = value
        .get("__type")
        .and_then(|kind| kind.as_str())
        .is_some_and(|kind| kind.contains("ParameterNotFound"));
    if answer.status == 200 || unknown {
        return Ok(value);
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    Err(EmulatorError::io(
        what(),
        std::io::Error::other(format!("it answers {}: {text}", answer.status)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(count: u64) -> Mark {
        Mark {
            count,
            run: "abc 2026-01-01T00:00:00Z".into(),
        }
    }

    fn counts(container: Option<u64>, state: Option<u64>) -> Option<String> {
        loss(&Counts {
            mark: container.map(mark),
            state,
        })
    }

    #[test]
    fn only_older_state_is_a_loss() {
        assert_eq!(counts(Some(3), Some(3)), None);
        assert_eq!(counts(Some(3), Some(4)), None, "nuages died between the two writes");
        assert_eq!(counts(None, None), None, "nuages died before the first write");
        assert_eq!(counts(None, Some(1)), None, "nuages died between the first two writes");
        assert!(counts(Some(3), Some(2)).unwrap().contains("older"));
        assert!(counts(Some(1), None).unwrap().contains("killed"));
    }

    #[test]
    fn a_run_that_nuages_did_not_begin_is_known_as_one() {
        let run = "abc 2026-01-01T00:00:00Z";
        let seen = |text: &str| Counts {
            mark: Mark::parse(text),
            state: Some(3),
        };
        let same = seen(&mark(3).to_string());
        assert!(same.is_of(run) && !same.is_of_an_earlier_run(run));
        let restarted = seen("3 abc 2025-12-31T00:00:00Z\n");
        assert!(!restarted.is_of(run) && restarted.is_of_an_earlier_run(run));
        assert!(!Counts::default().is_of_an_earlier_run(run), "nobody ever attached");
        assert_eq!(
            Mark::parse("3").map(|mark| mark.count),
            Some(3),
            "as earlier versions wrote it"
        );
        assert_eq!(Mark::parse(""), None);
    }
}
