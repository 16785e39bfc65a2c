//! The task that runs the driver: the driver itself and its request, on the command line.
//!
//! Invariant: nothing here is secret, since whoever may describe tasks sees a task's command; and a request that would
//! not fit into ECS's limit is refused before anything starts.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuages_model::{ReleaseId, TaskKey, TaskRequest};
use serde::Serialize;

use crate::MigrateError;

/// What a task's overrides may have in all, as JSON (Amazon ECS API reference, `TaskOverride`), in characters.
pub const COMMAND_LIMIT: usize = 8192;

/// For the container's name and the fields around command and environment.
const FRAMING: usize = 512;

const DRIVER: &str = include_str!("driver.py");

/// How the project's management commands are started: an interpreter and a script.
///
/// ```
/// use nuages_migrate::Manage;
/// let manage: Manage = "python manage.py".parse()?;
/// assert_eq!(manage, Manage::default());
/// assert!("./manage.sh".parse::<Manage>().is_err());
/// # Ok::<(), nuages_migrate::MigrateError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manage {
    interpreter: Vec<String>,
    script: Option<String>,
}

impl Default for Manage {
    fn default() -> Self {
        Self {
            interpreter: vec!["python".into()],
            script: Some("manage.py".into()),
        }
    }
}

impl Manage {
    /// From a command such as `["uv", "run", "python", "manage.py"]`, or `["python", "-m", "django"]` for a project
    /// without a script, whose settings stand in `DJANGO_SETTINGS_MODULE`.
    pub fn new(command: &[impl AsRef<str>]) -> Result<Self, MigrateError> {
        let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
        let is_python =
            |word: Option<&&str>| word.is_some_and(|w| w.rsplit('/').next().unwrap_or(w).starts_with("python"));
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        match words.as_slice() {
            [before @ .., "-m", "django"] if is_python(before.last()) => Ok(Self {
                interpreter: owned(before),
                script: None,
            }),
            [before @ .., script]
                if is_python(before.last()) && std::path::Path::new(script).extension().is_some_and(|e| e == "py") =>
            {
                Ok(Self {
                    interpreter: owned(before),
                    script: Some((*script).to_owned()),
                })
            }
            _ => Err(MigrateError::Manage {
                command: words.join(" "),
            }),
        }
    }
}

impl FromStr for Manage {
    type Err = MigrateError;
    fn from_str(command: &str) -> Result<Self, MigrateError> {
        Self::new(&command.split_whitespace().collect::<Vec<_>>())
    }
}

impl fmt::Display for Manage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.interpreter.join(" "))?;
        match &self.script {
            Some(script) => write!(f, " {script}"),
            None => f.write_str(" -m django"),
        }
    }
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read only.
    Probe,
    /// Migrate.
    Apply,
}

/// One release's migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationRun {
    /// The release whose image runs them.
    pub release: ReleaseId,
    /// A task that failed is found again by its key, so another attempt needs another number.
    pub attempt: u32,
    /// Aliases in `DATABASES`; none means all of them but mirrors.
    pub databases: Vec<String>,
    /// How management commands are started.
    pub manage: Manage,
    /// How long a statement of a migration waits for a lock on a table before it gives up (PostgreSQL).
    pub lock_timeout: Duration,
    /// How long to wait for another migration of the same database to end.
    pub lock_wait: Duration,
}

impl MigrationRun {
    /// The release's first attempt, with two seconds for table locks and a minute for another migration.
    ///
    /// ```
    /// use nuages_migrate::{MigrationRun, Verb};
    /// let run = MigrationRun::new(nuages_model::ReleaseId::generate());
    /// let task = run.task(Verb::Probe)?;
    /// assert_eq!(task.command[..2], ["python", "-c"]);
    /// # Ok::<(), nuages_migrate::MigrateError>(())
    /// ```
    pub fn new(release: ReleaseId) -> Self {
        Self {
            release,
            attempt: 1,
            databases: Vec::new(),
            manage: Manage::default(),
            lock_timeout: Duration::from_secs(2),
            lock_wait: Duration::from_mins(1),
        }
    }

    /// What the task of this run is found again by; also the run's id in its log.
    pub fn key(&self, verb: Verb) -> Result<TaskKey, MigrateError> {
        let letter = match verb {
            Verb::Probe => 'p',
            Verb::Apply => 'm',
        };
        format!("{}-{letter}{}", self.release, self.attempt)
            .parse()
            .map_err(|source| MigrateError::Task {
                what: "name the migration's task",
                source,
            })
    }

