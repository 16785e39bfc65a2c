//! Why a project's `collectstatic` failed, in one sentence, and what would mend it.
//!
//! Invariant: paths are the project's own, not those of the run.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ImageError;
use crate::executor::Done;

/// What the script says of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Failure {
    kind: Kind,
    /// Python's words.
    message: String,
    /// Module, file and line.
    #[serde(rename = "where")]
    place: Option<(String, PathBuf, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// There is no Django.
    Django,
    /// Something asked for the database.
    Database,
    /// Something asked for another machine.
    Network,
    /// The settings lack something.
    Settings,
    Other,
}

pub(super) fn explain(failure: Option<Failure>, done: &Done) -> ImageError {
    let tail = done.tail.clone();
    let Some(Failure { kind, message, place }) = failure else {
        return ImageError::Collect {
            why: "manage.py did not run it".into(),
            hint: None,
            tail,
        };
    };
    let place = place.as_ref().filter(|(_, file, _)| !file.as_os_str().is_empty());
    let at = place.map(|(_, file, line)| {
        let file = file.strip_prefix(&done.app).unwrap_or(file);
        format!("{}, line {line}", file.display())
    });
    let who = at.clone().unwrap_or_else(|| "something".to_owned());
    let (why, hint) = match kind {
        Kind::Django => (
            format!("Django cannot be imported: {message}"),
            Some("add Django to the project's packages and lock them again".to_owned()),
        ),
        Kind::Database => (
            format!("{who}, asks for the database, and there is none while an image is built"),
            Some(
                "collectstatic must not need a database: ask it where a request or a command needs the answer, not while \
                 modules are imported or in `AppConfig.ready`"
                    .to_owned(),
            ),
        ),
        Kind::Network => (
            format!("{who}, asks for another machine, and there is no network while an image is built"),
            Some("ask it where a request or a command needs the answer, not while modules are imported".to_owned()),
        ),
        Kind::Settings | Kind::Other => {
            // Commands say what is wrong, and then end.
            let said = if message.is_empty() || message.starts_with("SystemExit") {
                done.tail.iter().rev().find(|line| !line.trim().is_empty()).cloned().unwrap_or(message)
            } else {
                message
            };
            let why = match at {
                Some(at) => format!("{said} ({at})"),
                None => said,
            };
            let hint = (kind == Kind::Settings).then(|| {
                "the settings are loaded to know which files there are: name the variables that they need under `[env]` or \
                 `[secrets]` in nuages.toml"
                    .to_owned()
            });
            (why, hint)
        }
    };
    ImageError::Collect {
        why: done.in_image(why.replacen("something,", "something", 1)),
        hint,
        tail,
    }
}

pub(super) fn only_in_image(path: &Path, tail: Vec<String>) -> ImageError {
    ImageError::Collect {
        why: format!(
            "the project names {} by its path in the image, and it is not there while it is built",
            path.display()
        ),
        hint: Some("build the path from where the settings are: `BASE_DIR / \"…\"`".to_owned()),
        tail,
    }
}
