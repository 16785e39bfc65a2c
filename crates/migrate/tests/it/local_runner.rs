//! A task runner whose tasks are child processes of the test, with the log of a platform: late, doubled, out of order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nuages_migrate::{Manage, MigrationRun};
use nuages_model::{
    ContainerExit, Note, Progress, ReleaseId, TaskError, TaskHandle, TaskKey, TaskOutcome, TaskRequest, TaskRunner,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// How the log reaches whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As written.
    Plain,
    /// Every line twice, the last first.
    DoubledAndReversed,
    /// The first `wait` gets nothing of the report; the log arrives after the task has ended.
    Late,
    /// No report ever arrives.
    Lost,
    /// The report of what was applied never arrives; that of a probe does.
    ApplyLost,
}

/// A task that ended: its exit code (none after a signal) and its log.
#[derive(Debug, Clone)]
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    lines: Vec<String>,
}

#[derive(Debug)]
struct Task {
    pid: Option<u32>,
    ended: tokio::sync::watch::Receiver<Option<Ended>>,
}

#[derive(Debug)]
pub(crate) struct LocalRunner {
    directory: PathBuf,
    env: BTreeMap<String, String>,
    pub(crate) delivery: Delivery,
    tasks: Mutex<BTreeMap<String, Task>>,
    pub(crate) starts: AtomicUsize,
    waits: AtomicUsize,
}

pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/project")
}

impl LocalRunner {
    pub(crate) fn new(data: &Path) -> Self {
        let env = BTreeMap::from([
            ("DATA".to_owned(), data.display().to_string()),
            ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
        ]);
        Self {
            directory: project(),
            env,
            delivery: Delivery::Plain,
            tasks: Mutex::default(),
            starts: AtomicUsize::new(0),
            waits: AtomicUsize::new(0),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn delivering(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    pub(crate) fn pid(&self, key: &TaskKey) -> u32 {
        self.tasks.lock().unwrap()[key.as_str()]
            .pid
            .expect("the task was running")
    }
}

#[async_trait]
impl TaskRunner for LocalRunner {
    async fn start(&self, request: &TaskRequest) -> Result<TaskHandle, TaskError> {
        let id = request.key.to_string();
        let mut tasks = self.tasks.lock().unwrap();
        if tasks.contains_key(&id) {
            return Ok(TaskHandle { id });
        }
        self.starts.fetch_add(1, Ordering::SeqCst);
        let mut child = Command::new(&request.command[0])
            .args(&request.command[1..])
            .current_dir(&self.directory)
            .envs(&self.env)
            .envs(&request.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| TaskError::Refused { why: error.to_string() })?;
        let pid = child.id();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = tokio::sync::watch::channel(None);
        let readers = [
            collect(child.stdout.take().expect("a pipe"), lines.clone()),
            collect(child.stderr.take().expect("a pipe"), lines.clone()),
        ];
        tokio::spawn(async move {
            let status = child.wait().await.expect("a child can be waited for");
            for reader in readers {
                // A grandchild could hold the pipe open; none of these projects has one.
                reader.await.expect("the reader does not panic");
            }
            #[cfg(unix)]
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            #[cfg(not(unix))]
            let signal = None;
            let lines = lines.lock().unwrap().clone();
            sender.send_replace(Some(Ended {
                code: status.code(),
                signal,
                lines,
            }));
        });
        tasks.insert(id.clone(), Task { pid, ended });
        Ok(TaskHandle { id })
    }

    async fn find(&self, key: &TaskKey) -> Result<Option<TaskHandle>, TaskError> {
        let known = self.tasks.lock().unwrap().contains_key(key.as_str());
        Ok(known.then(|| TaskHandle { id: key.to_string() }))
    }

    async fn wait(&self, handle: &TaskHandle, progress: &Progress) -> Result<TaskOutcome, TaskError> {
        let mut watch = self.tasks.lock().unwrap()[&handle.id].ended.clone();
        let ended = watch
            .wait_for(Option::is_some)
            .await
            .expect("the task is being waited for")
            .clone()
            .expect("ended");
        let first = self.waits.fetch_add(1, Ordering::SeqCst) == 0;
        let hidden = match self.delivery {
            Delivery::Lost => true,
            Delivery::ApplyLost => handle.id.contains("-m"),
            Delivery::Late => first,
            Delivery::Plain | Delivery::DoubledAndReversed => false,
        };
        let mut lines = ended.lines;
        if hidden {
            lines.retain(|line| !line.contains("NUAGES1"));
        }
        if self.delivery == Delivery::DoubledAndReversed {
            lines = lines
                .iter()
                .rev()
                .flat_map(|line| [line.clone(), line.clone()])
                .collect();
        }
        for text in &lines {
            progress.send(Note::Line {
                source: "web/test".into(),
                text: text.clone(),
            });
        }
        // As a container platform counts a signal.
        let code = ended.code.or(ended.signal.map(|signal| 128 + signal));
        Ok(TaskOutcome {
            containers: vec![ContainerExit {
                name: "web".into(),
                exit_code: code,
                reason: None,
            }],
            stop_code: Some("EssentialContainerExited".into()),
            stopped_reason: Some("Essential container in task exited".into()),
            log_tail: lines.iter().rev().take(5).rev().cloned().collect(),
        })
    }

    async fn stop(&self, handle: &TaskHandle, _reason: &str) -> Result<(), TaskError> {
        let pid = self.tasks.lock().unwrap()[&handle.id].pid;
        if let Some(pid) = pid {
            signal("-TERM", pid);
        }
        let mut watch = self.tasks.lock().unwrap()[&handle.id].ended.clone();
        let _ = watch.wait_for(Option::is_some).await;
        Ok(())
    }
}

/// Sends a signal; a process that is gone is no error.
pub(crate) fn signal(which: &str, pid: u32) {
    let _ = std::process::Command::new("kill")
        .args([which, &pid.to_string()])
        .status();
}

fn collect(
    stream: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            lines.lock().unwrap().push(text);
            line.clear();
        }
    })
}

/// A run with the virtual environment's Python.
pub(crate) fn run(django: &str) -> MigrationRun {
    let python = crate::python::with_django(django).display().to_string();
    let mut run = MigrationRun::new(ReleaseId::generate());
    run.manage = Manage::new(&[python.as_str(), "manage.py"]).expect("a Python and a script");
    run
}

/// A progress that keeps what it is told.
pub(crate) fn recording() -> (Progress, Arc<Mutex<Vec<Note>>>) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = notes.clone();
    (Progress::new(move |note| kept.lock().unwrap().push(note)), notes)
}
