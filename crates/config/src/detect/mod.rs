//! What `nuages init` sees: a Django project, known from its files alone.
//!
//! Invariant: no code of the project is ever run, and no file is ever written over.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # std::fs::write(dir.path().join("manage.py"), "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')")?;
//! use nuages_config::{ConfigFile, detect::Detected};
//!
//! let found = Detected::look(dir.path())?;
//! assert_eq!(found.settings.as_deref(), Some("shop.settings"));
//! // What it writes is valid, and says in its comments what it could not know.
//! assert!(ConfigFile::parse("nuages.toml", &found.render()).is_ok());
//! let path = found.write()?;
//! assert!(path.ends_with("nuages.toml"));
//! assert!(found.write().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dependencies;
mod files;
mod python;
mod render;
mod settings;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nuages_model::AppName;

use crate::{ConfigError, FILE_NAME};

pub use dependencies::LockFile;

/// What was found of a Django project.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent finding")]
pub struct Detected {
    /// The folder with `manage.py`.
    pub dir: PathBuf,
    /// A name for the application.
    pub name: AppName,
    /// The settings to deploy with: the project's production settings where it has some.
    pub settings: Option<String>,
    /// What serves it.
    pub server: Server,
    /// What pins its packages.
    pub lock: Option<LockFile>,
    /// Python, as `3.13`.
    pub python: String,
    /// The databases that it speaks to.
    pub database: DatabaseKind,
    /// The module of its Celery application.
    pub celery: Option<String>,
    /// Celery has periodic tasks.
    pub celery_beat: bool,
    /// WhiteNoise serves the static files.
    pub whitenoise: bool,
    /// `STATIC_ROOT` is set.
    pub static_root: bool,
    /// It has a `Dockerfile`.
    pub dockerfile: bool,
    /// The Dockerfile's stages, and whether it takes its base as `BASE`.
    pub stages: Vec<String>,
    /// The Dockerfile takes its base image as the argument `BASE`.
    pub takes_base: bool,
    /// The Dockerfile takes certificates for its build as the argument `NUAGES_CA_BUNDLE`.
    pub takes_certificates: bool,
    /// The environment variable that holds Django's secret key.
    pub secret_key: Option<String>,
    /// The environment variable that holds the allowed hosts.
    pub allowed_hosts: Option<String>,
    /// It has tests.
    pub tests: bool,
    /// Where it answers "alive?" and "ready?", as far as that can be seen.
    pub health: Option<(String, String)>,
    /// Every package that it names.
    pub packages: BTreeSet<String>,
}

/// What serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Through WSGI: the module, such as `blog.wsgi`.
    Wsgi(String),
    /// Through ASGI: the module, such as `blog.asgi`.
    Asgi(String),
}

/// The kind of database that a project speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// SQLite alone: a file that is gone with its container.
    Sqlite,
    /// It cannot be seen.
    Unknown,
}

