//! Locks that poetry, pipenv and uv wrote, and what these tools make of them themselves (tests/locks).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::packages::{At, text};

fn locks(name: &str) -> tempfile::TempDir {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/locks").join(name);
    nuages_testkit::package_locks::as_written(&kept)
}

fn change(folder: &Path, name: &str, from: &str, to: &str) {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{name} has no `{from}`");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

type Versions = BTreeMap<String, (String, BTreeSet<String>)>;

/// Names, versions and hashes; the tools write markers each in their own way.
fn versions(packages: &[Pinned]) -> Versions {
    let each = packages.iter().map(|package| {
        (
            package.name.clone(),
            (format!("{:?}", package.at), package.hashes.clone()),
        )
    });
    each.collect()
}

fn exported(file: &Path) -> Versions {
    versions(&RequirementsFile::read(file).unwrap().pinned(Path::new("/")).unwrap().0)
}

fn refused(found: Result<Found, ImageError>) -> String {
    let error = found.unwrap_err();
    format!("{error}; {}", error.hint().unwrap_or_default())
}

#[test]
fn poetry_says_the_same_of_its_lock() {
    let folder = locks("poetry");
    let folder = folder.path();
    for (group, file) in [(Group::Main, "main.txt"), (Group::Checks, "checks.txt")] {
        let found = poetry_lock::translate(folder, group).unwrap();
        assert_eq!(versions(&found.packages), exported(&folder.join(file)), "{file}");
    }
    let found = poetry_lock::translate(folder, Group::Checks).unwrap();
    insta::assert_snapshot!("poetry", text(&found.packages));
    assert_eq!(found.indexes, [], "the usual index needs no words");
}

#[test]
fn pipenv_says_the_same_of_its_lock() {
    let folder = locks("pipenv");
    let folder = folder.path();
    for (group, file) in [(Group::Main, "main.txt"), (Group::Checks, "checks.txt")] {
        let found = pipfile_lock::translate(folder, group).unwrap();
        assert_eq!(versions(&found.packages), exported(&folder.join(file)), "{file}");
    }
    insta::assert_snapshot!(
        "pipenv",
        text(&pipfile_lock::translate(folder, Group::Checks).unwrap().packages)
    );
}

#[test]
fn a_lock_of_something_else_is_refused() {
    let poetry = locks("poetry");
    change(
        poetry.path(),
        "pyproject.toml",
        "Django = \"^5.2\"",
        "Django = \"^5.3\"",
    );
    let changed = refused(poetry_lock::translate(poetry.path(), Group::Main));
    change(
        poetry.path(),
        "pyproject.toml",
        "[tool.poetry.extras]",
        "celery = \"*\"\n[tool.poetry.extras]",
    );
    let added = refused(poetry_lock::translate(poetry.path(), Group::Main));
    change(
        poetry.path(),
        "poetry.lock",
        "lock-version = \"2.1\"",
        "lock-version = \"2.0\"",
    );
    let old = refused(poetry_lock::translate(poetry.path(), Group::Main));
    change(
        poetry.path(),
        "poetry.lock",
        "lock-version = \"2.0\"",
        "lock-version = \"3.0\"",
    );
    let new = refused(poetry_lock::translate(poetry.path(), Group::Main));

    let pipenv = locks("pipenv");
    change(pipenv.path(), "Pipfile", "~=5.2", "~=5.3");
    let pipfile_changed = refused(pipfile_lock::translate(pipenv.path(), Group::Main));
    change(
        pipenv.path(),
        "Pipfile",
        "[dev-packages]",
        "celery = \"*\"\n[dev-packages]",
    );
    let pipfile_added = refused(pipfile_lock::translate(pipenv.path(), Group::Main));
    change(
        pipenv.path(),
        "Pipfile.lock",
        "\"pipfile-spec\": 6",
        "\"pipfile-spec\": 7",
    );
    let pipfile_new = refused(pipfile_lock::translate(pipenv.path(), Group::Main));

    let uv = locks("uv");
    uv_lock::check(uv.path()).unwrap();
    let mut of_uv = Vec::new();
    for (from, to) in [
        ("\"Django >= 5.2, <6\"", "\"Django >= 5.2, <7\""),
        ("\"Django >= 5.2, <7\"", "\"django<6,>=5.2\""),
        ("\"django<6,>=5.2\"", "\"django<6,>=5.2\", \"celery\""),
        ("\"redis<6\"", "\"redis<7\""),
        (", \"celery\"", ""),
        ("\"redis<7\"", "\"redis<6\""),
        ("\"packaging\"", "\"packaging\", \"mypy\""),
    ] {
        change(uv.path(), "pyproject.toml", from, to);
        of_uv.push(uv_lock::check(uv.path()).map_or_else(|error| error.to_string(), |()| format!("{to} is the same")));
    }
    let mut said = vec![changed, added, old, new, pipfile_changed, pipfile_added, pipfile_new];
    said.extend(of_uv);
    insta::assert_snapshot!(said.join("\n"));
}

/// Kinds of sources as the tools' documentation shows them.
#[test]
fn other_sources_are_pinned_or_refused() {
    let hash = "3be5a72d04c873d690d7c6dedd33d6fae2ef82759881ceec02fc2efd0cba564f";
    let commit = "0123456789012345678901234567890123456789";
    let poetry = |source: &str, file: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        let lock = format!(
            "[[package]]\nname = \"A_a\"\nversion = \"1.0\"\noptional = false\ngroups = [\"main\"]\nfiles = [{file}]\n{source}\n[metadata]\nlock-version = \"2.1\"\n"
        );
        std::fs::write(folder.path().join("poetry.lock"), lock).unwrap();
        match poetry_lock::translate(folder.path(), Group::Main) {
            Ok(found) => format!("{}{:?} {:?}", text(&found.packages), found.local, found.indexes),
            Err(error) => error
                .to_string()
                .replace(&folder.path().display().to_string(), "PROJECT"),
        }
    };
    let file = format!("{{ file = \"a.whl\", hash = \"sha256:{hash}\" }}");
    let source = |words: &str| format!("[package.source]\n{words}");
    let mut said = vec![
        poetry("", &file),
        poetry("", ""),
        poetry(
            &source("type = \"legacy\"\nurl = \"https://pypi.example.org/simple\"\nreference = \"own\""),
            &file,
        ),
        poetry(
            &source(&format!(
                "type = \"git\"\nurl = \"https://host.example/a\"\nreference = \"main\"\nresolved_reference = \"{commit}\"\nsubdirectory = \"src\""
            )),
            "",
        ),
        poetry(
            &source(
                "type = \"git\"\nurl = \"https://host.example/a\"\nreference = \"main\"\nresolved_reference = \"main\"",
            ),
            "",
        ),
        poetry(&source("type = \"url\"\nurl = \"https://host.example/a.whl\""), &file),
        poetry(&source("type = \"directory\"\nurl = \"own\""), ""),
        poetry(&source("type = \"directory\"\nurl = \"../own\""), ""),
        poetry(&source("type = \"floppy\""), ""),
    ];
    let pipenv = |entry: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        let lock = format!(
            r#"{{"_meta": {{"pipfile-spec": 6, "sources": [{{"name": "own", "url": "https://$USER:${{PASSWORD}}@pypi.example.org/simple"}}]}}, "default": {{"A_a": {entry}}}}}"#
        );
        std::fs::write(folder.path().join("Pipfile.lock"), lock).unwrap();
        match pipfile_lock::translate(folder.path(), Group::Main) {
            Ok(found) => {
                let Index::Line(line) = &found.indexes[0] else {
                    panic!("{:?}", found.indexes)
                };
                format!("{}{:?} {line}", text(&found.packages), found.local)
            }
            Err(error) => error
                .to_string()
                .replace(&folder.path().display().to_string(), "PROJECT"),
        }
    };
    said.extend([
        pipenv(&format!(r#"{{"version": "==1.0", "hashes": ["sha256:{hash}"], "sys_platform": "== 'linux'", "markers": "python_version > '3'"}}"#)),
        pipenv(r#"{"version": "==1.0"}"#),
        pipenv(r#"{"version": "*"}"#),
        pipenv(&format!(r#"{{"git": "https://host.example/a", "ref": "{commit}"}}"#)),
        pipenv(r#"{"git": "https://host.example/a", "ref": "main"}"#),
        pipenv(r#"{"path": "./own", "editable": true}"#),
        pipenv(r#"{"path": "../own"}"#),
        pipenv(&format!(r#"{{"file": "https://host.example/a.whl", "hashes": ["sha256:{hash}"]}}"#)),
    ]);
    let pylock = |package: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        std::fs::write(
            folder.path().join("pylock.toml"),
            format!("lock-version = \"1.0\"\n[[packages]]\nname = \"A_a\"\n{package}\n"),
        )
        .unwrap();
        match pylock::translate(folder.path(), Group::Main) {
            Ok(found) => format!("{}{:?}", text(&found.packages), found.local),
            Err(error) => error
                .to_string()
                .replace(&folder.path().display().to_string(), "PROJECT"),
        }
    };
    let hashes = format!("hashes = {{ sha256 = \"{hash}\" }}");
    said.extend([
        pylock(&format!(
            "version = \"1.0\"\nmarker = \"sys_platform == 'linux'\"\nwheels = [{{ name = \"a.whl\", {hashes} }}]"
        )),
        pylock("version = \"1.0\""),
        pylock(&format!(
            "vcs = {{ type = \"git\", url = \"https://host.example/a\", commit-id = \"{commit}\" }}"
        )),
        pylock(&format!(
            "archive = {{ url = \"https://host.example/a.whl\", {hashes} }}"
        )),
        pylock("directory = { path = \"own\", editable = true }"),
    ]);
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn the_first_that_says_most_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let find = || match Dependencies::find(folder.path()) {
        Ok(None) => "nothing".to_owned(),
        Ok(Some(found)) => found.told(),
        Err(error) => format!("{error}; {}", error.hint().unwrap_or_default()),
    };
    let mut said = vec![find()];
    for (name, content) in [
        ("pyproject.toml", "[tool.ruff]\n"),
        ("pyproject.toml", "[tool.poetry.dependencies]\nDjango = \"*\"\n"),
        (
            "pyproject.toml",
            "[project]\nname = \"blog\"\ndependencies = [\"Django\"]\n",
        ),
        ("Pipfile", ""),
        ("pdm.lock", ""),
        ("requirements/base.txt", "Django\n"),
        ("requirements.txt", "Django==5.2\n"),
        (
            "requirements.txt",
            "Django==5.2 --hash=sha256:3be5a72d04c873d690d7c6dedd33d6fae2ef82759881ceec02fc2efd0cba564f\n",
        ),
        ("pylock.toml", ""),
        ("Pipfile.lock", ""),
        ("poetry.lock", ""),
        ("uv.lock", ""),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        said.push(format!("{name}: {}", find()));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn the_words_of_a_lock_are_no_lines_of_a_list() {
    let good = Pinned {
        name: "a".into(),
        at: At::Version("1.0".into()),
        marker: Some("python_version > '3'".into()),
        hashes: [format!("sha256:{}", "0".repeat(64))].into(),
    };
    good.check().unwrap();
    let with = |change: &dyn Fn(&mut Pinned)| {
        let mut package = good.clone();
        change(&mut package);
        package.check().unwrap_err();
    };
    with(&|package| package.name = "-r".into());
    with(&|package| package.name = "a\nb".into());
    with(&|package| package.at = At::Version("1 --hash=x".into()));
    with(&|package| package.at = At::File("https://host.example/a\n-r /etc/passwd".into()));
    with(&|package| package.at = At::Commit("https://host.example/a".into()));
    with(&|package| package.marker = Some("x\n--index-url https://evil.example".into()));
    with(&|package| package.marker = Some("'dev' in dependency_groups".into()));
    with(&|package| package.hashes = [format!("sha256:{} --pre", "0".repeat(58))].into());
}

#[test]
fn first_party_code_is_imported_from_where_its_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    let look = |settings: &str, folders: &[&str]| {
        let package = tempfile::tempdir_in(folder.path()).unwrap();
        for name in folders {
            std::fs::create_dir_all(package.path().join(name)).unwrap();
        }
        std::fs::write(package.path().join("pyproject.toml"), settings).unwrap();
        let path = PathBuf::from(package.path().file_name().unwrap());
        let found = FirstParty::look(folder.path(), &Local { path: path.clone() });
        found.map(|found| {
            let root = found.import_root.strip_prefix(&path).unwrap().display().to_string();
            (found.name, root)
        })
    };
    let named = "[project]\nname = \"My.Shop\"\n";
    let found = |settings: &str, folders: &[&str]| look(&format!("{named}{settings}"), folders).unwrap();
    let shop = |root: &str| ("my-shop".to_owned(), root.to_owned());
    assert_eq!(found("", &[]), shop(""));
    assert_eq!(found("", &["src/shop"]), shop("src"));
    assert_eq!(
        found("[tool.setuptools.packages.find]\nwhere = [\"lib\"]\n", &["lib", "src"]),
        shop("lib")
    );
    assert_eq!(
        found("[tool.setuptools.package-dir]\n\"\" = \"lib\"\n", &["lib"]),
        shop("lib")
    );
    assert_eq!(
        found(
            "[[tool.poetry.packages]]\ninclude = \"shop\"\nfrom = \"code\"\n",
            &["code"]
        ),
        shop("code")
    );
    assert_eq!(
        found("[tool.uv.build-backend]\nmodule-root = \"\"\n", &["src"]),
        shop("")
    );
    look("[tool.uv.build-backend]\nmodule-root = \"../..\"\n", &[]).unwrap_err();
    let said = look("[build-system]\nbuild-backend = \"maturin\"\n", &[])
        .unwrap_err()
        .to_string();
    assert!(said.contains("is compiled by maturin"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(nuages_testkit::fuzz::cases(128)))]
    /// Damage at any place of a real lock is read or refused.
    #[test]
    fn damaged_locks_never_panic(which in 0..3_usize, at in 0..8000_usize, cut in 0..60_usize, put in "[\\[\\]\"={}a-z0-9\n ]{0,6}") {
        let (name, file) = [("poetry", "poetry.lock"), ("pipenv", "Pipfile.lock"), ("uv", "uv.lock")][which];
        let folder = locks(name);
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        let at = at % text.len();
        let end = (at + cut).min(text.len());
        let damaged = format!("{}{put}{}", text.get(..at).unwrap_or_default(), text.get(end..).unwrap_or_default());
        std::fs::write(folder.path().join(file), damaged).unwrap();
        let found = match which {
            0 => poetry_lock::translate(folder.path(), Group::Checks),
            1 => pipfile_lock::translate(folder.path(), Group::Checks),
            _ => uv_lock::check(folder.path()).map(|()| Found::default()),
        };
        for package in found.map(|found| found.packages).unwrap_or_default() {
            if package.check().is_ok() {
                let line = text_of(&package);
                prop_assert!(RequirementsFile::of_text(&line, folder.path()).is_ok(), "{}", line);
            }
        }
    }
}

fn text_of(package: &Pinned) -> String {
    text(std::slice::from_ref(package))
}
