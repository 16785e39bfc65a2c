//! Local emulators that no project answers for any more: their folder was moved, renamed or removed, or the project in it
//! has another name now.
//!
//! Invariant: one is called left behind only where its folder says so. A folder that cannot be looked at says nothing, and
//! nothing is taken away that was not named.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nuages_config::{ConfigError, Project};
use nuages_emulator::Engine;
use nuages_emulator::local::{LocalEmulator, LocalSettings};
use nuages_model::{AppName, EnvName};
use nuages_saga::MessageLevel;

use crate::error::PipelineError;
use crate::session::remove_local;
use crate::steps::quoted;
use crate::ui::Ui;

/// A local emulator that no project answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    settings: LocalSettings,
    why: Why,
}

/// Why no project answers for it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    Gone,
    NoFolder,
    NoFile,
    NoEnvironment { env: EnvName },
    Renamed { app: AppName },
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => f.write_str("which is gone"),
            Self::NoFolder => f.write_str("which is no folder any more"),
            Self::NoFile => f.write_str("which has no nuages.toml any more"),
            Self::NoEnvironment { env } => write!(f, "whose nuages.toml has no environment `{env}` any more"),
            Self::Renamed { app } => write!(f, "whose nuages.toml names the application `{app}` now"),
        }
    }
}

impl LeftBehind {
    /// The application that it was made for.
    pub fn app(&self) -> &str {
        &self.settings.app
    }

    /// The folder that it was made for.
    pub fn project(&self) -> &Path {
        &self.settings.project
    }

    /// The command that takes it away, with its data.
    pub fn remove_with(&self) -> String {
        let env = self.settings.env.as_deref().unwrap_or("local");
        let folder = self.settings.project.display().to_string();
        let command = format!("nuages infra down --env {env} --project {}", quoted(&folder));
        match self.why {
            // Without it, what the project is now is taken down.
            Why::Renamed { .. } => format!("{command} --app {}", self.settings.app),
            _ => command,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let back = match &self.why {
            Why::Gone | Why::NoFolder | Why::NoFile => "a project that was moved has it again when it is moved back",
            Why::Renamed { .. } | Why::NoEnvironment { .. } => {
                "with the old name in nuages.toml the project has it again"
            }
        };
        format!("`{}` removes it, with its database; {back}", self.remove_with())
    }

    fn is_of(&self, env: &EnvName) -> bool {
        self.settings
            .env
            .as_deref()
            .is_none_or(|made_for| made_for == env.as_str())
    }
}

impl std::fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { settings, why } = self;
        write!(
            f,
            "the local emulator of `{}` in {}, {why}",
            settings.app,
            settings.project.display()
        )
    }
}

/// All of them that this machine's engine has.
pub async fn left_behind() -> Result<Vec<LeftBehind>, PipelineError> {
    found(&Engine::connect().await?).await
}

async fn found(engine: &Engine) -> Result<Vec<LeftBehind>, PipelineError> {
    let all = LocalEmulator::list(engine).await?;
    Ok(all.into_iter().filter_map(judge).collect())
}

/// The one that was made for this folder and environment, of which no project answers for; under this application's name
/// where one is given.
pub async fn left_behind_in(
    folder: &Path,
    env: &EnvName,
    app: Option<&str>,
) -> Result<Option<LeftBehind>, PipelineError> {
    let folder = resolved(folder);
    let mut here: Vec<LeftBehind> = left_behind().await?;
    here.retain(|left| left.settings.project == folder && app.is_none_or(|app| left.settings.app == app));
    if let Some(at) = here.iter().position(|left| left.is_of(env)) {
        return Ok(Some(here.swap_remove(at)));
    }
    match here.first() {
        None => Ok(None),
        Some(other) => Err(PipelineError::Arguments {
            what: format!("{other}, was not made for the environment `{env}`"),
            hint: Some(other.hint()),
        }),
    }
}

/// Takes it away, with all that is its own.
pub async fn remove_left_behind(left: &LeftBehind, ui: &Ui) -> Result<bool, PipelineError> {
    remove_local(&left.settings, ui).await
}

