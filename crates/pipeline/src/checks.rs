//! `[checks]`: the project's own gates, each in a container of the image that would be deployed.
//!
//! Invariant: what passed once for the same image, command and environment is not run again; what was left out is
//! recorded with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nuages_config::{Check, Config, Provider, SecretSource};
use nuages_image::{Engine, RunSpec, Sandbox, SandboxSpec};
use nuages_model::{Digest, Sha256};
use nuages_releases::{CheckOutcome, CheckRecord, EnvironmentStore};
use nuages_saga::TaskScope;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::build::BuiltImage;
use crate::error::PipelineError;
use crate::tests_ran;
use crate::ui::Ui;

/// How checks are run.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Leaves them out, for this reason.
    pub skip: Option<String>,
    /// Runs them although they passed before.
    pub again: bool,
}

/// What the store remembers of a check.
const REMEMBERED: &str = "check";

/// Where a test runner's report is looked for, and where it is told to write it.
const REPORT: &str = "/tmp/nuages-report.xml";

/// Runs the checks of the environment against these images, and answers what the release records.
pub async fn check(
    config: &Config,
    store: &EnvironmentStore,
    engine: &Engine,
    image: &BuiltImage,
    options: &CheckOptions,
    ui: &Ui,
) -> Result<Vec<CheckRecord>, PipelineError> {
    if config.checks.is_empty() {
        return Ok(Vec::new());
    }
    let task = ui.events.task("checks", "Check");
    if let Some(reason) = &options.skip {
        task.skipped(reason.clone());
        let left_out = |name: &String| CheckRecord {
            name: name.clone(),
            outcome: CheckOutcome::Skipped { reason: reason.clone() },
        };
        return Ok(config.checks.keys().map(left_out).collect());
    }
    let stop = ui.stop_token();
    let result = run_all(config, store, engine, image, options, &task, &stop).await;
    match result {
        Ok((records, ran)) => {
            let passed = records.len();
            if ran == 0 {
                task.unchanged(format!("{passed} {CACHED}"));
            } else {
                task.done(format!("{passed} passed"));
            }
            Ok(records)
        }
        Err(error) => {
            task.failed_with(error.report());
            Err(error)
        }
    }
}

/// What is said of a check that is not run again.
const CACHED: &str = "passed before, for the same image";

fn id_of(check: &str) -> String {
    format!("check/{check}")
}

