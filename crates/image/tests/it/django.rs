//! A Django project becomes an image without an engine, and serves in one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use nuages_image::{
    Base, BlobStore, Contents, Context, Django, Engine, Fingerprint, Ground, ImageError, Packages, Requirements,
    Server, Site, Withheld,
};
use nuages_model::Progress;
use nuages_testkit::emulators::unique_name;
use tokio_util::sync::CancellationToken;

use crate::{BASE, Said, engine, project, remove_image, write};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../django-sample");

/// What a site is built from, kept for as many builds as a test wants.
struct Place {
    store: BlobStore,
    base: Base,
    contents: Contents,
    packages: Packages,
    memory: std::path::PathBuf,
    _cache: tempfile::TempDir,
}

impl Place {
    /// With a cache of all runs of these tests.
    async fn shared(engine: &Engine) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sites");
        Self::with(BlobStore::open(cache).unwrap(), engine).await
    }

    async fn new(engine: &Engine) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let store = BlobStore::open(cache.path().join("blobs")).unwrap();
        Self {
            _cache: cache,
            ..Self::with(store, engine).await
        }
    }

    async fn with(store: BlobStore, engine: &Engine) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let quiet = Progress::none();
        let base = Base::of_engine(engine, BASE, &store, &quiet).await.unwrap();
        let contents = base.contents(&store, &quiet).await.unwrap();
        let lock = Requirements::of_file(&Path::new(SAMPLE).join("requirements.txt"), "linux/amd64").unwrap();
        let packages = Packages::install(&lock, &contents, &store, &quiet).await.unwrap();
        Self {
            store,
            base,
            contents,
            packages,
            memory: cache.path().join("memory.json"),
            _cache: cache,
        }
    }

    fn ground(&self) -> Ground<'_> {
        Ground {
            base: &self.base,
            contents: &self.contents,
            packages: self.packages.clone(),
            store: &self.store,
            memory: Some(&self.memory),
            engine: None,
        }
    }

    /// In this engine, where that is needed.
    async fn build_with(&self, engine: &Engine, django: &Django, folder: &Path) -> Site {
        let project = Context::of_project(folder, &[], &Progress::none()).unwrap();
        let ground = Ground {
            engine: Some(engine),
            ..self.ground()
        };
        django
            .recipe(&project, ground, &Progress::none(), &CancellationToken::new())
            .await
            .unwrap()
    }

    async fn build(&self, django: &Django, folder: &Path, progress: &Progress) -> Result<Site, ImageError> {
        let project = Context::of_project(folder, &[], &Progress::none()).unwrap();
        django
            .recipe(&project, self.ground(), progress, &CancellationToken::new())
            .await
    }

    /// Why it cannot be built, with the hint.
    async fn refused(&self, files: &[(&str, &str)]) -> String {
        let folder = project(files);
        let error = match self.build(&small(), folder.path(), &Progress::none()).await {
            Ok(site) => panic!("{:?}", site.told),
            Err(error) => error,
        };
        assert!(matches!(error, ImageError::Collect { .. }), "{error:?}");
        let hint = error.hint().map(|hint| format!("\n  {hint}"));
        format!("{error}{}", hint.unwrap_or_default())
    }
}

fn blog() -> Django {
    let mut django = Django::new(Server::Wsgi("blog.wsgi".into()), 8000);
    django.settings = Some("blog.settings.production".into());
    django.env.insert("ALLOWED_HOSTS".into(), "localhost".into());
    django.withheld.insert("DJANGO_SECRET_KEY".into(), Withheld::Secret);
    django.withheld.insert(
        "DATABASE_URL".into(),
        Withheld::Database {
            scheme: "postgres".into(),
        },
    );
    django
}

fn small() -> Django {
    Django::new(Server::Wsgi("site.wsgi".into()), 8000)
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let at = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &at);
        } else {
            fs::copy(entry.path(), &at).unwrap();
        }
    }
}

