//! Packages of a real lock on a real base: they run there, and what does not fit is refused.

use std::path::Path;
use std::process::Command;

use nuages_image::{Base, BlobStore, ImageError, Packages, Recipe, Requirements, Runtime, VENV};
use nuages_model::Progress;
use nuages_testkit::emulators::unique_name;
use tokio_util::sync::CancellationToken;

use crate::{BASE, engine, project, remove_image};

fn requirements(file: &Path) -> Result<Requirements, ImageError> {
    Requirements::of_file(file, "linux/amd64")
}

/// The sample's lock.
fn sample() -> Requirements {
    requirements(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../django-sample/requirements.txt")).unwrap()
}

const IMPORTS: &str = "\
import sys, django, psycopg, gunicorn, whitenoise
from importlib.metadata import distribution
assert sys.prefix == '/opt/venv', sys.prefix
for file in distribution('gunicorn').files:
    assert file.locate().exists(), file
assert psycopg.pq.__impl__ == 'binary', psycopg.pq.__impl__
print('django', django.__version__)
";

#[tokio::test]
async fn the_sample_s_packages_run_on_the_base() {
    let engine = engine().await;
    let cache = tempfile::tempdir().unwrap();
    let store = BlobStore::open(cache.path()).unwrap();
    let (quiet, cancel) = (Progress::none(), CancellationToken::new());
    let base = Base::of_engine(&engine, BASE, &store, &quiet).await.unwrap();
    let contents = base.contents(&store, &quiet).await.unwrap();
    let packages = Packages::install(&sample(), &contents, &store, &quiet).await.unwrap();
    let versions: Vec<(&str, &str)> = packages.list().collect();
    let django = versions
        .iter()
        .find(|(name, _)| *name == "django")
        .unwrap()
        .1
        .to_owned();

    let layers = packages.layers().unwrap();
    let titles: Vec<&str> = layers.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles[0], "virtual environment");
    assert!(titles.contains(&format!("django {django}").as_str()), "{titles:?}");
    assert!(titles.iter().any(|title| title.starts_with("packages ")), "{titles:?}");
    let recipe = |layers: Vec<_>| {
        let recipe = Recipe::on(base.clone()).run_as(Runtime {
            env: [("PATH".to_owned(), format!("{VENV}/bin:/usr/local/bin:/usr/bin:/bin"))].into(),
            user: Some("10001:10001".into()),
            ..Runtime::default()
        });
        layers
            .into_iter()
            .fold(recipe, |recipe, (title, tree)| recipe.layer(title, tree))
    };
    let name = format!("{}:1", unique_name("packages"));
    let first = recipe(layers)
        .load(&store, &engine, &name, &quiet, &cancel)
        .await
        .unwrap();
    let run = |words: &[&str]| {
        let ran = Command::new("docker")
            .args(["run", "--rm", &name])
            .args(words)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{words:?}: {err}");
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    };
    assert_eq!(run(&["python", "-c", IMPORTS]), format!("django {django}"));
    assert_eq!(run(&["django-admin", "--version"]), django);
    assert!(run(&["gunicorn", "--version"]).starts_with("gunicorn"));
    remove_image(&engine, &name).await;

    // Another cache, and so another installation, gives the same image.
    let other = tempfile::tempdir().unwrap();
    let store = BlobStore::open(other.path()).unwrap();
    let packages = Packages::install(&sample(), &contents, &store, &quiet).await.unwrap();
    let second = recipe(packages.layers().unwrap()).make(&store, &quiet).unwrap();
    assert_eq!(second.digest, first.digest);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let engine = engine().await;
    let cache = tempfile::tempdir().unwrap();
    let store = BlobStore::open(cache.path()).unwrap();
    let quiet = Progress::none();
    let base = Base::of_engine(&engine, BASE, &store, &quiet).await.unwrap();
    let contents = base.contents(&store, &quiet).await.unwrap();
    let refused = async |contents: &nuages_image::Contents, requirements: Requirements| match Packages::install(
        &requirements,
        contents,
        &store,
        &quiet,
    )
    .await
    {
        Ok(packages) => panic!("{:?}", packages.list().collect::<Vec<_>>()),
        Err(error @ ImageError::Packages { .. }) => (error.to_string(), error.hint().unwrap_or_default()),
        Err(error) => panic!("{error:?}"),
    };
    let folder = project(&[("unhashed.txt", "sqlparse==0.6.1\n"), ("unpinned.txt", "sqlparse\n")]);
    for name in ["unhashed.txt", "unpinned.txt"] {
        let error = requirements(&folder.path().join(name)).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(error.to_string().contains("sqlparse"), "{error}");
        assert!(hint.contains("--generate-hashes"), "{error}: {hint}");
    }
    // A base without the library that a package was compiled against.
    let mut without = contents.clone();
    without.libraries.retain(|library| !library.starts_with("libm.so"));
    let (said, _) = refused(&without, sample()).await;
    assert!(said.contains("needs the library libm.so.6"), "{said}");
    let none = nuages_image::Contents {
        python: None,
        ..contents
    };
    assert!(refused(&none, sample()).await.0.ends_with("has no Python on its PATH"));
}