async fn run_all(
    config: &Config,
    store: &EnvironmentStore,
    engine: &Engine,
    image: &BuiltImage,
    options: &CheckOptions,
    task: &TaskScope,
    cancel: &CancellationToken,
) -> Result<(Vec<CheckRecord>, usize), PipelineError> {
    let postgres = config
        .database
        .as_ref()
        .map(|database| format!("postgres:{}-alpine", database.major()));
    let of = |check: &Check| {
        let id = image.stage(check.target.as_deref()).clone();
        let key = inputs(config, check, &id, postgres.as_deref());
        (id, key)
    };
    let (mut records, open) = recall(config, store, of, options.again, task).await?;
    let ran = open.len();
    if ran > 0 {
        let spec = SandboxSpec {
            postgres,
            labels: BTreeMap::new(),
        };
        let sandbox = Sandbox::start(engine, spec, &task.progress(), cancel).await?;
        // One after the other: on a laptop's cores two test suites at once end later than two in a row.
        let mut failed: Vec<(String, Failed)> = Vec::new();
        let mut broken = None;
        for (name, check, (id, key)) in open {
            match run_one(config, &sandbox, name, check, &id, task, cancel).await {
                Ok(Ok(millis)) => {
                    store.store().remember(REMEMBERED, key.as_str(), &millis).await?;
                    records.insert(name.clone(), CheckOutcome::Passed { millis, cached: false });
                }
                Ok(Err(how)) => failed.push((name.clone(), how)),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        sandbox.close().await?;
        if let Some(error) = broken {
            return Err(error);
        }
        if !failed.is_empty() {
            return Err(did_not_pass(failed));
        }
    }
    Ok((
        records
            .into_iter()
            .map(|(name, outcome)| CheckRecord { name, outcome })
            .collect(),
        ran,
    ))
}

/// How a check failed.
#[derive(Debug, Default)]
struct Failed {
    /// The last lines that it wrote.
    tail: Vec<String>,
    /// It is green in its own eyes, and looked at nothing.
    none_ran: bool,
    /// Its report on this machine.
    report: Option<PathBuf>,
}

fn did_not_pass(failed: Vec<(String, Failed)>) -> PipelineError {
    let none_ran = failed.iter().filter(|(_, how)| how.none_ran);
    PipelineError::Checks {
        without_tests: none_ran.map(|(name, _)| name.clone()).collect(),
        reports: failed.iter().filter_map(|(_, how)| how.report.clone()).collect(),
        tail: failed.first().map(|(_, how)| how.tail.clone()).unwrap_or_default(),
        failed: failed.into_iter().map(|(name, _)| name).collect(),
    }
}

/// A check that has to run: its name, its settings, its image and the key of its result.
type Open<'c> = (&'c String, &'c Check, (Digest, Digest));

/// Tells those that passed before, with what is known of them, from those that have to run.
async fn recall<'c>(
    config: &'c Config,
    store: &EnvironmentStore,
    of: impl Fn(&Check) -> (Digest, Digest),
    again: bool,
    task: &TaskScope,
) -> Result<(BTreeMap<String, CheckOutcome>, Vec<Open<'c>>), PipelineError> {
    let (mut records, mut open) = (BTreeMap::new(), Vec::new());
    for (name, check) in &config.checks {
        let (id, key) = of(check);
        let remembered: Option<u64> = if again {
            None
        } else {
            store.store().recall(REMEMBERED, key.as_str()).await?
        };
        match remembered {
            Some(millis) => {
                task.child(id_of(name), name.clone()).unchanged(CACHED);
                records.insert(name.clone(), CheckOutcome::Passed { millis, cached: true });
            }
            None => open.push((name, check, (id, key))),
        }
    }
    Ok((records, open))
}

async fn run_one(
    config: &Config,
    sandbox: &Sandbox,
    name: &str,
    check: &Check,
    image: &Digest,
    parent: &TaskScope,
    cancel: &CancellationToken,
) -> Result<Result<u64, Failed>, PipelineError> {
    let task = parent.child(id_of(name), name.to_owned());
    let began = Instant::now();
    let spec = RunSpec {
        image: image.as_str().to_owned(),
        command: with_report(&check.command),
        entrypoint: Some(Vec::new()),
        env: environment(config, sandbox.new_database().await?.as_deref()),
        collect: vec![REPORT.to_owned()],
        timeout: Some(check.timeout),
        source: name.to_owned(),
        ..RunSpec::default()
    };
    let outcome = match sandbox.run(spec, &task.progress(), cancel).await {
        Ok(outcome) => outcome,
        Err(error) => {
            task.failed(&error);
            return Err(error.into());
        }
    };
    let report = outcome.files.get(REPORT);
    let kept = report.map(|report| keep_report(config, name, report)).transpose()?;
    let none_ran = tests_ran::none(&check.command, outcome.exit_code, &outcome.tail);
    if outcome.passed() && !none_ran {
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        task.done(outcome.tail.last().cloned().unwrap_or_default());
        return Ok(Ok(millis));
    }
    let why = if outcome.out_of_memory {
        format!("`{}` was killed for want of memory", check.command.join(" "))
    } else if none_ran {
        format!("`{}` ran no test", check.command.join(" "))
    } else {
        format!(
            "`{}` ended with exit code {}",
            check.command.join(" "),
            outcome.exit_code
        )
    };
    let report = nuages_saga::ErrorReport {
        message: why,
        causes: Vec::new(),
        hint: None,
    };
    task.failed_with(report);
    Ok(Err(Failed {
        tail: outcome.tail,
        none_ran,
        report: kept,
    }))
}

/// pytest is asked for a JUnit report unless the command asks for one itself.
fn with_report(command: &[String]) -> Vec<String> {
    let mut command = command.to_vec();
    if tests_ran::is_pytest(&command) && !command.iter().any(|word| word.starts_with("--junit")) {
        command.push(format!("--junitxml={REPORT}"));
    }
    command
}

/// Writes a report where no build sees it, and answers where.
fn keep_report(config: &Config, name: &str, report: &[u8]) -> Result<PathBuf, PipelineError> {
    let folder: PathBuf = config.project_dir.join(".nuages").join("reports");
    let file = folder.join(format!("{name}.xml"));
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&file, report))
        .map(|()| file.clone())
        .map_err(|source| PipelineError::machine(format!("keep the report {}", file.display()), source))
}

