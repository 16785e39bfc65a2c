//! Container images that nuages needs: present, pulled, or built from the definitions embedded in this crate.
//!
//! Invariant: after [`ensure`] every wanted image is in the engine under its own name, and a built one carries the hash
//! of the definition it was built from.

mod base;
mod build;
mod definition;
mod mmdebstrap;
mod pull;

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use nuages_model::Progress;

use crate::host::HostSetup;
use crate::{EmulatorError, Engine, FileLock};

pub use definition::{DEFINITION_LABEL, IMAGE_LABEL, IMAGES, Image, find};

/// Builds that run at the same time: they wait for the network more than they compute.
const AT_ONCE: usize = 2;

/// Which images are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ImageSet {
    /// What `deploy --env local` needs: Python for the project, MiniStack, and the database it starts.
    #[default]
    Local,
    /// What the tests need: the local ones, LocalStack and a plain registry.
    Test,
    /// Every image there is.
    All,
    /// These, by folder (`ministack`) or full name (`postgres:17-alpine`).
    Only(Vec<String>),
}

impl ImageSet {
    /// The images of this set, those that others stand on first.
    ///
    /// ```
    /// use nuages_emulator::images::ImageSet;
    ///
    /// let names: Vec<_> = ImageSet::Local.images()?.iter().map(|image| image.tag).collect();
    /// assert!(names.contains(&"python:3.13-slim"));
    /// assert!(ImageSet::Only(vec!["nginx".into()]).images().is_err());
    /// # Ok::<(), nuages_emulator::EmulatorError>(())
    /// ```
    pub fn images(&self) -> Result<Vec<&'static Image>, EmulatorError> {
        Ok(match self {
            Self::Local => IMAGES.iter().filter(|image| image.local).collect(),
            Self::Test => IMAGES.iter().filter(|image| image.test).collect(),
            Self::All => IMAGES.iter().filter(|image| image.published).collect(),
            Self::Only(names) => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
        })
    }
}

impl FromStr for ImageSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "test" => Ok(Self::Test),
            "all" => Ok(Self::All),
            other => Err(format!("{other} is neither local nor test nor all")),
        }
    }
}

/// Where images may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Pulled where that works, else built.
    #[default]
    Auto,
    /// Pulled, or it is an error.
    Pull,
    /// Built from the embedded definition, even where one could be pulled.
    Build,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "pull" => Ok(Self::Pull),
            "build" => Ok(Self::Build),
            other => Err(format!("{other} is neither auto nor pull nor build")),
        }
    }
}

/// How an image came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was there.
    Present,
    /// Pulled from its registry.
    Pulled,
    /// Built from its definition.
    Built,
}

/// What was done about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReport {
    /// The image's full name.
    pub name: String,
    /// How it came to be there.
    pub outcome: Outcome,
    /// How long that took.
    pub elapsed: Duration,
}

/// Makes every wanted image exist in the engine, and answers how, in the set's order.
///
/// An image of that name which nuages did not build is the person's own, or was pulled: it is left as it is. One that
/// nuages built from an older definition is built again.
///
/// ```no_run
/// use nuages_emulator::{Engine, images::{self, ImageSet, Source}};
///
/// # async fn example() -> Result<(), nuages_emulator::EmulatorError> {
/// let engine = Engine::connect().await?;
/// for report in images::ensure(&engine, &ImageSet::Local, Source::Auto, &nuages_model::Progress::none()).await? {
///     println!("{} {:?} {:?}", report.name, report.outcome, report.elapsed);
/// }
/// # Ok(()) }
/// ```
pub async fn ensure(
    engine: &Engine,
    wanted: &ImageSet,
    source: Source,
    progress: &Progress,
) -> Result<Vec<ImageReport>, EmulatorError> {
    let wanted = wanted.images()?;
    let mut reports = HashMap::new();
    let mut missing = absent(engine, &wanted, &mut reports).await?;
    if !missing.is_empty() {
        let waiting = progress.clone();
        let _lock = FileLock::take("images", move || {
            waiting.status("waiting for another nuages that makes images");
        })
        .await?;
        // Whoever held the lock may have made them.
        missing = absent(engine, &missing, &mut reports).await?;
        make(engine, missing, source, progress, &mut reports).await?;
    }
    Ok(wanted
        .iter()
        .filter_map(|image| reports.get(image.tag).cloned())
        .collect())
}