const MANAGE: &str = "import os, sys\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n\
    from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n";
const SETTINGS: &str = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\nSECRET_KEY = 'x'\n\
    INSTALLED_APPS = ['django.contrib.staticfiles', 'shop']\nSTATIC_URL = 'static/'\nSTATIC_ROOT = BASE_DIR / 'public'\n\
    DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n";

/// A small project, with some files more or otherwise.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut files: BTreeMap<&str, &str> = [
        ("manage.py", MANAGE),
        ("mysite/__init__.py", ""),
        ("mysite/settings.py", SETTINGS),
        ("shop/__init__.py", ""),
        ("shop/static/shop.css", "a{}"),
    ]
    .into();
    files.extend(more.iter().copied());
    files.into_iter().collect()
}

fn digest(site: &Site, store: &BlobStore) -> String {
    site.recipe.make(store, &Progress::none()).unwrap().digest.to_string()
}

#[tokio::test]
async fn the_sample_serves_from_an_image_that_no_engine_built() {
    let engine = engine().await;
    let place = Place::new(&engine).await;
    let said = Said::default();
    let folder = tempfile::tempdir().unwrap();
    copy(Path::new(SAMPLE), folder.path());
    let site = place.build(&blog(), folder.path(), &said.progress()).await.unwrap();
    assert_eq!(said.warnings(), "");
    assert!(
        site.told[0].contains("ran on this machine, without an engine"),
        "{:?}",
        site.told
    );
    assert!(
        site.told[1].ends_with("static files are in /app/staticfiles"),
        "{:?}",
        site.told
    );
    assert!(
        !folder.path().join("staticfiles").exists(),
        "nothing is written into the project"
    );

    let name = format!("{}:1", unique_name("site"));
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let image = site
        .recipe
        .load(&place.store, &engine, &name, &quiet, &cancel)
        .await
        .unwrap();
    let run = |words: &[&str]| {
        let env = [
            "DJANGO_SECRET_KEY=of-this-test",
            "DATABASE_URL=sqlite:////tmp/db.sqlite3",
            "ALLOWED_HOSTS=localhost",
            "NUAGES_INSECURE_HTTP=1",
        ];
        let env = env.iter().flat_map(|pair| ["--env", pair]);
        let ran = Command::new("docker")
            .args(["run", "--rm", "--read-only", "--tmpfs", "/tmp"])
            .args(env)
            .arg(&name)
            .args(words)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{words:?}: {err}");
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    };
    let serves = "import subprocess, time, urllib.request, urllib.error\n\
        server = subprocess.Popen(['gunicorn', 'blog.wsgi'])\n\
        def get(path):\n    for _ in range(150):\n        try:\n            return urllib.request.urlopen('http://localhost:8000' + path).read().decode()\n        \
        except urllib.error.HTTPError as error:\n            return str(error.code)\n        except OSError:\n            time.sleep(0.2)\n\
        print(get('/livez'))\n\
        import json; manifest = json.load(open('/app/staticfiles/staticfiles.json'))['paths']\n\
        print(len(get('/static/' + manifest['css/site.css'])) > 100)\nserver.terminate()\n";
    let answers = run(&["python", "-c", serves]);
    assert!(answers.contains("alive") && answers.contains("True"), "{answers}");
    let inside = "import os, sys, blog.env, django.apps, importlib.util as u\n\
        print(os.getuid(), os.getcwd(), sys.prefix, blog.env.__cached__, os.path.exists(blog.env.__cached__),\
        os.path.exists(django.apps.__cached__), open(blog.env.__cached__, 'rb').read()[4])";
    assert_eq!(
        run(&["python", "-c", inside]),
        "10001 /app /opt/venv /app/blog/__pycache__/env.cpython-313.pyc True True 1"
    );
    // The image's own Python would have compiled the same, and an exception tells the image's paths.
    let compiled = "import importlib.util as u, py_compile, marshal\n\
        how = py_compile.PycInvalidationMode.UNCHECKED_HASH\n\
        for path in ['/app/blog/env.py', '/opt/venv/lib/python3.13/site-packages/django/apps/registry.py']:\n    \
        made = open(u.cache_from_source(path), 'rb').read()\n    \
        py_compile.compile(path, '/tmp/x.pyc', doraise=True, invalidation_mode=how)\n    \
        assert open('/tmp/x.pyc', 'rb').read() == made, path\n    \
        assert marshal.loads(made[16:]).co_filename == path\nprint('the same')";
    assert_eq!(run(&["python", "-c", compiled]), "the same");
    remove_image(&engine, &name).await;

    // Another cache and another folder give the same image.
    let elsewhere = Place::new(&engine).await;
    let other = tempfile::tempdir().unwrap();
    copy(Path::new(SAMPLE), &other.path().join("deep/project"));
    let again = elsewhere
        .build(&blog(), &other.path().join("deep/project"), &quiet)
        .await
        .unwrap();
    assert_eq!(digest(&again, &elsewhere.store), image.digest.to_string());
    assert_eq!(again.fingerprint.digest, site.fingerprint.digest);

    // What did not change is neither read nor run, and what is no static file's business runs nothing either.
    let said = Said::default();
    let same = place.build(&blog(), folder.path(), &said.progress()).await.unwrap();
    assert_eq!(
        (said.lines().as_str(), digest(&same, &place.store)),
        ("", image.digest.to_string())
    );
    let views = fs::read_to_string(folder.path().join("posts/views.py")).unwrap();
    write(folder.path(), "posts/views.py", &format!("{views}\nMORE = 1\n"));
    let said = Said::default();
    let more = place.build(&blog(), folder.path(), &said.progress()).await.unwrap();
    assert_eq!(said.lines(), "compiling a module");
    assert_ne!(digest(&more, &place.store), image.digest.to_string());
    write(folder.path(), "blog/static/css/more.css", "b{}");
    let said = Said::default();
    place.build(&blog(), folder.path(), &said.progress()).await.unwrap();
    assert!(said.lines().contains("collecting static files"), "{}", said.lines());
    let Fingerprint { read, .. } = place.build(&blog(), folder.path(), &quiet).await.unwrap().fingerprint;
    assert!(read <= 12, "{read} files were read");
}