/// Says which there are. Where the engine cannot tell, whoever asked has something else to do.
pub(crate) async fn tell(engine: &Engine, ui: &Ui) {
    match found(engine).await {
        Ok(all) => {
            for left in all {
                let text = format!("{left}, is still there");
                ui.events.message(MessageLevel::Warning, text, Some(left.hint()));
            }
        }
        Err(error) => tracing::debug!(%error, "whether emulators were left behind is not known"),
    }
}

fn judge(settings: LocalSettings) -> Option<LeftBehind> {
    let why = why(&settings)?;
    Some(LeftBehind { settings, why })
}

/// None where a project answers for it, or where that cannot be told.
fn why(settings: &LocalSettings) -> Option<Why> {
    match std::fs::metadata(&settings.project) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Some(Why::NoFolder),
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Why::Gone),
        Err(_) => return None,
    }
    let project = match Project::open(&settings.project) {
        Ok(project) => project,
        Err(ConfigError::NotFound { .. }) => return Some(Why::NoFile),
        Err(_) => return None,
    };
    let env: EnvName = settings.env.as_deref()?.parse().ok()?;
    if !project.file.environments().any(|known| *known == env) {
        return Some(Why::NoEnvironment { env });
    }
    let app = project.environment(&env).ok()?.app.name;
    (app.as_str() != settings.app).then_some(Why::Renamed { app })
}

/// The folder as an emulator's label has it, as far as that can be told of one that is gone.
fn resolved(folder: &Path) -> PathBuf {
    if let Ok(found) = std::fs::canonicalize(folder) {
        return found;
    }
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    match (absolute.parent().map(std::fs::canonicalize), absolute.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => absolute.components().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::tests::blog;

    fn of(app: &str, folder: &Path, env: Option<&str>) -> LocalSettings {
        LocalSettings {
            env: env.map(str::to_owned),
            ..LocalSettings::new(app, folder).unwrap()
        }
    }

    #[test]
    fn a_project_that_is_there_answers_for_its_emulator() {
        let (_, dir) = blog();
        for env in [Some("local"), None] {
            assert_eq!(why(&of("blog", dir.path(), env)), None);
        }
        std::fs::write(dir.path().join("nuages.toml"), "[app").unwrap();
        assert_eq!(
            why(&of("blog", dir.path(), Some("local"))),
            None,
            "half an edit says nothing"
        );
    }

    #[test]
    fn a_folder_that_says_otherwise_is_told_with_what_it_says() {
        let (_, dir) = blog();
        let why = |app, env| why(&of(app, dir.path(), env));
        let renamed = why("shop", Some("local")).unwrap();
        assert_eq!(
            renamed.to_string(),
            "whose nuages.toml names the application `blog` now"
        );
        let command = LeftBehind {
            settings: of("shop", dir.path(), Some("local")),
            why: renamed,
        };
        assert!(
            command.remove_with().ends_with(" --app shop"),
            "{}",
            command.remove_with()
        );
        let dropped = why("blog", Some("here")).unwrap();
        assert_eq!(
            dropped.to_string(),
            "whose nuages.toml has no environment `here` any more"
        );
        std::fs::remove_file(dir.path().join("nuages.toml")).unwrap();
        assert_eq!(why("blog", Some("local")), Some(Why::NoFile));
    }

    #[test]
    fn one_whose_folder_is_gone_has_a_command_that_removes_it() {
        let (_, dir) = blog();
        let moved = dir.path().join("my blog");
        std::fs::create_dir(&moved).unwrap();
        let settings = of("blog", &moved, Some("dev"));
        std::fs::remove_dir(&moved).unwrap();
        let left = judge(settings).unwrap();
        let folder = left.project().display().to_string();
        assert_eq!(
            left.to_string(),
            format!("the local emulator of `blog` in {folder}, which is gone")
        );
        assert_eq!(
            left.remove_with(),
            format!("nuages infra down --env dev --project '{folder}'")
        );
        assert!(left.is_of(&"dev".parse().unwrap()) && !left.is_of(&"staging".parse().unwrap()));
        assert_eq!(resolved(&moved), left.project(), "the command finds it again");
        assert_eq!(resolved(&moved.join("")), left.project());
    }
}
