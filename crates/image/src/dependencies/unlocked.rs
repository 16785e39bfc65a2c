//! Packages without a lock: `uv` resolves them once, and `nuages.lock` keeps what it chose.
//!
//! Invariant: what was chosen stays until what was asked for changes or somebody renews it. Then what may stay as it was
//! does.

use std::path::{Path, PathBuf};

use nuages_model::{Digest, Progress, Sha256};
use toml::Value;

use super::content_hash::json;
use super::first_party::{Local, get, text};
use super::requirements_txt::What;
use super::{Dependencies, Found, Group, RequirementsFile, Source, check_groups, poetry_project, read, table};
use crate::contents::{Contents, Libc};
use crate::packages::{self, At, Pinned, Uv, has_password, text as listed};
use crate::pins::PackagesPin;
use crate::{BlobStore, ImageError, Pinning, Pins};

/// Something that `uv` is asked to resolve.
#[derive(Debug)]
pub(super) struct Asked {
    project: PathBuf,
    group: Group,
    /// The project's files, as `uv` is told them.
    files: Vec<String>,
    /// In place of files: lines made here.
    lines: Option<String>,
    /// Groups of `pyproject.toml`.
    groups: Vec<String>,
    /// What tells this question from any other.
    input: Digest,
    /// What it asks for where the application is asked for alone.
    main: Option<Box<Asked>>,
}

impl Asked {
    pub(super) fn of(dependencies: &Dependencies, group: Group) -> Result<Self, ImageError> {
        let project = dependencies.project.as_path();
        let main = match group {
            Group::Main => None,
            Group::Checks => Some(Box::new(Self::of(dependencies, Group::Main)?)),
        };
        let checks = group == Group::Checks;
        let mut hash = Parts(Sha256::new());
        let (mut files, mut lines, mut groups) = (Vec::new(), None, Vec::new());
        if let Source::Requirements(name) = dependencies.source {
            files.push(name.to_owned());
            if checks {
                files.extend(dependencies.of_checks().into_iter().map(str::to_owned));
            }
            for name in &files {
                let file = RequirementsFile::read(&project.join(name))?;
                for file in &file.files {
                    hash.file(project, file)?;
                }
                for wanted in &file.wanted {
                    if let What::Path { path, .. } = &wanted.what
                        && !path.contains("://")
                    {
                        hash.manifests(project, &project.join(path.split('[').next().unwrap_or_default()))?;
                    }
                }
            }
        } else {
            let file = project.join("pyproject.toml");
            let manifest = table(&file)?.unwrap_or_default();
            if checks {
                groups = check_groups(&manifest);
            }
            if dependencies.source == Source::PoetryProject {
                let made = poetry_project::requirements(&manifest, checks)?;
                hash.part(made.as_bytes());
                lines = Some(made);
                groups.clear();
            } else {
                files.push("pyproject.toml".to_owned());
                let mut asks = toml::Table::new();
                for name in ["dependencies", "optional-dependencies", "requires-python", "dynamic"] {
                    if let Some(value) = get(&manifest, &["project", name]) {
                        asks.insert(name.to_owned(), value.clone());
                    }
                }
                for (name, path) in [("groups", &["dependency-groups"][..]), ("uv", &["tool", "uv"])] {
                    if let Some(value) = get(&manifest, path) {
                        asks.insert(name.to_owned(), value.clone());
                    }
                }
                match json(&asks) {
                    Some(asks)
                        if !asks
                            .get("dynamic")
                            .is_some_and(|names| names.to_string().contains("\"dependencies\"")) =>
                    {
                        hash.part(asks.to_string().as_bytes());
                    }
                    _ => {
                        hash.manifests(project, project)?;
                        for name in super::REQUIREMENTS {
                            hash.manifest(project, &project.join(name))?;
                        }
                    }
                }
                let sources = get(&manifest, &["tool", "uv", "sources"]).and_then(Value::as_table);
                for (_, source) in sources.into_iter().flatten() {
                    if let Some(path) = source.as_table().and_then(|source| text(source, &["path"])) {
                        hash.manifests(project, &project.join(path))?;
                    }
                }
            }
        }
        for group in &groups {
            hash.part(group.as_bytes());
        }
        Ok(Self {
            project: project.to_owned(),
            group,
            files,
            lines,
            groups,
            input: hash.0.finish(),
            main,
        })
    }

    fn called(&self) -> String {
        let names = if self.files.is_empty() {
            vec!["pyproject.toml".to_owned()]
        } else {
            self.files.clone()
        };
        names.join(" and ")
    }

