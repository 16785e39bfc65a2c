//! What a project's folder says of the packages that it needs, as one list in which each is pinned.
//!
//! A lock is translated, by `uv` where it is uv's own. What has no lock is resolved once by `uv`, for the base's Python and
//! platform, and kept in [`nuages.lock`](crate::Pins).
//!
//! Invariant: nothing is resolved here, and no marker is evaluated: `uv` does both, for the image and not for this machine.
//! A lock of something else than what stands beside it is refused.

mod content_hash;
mod first_party;
mod pipfile_lock;
mod poetry_lock;
mod poetry_project;
mod pylock;
mod requirements_txt;
#[cfg(test)]
mod tests;
mod unlocked;
mod uv_lock;

use std::path::{Path, PathBuf};

use nuages_model::Progress;
use toml::{Table, Value};

pub use self::first_party::FirstParty;
use self::first_party::{Local, get};
pub(crate) use self::requirements_txt::RequirementsFile;
use crate::contents::Contents;
use crate::packages::{Index, Pinned, Requirements, Uv};
use crate::{BlobStore, ImageError, Pins};

/// A longer file is no lock.
const LONGEST: u64 = 32 << 20;

/// Groups of these names are for checks.
const CHECK_GROUPS: [&str; 9] = [
    "dev",
    "develop",
    "development",
    "test",
    "tests",
    "testing",
    "lint",
    "typing",
    "checks",
];

/// Python's public index: what package managers mean where no other is named.
const PUBLIC_INDEX: &str = concat!("https://py", "pi.org/simple");

/// Files of these names list what an application needs, the first that is there.
const REQUIREMENTS: [&str; 4] = [
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
];

/// And these what its checks need as well.
const REQUIREMENTS_OF_CHECKS: [&str; 10] = [
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements_dev.txt",
    "requirements_test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "requirements/dev.txt",
    "requirements/development.txt",
    "requirements/test.txt",
    "requirements/local.txt",
];

/// For what packages are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What the application needs.
    Main,
    /// That, and what its tests and checks need: the development groups.
    Checks,
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Main => "main",
            Self::Checks => "checks",
        })
    }
}

