//! What this crate does with a real Docker engine. Base images are those that the engine has; nothing is pulled.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod build;
mod dependencies;
mod django;
mod dockerignore;
mod export;
mod fuzz;
mod packages;
mod recipe;
mod registry;
mod reuse;
mod sandbox;
mod sbom;

use std::path::Path;
use std::sync::{Arc, Mutex};

use nuages_image::{Engine, ImageError};
use nuages_model::{Note, Progress};

/// The base that `cargo xtask images` makes, or that a machine with a registry has pulled.
const BASE: &str = "python:3.13-slim";

async fn engine() -> Engine {
    match Engine::connect().await {
        Ok(engine) => engine,
        Err(error) => panic!(
            "these tests need Docker: {error}; hint: {}",
            error.hint().unwrap_or_default()
        ),
    }
}

/// Writes a project.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        write(folder.path(), path, content);
    }
    folder
}

fn write(folder: &Path, path: &str, content: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// What was said, as lines.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<Note>>>);

impl Said {
    fn progress(&self) -> Progress {
        let notes = Arc::clone(&self.0);
        Progress::new(move |note| notes.lock().unwrap().push(note))
    }

    fn lines(&self) -> String {
        let notes = self.0.lock().unwrap();
        let lines = notes.iter().filter_map(|note| match note {
            Note::Line { text, .. } | Note::Status { text } => Some(text.as_str()),
            _ => None,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn warnings(&self) -> String {
        let notes = self.0.lock().unwrap();
        let lines = notes.iter().filter_map(|note| match note {
            Note::Warning { text } => Some(text.as_str()),
            _ => None,
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

async fn remove_image(engine: &Engine, image: &str) {
    // Left images cost disk and are no failure of a test.
    let _ = engine
        .docker()
        .remove_image(image, None::<bollard::query_parameters::RemoveImageOptions>, None)
        .await;
}

/// Says the error and its causes.
fn whole(error: &ImageError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
