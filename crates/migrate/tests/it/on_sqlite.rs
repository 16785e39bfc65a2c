//! What needs no server: plans, failures, pollution, attachment.

use std::sync::atomic::Ordering;

use nuages_migrate::{
    AppliedSet, Manage, MigrateError, MigrationRun, Verb, apply, changed_between, find, probe, same_schema,
};
use nuages_model::{Note, Progress, TaskRunner as _};
use tempfile::TempDir;

use crate::local_runner::{LocalRunner, recording, run};
use crate::python::{DJANGO, versions};

const BLOG: [&str; 3] = ["blog.0001_initial", "blog.0002_slug", "blog.0003_tag"];

fn data() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn failure(error: MigrateError) -> nuages_migrate::Failure {
    match error {
        MigrateError::Failed(failure) => *failure,
        other => panic!("another failure: {other}"),
    }
}

fn names<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    pairs.iter().map(|(_, name)| *name).collect()
}

#[tokio::test]
async fn every_supported_django_probes_applies_and_explains() {
    for version in versions() {
        let data = data();
        let runner = LocalRunner::new(data.path());
        let report = probe(&runner, &run(version), &Progress::none()).await.unwrap();
        assert!(
            report.django.as_deref().unwrap().starts_with(version),
            "{:?}",
            report.django
        );
        assert_eq!(names(&report.pending()), BLOG);
        assert_eq!(report.applied_set().databases["default"].applied.len(), 0);

        let (progress, notes) = recording();
        let report = apply(&runner, &run(version), &progress).await.unwrap();
        assert_eq!(names(&report.ran()), BLOG);
        assert_eq!(report.outcome.exit_code, Some(0));
        let notes = notes.lock().unwrap().clone();
        assert!(
            notes.contains(&Note::Count {
                what: "migrations".into(),
                done: 3,
                total: 3
            }),
            "{notes:?}"
        );
        let lines: Vec<&str> = notes
            .iter()
            .filter_map(|n| {
                if let Note::Line { text, .. } = n {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect();
        assert!(
            lines.iter().any(|l| l.contains("Applying blog.0003_tag... OK")),
            "{lines:?}"
        );
        assert!(
            !lines.iter().any(|l| l.contains("NUAGES1")),
            "the report is not shown: {lines:?}"
        );

        let runner = LocalRunner::new(data.path()).with("APPS", "blog,broken");
        let failure = failure(apply(&runner, &run(version), &Progress::none()).await.unwrap_err());
        assert_eq!(
            failure.cause,
            "broken.0002_not_null on default: IntegrityError: UNIQUE constraint failed: broken_thing.id"
        );
        assert_eq!(failure.outcome.exit_code, Some(1));
        // What stands in the database after the failure.
        let report = failure.report.unwrap();
        assert_eq!(names(&report.ran()), ["broken.0001_initial"]);
        assert!(report.applied_set().databases["default"].applied["broken"].contains("0001_initial"));
        assert_eq!(
            report.databases["default"].pending,
            ["broken.0002_not_null", "broken.0003_never"]
        );
    }
}

#[tokio::test]
async fn a_failure_has_a_sentence_and_a_hint() {
    let data = data();
    let runner = LocalRunner::new(data.path()).with("APPS", "blog,broken");
    let error = apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "apply the migrations: broken.0002_not_null on default: IntegrityError: UNIQUE constraint failed: broken_thing.id"
    );
    assert!(error.hint().unwrap().contains("mend the migration"));
}

#[tokio::test]
async fn a_second_call_attaches_and_a_new_attempt_does_not() {
    let data = data();
    let runner = LocalRunner::new(data.path());
    let mut run = run(DJANGO);
    assert_eq!(find(&runner, &run, Verb::Apply).await.unwrap(), None);
    let first = apply(&runner, &run, &Progress::none()).await.unwrap();
    assert!(find(&runner, &run, Verb::Apply).await.unwrap().is_some());
    let again = apply(&runner, &run, &Progress::none()).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(runner.starts.load(Ordering::SeqCst), 1);
    run.attempt = 2;
    assert_eq!(apply(&runner, &run, &Progress::none()).await.unwrap().ran(), []);
    assert_eq!(runner.starts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn databases_are_all_but_mirrors_unless_named() {
    let data = data();
    let runner = || {
        LocalRunner::new(data.path())
            .with("ALIASES", "default,stats")
            .with("REPLICA", "1")
    };
    let mut only = run(DJANGO);
    only.databases = vec!["stats".into()];
    let report = apply(&runner(), &only, &Progress::none()).await.unwrap();
    assert_eq!(report.databases.keys().collect::<Vec<_>>(), ["stats"]);
    let report = probe(&runner(), &run(DJANGO), &Progress::none()).await.unwrap();
    assert_eq!(report.databases.keys().collect::<Vec<_>>(), ["default", "stats"]);
    assert_eq!(report.pending().len(), 3, "stats is migrated, default is not");
    only.databases = vec!["nope".into()];
    only.attempt = 2;
    let failure = failure(apply(&runner(), &only, &Progress::none()).await.unwrap_err());
    assert_eq!(
        failure.cause,
        "there is no database 'nope' in DATABASES; there is default, stats"
    );
    assert!(failure.hint.unwrap().contains("[migrations] databases"));
}

#[tokio::test]
async fn a_probe_says_what_this_code_does_not_know() {
    let data = data();
    apply(
        &LocalRunner::new(data.path()).with("APPS", "blog,locker"),
        &run(DJANGO),
        &Progress::none(),
    )
    .await
    .unwrap();
    let report = probe(&LocalRunner::new(data.path()), &run(DJANGO), &Progress::none())
        .await
        .unwrap();
    assert_eq!(report.databases["default"].unknown, ["locker.0001_initial"]);
    assert_eq!(report.blockers(), [""; 0]);
}

#[tokio::test]
async fn a_probe_names_conflicts_before_anything_runs() {
    let data = data();
    let runner = LocalRunner::new(data.path()).with("APPS", "forked");
    let report = probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap();
    assert_eq!(
        report.blockers(),
        ["forked has several last migrations (0001_left, 0001_right); `makemigrations --merge` joins them"]
    );
    let failure = failure(apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert!(failure.cause.contains("Conflicting migrations"), "{}", failure.cause);
    assert!(failure.hint.unwrap().contains("--merge"));
}

#[tokio::test]
async fn squashing_history_is_no_change_of_the_schema() {
    let data = data();
    let with = |history: &str| {
        LocalRunner::new(data.path())
            .with("APPS", "history")
            .with("HISTORY", history)
    };
    let before = apply(&with("history.migrations"), &run(DJANGO), &Progress::none())
        .await
        .unwrap()
        .applied_set();
    let after = apply(&with("history.squashed"), &run(DJANGO), &Progress::none())
        .await
        .unwrap()
        .applied_set();
    assert_ne!(before, after, "Django records the squash");
    assert!(same_schema(&before, &after), "{:?}", changed_between(&before, &after));
}

#[tokio::test]
async fn an_applied_set_survives_a_journal() {
    let data = data();
    let set = apply(&LocalRunner::new(data.path()), &run(DJANGO), &Progress::none())
        .await
        .unwrap()
        .applied_set();
    let text = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<AppliedSet>(&text).unwrap(), set);
    assert_eq!(
        set.databases["default"].leaves["blog"].iter().collect::<Vec<_>>(),
        ["0003_tag"]
    );
}

#[tokio::test]
async fn a_polluted_log_hides_nothing() {
    let data = data();
    let runner = LocalRunner::new(data.path()).with("APPS", "blog,noisy");
    let report = apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap();
    assert_eq!(names(&report.ran()), BLOG);
}

#[tokio::test]
async fn a_probe_lets_no_application_write() {
    let data = data();
    let runner = LocalRunner::new(data.path()).with("APPS", "blog,writer");
    let failure = failure(probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(failure.cause, "OperationalError: attempt to write a readonly database");
    // The same application writes when nothing forbids it: the probe did.
    apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap();
}

#[tokio::test]
async fn early_ends_are_failures_whatever_their_exit_code() {
    let data = data();
    let runner = LocalRunner::new(data.path()).with("BROKEN", "exit");
    let failed = failure(apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(failed.cause, "the application called sys.exit(0)");
    assert!(failed.report.is_none(), "no database was looked at");

    let url = "postgres://app:hunter2secret@db.example.org/blog";
    let runner = LocalRunner::new(data.path())
        .with("BROKEN", "setting")
        .with("DATABASE_URL", url);
    let (progress, notes) = recording();
    let error = probe(&runner, &run(DJANGO), &progress).await.unwrap_err();
    assert!(error.to_string().contains("SENTRY_DSN must be set"), "{error}");
    assert!(error.hint().unwrap().contains("[secrets]"), "{:?}", error.hint());
    let all = format!("{error:?} {:?}", notes.lock().unwrap());
    assert!(all.contains("[redacted]") && !all.contains("hunter2"), "{all}");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let data = data();
    let mut absent = run(DJANGO);
    absent.manage = Manage::new(&[crate::python::with_django(DJANGO).to_str().unwrap(), "src/manage.py"]).unwrap();
    let failed = failure(
        apply(&LocalRunner::new(data.path()), &absent, &Progress::none())
            .await
            .unwrap_err(),
    );
    assert!(
        failed.cause.starts_with("there is no src/manage.py in "),
        "{}",
        failed.cause
    );

    // A Python without Django.
    let mut bare = MigrationRun::new(nuages_model::ReleaseId::generate());
    bare.manage = Manage::new(&[crate::python::host_python().as_str(), "-m", "django"]).unwrap();
    let isolated = LocalRunner::new(data.path())
        .with("PYTHONPATH", "")
        .with("PYTHONNOUSERSITE", "1");
    let failed = failure(apply(&isolated, &bare, &Progress::none()).await.unwrap_err());
    assert!(
        failed.cause.starts_with("Django cannot be imported"),
        "{}",
        failed.cause
    );

    // No interpreter at all: the platform refuses.
    bare.manage = "/nowhere/python manage.py".parse().unwrap();
    let error = apply(&LocalRunner::new(data.path()), &bare, &Progress::none())
        .await
        .unwrap_err();
    assert!(matches!(error, MigrateError::Task { .. }), "{error:?}");
}

#[tokio::test]
async fn settings_that_are_not_in_the_image_are_told_with_the_nearest() {
    let data = data();
    let probed = async |settings: &str| {
        let runner = LocalRunner::new(data.path()).with("DJANGO_SETTINGS_MODULE", settings);
        failure(probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err())
    };
    let failed = probed("setings").await;
    assert_eq!(failed.cause, "ModuleNotFoundError: No module named 'setings'");
    let hint = failed.hint.unwrap();
    assert!(
        hint.starts_with("the settings module `setings` is not in the image; did you mean `settings`?"),
        "{hint}"
    );
    assert!(hint.contains("DJANGO_SETTINGS_MODULE in [env]"), "{hint}");

    let failed = probed("blog.models.production").await;
    assert_eq!(failed.driver.unwrap().missing.unwrap().module, "blog.models.production");
    let failed = probed("blog.modles").await;
    assert_eq!(
        failed.driver.unwrap().missing.unwrap().nearest().as_deref(),
        Some("blog.models")
    );
    // What the settings themselves import is a requirement.
    let runner = LocalRunner::new(data.path()).with("APPS", "blog,corsheaders");
    let failed = failure(probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert!(failed.hint.unwrap().contains("requirements"));
}

#[tokio::test]
async fn a_database_file_that_cannot_be_opened_is_told_as_sqlites() {
    let data = data();
    let runner = LocalRunner::new(&data.path().join("nowhere"));
    let failed = failure(probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(failed.cause, "default: OperationalError: unable to open database file");
    assert_eq!(failed.driver.unwrap().vendor.as_deref(), Some("sqlite"));
    assert!(failed.hint.unwrap().starts_with("the settings choose SQLite"));
}

#[tokio::test]
async fn a_project_without_a_script() {
    let data = data();
    let mut run = run(DJANGO);
    run.manage = Manage::new(&[crate::python::with_django(DJANGO).to_str().unwrap(), "-m", "django"]).unwrap();
    let runner = LocalRunner::new(data.path()).with("DJANGO_SETTINGS_MODULE", "settings");
    assert_eq!(
        names(&apply(&runner, &run, &Progress::none()).await.unwrap().ran()),
        BLOG
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_killed_container_is_not_a_success() {
    let data = data();
    let runner = LocalRunner::new(data.path())
        .with("APPS", "blog,broken")
        .with("HOW", "memory");
    let failed = failure(apply(&runner, &run(DJANGO), &Progress::none()).await.unwrap_err());
    assert_eq!(failed.outcome.exit_code, Some(137));
    assert!(failed.cause.starts_with("the container was killed"), "{}", failed.cause);
    assert!(failed.report.is_none());
    // The atomic migration left nothing behind; its predecessors stay.
    let report = probe(&runner, &run(DJANGO), &Progress::none()).await.unwrap();
    assert_eq!(names(&report.pending()), ["broken.0002_not_null", "broken.0003_never"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_stopped_task_rolls_back_and_reports() {
    let data = data();
    let runner = std::sync::Arc::new(LocalRunner::new(data.path()).with("APPS", "slow"));
    let run = run(DJANGO);
    let background = tokio::spawn({
        let (runner, run) = (runner.clone(), run.clone());
        async move { apply(runner.as_ref(), &run, &Progress::none()).await }
    });
    while !data.path().join("waiting").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let handle = find(runner.as_ref(), &run, Verb::Apply).await.unwrap().unwrap();
    runner.stop(&handle, "the test says so").await.unwrap();
    let failed = failure(background.await.unwrap().unwrap_err());
    assert_eq!(failed.outcome.exit_code, Some(143));
    assert_eq!(failed.driver.as_ref().unwrap().kind, "stopped");
    assert_eq!(
        failed.report.unwrap().databases["default"].pending,
        ["slow.0001_initial"]
    );
}

#[tokio::test]
async fn secrets_of_the_environment_stay_out_of_the_log() {
    let data = data();
    let runner = LocalRunner::new(data.path())
        .with("APPS", "blog,broken")
        .with("HOW", "secret")
        .with("API_TOKEN", "hunter2secret");
    let (progress, notes) = recording();
    let error = apply(&runner, &run(DJANGO), &progress).await.unwrap_err();
    let all = format!("{error} {error:?} {:?} {:?}", error.hint(), notes.lock().unwrap());
    assert!(all.contains("https://api:[redacted]@example.org"), "{all}");
    assert!(!all.contains("hunter2"), "{all}");
}
