//! Python packages as layers: what a project's lock names, installed for the base image and not for this machine.
//!
//! `uv` resolves nothing here: it fetches the wheels that the lock names by their hashes, and unpacks them. What is
//! published as source alone is built, if its wheel is for any machine. What does not fit the base is refused before
//! anything is pushed, with the package's name.
//!
//! The most stable stands first: large packages in layers of their own, the others in a few buckets by their names. Who
//! changes one package sends that package's layer, and no other.
//!
//! Invariant: the same lock and the same base give the same layers on every machine.

mod compiled;
mod fit;
mod installed;
mod layers;
mod record;
mod requirements;
mod scripts;
mod uv;

use std::path::{Path, PathBuf};

use nuages_model::{Digest, Progress, Sha256};

use self::installed::Installed;
pub(crate) use self::installed::normal;
pub use self::layers::VENV;
pub(crate) use self::layers::beside;
pub use self::requirements::Requirements;
pub(crate) use self::requirements::{At, Index, Pinned, is_hash, text};
pub(crate) use self::uv::{Uv, has_password, without_passwords};
use crate::contents::{Contents, Libc, Python};
use crate::{BlobStore, ImageError, Tree};

/// What is installed otherwise gets another folder.
pub(crate) const FORMAT: &str = "packages-1";

/// Packages that are installed on this machine for an image.
#[derive(Debug, Clone)]
pub struct Packages {
    installed: Installed,
    pinned: Vec<Pinned>,
    python: Python,
    /// Where their compiled modules are, once they are.
    bytecode: Option<PathBuf>,
}

impl Packages {
    /// Installs what a lock names, for what a base holds. What was installed before is found again.
    pub async fn install(
        requirements: &Requirements,
        base: &Contents,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        let python = python(base)?.clone();
        let folder = store.packages().join(requirements.key(base)?.hex());
        if !folder.is_dir() {
            let uv = Uv::obtain(&store.packages(), progress).await?;
            let part = tempfile::tempdir_in(store.packages()).map_err(ImageError::file("write", store.packages()))?;
            let target = target(base.libc, requirements.platform())?;
            let into = part.path().join("packages");
            uv.install(requirements, &into, &target, python.version, progress)
                .await?;
            fit::check(&Installed::read(&into)?, base, requirements.platform())?;
            // Another process may have been faster; what it made is the same.
            let made = std::fs::rename(&into, &folder);
            if !folder.is_dir() {
                made.map_err(ImageError::file("write", &folder))?;
            }
        }
        Ok(Self {
            installed: Installed::read(&folder)?,
            pinned: requirements.packages.clone(),
            python,
            bytecode: None,
        })
    }

    /// The packages, by name and version.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        let packages = self.installed.packages.iter();
        packages.map(|package| (package.name.as_str(), package.version.as_str()))
    }

    /// Name, version and METADATA of each.
    pub(crate) fn metadata(&self) -> Result<Vec<(String, String, String)>, ImageError> {
        let each = self.installed.packages.iter().map(|package| {
            let path = below(&self.installed.folder, &package.info).join("METADATA");
            let metadata = std::fs::read_to_string(&path).map_err(ImageError::file("read", path))?;
            Ok((package.name.clone(), package.version.clone(), metadata))
        });
        each.collect()
    }

    /// As the lock has them, with those that are not installed here.
    pub(crate) fn pinned(&self) -> &[Pinned] {
        &self.pinned
    }

    /// Those that others lack: what checks need beside what the application has. Their layers go on top of the others'.
    #[must_use]
    pub fn beside(&self, others: &Self) -> Self {
        let there = |package: &installed::Package| {
            let mut others = others.installed.packages.iter();
            others.any(|other| (&other.name, &other.version) == (&package.name, &package.version))
        };
        let mut beside = self.clone();
        beside.installed.packages.retain(|package| !there(package));
        beside
    }

    /// The folder into which they are installed, flat.
    pub(crate) fn folder(&self) -> &Path {
        &self.installed.folder
    }

    /// The Python that they are installed for.
    pub(crate) fn python(&self) -> &Python {
        &self.python
    }

    /// Where they are imported from in the image.
    pub(crate) fn site(&self) -> String {
        layers::site_packages(&self.python)
    }

    /// Packages of these names that hold nothing.
    #[cfg(test)]
    pub(crate) fn named(names: &[&str]) -> Self {
        Self {
            installed: Installed {
                folder: PathBuf::from("/nothing"),
                packages: names
                    .iter()
                    .map(|&name| installed::Package {
                        name: name.to_owned(),
                        ..installed::Package::default()
                    })
                    .collect(),
            },
            python: Python {
                path: "/usr/bin/python3.13".into(),
                version: (3, 13),
            },
            pinned: Vec::new(),
            bytecode: None,
        }
    }

    /// Whether none of them is compiled for a machine.
    pub(crate) fn is_pure(&self) -> bool {
        let mut files = self.installed.packages.iter().flat_map(|package| &package.files);
        !files.any(|file| file.path.rsplit('/').next().is_some_and(|name| name.contains(".so")))
    }

    /// The layers in their order, each with a title. They make up a virtual environment at [`VENV`].
    pub fn layers(&self) -> Result<Vec<(String, Tree)>, ImageError> {
        layers::of(self)
    }
}

