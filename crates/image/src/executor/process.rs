//! Runs one process on this machine: its output as it comes, a limit of time, and an end for all that it started.
//!
//! Invariant: when the call is over, whichever way it ends, no process of its group runs any more. Memory is bounded
//! however much it says.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use nuages_model::Progress;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Said;
use crate::ImageError;
use crate::build_output::Tail;

/// What a process that left the group may still say after the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None` where a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) tail: Vec<String>,
}

/// Runs it without input. `said` tells what it is about.
pub(super) async fn run(
    mut command: Command,
    said: &Said<'_>,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Ended, ImageError> {
    let program = command.as_std().get_program().to_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(ImageError::file("start", program))?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let (sender, mut pieces) = mpsc::channel(16);
    let readers = [
        child
            .stdout
            .take()
            .map(|out| tokio::spawn(read(out, 0, sender.clone()))),
        child
            .stderr
            .take()
            .map(|err| tokio::spawn(read(err, 1, sender.clone()))),
    ];
    drop(sender);
    let mut tail = Tail::default();
    let mut lines = [Tail::default(), Tail::default()];
    let mut say = |line: String| {
        let line = said.instead.rewrite(line);
        progress.line(said.source, line.clone());
        tail.push(line);
    };
    let working = async {
        let (mut status, mut spoken) = (None, false);
        while status.is_none() || !spoken {
            tokio::select! {
                piece = pieces.recv(), if !spoken => match piece {
                    Some((from, text)) => lines[from].take(&text).into_iter().for_each(&mut say),
                    None => spoken = true,
                },
                ended = child.wait(), if status.is_none() => {
                    status = Some(ended.map_err(ImageError::file("wait for", "a process"))?);
                    group.end();
                }
                // Something outside the group holds its output open.
                () = tokio::time::sleep(LAST_WORDS), if status.is_some() => break,
            }
        }
        lines.iter_mut().filter_map(Tail::finish).for_each(&mut say);
        Ok(status.and_then(|status| status.code()))
    };
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(ImageError::Cancelled { what: said.what.to_owned() }),
        () = tokio::time::sleep(said.limit) => Err(ImageError::TimedOut {
            what: said.what.to_owned(),
            limit: said.limit,
            tail: Vec::new(),
        }),
        ended = working => ended,
    };
    drop(group);
    readers.into_iter().flatten().for_each(|reader| reader.abort());
    match ended {
        Ok(code) => Ok(Ended {
            code,
            tail: tail.lines(),
        }),
        Err(ImageError::TimedOut { what, limit, .. }) => Err(ImageError::TimedOut {
            what,
            limit,
            tail: tail.lines(),
        }),
        Err(error) => Err(error),
    }
}

async fn read(mut from: impl AsyncRead + Unpin, number: usize, to: mpsc::Sender<(usize, String)>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut open = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        open.extend_from_slice(&buffer[..read]);
        // A letter may arrive in two parts.
        let whole = match std::str::from_utf8(&open) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => open.len(),
        };
        let text = String::from_utf8_lossy(&open[..whole]).into_owned();
        open.drain(..whole);
        if to.send((number, text)).await.is_err() {
            return;
        }
    }
}

/// A process and all that it started.
struct Group(Option<Pid>);

impl Group {
    fn end(&self) {
        if let Some(group) = self.0 {
            // Nothing of it may be left, which is as good.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use nuages_model::Note;

    use super::super::Instead;
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn said(limit: Duration) -> Said<'static> {
        Said {
            what: "count",
            source: "shell",
            limit,
            instead: Instead(vec![("/tmp/place".into(), "/app".into())]),
        }
    }

    /// Whether any process still has this folder as its own.
    fn anybody_in(folder: &Path) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .into_iter()
            .any(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
    }

    #[tokio::test]
    async fn lines_come_as_they_are_said() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let progress = Progress::new(move |note| {
            if let Note::Line { text, .. } = note {
                notes.lock().unwrap().push(text);
            }
        });
        let script = "printf 'é one\\ntwo /tmp/place/a.py'; exit 3";
        let ended = run(
            shell(script),
            &said(Duration::from_mins(1)),
            &progress,
            &CancellationToken::new(),
        )
        .await
        .unwrap();
        assert_eq!(
            (ended.code, ended.tail),
            (Some(3), vec!["é one".to_owned(), "two /app/a.py".to_owned()])
        );
        assert_eq!(seen.lock().unwrap().len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nothing_that_it_started_outlives_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let left = format!("cd '{}' && (sleep 600 & sleep 600 &) ; exit 0", folder.display());
        let (quiet, cancel) = (Progress::none(), CancellationToken::new());
        let ended = run(shell(&left), &said(Duration::from_mins(1)), &quiet, &cancel)
            .await
            .unwrap();
        assert_eq!(ended.code, Some(0));
        assert!(!anybody_in(&folder));
        let long = format!("cd '{}' && echo begun && sleep 600", folder.display());
        let error = run(shell(&long), &said(Duration::from_secs(3)), &quiet, &cancel)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "failed to count within 3 s");
        assert_eq!(error.tail(), ["begun"]);
        cancel.cancel();
        let error = run(shell(&long), &said(Duration::from_mins(1)), &quiet, &cancel)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "failed to count: it was cancelled");
        // The kernel takes a moment to end what was killed.
        for _ in 0..100 {
            if !anybody_in(&folder) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("something still runs in {}", folder.display());
    }
}