    pub(super) async fn resolve(
        &self,
        base: &Contents,
        platform: &str,
        pins: &mut Pins,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Found, ImageError> {
        let pinning = pins.pinning();
        let python = packages::python(base)?.version;
        let target = packages::target(base.libc, platform)?;
        let place = PackagesPin {
            group: self.group.to_string(),
            python: format!("{}.{}", python.0, python.1),
            platform: platform.to_owned(),
            libc: match base.libc {
                Some(Libc::Musl(..)) => "musl".to_owned(),
                _ => "glibc".to_owned(),
            },
            from: self.called(),
            input: self.input.clone(),
            first_party: Vec::new(),
            list: String::new(),
        };
        let known = pins.packages(&place).cloned();
        if let Some(known) = &known
            && known.input == self.input
            && pinning != Pinning::Upgrade
        {
            return self.found(known);
        }
        if pinning == Pinning::Frozen {
            return Err(pins.refuse(match known {
                Some(_) => format!("{} was changed since it was written", self.called()),
                None => format!(
                    "it lacks the versions of {} for Python {} on {platform}",
                    self.called(),
                    place.python
                ),
            }));
        }
        let main = match &self.main {
            Some(main) => {
                let found = Box::pin(main.resolve(base, platform, pins, store, progress)).await?;
                Some(found.packages)
            }
            None => None,
        };
        let uv = Uv::obtain(&store.packages(), progress).await?;
        progress.status(format!("choosing versions for {}", self.called()));
        let part = tempfile::tempdir_in(store.packages()).map_err(ImageError::file("write", store.packages()))?;
        let written = |name: &str, content: &str| {
            let path = part.path().join(name);
            std::fs::write(&path, content).map_err(ImageError::file("write", &path))?;
            Ok::<_, ImageError>(path.display().to_string())
        };
        let out = match known.filter(|_| pinning != Pinning::Upgrade) {
            // What stands in it already is what uv prefers.
            Some(known) => written("out.txt", &known.list)?,
            None => part.path().join("out.txt").display().to_string(),
        };
        let version = place.python.clone();
        let mut words: Vec<String> = [
            "pip",
            "compile",
            "--quiet",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
        ]
        .map(str::to_owned)
        .into();
        words.extend(
            [
                "--python-version",
                &version,
                "--python-platform",
                &target,
                "--output-file",
                &out,
            ]
            .map(str::to_owned),
        );
        if let Some(main) = &main {
            words.extend(["--constraint".to_owned(), written("main.txt", &constraints(main))?]);
        }
        for group in &self.groups {
            words.extend(["--group".to_owned(), group.clone()]);
        }
        match &self.lines {
            Some(lines) => words.push(written("asked.txt", lines)?),
            None => words.extend(self.files.iter().cloned()),
        }
        // First only what needs no building; a package that is published as source alone may be built.
        let strict: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .chain(["--only-binary", ":all:"])
            .collect();
        let failed = format!("uv found no versions for {}", self.called());
        if uv.run(&strict, &self.project, &failed).await.is_err() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            uv.run(&words, &self.project, &failed).await?;
        }
        let text = read(Path::new(&out))?;
        let file = RequirementsFile::of_text(&text, &self.project)?;
        let (packages, local) = file.pinned(&self.project)?;
        for package in &packages {
            package.check()?;
            if let At::File(address) | At::Commit(address) = &package.at
                && has_password(address)
            {
                return Err(ImageError::packages(
                    format!(
                        "the address of {} holds a password, which nuages.lock must not",
                        package.name
                    ),
                    Some(
                        "write it as a variable, such as `https://${TOKEN}@host/…`, and set that in the environment"
                            .into(),
                    ),
                ));
            }
        }
        let mut packages = packages;
        packages.sort();
        let made = PackagesPin {
            first_party: local.iter().map(|local| slashed(&local.path)).collect(),
            list: listed(&packages),
            ..place
        };
        let found = self.found(&made)?;
        pins.put_packages(made);
        Ok(found)
    }

    /// What stands in the lock.
    fn found(&self, pin: &PackagesPin) -> Result<Found, ImageError> {
        let (packages, mut local) = RequirementsFile::of_text(&pin.list, &self.project)?.pinned(&self.project)?;
        for path in &pin.first_party {
            local.push(Local::within(&self.project, &self.project.join(path), "nuages.lock")?);
        }
        let mut indexes = Vec::new();
        for name in self.files.iter().filter(|name| *name != "pyproject.toml") {
            indexes.extend(RequirementsFile::read(&self.project.join(name))?.indexes);
        }
        Ok(Found {
            packages,
            local,
            indexes,
        })
    }
}

fn slashed(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        ".".to_owned()
    } else {
        path.display().to_string().replace('\\', "/")
    }
}

/// Versions alone: what the application runs with is what is checked.
fn constraints(packages: &[Pinned]) -> String {
    let lines = packages.iter().filter_map(|package| match &package.at {
        At::Version(version) => Some(format!("{}=={version}\n", package.name)),
        _ => None,
    });
    lines.collect()
}

struct Parts(Sha256);

impl Parts {
    fn part(&mut self, content: &[u8]) {
        self.0.update(&(content.len() as u64).to_le_bytes());
        self.0.update(content);
    }

    fn file(&mut self, project: &Path, file: &Path) -> Result<(), ImageError> {
        let name = file
            .strip_prefix(super::requirements_txt::clean(project))
            .unwrap_or(file);
        self.part(slashed(name).as_bytes());
        // The ends of lines differ between systems, and mean nothing.
        self.part(read(file)?.replace("\r\n", "\n").as_bytes());
        Ok(())
    }

    fn manifest(&mut self, project: &Path, file: &Path) -> Result<(), ImageError> {
        if file.is_file() {
            self.file(project, file)
        } else {
            Ok(())
        }
    }

    /// What a folder says of the packages that it needs.
    fn manifests(&mut self, project: &Path, folder: &Path) -> Result<(), ImageError> {
        let folder = super::requirements_txt::clean(folder);
        for name in ["pyproject.toml", "setup.cfg", "setup.py"] {
            self.manifest(project, &folder.join(name))?;
        }
        Ok(())
    }
}
