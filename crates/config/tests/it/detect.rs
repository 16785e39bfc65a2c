//! What `nuages init` sees in projects of different kinds, and that what it writes is valid.

use std::fs;
use std::path::Path;

use nuages_config::detect::{DatabaseKind, Detected, LockFile, Server};
use nuages_config::{ConfigError, ConfigFile, Project};
use proptest::prelude::*;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("shop").tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const MANAGE: &str = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n";

fn look(dir: &Path) -> Detected {
    let found = Detected::look(dir).unwrap();
    let text = found.render();
    let file = ConfigFile::parse("nuages.toml", &text)
        .unwrap_or_else(|errors| panic!("{}\n{text}", errors.render(100, false)));
    file.environment(&"local".parse().unwrap())
        .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)));
    found
}

#[test]
fn a_plain_project() {
    let dir = project(&[
        ("manage.py", MANAGE),
        (
            "shop/settings.py",
            "SECRET_KEY = 'django-insecure-1'\nWSGI_APPLICATION = 'shop.wsgi.application'\n\
             DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3'}}\n",
        ),
        ("shop/wsgi.py", ""),
        // As `startapp` makes it.
        (
            "basket/tests.py",
            "from django.test import TestCase\n\n# Create your tests here.\n",
        ),
        ("requirements.txt", "django\n"),
    ]);
    let found = look(dir.path());
    assert_eq!(found.name.as_str(), "shop");
    assert_eq!(found.settings.as_deref(), Some("shop.settings"));
    assert_eq!(found.server, Server::Wsgi("shop.wsgi".into()));
    assert_eq!(
        (found.database, found.lock),
        (DatabaseKind::Sqlite, Some(LockFile::Requirements))
    );
    assert_eq!(
        (found.secret_key.as_deref(), found.dockerfile, found.python.as_str()),
        (None, false, "3.13")
    );
    insta::assert_snapshot!("plain", found.render());
    insta::assert_snapshot!("plain_advice", found.advice().join("\n"));
}

#[test]
fn a_grown_project() {
    let dir = project(&[
        (
            "manage.py",
            "os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"config.settings.local\")\n",
        ),
        ("config/__init__.py", ""),
        ("config/settings/__init__.py", ""),
        (
            "config/settings/base.py",
            "SECRET_KEY = env('SECRET_KEY')\nALLOWED_HOSTS = env.list('ALLOWED_HOSTS')\nSTATIC_ROOT = BASE / 'static'\n\
             WSGI_APPLICATION = 'config.wsgi.application'\n",
        ),
        ("config/settings/local.py", "from .base import *\n"),
        ("config/settings/production.py", "from .base import *\n"),
        (
            "config/urls.py",
            "urlpatterns = [path('healthz/', live), path('readyz', ready)]\n",
        ),
        ("config/wsgi.py", ""),
        (
            "config/celery.py",
            "app = Celery('config')\napp.conf.beat_schedule = {}\n",
        ),
        (
            "pyproject.toml",
            "[project]\nname = 'Flower_Shop'\nrequires-python = '>=3.10,<3.13'\n\
             dependencies = ['Django', 'psycopg[binary]', 'celery', 'gunicorn', 'whitenoise']\n\
             [dependency-groups]\ndev = ['pytest-django', 'ruff']\n",
        ),
        ("uv.lock", ""),
        (
            "Dockerfile",
            "ARG BASE=python:3.12-slim\nFROM ${BASE} AS base\nFROM base AS test\nFROM base AS app\n",
        ),
        (".venv/lib/site-packages/x/manage.py", MANAGE),
        (
            "shop/tests/test_views.py",
            "def test_home(client):\n    assert client.get('/')\n",
        ),
    ]);
    let found = look(dir.path());
    assert_eq!(found.name.as_str(), "flower-shop");
    assert_eq!(found.settings.as_deref(), Some("config.settings.production"));
    assert_eq!(
        (found.lock, found.python.as_str(), found.database),
        (Some(LockFile::Uv), "3.12", DatabaseKind::Postgres)
    );
    assert_eq!((found.celery.as_deref(), found.celery_beat), (Some("config"), true));
    assert_eq!(found.stages, ["base", "test", "app"]);
    assert_eq!(found.health, Some(("/healthz/".to_owned(), "/readyz".to_owned())));
    assert_eq!(found.advice(), Vec::<String>::new());
    insta::assert_snapshot!("grown", found.render());
}

