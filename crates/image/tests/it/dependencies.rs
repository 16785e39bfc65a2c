//! What a project's folder says of its packages becomes what is installed: by the pinned `uv`, from the package index.

use std::fs;
use std::path::{Path, PathBuf};

use nuages_image::{
    BlobStore, Contents, Dependencies, FirstParty, Group, ImageError, Libc, Locked, Packages, Pinning, Pins, Python,
    Requirements,
};
use nuages_model::{Digest, Progress};

use crate::{project, write};

/// What a base of Debian 12 holds.
pub(crate) fn base() -> Contents {
    Contents {
        libc: Some(Libc::Glibc(2, 36)),
        python: Some(Python {
            path: "/usr/local/bin/python3.13".into(),
            version: (3, 13),
        }),
        libraries: ["libc.so.6".to_owned()].into(),
    }
}

/// One for all tests: uv is fetched once.
pub(crate) fn store() -> BlobStore {
    BlobStore::open(Path::new(env!("CARGO_TARGET_TMPDIR")).join("dependencies")).unwrap()
}

/// What a package manager wrote.
pub(crate) fn locks(name: &str) -> tempfile::TempDir {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/locks").join(name);
    nuages_testkit::package_locks::as_written(&kept)
}

async fn lock(folder: &Path, group: Group, pinning: Pinning) -> Result<Locked, ImageError> {
    let mut pins = Pins::read(&folder.join("nuages.lock"), pinning)?;
    let found = Dependencies::find(folder)?.unwrap();
    let locked = found
        .lock(group, &base(), "linux/amd64", &mut pins, &store(), &Progress::none())
        .await?;
    pins.write()?;
    Ok(locked)
}

/// Names and versions, as the list has them.
fn listed(locked: &Locked) -> String {
    let text = locked.requirements.text();
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    lines
        .map(|line| line.trim_end_matches(" \\"))
        .collect::<Vec<_>>()
        .join("\n")
}

async fn installed(requirements: &Requirements) -> Result<Vec<String>, ImageError> {
    let packages = Packages::install(requirements, &base(), &store(), &Progress::none()).await?;
    Ok(packages
        .list()
        .map(|(name, version)| format!("{name} {version}"))
        .collect())
}

#[tokio::test]
async fn uv_s_own_lock_is_written_out_and_installed() {
    let folder = locks("uv");
    let main = lock(folder.path(), Group::Main, Pinning::Frozen).await.unwrap();
    let checks = lock(folder.path(), Group::Checks, Pinning::Frozen).await.unwrap();
    insta::assert_snapshot!(format!("{}\n\n{}", listed(&main), listed(&checks)));
    let shop = FirstParty {
        name: "shop".into(),
        path: "packages/shop".into(),
        import_root: "packages/shop/src".into(),
    };
    assert_eq!(main.first_party, [shop]);
    let names = installed(&main.requirements).await.unwrap();
    assert!(names.iter().any(|name| name.starts_with("gunicorn ")), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("tzdata ")),
        "it is for Windows: {names:?}"
    );
}

#[tokio::test]
async fn the_locks_of_others_are_installed() {
    for name in ["poetry", "pipenv"] {
        let folder = locks(name);
        let checks = lock(folder.path(), Group::Checks, Pinning::Frozen).await.unwrap();
        let names = installed(&checks.requirements).await.unwrap();
        for wanted in [
            "asgiref ",
            "django 5.2",
            "gunicorn ",
            "packaging ",
            "pluggy ",
            "sqlparse ",
        ] {
            assert!(names.iter().any(|name| name.starts_with(wanted)), "{wanted}: {names:?}");
        }
        assert_eq!(names.len(), 6, "{names:?}");
        // The checks' layers hold what the application's do not.
        let main = lock(folder.path(), Group::Main, Pinning::Frozen).await.unwrap();
        let of = async |locked: &Locked| {
            Packages::install(&locked.requirements, &base(), &store(), &Progress::none())
                .await
                .unwrap()
        };
        let beside = of(&checks).await.beside(&of(&main).await);
        let names: Vec<&str> = beside.list().map(|(name, _)| name).collect();
        // gunicorn 23, which Poetry's lock has, needs `packaging` itself.
        assert_eq!(names.contains(&"packaging"), name == "pipenv", "{names:?}");
        assert!(names.contains(&"pluggy") && !names.contains(&"django"), "{names:?}");
    }
}

