//! The working tree, looked at before anything is made for it.
//!
//! Invariant: only what certainly breaks the build or the release is refused; the engine alone decides what a Dockerfile
//! means. All that is missing is told at once.

use std::path::{Path, PathBuf};

use nuages_config::Config;
use nuages_image::{Context, Dockerfile, ImageError};

use crate::error::PipelineError;
use crate::session::Session;

/// What migrations and probes are run with, in every image.
const MANAGE: &str = "manage.py";

/// One thing that is missing, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    what: String,
    hint: String,
}

/// Refuses a working tree of which no release can be made. `store` is the file of records, which no build sees.
pub async fn look(config: &Config, store: &Path) -> Result<(), PipelineError> {
    let request = crate::build::request(config, store);
    let opened = tokio::task::spawn_blocking(move || request.open_context(&nuages_model::Progress::none()));
    let opened = opened
        .await
        .map_err(|e| PipelineError::machine("look at the project's files", e))?;
    let missing = match opened {
        Ok(context) => missing(config, &context),
        Err(error @ (ImageError::NoDockerfile { .. } | ImageError::Syntax { .. })) => {
            let hint = error.hint();
            let dockerfile = Missing {
                what: match &error {
                    ImageError::NoDockerfile { path } => format!("there is no Dockerfile at {}", path.display()),
                    error => error.to_string(),
                },
                hint: hint.unwrap_or_else(|| "mend that line".into()),
            };
            [Some(dockerfile), manage_on_disk(config)]
                .into_iter()
                .flatten()
                .collect()
        }
        // What cannot be read is no matter of the project.
        Err(error) => return Err(error.into()),
    };
    if missing.is_empty() {
        return Ok(());
    }
    let join = |part: fn(&Missing) -> &str| missing.iter().map(part).collect::<Vec<_>>().join("; ");
    Err(PipelineError::refused(join(|one| &one.what), join(|one| &one.hint)))
}

/// The same for a session that was not opened to build: walking a large tree twice takes a person's time.
pub(crate) async fn look_unless_seen(session: &Session) -> Result<(), PipelineError> {
    if session.looked {
        return Ok(());
    }
    look(&session.config, session.store.store().path()).await
}

fn missing(config: &Config, context: &Context) -> Vec<Missing> {
    let dockerfile = Dockerfile::read(&String::from_utf8_lossy(context.dockerfile_text()));
    let mut all = in_dockerfile(config, &dockerfile);
    let copied = context.entries().iter().any(|entry| entry.path.ends_with(MANAGE));
    if !copied {
        all.push(manage_on_disk(config).unwrap_or_else(|| Missing {
            what: format!("{MANAGE} is not part of the build, and migrations are run with it"),
            hint: format!("let .dockerignore leave {MANAGE} in"),
        }));
    }
    all
}

fn in_dockerfile(config: &Config, dockerfile: &Dockerfile) -> Vec<Missing> {
    let name = config.build.dockerfile.display();
    if dockerfile.instructions.is_empty() {
        return vec![Missing {
            what: format!("{name} is empty"),
            hint: "write one that installs the packages and copies the project".into(),
        }];
    }
    // Another frontend has instructions of its own.
    if dockerfile.syntax.is_none() && !dockerfile.instructions.iter().any(|line| line.name == "FROM") {
        return vec![Missing {
            what: format!("{name} has no FROM, so it makes no image"),
            hint: "begin it with `ARG BASE=python:3.13-slim` and `FROM ${BASE}`".into(),
        }];
    }
    let stages = dockerfile.stages();
    let deployed = config.build.target.iter().map(|stage| ("[build]".to_owned(), stage));
    let checks = config
        .checks
        .iter()
        .filter_map(|(check, settings)| Some((format!("the check `{check}`"), settings.target.as_ref()?)));
    deployed
        .chain(checks)
        .filter(|(_, stage)| !stages.iter().any(|known| known.eq_ignore_ascii_case(stage)))
        .map(|(who, stage)| Missing {
            what: format!("{name} has no stage `{stage}`, which {who} names"),
            hint: match &stages[..] {
                [] => format!("name a stage with `FROM … AS {stage}`, or remove `target`"),
                stages => format!("the stages are: {}", stages.join(", ")),
            },
        })
        .collect()
}

/// Whether there is none in the folder that is built.
fn manage_on_disk(config: &Config) -> Option<Missing> {
    // Without the `.` that the context has where nobody named one.
    let root: PathBuf = config.project_dir.join(&config.build.context).components().collect();
    (!has_manage(&root, DEPTH)).then(|| Missing {
        what: format!(
            "there is no {MANAGE} in {}, and migrations are run with it",
            root.display()
        ),
        hint: "bring it back, or name the folder of a Django project with `--project DIR`".into(),
    })
}

