//! A port in use: whoever can run a command beside a database is a `TaskRunner`. This one runs it on this machine.
//!
//! `cargo run -p nuages-model --example migrate_anywhere -- python3 --version`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::process::{Command, Output};
use std::sync::Mutex;

use async_trait::async_trait;
use nuages_model::{
    ContainerExit, Note, Progress, ReleaseId, TaskError, TaskHandle, TaskKey, TaskOutcome, TaskRequest, TaskRunner,
};

/// Tasks by their key: the same key is never run twice.
#[derive(Debug, Default)]
struct ThisMachine {
    ended: Mutex<BTreeMap<String, Output>>,
}

#[async_trait]
impl TaskRunner for ThisMachine {
    async fn start(&self, request: &TaskRequest) -> Result<TaskHandle, TaskError> {
        let id = request.key.to_string();
        if self.find(&request.key).await?.is_none() {
            let mut command = Command::new(&request.command[0]);
            command.args(&request.command[1..]).envs(&request.env);
            let output = command
                .output()
                .map_err(|error| TaskError::Refused { why: error.to_string() })?;
            self.ended.lock().expect("nobody panics").insert(id.clone(), output);
        }
        Ok(TaskHandle { id })
    }

    async fn find(&self, key: &TaskKey) -> Result<Option<TaskHandle>, TaskError> {
        let known = self.ended.lock().expect("nobody panics").contains_key(key.as_str());
        Ok(known.then(|| TaskHandle { id: key.to_string() }))
    }

    async fn wait(&self, handle: &TaskHandle, progress: &Progress) -> Result<TaskOutcome, TaskError> {
        let output = self.ended.lock().expect("nobody panics")[&handle.id].clone();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for line in &lines {
            progress.line(&handle.id, line);
        }
        Ok(TaskOutcome {
            containers: vec![ContainerExit {
                name: "here".into(),
                exit_code: output.status.code(),
                reason: None,
            }],
            stop_code: None,
            stopped_reason: None,
            log_tail: lines,
        })
    }

    async fn stop(&self, _: &TaskHandle, _: &str) -> Result<(), TaskError> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut command: Vec<String> = std::env::args().skip(1).collect();
    if command.is_empty() {
        command = ["python3", "--version"].map(str::to_owned).into();
    }
    let request = TaskRequest {
        key: format!("{}-m1", ReleaseId::generate()).parse()?,
        command,
        env: BTreeMap::new(),
    };
    let progress = Progress::new(|note| {
        if let Note::Line { source, text } = note {
            // A closed pipe: nobody reads on.
            let _ = writeln!(std::io::stdout(), "{source} | {text}");
        }
    });
    let runner = ThisMachine::default();
    let task = runner.start(&request).await?;
    let outcome = runner.wait(&task, &progress).await?;
    // Started again under its key, it is found: nothing runs twice.
    assert_eq!(runner.start(&request).await?, task);
    writeln!(std::io::stdout(), "succeeded: {}", outcome.succeeded())?;
    Ok(())
}
