//! Building one definition with the engine's BuildKit.
//!
//! Invariant: what the host lends to the build (its package sources, its CA bundle) is mounted for single steps; no
//! layer and no history entry holds it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::models::BuildInfoAux;
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::StreamExt;
use nuages_model::Progress;

use super::definition::{DEFINITION_LABEL, IMAGE_LABEL, Image};
use crate::host::HostSetup;
use crate::{EmulatorError, Engine};

/// So many of a build's last lines go into its error.
const TAIL: usize = 25;

pub(super) async fn build(
    engine: &Engine,
    image: &Image,
    host: &HostSetup,
    progress: &Progress,
) -> Result<(), EmulatorError> {
    let context = context(image, host).map_err(|source| EmulatorError::io(format!("pack {}", image.name), source))?;
    let base = image.parent().map(|parent| parent.tag).unwrap_or_default();
    let labels = HashMap::from([(IMAGE_LABEL, image.name.to_owned()), (DEFINITION_LABEL, image.hash())]);
    let mut options = BuildImageOptionsBuilder::default()
        .t(image.tag)
        .dockerfile("Dockerfile")
        .buildargs(&HashMap::from([("BASE", base)]))
        .labels(&labels)
        .version(BuilderVersion::BuilderBuildKit)
        .session(&session());
    if host.on_loopback() {
        options = options.networkmode("host");
    }
    let mut tail = VecDeque::new();
    let mut steps = Steps::default();
    let mut stream = engine
        .docker()
        .build_image(options.build(), None, Some(bollard::body_full(context)));
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let reason = steps.failure.unwrap_or_else(|| error.to_string());
                return Err(EmulatorError::build(image.tag, reason, lines(&tail)));
            }
        };
        let Some(BuildInfoAux::BuildKit(status)) = message.aux else {
            continue;
        };
        for vertex in status.vertexes {
            if !vertex.error.is_empty() {
                steps.failure = Some(vertex.error);
            } else if vertex.started.is_some() && steps.started.insert(vertex.digest) && vertex.name.starts_with('[') {
                progress.line(image.name, vertex.name);
            }
        }
        for log in status.logs {
            for line in String::from_utf8_lossy(&log.msg)
                .lines()
                .filter(|line| !line.trim().is_empty())
            {
                progress.line(image.name, line);
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.to_owned());
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Steps {
    started: std::collections::HashSet<String>,
    failure: Option<String>,
}

fn lines(tail: &VecDeque<String>) -> String {
    tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// The engine asks for a name that no other build of its has at the moment.
fn session() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!(
        "nuages-{}-{nanos:x}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The definition and, beside it, what the host lends, as a tar archive with fixed times and owners.
fn context(image: &Image, host: &HostSetup) -> std::io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        archive.append_data(&mut header, path, bytes)
    };
    for file in image.files {
        add(
            file.path,
            if file.executable { 0o755 } else { 0o644 },
            file.text.as_bytes(),
        )?;
    }
    for (name, bytes) in host.files() {
        add(&format!("host/{name}"), 0o644, &bytes)?;
    }
    Ok(archive.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::images::find;

    #[test]
    fn the_context_holds_the_definition_and_the_hosts_folder() {
        let packed = context(find("postgres").unwrap(), &HostSetup::default()).unwrap();
        let mut archive = tar::Archive::new(packed.as_ref());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mode = entry.header().mode().unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert!(!text.is_empty() || path == "host/apt.conf", "{path} is empty");
            seen.push((path, mode));
        }
        assert!(seen.contains(&("docker-entrypoint.sh".into(), 0o755)));
        assert!(seen.contains(&("Dockerfile".into(), 0o644)));
        assert!(seen.contains(&("host/env".into(), 0o644)));
    }

    #[test]
    fn no_two_builds_share_a_session() {
        assert_ne!(session(), session());
    }
}