#[tokio::test]
async fn hashed_lists_are_taken_as_they_are() {
    let kept = locks("pipenv");
    let text = |name: &str| fs::read_to_string(kept.path().join(name)).unwrap();
    let folder = project(&[
        ("requirements.txt", text("main.txt").as_str()),
        ("requirements-dev.txt", text("checks.txt").as_str()),
    ]);
    let own = |name: &str| {
        Requirements::of_file(&kept.path().join(name), "linux/amd64")
            .unwrap()
            .text()
    };
    for (group, file) in [(Group::Main, "main.txt"), (Group::Checks, "checks.txt")] {
        let locked = lock(folder.path(), group, Pinning::Frozen).await.unwrap();
        assert_eq!(locked.requirements.text(), own(file), "{file}");
    }
    assert!(!folder.path().join("nuages.lock").exists(), "there is a lock already");
    write(folder.path(), "requirements-dev.txt", "pluggy\n");
    let said = lock(folder.path(), Group::Checks, Pinning::Missing)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.ends_with("a package in requirements-dev.txt has no version or no hash"),
        "{said}"
    );
}

#[tokio::test]
async fn what_has_no_lock_is_resolved_once_for_the_image() {
    let folder = project(&[
        (
            "requirements.txt",
            "-r requirements/base.txt\ntzdata; sys_platform == 'win32'\n-e ./packages/shop\n",
        ),
        (
            "requirements/base.txt",
            "-c limits.txt\nsqlparse\npackaging; python_version >= '3.13'\n",
        ),
        ("requirements/limits.txt", "sqlparse<0.5.2\n"),
        ("requirements-dev.txt", "-r requirements.txt\npluggy\n"),
        (
            "packages/shop/pyproject.toml",
            "[project]\nname = \"shop\"\nversion = \"1\"\ndependencies = [\"asgiref\"]\n",
        ),
        ("packages/shop/shop/__init__.py", ""),
    ]);
    let file = folder.path().join("nuages.lock");
    let names = |locked: &Locked| {
        let listed = listed(locked);
        listed
            .lines()
            .map(|line| line.split("==").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let said = lock(folder.path(), Group::Main, Pinning::Frozen).await.unwrap_err();
    assert!(said.to_string().ends_with("nuages.lock: there is none"), "{said}");
    assert!(!file.exists(), "CI writes nothing");

    let first = lock(folder.path(), Group::Main, Pinning::Missing).await.unwrap();
    assert_eq!(names(&first), ["asgiref", "packaging", "sqlparse"]);
    assert!(listed(&first).contains("sqlparse==0.5.1"), "{}", listed(&first));
    assert_eq!(first.first_party[0].import_root, PathBuf::from("packages/shop"));
    let checks = lock(folder.path(), Group::Checks, Pinning::Missing).await.unwrap();
    assert_eq!(names(&checks), ["asgiref", "packaging", "pluggy", "sqlparse"]);
    let written = fs::read_to_string(&file).unwrap();
    // Nobody is asked again, and comments ask for nothing.
    let again = lock(folder.path(), Group::Main, Pinning::Frozen).await.unwrap();
    assert_eq!(again.requirements.text(), first.requirements.text());
    lock(folder.path(), Group::Checks, Pinning::Missing).await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), written);

    write(folder.path(), "requirements/limits.txt", "sqlparse<1\n");
    let said = lock(folder.path(), Group::Main, Pinning::Frozen).await.unwrap_err();
    assert!(
        said.to_string()
            .ends_with("requirements.txt was changed since it was written"),
        "{said}"
    );
    let kept = lock(folder.path(), Group::Main, Pinning::Missing).await.unwrap();
    assert!(
        listed(&kept).contains("sqlparse==0.5.1"),
        "what may stay stays: {}",
        listed(&kept)
    );
    let renewed = lock(folder.path(), Group::Main, Pinning::Upgrade).await.unwrap();
    assert!(!listed(&renewed).contains("sqlparse==0.5.1"), "{}", listed(&renewed));
    let names = installed(&renewed.requirements).await.unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn a_manifest_without_a_lock_is_resolved() {
    let standard = project(&[(
        "pyproject.toml",
        "[project]\nname = \"blog\"\nversion = \"1\"\nrequires-python = \">=3.12\"\ndependencies = [\"sqlparse==0.5.1\"]\n\
         [dependency-groups]\ntest = [\"pluggy\"]\ndocs = [\"markdown\"]\n",
    )]);
    let poetry = project(&[(
        "pyproject.toml",
        "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = \"^3.12\"\nsqlparse = \"~0.5.1\"\n\
         [tool.poetry.group.test.dependencies]\npluggy = \"^1\"\n[tool.poetry.group.docs]\noptional = true\n\
         [tool.poetry.group.docs.dependencies]\nmarkdown = \"*\"\n",
    )]);
    for folder in [standard, poetry] {
        let main = lock(folder.path(), Group::Main, Pinning::Missing).await.unwrap();
        assert!(listed(&main).starts_with("sqlparse==0.5."), "{}", listed(&main));
        let checks = lock(folder.path(), Group::Checks, Pinning::Missing).await.unwrap();
        let mut lines: Vec<String> = listed(&checks).lines().map(str::to_owned).collect();
        assert!(lines.remove(0).starts_with("pluggy==1."), "{}", listed(&checks));
        assert_eq!(
            lines.join("\n"),
            listed(&main),
            "what the application runs with is what is checked"
        );
        // Settings of other tools ask for nothing.
        let manifest = fs::read_to_string(folder.path().join("pyproject.toml")).unwrap();
        write(
            folder.path(),
            "pyproject.toml",
            &format!("{manifest}\n[tool.ruff]\nline-length = 100\n"),
        );
        lock(folder.path(), Group::Main, Pinning::Frozen).await.unwrap();
    }
    let none = project(&[("requirements.txt", "nuages-no-such-package==1\n")]);
    let said = lock(none.path(), Group::Main, Pinning::Missing)
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("nuages-no-such-package"), "{said}");
    assert!(!none.path().join("nuages.lock").exists());
}