/// Nobody keeps it deeper than so many folders.
const DEPTH: u8 = 4;

fn has_manage(folder: &Path, depth: u8) -> bool {
    if folder.join(MANAGE).is_file() {
        return true;
    }
    let hidden = |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    depth > 0
        && below
            .filter(|entry| is_folder(entry) && !hidden(entry))
            .any(|entry| has_manage(&entry.path(), depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Ending;
    use crate::stack::tests::config;

    const DOCKERFILE: &str =
        "ARG BASE=python:3.13-slim\nFROM ${BASE} AS base\nFROM base AS test\nFROM base\nCOPY . .\n";

    /// What is said of the blog's working tree with these files, none of which is there where it has no text.
    async fn said(files: &[(&str, Option<&str>)], change: impl FnOnce(&mut Config)) -> Option<(String, String)> {
        let (mut config, dir) = config("local");
        std::fs::write(dir.path().join("Dockerfile"), DOCKERFILE).unwrap();
        for (file, text) in files {
            match text {
                Some(text) => std::fs::write(dir.path().join(file), text).unwrap(),
                None => std::fs::remove_file(dir.path().join(file)).unwrap(),
            }
        }
        change(&mut config);
        let looked = look(&config, &dir.path().join(".nuages/nuages.db")).await;
        let error = looked.err()?;
        assert_eq!(error.ending(), Ending::Refused, "{error}");
        let text = error
            .to_string()
            .replace(&config.project_dir.display().to_string(), "[dir]");
        Some((text, error.hint().unwrap()))
    }

    fn nothing(_: &mut Config) {}

    #[tokio::test]
    async fn a_project_that_can_be_built_goes_on() {
        assert_eq!(said(&[], nothing).await, None);
        let staged = said(&[], |config| config.build.target = Some("TEST".into()));
        assert_eq!(staged.await, None);
    }

    #[tokio::test]
    async fn a_tree_that_was_seen_is_not_walked_again() {
        let (mut session, _dir) = crate::stack::tests::staging("http://127.0.0.1:1").await;
        let unseen = look_unless_seen(&session).await.unwrap_err();
        assert!(unseen.to_string().contains("there is no Dockerfile"), "{unseen}");
        session.looked = true;
        look_unless_seen(&session).await.unwrap();
    }

    #[tokio::test]
    async fn all_that_is_missing_is_told_at_once() {
        let (text, hint) = said(&[("Dockerfile", None), ("manage.py", None)], nothing)
            .await
            .unwrap();
        assert_eq!(
            text,
            "there is no Dockerfile at [dir]/Dockerfile; there is no manage.py in [dir], and migrations are run with it"
        );
        assert!(
            hint.contains("write a Dockerfile") && hint.contains("--project DIR"),
            "{hint}"
        );
    }

    #[tokio::test]
    async fn a_dockerfile_that_makes_nothing_is_told() {
        for empty in ["", "\n# to be written\n\n"] {
            let (text, _) = said(&[("Dockerfile", Some(empty))], nothing).await.unwrap();
            assert_eq!(text, "Dockerfile is empty");
        }
        let (text, hint) = said(&[("Dockerfile", Some("RUN true\n"))], nothing).await.unwrap();
        assert_eq!(text, "Dockerfile has no FROM, so it makes no image");
        assert!(hint.contains("FROM ${BASE}"), "{hint}");
        let foreign = "# syntax=example/other\nIMAGE python\n";
        assert_eq!(said(&[("Dockerfile", Some(foreign))], nothing).await, None);
        let wrong = |config: &mut Config| config.build.target = Some("prod".into());
        let (text, hint) = said(&[], wrong).await.unwrap();
        assert_eq!(text, "Dockerfile has no stage `prod`, which [build] names");
        assert_eq!(hint, "the stages are: base, test");
    }

    #[tokio::test]
    async fn manage_py_is_part_of_the_build() {
        let ignored = said(&[(".dockerignore", Some("manage.py\n"))], nothing).await.unwrap();
        assert_eq!(
            ignored.0,
            "manage.py is not part of the build, and migrations are run with it"
        );
        assert_eq!(ignored.1, "let .dockerignore leave manage.py in");
        let below = said(&[("manage.py", None)], |config| {
            let src = config.project_dir.join("src");
            std::fs::create_dir(&src).unwrap();
            std::fs::write(src.join("manage.py"), "").unwrap();
        });
        assert_eq!(below.await, None);
    }
}