/// What the check's container sees: the configured variables, a throw-away database, and throw-away values where the
/// release would get generated ones. Nobody's real secret enters a check.
fn environment(config: &Config, database_url: Option<&str>) -> BTreeMap<String, String> {
    let mut env = config.variables.clone();
    env.insert("NUAGES_CHECK".into(), "1".into());
    // A deployed task has the name that people reach it by, and `check --deploy` asks for allowed hosts.
    env.entry("NUAGES_PUBLIC_HOST".into())
        .or_insert_with(|| "localhost".into());
    if config.insecure_http {
        env.entry("NUAGES_INSECURE_HTTP".into()).or_insert_with(|| "1".into());
    }
    for (variable, source) in &config.secrets {
        match source {
            SecretSource::Generate { generate } => {
                let seed = Digest::of(format!("check {variable}").as_bytes());
                let length = usize::try_from(*generate).unwrap_or(64);
                env.insert(variable.clone(), seed.hex().chars().cycle().take(length).collect());
            }
            SecretSource::From {
                from: Provider::Database,
            } => {
                if let Some(url) = database_url {
                    env.insert(variable.clone(), url.to_owned());
                }
            }
            SecretSource::Secret { .. } | SecretSource::Parameter { .. } => {}
        }
    }
    env
}

/// All that decides a check's result: an equal key means that it need not run again.
fn inputs(config: &Config, check: &Check, image: &Digest, postgres: Option<&str>) -> Digest {
    let mut hash = Sha256::new();
    let what = serde_json::json!({
        "image": image.as_str(),
        "command": check.command,
        "env": environment(config, None),
        "postgres": postgres,
    });
    hash.update(what.to_string().as_bytes());
    hash.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nuages_config::ConfigFile;
    use nuages_releases::{EnvironmentKey, Store};
    use nuages_saga::{EventKind, Events, TaskState};

    use super::*;

    const TOML: &str = r#"
[app]
name = "blog"
[checks]
deploy-check = { command = ["python", "manage.py", "check", "--deploy"] }
lint = { command = ["ruff", "check"] }
[services.worker]
command = ["true"]
[environments.local]
emulator = "ministack"
"#;

    #[tokio::test]
    async fn a_check_that_passed_before_is_shown_beside_those_that_run() {
        let file = ConfigFile::parse("nuages.toml", TOML).unwrap();
        let config = file.environment(&"local".parse().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("nuages.db")).await.unwrap();
        let key = EnvironmentKey {
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            app: "blog".parse().unwrap(),
            env: "local".parse().unwrap(),
        };
        let store = store.environment(key).await.unwrap();
        let image = Digest::of(b"image");
        let of = |check: &Check| (image.clone(), inputs(&config, check, &image, None));
        let (_, passed) = of(&config.checks["deploy-check"]);
        store
            .store()
            .remember(REMEMBERED, passed.as_str(), &1200_u64)
            .await
            .unwrap();

        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        let events = Events::to(move |event| match event.kind {
            EventKind::TaskStarted { id, .. } => listener.lock().unwrap().push(id),
            EventKind::TaskEnded { state, detail, .. } => {
                listener
                    .lock()
                    .unwrap()
                    .push(format!("{state:?} {}", detail.unwrap_or_default()));
            }
            _ => {}
        });
        for (again, cached) in [(false, 1), (true, 0)] {
            let task = events.task("checks", "Check");
            let (records, open) = recall(&config, &store, of, again, &task).await.unwrap();
            assert_eq!((records.len(), open.len()), (cached, 2 - cached));
            task.done("");
        }
        let ended = |state: TaskState| format!("{state:?} ");
        let before = ended(TaskState::Unchanged) + CACHED;
        let done = ended(TaskState::Done);
        let seen = heard.lock().unwrap().clone();
        assert_eq!(seen, ["checks", "check/deploy-check", &before, &done, "checks", &done]);
    }

    #[test]
    fn what_failed_is_told_with_its_report_and_with_what_it_did_not_look_at() {
        let report = PathBuf::from("/srv/blog/.nuages/reports/tests.xml");
        let failed = |none_ran, report| Failed {
            tail: vec!["1 failed".into()],
            none_ran,
            report,
        };
        let told = did_not_pass(vec![("tests".into(), failed(false, Some(report)))]);
        assert_eq!(told.to_string(), "the check `tests` did not pass: nothing was pushed");
        let hint = told.hint().unwrap();
        assert!(
            hint.starts_with("the whole report is in /srv/blog/.nuages/reports/tests.xml; mend"),
            "{hint}"
        );
        let told = did_not_pass(vec![("tests".into(), failed(true, None))]);
        let hint = told.hint().unwrap();
        assert!(
            hint.starts_with("`tests` ran no test: write one, or take the check out of nuages.toml; "),
            "{hint}"
        );
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn pytest_leaves_a_report() {
        assert_eq!(
            with_report(&words("pytest -q")),
            words(&format!("pytest -q --junitxml={REPORT}"))
        );
        assert!(
            with_report(&words("python -m pytest"))
                .last()
                .unwrap()
                .starts_with("--junitxml=")
        );
        for own in ["ruff check .", "pytest --junitxml=x.xml", "python manage.py test"] {
            assert_eq!(with_report(&words(own)), words(own));
        }
    }
}