/// A package that is published as source alone, which makes a wheel with this tag.
fn source(folder: &Path, name: &str, tag: &str) -> String {
    let backend = format!(
        "import zipfile\n\
         def build_wheel(folder, config_settings=None, metadata_directory=None):\n\
         \x20   name = '{name}-1.0-{tag}.whl'\n\
         \x20   with zipfile.ZipFile(f'{{folder}}/{{name}}', 'w') as wheel:\n\
         \x20       wheel.writestr('{name}.py', 'ONE = 1\\n')\n\
         \x20       info = '{name}-1.0.dist-info'\n\
         \x20       wheel.writestr(f'{{info}}/METADATA', 'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n')\n\
         \x20       wheel.writestr(f'{{info}}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: {tag}\\n')\n\
         \x20       wheel.writestr(f'{{info}}/RECORD', f'{name}.py,,\\n{{info}}/METADATA,,\\n{{info}}/WHEEL,,\\n{{info}}/RECORD,,\\n')\n\
         \x20   return name\n"
    );
    let files = [
        (
            "pyproject.toml",
            "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n".to_owned(),
        ),
        ("backend.py", backend),
        (
            "PKG-INFO",
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"),
        ),
    ];
    let path = folder.join(format!("{name}-1.0.tar.gz"));
    let gzip = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    for (file, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("{name}-1.0/{file}"), content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    format!("{name}==1.0 --hash={}\n", Digest::of(&fs::read(path).unwrap()))
}

#[tokio::test]
async fn source_is_built_only_where_the_wheel_is_for_any_machine() {
    let folder = project(&[("sources/.keep", "")]);
    let sources = folder.path().join("sources");
    let unique = nuages_testkit::emulators::unique_name("source").replace('-', "");
    let (pure, compiled) = (format!("{unique}a"), format!("{unique}b"));
    let lines = [
        source(&sources, &pure, "py3-none-any"),
        source(&sources, &compiled, "cp313-cp313-linux_x86_64"),
    ];
    let install = async |line: &str| {
        write(
            folder.path(),
            "requirements.txt",
            &format!("--no-index\n--find-links sources\n{line}"),
        );
        installed(&Requirements::of_file(
            &folder.path().join("requirements.txt"),
            "linux/amd64",
        )?)
        .await
    };
    assert_eq!(install(&lines[0]).await.unwrap(), [format!("{pure} 1.0")]);
    let error = install(&lines[1]).await.unwrap_err();
    let said = format!("{error}; {}", error.hint().unwrap());
    insta::assert_snapshot!(said.replace(&compiled, "NAME"));
    // Another hash is another package.
    let other = format!("{pure}==1.0 --hash=sha256:{}\n", "0".repeat(64));
    let said = install(&other).await.unwrap_err().to_string();
    assert!(said.contains(&pure), "{said}");
}

#[tokio::test]
async fn a_package_of_a_repository_is_installed_at_its_commit() {
    let folder = project(&[("upstream/.keep", "")]);
    let upstream = folder.path().join("upstream");
    let unique = nuages_testkit::emulators::unique_name("commit").replace('-', "");
    source(folder.path(), &unique, "py3-none-any");
    let archive = fs::File::open(folder.path().join(format!("{unique}-1.0.tar.gz"))).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(archive))
        .unpack(&upstream)
        .unwrap();
    let git = |words: &[&str]| {
        let out = std::process::Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=n@example.org", "-C"])
            .arg(upstream.join(format!("{unique}-1.0")))
            .args(words)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let address = format!("git+file://{}/{unique}-1.0", upstream.display());
    write(folder.path(), "requirements.txt", &format!("{unique} @ {address}\n"));
    let locked = lock(folder.path(), Group::Main, Pinning::Missing).await.unwrap();
    assert_eq!(
        listed(&locked),
        format!("{unique} @ {address}@{commit}"),
        "the commit is pinned"
    );
    assert_eq!(
        installed(&locked.requirements).await.unwrap(),
        [format!("{unique} 1.0")]
    );
}

#[tokio::test]
async fn an_index_s_password_is_in_no_file() {
    let folder = project(&[("sources/.keep", "")]);
    let name = nuages_testkit::emulators::unique_name("hidden").replace('-', "");
    source(&folder.path().join("sources"), &name, "py3-none-any");
    let ask = |options: &str| {
        let index = "--extra-index-url https://me:hush@pypi.invalid/simple";
        write(
            folder.path(),
            "requirements.txt",
            &format!("{options}{index}\n{name}==1.0\n"),
        );
    };
    ask("--no-index\n--find-links sources\n");
    let locked = lock(folder.path(), Group::Main, Pinning::Missing).await.unwrap();
    assert_eq!(listed(&locked), format!("{name}==1.0"));
    let said = format!("{locked:?}{}", locked.requirements.text());
    assert!(!said.contains("hush"), "{said}");
    let written = fs::read_to_string(folder.path().join("nuages.lock")).unwrap();
    assert!(written.contains(&name) && !written.contains("hush"), "{written}");
    // uv asks an index that is not there, and what it says names no password.
    ask("");
    let error = lock(folder.path(), Group::Main, Pinning::Missing).await.unwrap_err();
    let said = format!("{error:?}{error}");
    assert!(said.contains("pypi.invalid") && !said.contains("hush"), "{said}");
}
