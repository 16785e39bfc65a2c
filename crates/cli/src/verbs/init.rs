//! `nuages init`.

use std::path::{Path, PathBuf};

use nuages_config::detect::Detected;
use nuages_pipeline::{Ending, PipelineError};

use crate::app::App;
use crate::{invocation, screen};

pub(crate) fn run(app: &App, dir: Option<PathBuf>) -> Result<Ending, PipelineError> {
    let dir = folder(app, dir)?;
    let detected = Detected::look(&dir)?;
    let written = detected.write()?;
    let path = written.display().to_string();
    if app.json() {
        screen::object(&serde_json::json!({"v": 1, "written": path}));
    } else {
        screen::complain(&format!("wrote {path}"));
        let advice = detected.advice();
        for line in &advice {
            screen::complain(&format!("  {line}"));
        }
        let before = if advice.is_empty() {
            ""
        } else {
            "see to the lines above, then "
        };
        let project = written.parent().unwrap_or(&dir);
        screen::complain(&format!(
            "next: {before}`nuages deploy --env local{}`",
            from_here(project)
        ));
    }
    Ok(Ending::Done)
}

/// The folder that is meant: an argument says more than what the surroundings say of every command.
fn folder(app: &App, dir: Option<PathBuf>) -> Result<PathBuf, PipelineError> {
    match (dir, &app.global.project) {
        (Some(_), Some(_)) if invocation::names("--project") => Err(PipelineError::Arguments {
            what: "DIR and --project both name the project's folder".into(),
            hint: Some("name it once".into()),
        }),
        (Some(dir), _) => Ok(dir),
        (None, Some(project)) => Ok(project.clone()),
        (None, None) => Ok(PathBuf::from(".")),
    }
}

/// What a command needs besides, to find this project from here: nothing, where it is the nearest upward.
fn from_here(project: &Path) -> String {
    let found = std::env::current_dir().and_then(|here| Ok((here.canonicalize()?, project.canonicalize()?)));
    match found {
        Ok((here, project)) if here.starts_with(&project) => String::new(),
        _ => format!(" --project {}", invocation::quoted(&project.display().to_string())),
    }
}