/// What a project's folder says of its packages.
///
/// ```
/// # fn main() -> Result<(), nuages_image::ImageError> {
/// # let folder = tempfile::tempdir().unwrap();
/// # std::fs::write(folder.path().join("requirements.txt"), "Django>=5.2\n").unwrap();
/// let dependencies = nuages_image::Dependencies::find(folder.path())?.unwrap();
/// assert_eq!(dependencies.told(), "packages come from requirements.txt; nuages.lock pins their versions");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Dependencies {
    project: PathBuf,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    UvLock,
    PoetryLock,
    PipfileLock,
    Pylock,
    Hashed(&'static str),
    Requirements(&'static str),
    Project,
    PoetryProject,
}

/// A list in which everything is pinned, and what is not on it because it is the project's own.
#[derive(Debug, Clone)]
pub struct Locked {
    /// What [`Packages::install`](crate::Packages::install) installs.
    pub requirements: Requirements,
    /// What the layer of the code holds.
    pub first_party: Vec<FirstParty>,
}

/// What a translator found.
#[derive(Debug, Default)]
struct Found {
    packages: Vec<Pinned>,
    local: Vec<Local>,
    indexes: Vec<Index>,
}

impl Dependencies {
    /// Looks into a project's folder. `None` if nothing there names packages.
    pub fn find(project: &Path) -> Result<Option<Self>, ImageError> {
        let there = |name: &str| project.join(name).is_file();
        let found = |source| {
            Ok(Some(Self {
                project: project.to_owned(),
                source,
            }))
        };
        let renew = |why: &str, hint: &str| Err(ImageError::packages(why, Some(hint.to_owned())));
        if there("uv.lock") {
            return found(Source::UvLock);
        }
        if there("poetry.lock") {
            return found(Source::PoetryLock);
        }
        if there("Pipfile.lock") {
            return found(Source::PipfileLock);
        }
        if there("pylock.toml") {
            return found(Source::Pylock);
        }
        let requirements = REQUIREMENTS.into_iter().find(|name| there(name));
        if there("pdm.lock") && requirements.is_none() {
            return renew(
                "pdm.lock cannot be read by anything but PDM",
                "write it in a form that all tools read: `pdm export --prod --format requirements --output requirements.txt`",
            );
        }
        if there("Pipfile") && requirements.is_none() {
            return renew("there is a Pipfile without a Pipfile.lock", "make one: `pipenv lock`");
        }
        if let Some(name) = requirements {
            let file = RequirementsFile::read(&project.join(name))?;
            return found(if file.is_hashed() {
                Source::Hashed(name)
            } else {
                Source::Requirements(name)
            });
        }
        let Some(manifest) = table(&project.join("pyproject.toml"))? else {
            return Ok(None);
        };
        let dynamic = get(&manifest, &["project", "dynamic"]).and_then(Value::as_array);
        let of_a_program = dynamic.is_some_and(|names| names.iter().any(|name| name.as_str() == Some("dependencies")));
        if get(&manifest, &["project", "dependencies"]).is_some() {
            return found(Source::Project);
        }
        if get(&manifest, &["tool", "poetry", "dependencies"]).is_some() {
            return found(Source::PoetryProject);
        }
        if of_a_program { found(Source::Project) } else { Ok(None) }
    }

    /// In one sentence where packages come from.
    pub fn told(&self) -> String {
        let name = match self.source {
            Source::UvLock => "uv.lock",
            Source::PoetryLock => "poetry.lock",
            Source::PipfileLock => "Pipfile.lock",
            Source::Pylock => "pylock.toml",
            Source::Hashed(name) => name,
            Source::Requirements(name) => {
                return format!("packages come from {name}; nuages.lock pins their versions");
            }
            Source::Project | Source::PoetryProject => {
                return "packages come from pyproject.toml; nuages.lock pins their versions".to_owned();
            }
        };
        format!("packages come from {name}")
    }

    /// The files that decide it, with those that they include.
    pub fn files(&self) -> Result<Vec<PathBuf>, ImageError> {
        let names: Vec<&str> = match self.source {
            Source::UvLock => vec!["uv.lock", "pyproject.toml"],
            Source::PoetryLock => vec!["poetry.lock", "pyproject.toml"],
            Source::PipfileLock => vec!["Pipfile.lock", "Pipfile"],
            Source::Pylock => vec!["pylock.toml"],
            Source::Project | Source::PoetryProject => vec!["pyproject.toml"],
            Source::Hashed(name) | Source::Requirements(name) => {
                let mut files = RequirementsFile::read(&self.project.join(name))?.files;
                for name in self.of_checks() {
                    files.extend(RequirementsFile::read(&self.project.join(name))?.files);
                }
                files.dedup();
                return Ok(files);
            }
        };
        let files = names.into_iter().map(|name| self.project.join(name));
        Ok(files.filter(|file| file.is_file()).collect())
    }

    fn of_checks(&self) -> Vec<&'static str> {
        let there = |name: &&str| self.project.join(name).is_file();
        REQUIREMENTS_OF_CHECKS.into_iter().filter(there).collect()
    }

    /// The list, for a base. What has no lock is taken from `pins`, or resolved and put there.
    pub async fn lock(
        &self,
        group: Group,
        base: &Contents,
        platform: &str,
        pins: &mut Pins,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Locked, ImageError> {
        let project = self.project.as_path();
        let of_file = |file: RequirementsFile| {
            let (packages, local) = file.pinned(project)?;
            Ok::<_, ImageError>(Found {
                packages,
                local,
                indexes: file.indexes,
            })
        };
        let found = match self.source {
            Source::UvLock => {
                uv_lock::check(project)?;
                let uv = Uv::obtain(&store.packages(), progress).await?;
                of_file(uv_lock::export(project, group, &uv).await?)?
            }
            Source::PoetryLock => poetry_lock::translate(project, group)?,
            Source::PipfileLock => pipfile_lock::translate(project, group)?,
            Source::Pylock => pylock::translate(project, group)?,
            Source::Hashed(name) => {
                let main = RequirementsFile::read(&project.join(name))?;
                let of_checks = if group == Group::Checks {
                    self.of_checks()
                } else {
                    Vec::new()
                };
                let mut all = of_file(main)?;
                for name in of_checks {
                    let more = RequirementsFile::read(&project.join(name))?;
                    if !more.is_hashed() {
                        return Err(ImageError::packages(
                            format!("a package in {name} has no version or no hash"),
                            Some(format!(
                                "write them as for the application: `uv pip compile --universal --generate-hashes INPUT -o {name}`"
                            )),
                        ));
                    }
                    let more = of_file(more)?;
                    // What the application runs with is what is checked.
                    let there = |package: &Pinned| all.packages.iter().any(|other| other.name == package.name);
                    let packages: Vec<Pinned> = more.packages.into_iter().filter(|package| !there(package)).collect();
                    all.packages.extend(packages);
                    all.local.extend(more.local);
                    all.indexes.extend(more.indexes);
                }
                all
            }
            Source::Requirements(_) | Source::Project | Source::PoetryProject => {
                let asked = unlocked::Asked::of(self, group)?;
                asked.resolve(base, platform, pins, store, progress).await?
            }
        };
        for package in &found.packages {
            package.check()?;
        }
        let mut local = found.local;
        local.sort();
        local.dedup();
        let first_party = local.iter().map(|local| FirstParty::look(project, local));
        Ok(Locked {
            first_party: first_party.collect::<Result<_, _>>()?,
            requirements: Requirements::new(found.packages, found.indexes, project, platform),
        })
    }
}

/// The groups of PEP 735 that are for checks.
fn check_groups(manifest: &Table) -> Vec<String> {
    let groups = manifest.get("dependency-groups").and_then(Value::as_table);
    let names = groups.into_iter().flat_map(Table::keys);
    names
        .filter(|name| CHECK_GROUPS.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// Reads a text of the project.
fn read(file: &Path) -> Result<String, ImageError> {
    let length = std::fs::metadata(file).map_err(ImageError::file("read", file))?.len();
    if length > LONGEST {
        return Err(ImageError::packages(
            format!(
                "{} has {length} bytes, which is more than any list of packages",
                file.display()
            ),
            None,
        ));
    }
    std::fs::read_to_string(file).map_err(ImageError::file("read", file))
}

/// Reads a TOML file, if it is there.
fn table(file: &Path) -> Result<Option<Table>, ImageError> {
    if !file.exists() {
        return Ok(None);
    }
    let parsed: Result<Table, _> = read(file)?.parse();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let odd = |error: toml::de::Error| ImageError::packages(format!("{name}: {}", error.message()), None);
    parsed.map(Some).map_err(odd)
}