impl Requirements {
    /// What tells the layers of these packages on this base from any others. Nothing is installed for it.
    pub fn key(&self, base: &Contents) -> Result<Digest, ImageError> {
        let (major, minor) = python(base)?.version;
        let (target, python) = (target(base.libc, self.platform())?, format!("{major}.{minor}"));
        let mut key = Sha256::new();
        for part in [FORMAT, uv::PIN, &target, &python, &self.text()] {
            key.update(&(part.len() as u64).to_le_bytes());
            key.update(part.as_bytes());
        }
        Ok(key.finish())
    }
}

/// The Python that packages are for.
pub(crate) fn python(base: &Contents) -> Result<&Python, ImageError> {
    base.python.as_ref().ok_or_else(|| {
        ImageError::packages(
            "the base image has no Python on its PATH",
            Some("name a base that has one, such as python:3.13-slim, in `[build] base`".into()),
        )
    })
}

/// The version of uv that is used.
pub(crate) fn uv_version() -> &'static str {
    let first = uv::PIN.lines().next().unwrap_or_default();
    first.trim_start_matches("uv==").trim_end_matches('\\').trim()
}

/// For what wheels are wanted, in uv's words. A wheel for an older glibc runs on a newer one, so the newest that uv knows
/// and the base has is asked for.
pub(crate) fn target(libc: Option<Libc>, platform: &str) -> Result<String, ImageError> {
    const KNOWN: [u32; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];
    let machine = match platform {
        "linux/amd64" => "x86_64",
        "linux/arm64" | "linux/arm64/v8" => "aarch64",
        other => {
            return Err(ImageError::Packages {
                why: format!("there is no way to choose packages for the platform {other}"),
                hint: Some("use linux/amd64 or linux/arm64".into()),
            });
        }
    };
    let refuse = |why: &str, hint: &str| ImageError::Packages {
        why: why.to_owned(),
        hint: Some(hint.to_owned()),
    };
    match libc {
        Some(Libc::Glibc(2, minor)) => {
            let known = KNOWN.into_iter().rfind(|known| *known <= minor);
            let too_old = || {
                refuse(
                    &format!("there are no wheels for glibc 2.{minor}"),
                    "build on a newer image",
                )
            };
            known
                .map(|known| format!("{machine}-manylinux_2_{known}"))
                .ok_or_else(too_old)
        }
        Some(Libc::Musl(..)) => Ok(format!("{machine}-unknown-linux-musl")),
        Some(Libc::Glibc(..)) | None => Err(refuse(
            "the base image has no C library that is known",
            "build on an image of Debian, Ubuntu or Alpine",
        )),
    }
}

fn below(folder: &Path, path: &str) -> PathBuf {
    path.split('/')
        .fold(folder.to_owned(), |folder, name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_what_the_base_is() {
        let glibc = |minor| Some(Libc::Glibc(2, minor));
        assert_eq!(target(glibc(36), "linux/amd64").unwrap(), "x86_64-manylinux_2_36");
        assert_eq!(target(glibc(30), "linux/amd64").unwrap(), "x86_64-manylinux_2_28");
        target(glibc(4), "linux/amd64").unwrap_err();
        assert_eq!(target(glibc(41), "linux/arm64").unwrap(), "aarch64-manylinux_2_40");
        assert_eq!(
            target(Some(Libc::Musl(1, 2)), "linux/amd64").unwrap(),
            "x86_64-unknown-linux-musl"
        );
        target(None, "linux/amd64").unwrap_err();
        target(glibc(36), "linux/riscv64").unwrap_err();
    }
}