    /// The task: the driver, compressed, and its request.
    pub fn task(&self, verb: Verb) -> Result<TaskRequest, MigrateError> {
        #[derive(Serialize)]
        struct Request<'a> {
            run: &'a str,
            verb: Verb,
            databases: &'a [String],
            script: Option<&'a str>,
            lock_timeout_ms: u128,
            lock_wait_s: u64,
        }
        let key = self.key(verb)?;
        let request = serde_json::json!(Request {
            run: key.as_str(),
            verb,
            databases: &self.databases,
            script: self.manage.script.as_deref(),
            lock_timeout_ms: self.lock_timeout.as_millis(),
            lock_wait_s: self.lock_wait.as_secs(),
        });
        let mut command = self.manage.interpreter.clone();
        command.extend(["-c".to_owned(), program().to_owned(), request.to_string()]);
        let env = BTreeMap::from([
            // Who it is, in pg_stat_activity; and lines as they are printed.
            ("PGAPPNAME".to_owned(), format!("nuages-migrate:{key}")),
            ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
        ]);
        let size = serde_json::json!([command, env]).to_string().len() + FRAMING;
        if size > COMMAND_LIMIT {
            return Err(MigrateError::TooLong { size });
        }
        Ok(TaskRequest { key, command, env })
    }
}

/// The driver as one argument of `python -c`.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let packed = pack(&bare(DRIVER)).unwrap_or_default();
        format!("import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')))")
    })
}

/// Without comments and blank lines.
fn bare(source: &str) -> String {
    let kept = source
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn pack(source: &str) -> std::io::Result<String> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(source.as_bytes())?;
    Ok(STANDARD.encode(packer.finish()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> MigrationRun {
        MigrationRun::new(ReleaseId::generate())
    }

    #[test]
    fn fits_the_limit_with_room() {
        let mut run = run();
        run.attempt = 99_999;
        run.databases = (0..12).map(|n| format!("a_long_alias_{n}")).collect();
        run.manage = "/app/.venv/bin/python3.13 backend/source/manage.py".parse().unwrap();
        for verb in [Verb::Probe, Verb::Apply] {
            let task = run.task(verb).unwrap();
            let environment: Vec<_> = task
                .env
                .iter()
                .map(|(name, value)| serde_json::json!({"name": name, "value": value}))
                .collect();
            let overrides = serde_json::json!({"containerOverrides": [{
                "name": "a-service-name-of-24-cha", "command": task.command, "environment": environment,
            }]});
            let size = overrides.to_string().len();
            assert!(size < 7_000, "{size} characters: too near to {COMMAND_LIMIT}");
        }
    }

    #[test]
    fn too_many_aliases_are_refused_before_anything_starts() {
        let mut run = run();
        run.databases = (0..200).map(|n| format!("a_long_alias_{n}")).collect();
        assert!(matches!(run.task(Verb::Apply), Err(MigrateError::TooLong { .. })));
    }

    #[test]
    fn keys_differ_by_verb_and_attempt_and_are_stable() {
        let mut run = run();
        let first = run.key(Verb::Apply).unwrap();
        assert_eq!(first, run.key(Verb::Apply).unwrap());
        assert_ne!(first, run.key(Verb::Probe).unwrap());
        run.attempt = 2;
        assert_ne!(first, run.key(Verb::Apply).unwrap());
    }

    #[test]
    fn manage_commands() {
        let shown = |c: &str| c.parse::<Manage>().map(|m| m.to_string());
        for good in [
            "python manage.py",
            "uv run python -X dev src/manage.py",
            "/venv/bin/python3 -m django",
        ] {
            // Interpreter options belong before the script: `python -X dev` does not end in an interpreter.
            let expected = !good.contains("-X");
            assert_eq!(shown(good).is_ok_and(|s| s == good), expected, "{good}");
        }
        for bad in [
            "",
            "manage.py",
            "python",
            "django-admin migrate",
            "sh -c 'python manage.py'",
        ] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_string_of_the_driver_loses_a_line() {
        // `bare` drops lines that begin with `#`; a multi-line string could hold one.
        assert!(!DRIVER.contains("\"\"\"") && !DRIVER.contains("'''"));
    }
}
