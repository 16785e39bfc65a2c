//! `[build]`: how the image is made.
//!
//! Invariant: paths are relative to the project's folder and stay inside it, except for a CA bundle's.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use nuages_model::ImageRef;
use serde::{Serialize, Serializer};

use crate::problem::Problem;
use crate::reader::{Field, Section, Word};
use crate::words::shown;

/// How the image is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// What makes it. `auto` in the file is resolved here.
    pub builder: Builder,
    /// The folder that is sent to the builder.
    pub context: PathBuf,
    /// The Dockerfile, within the project's folder.
    pub dockerfile: PathBuf,
    /// The stage that is deployed; the last one where it is not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The base image, given to the Dockerfile as the argument `BASE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What the image runs on.
    pub platform: Platform,
    /// Certificates that the build alone trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Arguments of the Dockerfile. Never secrets: they stay readable in the image.
    pub args: BTreeMap<String, String>,
}

/// What makes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Builder {
    /// A Dockerfile, through the Docker engine.
    Docker,
}

/// What the image runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Platform {
    /// x86-64.
    #[serde(rename = "linux/amd64")]
    Amd64,
    /// Graviton.
    #[serde(rename = "linux/arm64")]
    Arm64,
}

impl Platform {
    /// As Docker and OCI write it, such as `linux/amd64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }

    /// As an ECS task definition writes the architecture.
    pub fn ecs_architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "X86_64",
            Self::Arm64 => "ARM64",
        }
    }
}

/// Certificates that the build alone trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaBundle {
    /// Those of this machine.
    Host,
    /// A PEM file; a relative path starts at the project's folder.
    File(PathBuf),
}

impl Serialize for CaBundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Host => serializer.serialize_str("host"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            builder: Builder::Docker,
            context: PathBuf::from("."),
            dockerfile: PathBuf::from("Dockerfile"),
            target: None,
            base: None,
            platform: Platform::Amd64,
            ca_bundle: None,
            args: BTreeMap::new(),
        }
    }
}

impl Build {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let default = Self::default();
        let Some(mut section) = section else { return default };
        let builder = section.get("builder").and_then(|field| builder(&field));
        let context = section.get("context").and_then(|field| inner_path(&field));
        let dockerfile = section.get("dockerfile").and_then(|field| inner_path(&field));
        let target = section.get("target").and_then(|field| stage(&field));
        let base = section.get("base").and_then(|field| image(&field));
        let platform = section
            .get("platform")
            .and_then(|field| field.choice(&[("linux/amd64", Platform::Amd64), ("linux/arm64", Platform::Arm64)]));
        let ca_bundle = section
            .get("ca_bundle")
            .and_then(|field| field.words())
            .map(|text| match text {
                "host" => CaBundle::Host,
                path => CaBundle::File(PathBuf::from(path)),
            });
        let args = section
            .get("args")
            .and_then(|field| arguments(&field))
            .unwrap_or_default();
        section.finish();
        Self {
            builder: builder.unwrap_or(default.builder),
            context: context.unwrap_or(default.context),
            dockerfile: dockerfile.unwrap_or(default.dockerfile),
            target,
            base,
            platform: platform.unwrap_or(default.platform),
            ca_bundle,
            args,
        }
    }
}

fn builder(field: &Field<'_>) -> Option<Builder> {
    let choices = [
        ("auto", Word::Now(Builder::Docker)),
        ("docker", Word::Now(Builder::Docker)),
        ("layers", Word::Later),
    ];
    match field.choice_or_later(&choices)? {
        Word::Now(builder) => Some(builder),
        Word::Later => {
            field.refuse_for_now(
                "building images without a Docker engine has no code yet",
                "builder = \"docker\" builds the project's Dockerfile",
            );
            None
        }
    }
}

/// A name of a Dockerfile's stage.
pub(crate) fn stage(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let valid = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !valid {
        field.notes.add(field.problem(
            format!("`{}` is not the name of a Dockerfile's stage", shown(text)),
            "letters, digits, `-`, `_` and `.`, a letter first",
        ));
    }
    valid.then(|| text.to_owned())
}

fn image(field: &Field<'_>) -> Option<String> {
    // Kept as it is written: a Dockerfile's `FROM` and an engine's local images know it under that name.
    field.parsed::<ImageRef>().and_then(|_| field.text()).map(str::to_owned)
}

fn inner_path(field: &Field<'_>) -> Option<PathBuf> {
    let path = Path::new(field.words()?);
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        field.notes.add(
            field
                .problem(
                    format!("`{}` must stay inside the project's folder", field.name),
                    "leads out of it",
                )
                .help("a path relative to nuages.toml, without `..`"),
        );
    }
    inside.then(|| path.to_path_buf())
}

fn arguments(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let mut args = BTreeMap::new();
    for entry in field.entries()? {
        let name_ok = !entry.name.is_empty()
            && !entry.name.starts_with(|c: char| c.is_ascii_digit())
            && entry.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !name_ok {
            entry.notes.add(
                Problem::new(format!("`{}` is not the name of a build argument", shown(entry.name)))
                    .at(entry.key, "letters, digits and `_`, no digit first"),
            );
        } else if entry.name == "BASE" {
            entry.notes.add(
                Problem::new("the argument `BASE` has a key of its own")
                    .at(entry.key, "said twice")
                    .help("build.base = \"…\""),
            );
        }
        if let Some(text) = entry.text() {
            args.insert(entry.name.to_owned(), text.to_owned());
        }
    }
    Some(args)
}
