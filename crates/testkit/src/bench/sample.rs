//! The sample under a name of its own, deployed to a local environment of its own.
//!
//! Invariant: the repository's own files and environment are not touched, and nothing is left.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use super::Failure;

/// The application's name in a bench.
pub(super) const NAME: &str = "bench";

/// A copy of the sample.
pub(super) struct Sample {
    pub(super) nuages: PathBuf,
    pub(super) project: PathBuf,
    folder: tempfile::TempDir,
    changes: u32,
}

/// What a deployment told, event by event.
pub(super) struct Told(Vec<Value>);

impl Sample {
    /// A copy of this workspace's, for the binary that was built from it.
    pub(super) fn here() -> Result<Self, Failure> {
        let named = |name: &str| std::env::var_os(name).ok_or_else(|| format!("{name} is not set"));
        Self::copy(
            &PathBuf::from(named("NUAGES_BINARY")?),
            &PathBuf::from(named("NUAGES_WORKSPACE")?),
        )
    }

    /// Copies it. One task is enough to see everything that is measured.
    fn copy(nuages: &Path, workspace: &Path) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let project = folder.path().join(NAME);
        copy(&workspace.join("django-sample"), &project)?;
        let file = project.join("nuages.toml");
        let toml = std::fs::read_to_string(&file)?;
        let toml = toml
            .replace("name = \"blog\"", &format!("name = \"{NAME}\""))
            .replacen("count = 2", "count = 1", 1);
        std::fs::write(&file, toml)?;
        Ok(Self {
            nuages: nuages.to_owned(),
            project,
            folder,
            changes: 0,
        })
    }

    /// A command on it.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.nuages);
        command.arg("--project").arg(&self.project).args(args);
        command
    }

    /// A deployment as a command, told as JSON.
    pub(super) fn deployment(&self) -> Command {
        self.command(&["deploy", "--env", "local", "--json", "--skip-checks", "bench"])
    }

    /// A file beside it.
    pub(super) fn beside(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Changes one template.
    pub(super) fn change(&mut self) -> Result<(), Failure> {
        self.changes += 1;
        let page = self.project.join("posts/templates/posts/list.html");
        let text = std::fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
        std::fs::write(&page, format!("{text}\n<!-- {} -->\n", self.changes))?;
        Ok(())
    }

    /// Puts other text into one of its files, and answers what stood there.
    pub(super) fn edit(&self, file: &str, change: impl FnOnce(&str) -> String) -> std::io::Result<String> {
        let file = self.project.join(file);
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, change(&text))?;
        Ok(text)
    }

    /// Its status, as JSON.
    pub(super) fn status(&self) -> Result<Value, Failure> {
        let output = self.command(&["status", "--env", "local", "--json"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Where its emulator answers.
    pub(super) fn endpoint(&self) -> Result<url::Url, Failure> {
        let url: url::Url = self.status()?["url"].as_str().ok_or("the sample has no URL")?.parse()?;
        let port = url.port().ok_or("the sample's URL has no port")?;
        Ok(format!("http://127.0.0.1:{port}").parse()?)
    }

    /// Takes the environment down.
    pub(super) fn down(&self) -> Result<(), Failure> {
        let down = self.command(&["infra", "down", "--env", "local", "--yes"]).output()?;
        if down.status.success() {
            Ok(())
        } else {
            Err("the bench's environment could not be taken down".into())
        }
    }
}

/// Runs a deployment to its end, which must be a good one.
pub(super) fn told(deployment: Command) -> Result<Told, String> {
    match ran(deployment)? {
        (told, true) => Ok(told),
        (told, false) => {
            let last = told.0.last().map(ToString::to_string).unwrap_or_default();
            Err(format!("a deployment of the bench failed: {last}"))
        }
    }
}

/// Runs a deployment to its end, and answers whether that was a good one.
pub(super) fn ran(mut deployment: Command) -> Result<(Told, bool), String> {
    let output = deployment.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let events = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok((Told(events.collect()), output.status.success()))
}

impl Told {
    /// When the task of this id began and ended.
    pub(super) fn window(&self, id: &str) -> Option<(Timestamp, Timestamp)> {
        let began = self
            .0
            .iter()
            .find(|event| event["event"] == "task-started" && event["id"] == id)?;
        let ended = self
            .0
            .iter()
            .find(|event| event["event"] == "task-ended" && event["task"] == began["task"])?;
        Some((at(began)?, at(ended)?))
    }

    /// From the first event to the last, in milliseconds, without these tasks.
    pub(super) fn without(&self, waiting: &[&str]) -> Option<f64> {
        let length = |(began, ended): (Timestamp, Timestamp)| ended.duration_since(began).as_secs_f64() * 1e3;
        let all = length((at(self.0.first()?)?, at(self.0.last()?)?));
        let waited: f64 = waiting.iter().filter_map(|id| self.window(id)).map(length).sum();
        Some((all - waited).max(0.0))
    }
}

fn at(event: &Value) -> Option<Timestamp> {
    event["at"].as_str()?.parse().ok()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == ".nuages" || name == "__pycache__" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn waiting_is_taken_out() {
        let event = |second: u32, event: &str, task: u32, id: &str| json!({"at": format!("2026-01-01T00:00:0{second}Z"), "event": event, "task": task, "id": id});
        let told = Told(vec![
            event(0, "task-started", 1, "secrets"),
            event(1, "task-ended", 1, ""),
            event(1, "task-started", 2, "build"),
            event(5, "task-ended", 2, ""),
            event(6, "message", 0, ""),
        ]);
        assert_eq!(told.without(&["build", "push"]), Some(2000.0));
        assert_eq!(told.window("nowhere"), None);
    }
}