#[tokio::test]
async fn what_collectstatic_must_not_need_is_told() {
    let engine = engine().await;
    let place = Place::shared(&engine).await;
    let apps = |ready: &str| {
        format!(
            "from django.apps import AppConfig\n\nclass Shop(AppConfig):\n    name = 'shop'\n\n    def ready(self):\n        {ready}\n"
        )
    };
    let database = apps("from django.db import connection; connection.cursor().execute('select 1')");
    let network = apps("import urllib.request; urllib.request.urlopen('http://192.0.2.1/')");
    let absolute = format!("{SETTINGS}STATICFILES_DIRS = ['/app/assets']\n");
    let missing = format!("import os\n{SETTINGS}KEY = os.environ['PAYMENT_KEY']\n");
    let said = [
        place.refused(&with(&[("shop/apps.py", &database)])).await,
        place.refused(&with(&[("shop/apps.py", &network)])).await,
        place.refused(&with(&[("mysite/settings.py", &missing)])).await,
        place
            .refused(&with(&[("mysite/settings.py", &absolute), ("assets/a.css", "")]))
            .await,
        place.refused(&with(&[("mysite/settings.py", "DEBUG = (\n")])).await,
        place
            .refused(&with(&[("mysite/settings.py", "import nothing_like_this\n")]))
            .await,
        place
            .refused(&with(&[(
                "manage.py",
                "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n",
            )]))
            .await,
        place
            .refused(&with(&[("manage.py", "import sys; sys.exit('no way')\n")]))
            .await,
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    failed to collect the static files: shop/apps.py, line 7, asks for the database, and there is none while an image is built
      collectstatic must not need a database: ask it where a request or a command needs the answer, not while modules are imported or in `AppConfig.ready`
    failed to collect the static files: shop/apps.py, line 7, asks for another machine, and there is no network while an image is built
      ask it where a request or a command needs the answer, not while modules are imported
    failed to collect the static files: KeyError: 'PAYMENT_KEY' (mysite/settings.py, line 9)
      the settings are loaded to know which files there are: name the variables that they need under `[env]` or `[secrets]` in nuages.toml
    failed to collect the static files: the project names /app/assets by its path in the image, and it is not there while it is built
      build the path from where the settings are: `BASE_DIR / "…"`
    failed to collect the static files: SyntaxError: '(' was never closed (mysite/settings.py, line 1)
    failed to collect the static files: ModuleNotFoundError: No module named 'nothing_like_this' (mysite/settings.py, line 1)
    failed to collect the static files: manage.py was killed, as happens where memory is short
    failed to collect the static files: no way
    "#);
}

#[tokio::test]
async fn where_there_is_nothing_to_collect_there_is_no_layer() {
    let engine = engine().await;
    let place = Place::shared(&engine).await;
    let told = async |settings: String| {
        let far = "from django.core.files.storage import Storage\n\nclass Far(Storage):\n    pass\n";
        let folder = project(&with(&[("mysite/settings.py", &settings), ("shop/far.py", far)]));
        let site = place.build(&small(), folder.path(), &Progress::none()).await.unwrap();
        site.told.last().unwrap().clone()
    };
    let without = |what: &str| SETTINGS.replace(what, "");
    let said = [
        told(without("STATIC_ROOT = BASE_DIR / 'public'")).await,
        told(without("'django.contrib.staticfiles', ")).await,
        told(format!(
            "{SETTINGS}STORAGES = {{'staticfiles': {{'BACKEND': 'shop.far.Far'}}}}\n"
        ))
        .await,
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    there are no static files in the image: STATIC_ROOT is not set
    there are no static files in the image: `django.contrib.staticfiles` is not among the INSTALLED_APPS
    there are no static files in the image: shop.far.Far keeps them elsewhere, and nothing is uploaded by a build
    "#);
}

#[tokio::test]
async fn a_project_sees_no_more_than_the_image_will_have() {
    let engine = engine().await;
    let place = Place::shared(&engine).await;
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.css", "of this machine");
    let apps = "import os\nfrom django.apps import AppConfig\n\nclass Shop(AppConfig):\n    name = 'shop'\n\n    def ready(self):\n        \
        print(sorted(os.environ), os.path.exists('.env'), os.path.exists('shop/secret.css'))\n        \
        open('written', 'w').close()\n";
    let files = with(&[
        ("shop/apps.py", apps),
        (".env", "SECRET=1"),
        ("app/libs/tools/__init__.py", "NAME = 'tools'"),
    ]);
    let folder = project(&files);
    std::os::unix::fs::symlink(outside.path().join("secret.css"), folder.path().join("shop/secret.css")).unwrap();
    std::os::unix::fs::symlink("round", folder.path().join("shop/round")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("shop/up")).unwrap();
    let said = Said::default();
    let mut django = small();
    // What was collected before is not collected again.
    django.env.insert("ONCE".into(), unique_name("once"));
    django.import_roots = vec!["app/libs".into(), "".into()];
    django.image_env.insert("WHO".into(), "the image".into());
    let site = place.build(&django, folder.path(), &said.progress()).await.unwrap();
    assert!(!folder.path().join("written").exists());
    let line = said
        .lines()
        .lines()
        .find(|line| line.starts_with('['))
        .unwrap()
        .to_owned();
    insta::assert_snapshot!(line, @"['DJANGO_SETTINGS_MODULE', 'HOME', 'LANG', 'ONCE', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'PYTHONNOUSERSITE', 'PYTHONPYCACHEPREFIX', 'TMPDIR', 'TZ', 'WHO'] False False");
    let name = format!("{}:1", unique_name("small"));
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    site.recipe
        .load(&place.store, &engine, &name, &quiet, &cancel)
        .await
        .unwrap();
    let looks =
        "import os, tools; print(sorted(os.listdir('/app')), os.listdir('/app/public'), tools.NAME, os.environ['WHO'])";
    let ran = Command::new("docker")
        .args(["run", "--rm", &name, "python", "-c", looks])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(
        out.trim_end(),
        "['__pycache__', 'app', 'manage.py', 'mysite', 'public', 'shop'] ['shop.css'] tools the image",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    remove_image(&engine, &name).await;
}

#[tokio::test]
async fn a_run_ends_when_it_is_cancelled_or_too_long() {
    let engine = engine().await;
    let place = Place::shared(&engine).await;
    let folder = project(&with(&[(
        "manage.py",
        "print('begun', flush=True)\nimport time\ntime.sleep(600)\n",
    )]));
    let mut django = small();
    django.limit = std::time::Duration::from_secs(2);
    let error = place
        .build(&django, folder.path(), &Progress::none())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "failed to collect the static files within 2 s");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let progress = Progress::new(move |note| {
        if matches!(&note, nuages_model::Note::Line { text, .. } if text == "begun") {
            stop.cancel();
        }
    });
    let context = Context::of_project(folder.path(), &[], &Progress::none()).unwrap();
    let error = small()
        .recipe(&context, place.ground(), &progress, &cancel)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to collect the static files: it was cancelled"
    );
}

#[tokio::test]
async fn what_the_image_alone_has_is_found_in_a_container() {
    let engine = engine().await;
    let place = Place::shared(&engine).await;
    let settings = format!("{SETTINGS}STATICFILES_DIRS = ['/app/assets']\n");
    let folder = project(&with(&[
        ("mysite/settings.py", &settings),
        ("assets/img/logo.svg", "<svg/>"),
    ]));
    let mut django = small();
    // What was collected before is not collected again.
    django.env.insert("ONCE".into(), unique_name("once"));
    let site = place.build_with(&engine, &django, folder.path()).await;
    insta::assert_snapshot!(site.told.join("\n"), @"
    the image's Python ran in the Docker engine (the project names /app/assets, which the image alone has)
    2 static files are in /app/public
    ");
    // It is remembered as any other.
    let again = place.build(&django, folder.path(), &Progress::none()).await.unwrap();
    assert_eq!(again.told, ["2 static files are in /app/public"]);
    assert_eq!(digest(&again, &place.store), digest(&site, &place.store));
    write(folder.path(), "assets/img/other.svg", "<svg/>");
    let more = place.build_with(&engine, &django, folder.path()).await;
    assert_eq!(more.told[1], "3 static files are in /app/public");

    // As GeoDjango looks for its libraries: this machine has no such program.
    let apps = "import subprocess\nfrom django.apps import AppConfig\n\nclass Shop(AppConfig):\n    name = 'shop'\n\n    \
        def ready(self):\n        subprocess.run(['/opt/venv/bin/python', '-c', ''], check=True)\n";
    let folder = project(&with(&[("shop/apps.py", apps)]));
    let mut django = small();
    // What was collected before is not collected again.
    django.env.insert("ONCE".into(), unique_name("once"));
    let error = place
        .build(&django, folder.path(), &Progress::none())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("'/opt/venv/bin/python' (shop/apps.py, line 8)"),
        "{error}"
    );
    let site = place.build_with(&engine, &django, folder.path()).await;
    assert!(
        site.told[0].contains("(the project starts programs, which the image alone has)"),
        "{:?}",
        site.told
    );
    // Nothing is known of what a program reads, so any change runs it again.
    write(folder.path(), "README", "more");
    place
        .build(&django, folder.path(), &Progress::none())
        .await
        .unwrap_err();
    let left = Command::new("docker")
        .args(["images", "--quiet", &format!("nuages-run-{}", std::process::id())])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "images are left behind");
}