#[test]
fn an_asynchronous_project() {
    let dir = project(&[
        ("manage.py", MANAGE),
        ("shop/settings.py", "ASGI_APPLICATION = 'shop.asgi.application'\n"),
        (
            "Pipfile",
            "[packages]\ndjango = '*'\nuvicorn = '*'\nmysqlclient = '*'\n",
        ),
        ("Pipfile.lock", "{}"),
        (".python-version", "3.11.9\n"),
    ]);
    let found = look(dir.path());
    assert_eq!(found.server, Server::Asgi("shop.asgi".into()));
    assert_eq!(
        (found.database, found.lock, found.python.as_str()),
        (DatabaseKind::Mysql, Some(LockFile::Pipenv), "3.11")
    );
    assert!(
        found
            .render()
            .contains(r#"["uvicorn", "shop.asgi:application", "--host", "0.0.0.0", "--port", "8000"]"#)
    );
}

#[test]
fn the_only_project_below() {
    let dir = project(&[("backend/manage.py", MANAGE), ("frontend/package.json", "{}")]);
    assert_eq!(look(dir.path()).dir, dir.path().join("backend"));
}

#[test]
fn no_project() {
    let dir = project(&[("main.py", ""), ("node_modules/x/manage.py", MANAGE)]);
    let error = Detected::look(dir.path()).unwrap_err();
    assert!(matches!(error, ConfigError::NoManagePy { .. }), "{error}");
    assert!(error.hint().unwrap().contains("nuages init DIR"));
    assert!(matches!(
        Detected::look(&dir.path().join("absent")),
        Err(ConfigError::Read { .. })
    ));
}

#[test]
fn several_projects() {
    let dir = project(&[("shop/manage.py", MANAGE), ("blog/manage.py", MANAGE)]);
    let error = Detected::look(dir.path()).unwrap_err();
    let hint = error.hint().unwrap();
    for name in ["shop", "blog"] {
        assert!(
            hint.contains(&format!("nuages init {}", dir.path().join(name).display())),
            "{hint}"
        );
    }
    assert!(
        error
            .to_string()
            .starts_with("failed to choose between 2 Django projects"),
        "{error}"
    );
    // Named, one of them is taken.
    assert_eq!(look(&dir.path().join("shop")).dir, dir.path().join("shop"));
}

#[test]
fn a_file_that_is_there_is_kept() {
    let dir = project(&[("manage.py", MANAGE), ("nuages.toml", "mine")]);
    let error = look(dir.path()).write().unwrap_err();
    assert!(matches!(error, ConfigError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("nuages.toml")).unwrap(), "mine");
}

#[test]
fn the_sample() {
    let found = look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../django-sample"));
    assert_eq!(found.settings.as_deref(), Some("blog.settings.production"));
    assert_eq!(found.server, Server::Wsgi("blog.wsgi".into()));
    assert_eq!(
        (found.database, found.lock),
        (DatabaseKind::Postgres, Some(LockFile::HashedRequirements))
    );
    assert!(found.dockerfile && found.takes_base && found.whitenoise);
    assert!(found.takes_certificates && found.render().contains("\nca_bundle = \"host\""));
    assert_eq!(found.health, Some(("/livez".to_owned(), "/readyz".to_owned())));
}

#[test]
fn gunicorn_s_own_file_is_respected() {
    let text = "app.name = 'shop'\nservices.web = { command = ['gunicorn', 'a'], port = 8000, health = { live = '/' } }\n\
                environments.local.emulator = 'ministack'\n";
    let dir = project(&[("nuages.toml", text), ("gunicorn.conf.py", "threads = 8")]);
    let config = Project::open(dir.path())
        .unwrap()
        .environment(&"local".parse().unwrap())
        .unwrap();
    assert_eq!(
        config.web().unwrap().1.effective_command(),
        ["gunicorn", "--bind", "0.0.0.0:8000", "a"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_files_hold_the_result_is_valid(
        manage in "\\PC{0,20}|DJANGO_SETTINGS_MODULE.{0,30}",
        settings in "(SECRET_KEY|ALLOWED_HOSTS|WSGI_APPLICATION) ?= ?\\PC{0,40}",
        pyproject in "(\\[project\\]\nname = '[^'\n]{0,20}'\n)?\\PC{0,20}",
        python in "\\PC{0,12}",
        docker in "(FROM|ARG) \\PC{0,30}",
    ) {
        let dir = project(&[
            ("manage.py", &format!("{MANAGE}{manage}")),
            ("shop/settings.py", &settings),
            ("pyproject.toml", &pyproject),
            (".python-version", &python),
            ("Dockerfile", &docker),
        ]);
        look(dir.path());
    }
}