impl Detected {
    /// Looks at the project in this folder, or in the only folder below it that has a `manage.py`.
    pub fn look(dir: &Path) -> Result<Self, ConfigError> {
        let dir = files::project_dir(dir)?;
        let settings = settings::look(&dir);
        let dependencies = dependencies::look(&dir);
        let dockerfile = files::text(&dir.join("Dockerfile"));
        let stages = dockerfile.as_deref().map(stages).unwrap_or_default();
        let takes = |argument: &str| {
            let lines = dockerfile.as_deref().into_iter().flat_map(str::lines);
            let argument = format!("ARG {argument}");
            lines
                .map(|line| line.trim_start().to_ascii_uppercase())
                .any(|line| line.starts_with(&argument))
        };
        let (takes_base, takes_certificates) = (takes("BASE"), takes("NUAGES_CA_BUNDLE"));
        let has = |name: &str| dependencies.packages.contains(name);

        let database = if has("psycopg") || has("psycopg2") || has("psycopg2-binary") || has("psycopg-binary") {
            DatabaseKind::Postgres
        } else if has("mysqlclient") || has("pymysql") {
            DatabaseKind::Mysql
        } else {
            settings.database
        };
        let asgi = settings.channels || (!has("gunicorn") && (has("uvicorn") || has("daphne") || has("hypercorn")));
        let package = settings.package.clone().unwrap_or_else(|| "mysite".to_owned());
        let server = if asgi {
            Server::Asgi(settings.asgi.clone().unwrap_or_else(|| format!("{package}.asgi")))
        } else {
            Server::Wsgi(settings.wsgi.clone().unwrap_or_else(|| format!("{package}.wsgi")))
        };
        let celery = has("celery").then(|| settings.celery.clone().unwrap_or_else(|| package.clone()));
        Ok(Self {
            name: name(&dir, dependencies.project_name.as_deref(), settings.package.as_deref()),
            settings: settings.module,
            server,
            lock: dependencies.lock,
            python: python::version(&dir, dockerfile.as_deref(), dependencies.requires_python.as_deref()),
            database,
            celery_beat: celery.is_some() && (has("django-celery-beat") || settings.beat),
            celery,
            whitenoise: has("whitenoise"),
            static_root: settings.static_root,
            dockerfile: dockerfile.is_some(),
            stages,
            takes_base,
            takes_certificates,
            secret_key: settings.secret_key,
            allowed_hosts: settings.allowed_hosts,
            tests: files::has_tests(&dir),
            health: files::health(&dir, has("django-health-check")),
            packages: dependencies.packages,
            dir,
        })
    }

    /// A `nuages.toml` for this project, with comments.
    pub fn render(&self) -> String {
        render::render(self)
    }

    /// What the person should do before the first deployment, a sentence each.
    pub fn advice(&self) -> Vec<String> {
        render::advice(self)
    }

    /// Writes the `nuages.toml`, unless there is one.
    pub fn write(&self) -> Result<PathBuf, ConfigError> {
        let path = self.dir.join(FILE_NAME);
        let failed = |source| ConfigError::Write {
            path: path.clone(),
            source,
        };
        match fs::File::create_new(&path) {
            Ok(mut file) => file.write_all(self.render().as_bytes()).map_err(failed)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(ConfigError::Exists { path }),
            Err(error) => return Err(failed(error)),
        }
        Ok(path)
    }
}

/// `FROM … AS name` of a Dockerfile.
fn stages(dockerfile: &str) -> Vec<String> {
    dockerfile
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let from = words.first()?.eq_ignore_ascii_case("from");
            let [.., keyword, name] = words.as_slice() else {
                return None;
            };
            (from && keyword.eq_ignore_ascii_case("as")).then(|| (*name).to_owned())
        })
        .collect()
}

fn name(dir: &Path, project: Option<&str>, package: Option<&str>) -> AppName {
    let folder = dir.file_name().and_then(|name| name.to_str());
    let names = [
        project,
        package.filter(|name| !matches!(*name, "config" | "core" | "mysite" | "project")),
        folder,
        package,
    ];
    names.into_iter().flatten().find_map(app_name).unwrap_or_else(|| {
        // "site" is a valid name: it begins with a letter and is short.
        app_name("site").unwrap_or_else(|| unreachable!("a constant name is valid"))
    })
}

/// The nearest valid application name.
fn app_name(text: &str) -> Option<AppName> {
    let mut name = String::new();
    for character in text.to_lowercase().chars() {
        if character.is_ascii_alphanumeric() {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name = &name[..name.len().min(AppName::MAX)];
    name.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stages_of_a_dockerfile() {
        let text = "ARG BASE\nFROM ${BASE} AS base\nfrom base as test\nFROM x\nRUN echo FROM a AS b\n# FROM c AS d\n";
        assert_eq!(stages(text), ["base", "test"]);
    }

    proptest! {
        #[test]
        fn any_folder_gives_a_name(text in "\\PC{0,40}") {
            let _ = name(Path::new(&text), Some(&text), Some(&text));
        }
    }
}