/// Whether this image is in the engine and up to date.
pub async fn is_present(engine: &Engine, image: &Image) -> Result<bool, EmulatorError> {
    match engine.docker().inspect_image(image.tag).await {
        Ok(found) => {
            let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
            Ok(labels.get(DEFINITION_LABEL).is_none_or(|hash| *hash == image.hash()))
        }
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
        Err(source) => Err(EmulatorError::engine(
            format!("look for the image {}", image.tag),
            source,
        )),
    }
}

type Reports = HashMap<&'static str, ImageReport>;

fn note(reports: &mut Reports, image: &'static Image, outcome: Outcome, elapsed: Duration) {
    reports.insert(
        image.tag,
        ImageReport {
            name: image.tag.to_owned(),
            outcome,
            elapsed,
        },
    );
}

async fn absent(
    engine: &Engine,
    wanted: &[&'static Image],
    reports: &mut Reports,
) -> Result<Vec<&'static Image>, EmulatorError> {
    let mut missing = Vec::new();
    for image in wanted {
        let start = Instant::now();
        if is_present(engine, image).await? {
            note(reports, image, Outcome::Present, start.elapsed());
        } else {
            missing.push(*image);
        }
    }
    Ok(missing)
}

async fn make(
    engine: &Engine,
    missing: Vec<&'static Image>,
    source: Source,
    progress: &Progress,
    reports: &mut Reports,
) -> Result<(), EmulatorError> {
    let mut to_build = Vec::new();
    // Why an image is built, for the error of a machine that can do neither.
    let mut refusal = "not tried".to_owned();
    if source == Source::Build {
        to_build = missing;
    } else {
        let pulls = missing.iter().map(|image| async move {
            let start = Instant::now();
            let pulled = if image.published {
                pull::pull(engine, image.tag, progress).await
            } else {
                Err("no registry has it".into())
            };
            (*image, pulled, start.elapsed())
        });
        for (image, pulled, elapsed) in join_all(pulls).await {
            match pulled {
                Ok(()) => note(reports, image, Outcome::Pulled, elapsed),
                Err(reason) if source == Source::Pull => {
                    return Err(EmulatorError::Pull {
                        image: image.tag.to_owned(),
                        reason,
                    });
                }
                Err(reason) => {
                    // Of an image that no registry has, the reason says nothing of this machine.
                    if image.published || to_build.is_empty() {
                        refusal = reason;
                    }
                    to_build.push(image);
                }
            }
        }
    }
    if to_build.is_empty() {
        return Ok(());
    }
    if source == Source::Auto {
        let names: Vec<&str> = to_build.iter().map(|image| image.name).collect();
        progress.status(format!(
            "no registry gives {} ({refusal}); building here",
            names.join(", ")
        ));
    }
    let host = HostSetup::detect().await;
    // What others stand on, one after the other; then the rest side by side.
    let mut chain = Vec::new();
    for image in &to_build {
        for parent in image.ancestors() {
            if !chain.contains(&parent) && !is_present(engine, parent).await? {
                chain.push(parent);
            }
        }
    }
    for image in &chain {
        let elapsed = build_one(engine, image, &host, &refusal, progress).await?;
        note(reports, image, Outcome::Built, elapsed);
    }
    let mut waiting = to_build
        .into_iter()
        .filter(|image| !chain.contains(image))
        .collect::<Vec<_>>();
    waiting.sort_by_key(|image| image.weight);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(image) = waiting.pop()
        {
            let (host, refusal) = (&host, &refusal);
            running.push(async move { (image, build_one(engine, image, host, refusal, progress).await) });
        }
        let Some((image, built)) = running.next().await else {
            return Ok(());
        };
        note(reports, image, Outcome::Built, built?);
    }
}

async fn build_one(
    engine: &Engine,
    image: &'static Image,
    host: &HostSetup,
    refusal: &str,
    progress: &Progress,
) -> Result<Duration, EmulatorError> {
    let start = Instant::now();
    progress.status(format!("building {}", image.tag));
    if image.parent.is_none() {
        base::bootstrap(engine, image, refusal, progress).await?;
    } else {
        build::build(engine, image, host, progress).await?;
    }
    progress.status(format!("built {} in {}s", image.tag, start.elapsed().as_secs()));
    Ok(start.elapsed())
}
