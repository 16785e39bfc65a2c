//! A project in a folder of its own, and the binary run on it with an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nuages_testkit::snapshot::normalise;
use tempfile::TempDir;

use crate::shapes::documented;

/// What a run said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    args: Vec<String>,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(args: &[&str], output: &Output) -> Self {
        Self {
            args: args.iter().map(ToString::to_string).collect(),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Ended with this code, or the test fails with all that was said.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Says this on stderr.
    #[track_caller]
    pub(crate) fn tells(self, text: &str) -> Self {
        assert!(self.err.contains(text), "`{text}` is not in stderr:\n{}", self.err);
        self
    }

    /// Says this on stdout.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "`{text}` is not in stdout:\n{}", self.out);
        self
    }

    /// Says this after the last `error:`, which is what stays on the screen.
    #[track_caller]
    pub(crate) fn ends_telling(self, text: &str) -> Self {
        let last = self.last_error().map_or("", |at| &self.err[at..]);
        assert!(last.contains(text), "`{text}` is not in the last words:\n{}", self.err);
        self
    }

    /// Where the last line begins that begins with `error:`.
    fn last_error(&self) -> Option<usize> {
        let later = self.err.rfind("\nerror: ").map(|at| at + 1);
        later.or_else(|| self.err.starts_with("error: ").then_some(0))
    }

    /// What stays on the screen: the last `error:` with the lines that were quoted above it.
    pub(crate) fn last_words(&self) -> String {
        let error = self.last_error().unwrap_or_default();
        let quoted: Vec<&str> = self.err[..error]
            .lines()
            .rev()
            .take_while(|line| line.starts_with("  "))
            .collect();
        let quoted: String = quoted.iter().rev().flat_map(|line| [line, "\n"]).collect();
        normalise(&(quoted + &self.err[error..]))
    }

    /// Each line of stdout as JSON, which docs/json.md has.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let lines: Vec<serde_json::Value> = self.out.lines().map(parse).collect();
        for line in &lines {
            documented(&self.args, line);
        }
        lines
    }
}

/// A folder with a home and a place for a project, gone with its value.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    /// In this folder.
    pub(crate) fn at(dir: TempDir) -> Self {
        for name in ["home", "app"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    /// With these lines as its `nuages.toml`, and what else a deployment needs before it asks anybody.
    pub(crate) fn with(toml: &str) -> Self {
        let place = Self::new();
        place.write("nuages.toml", toml);
        place.write("manage.py", "");
        place.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        place
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where records are kept: in the middle of what is built, which must not see them.
    pub(crate) fn store(&self) -> PathBuf {
        self.project().join("posts").join("records")
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.project().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.project().join(file)).unwrap()
    }

    /// Replaces text that must be there.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "`{from}` is not in {file}");
        self.write(file, &text.replacen(from, to, 1));
    }

    /// The command in the project's folder. Nothing of the surroundings gets through but what finds programs, Docker
    /// and certificates.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        const PASSED: [&str; 12] = [
            "PATH",
            "DOCKER_HOST",
            "XDG_RUNTIME_DIR",
            "TMPDIR",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "PIP_INDEX_URL",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
            "SystemRoot",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuages"));
        command.args(args).current_dir(self.project()).env_clear();
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.home());
        // As who has it on PATH: a path of the tests' own would stand in every hint.
        command.env("NUAGES_CALLED_AS", "nuages");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, &[])
    }

    pub(crate) fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Said {
        let output = self.command(args).envs(env.iter().copied()).output().unwrap();
        Said::of(args, &output)
    }

    /// The text with the folder's name taken out.
    pub(crate) fn anonymous(&self, text: &str) -> String {
        let dir = std::fs::canonicalize(self.dir.path()).unwrap();
        text.replace(&dir.display().to_string(), "[place]")
            .replace(&self.dir.path().display().to_string(), "[place]")
    }
}

/// Takes away the images that deployments of this app left in the engine, by their names: others may share content.
pub(crate) fn forget_images(app: &str) {
    let docker = |args: &[&str]| Command::new("docker").args(args).stderr(Stdio::null()).output();
    let format = "{{.Repository}} {{.Tag}} {{.Digest}}";
    let Ok(listed) = docker(&["images", "--digests", "--format", format]) else {
        return;
    };
    for line in String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|line| line.contains(app))
    {
        let name = match line.split(' ').collect::<Vec<_>>()[..] {
            [repository, "<none>", digest] => format!("{repository}@{digest}"),
            [repository, tag, _] => format!("{repository}:{tag}"),
            _ => continue,
        };
        drop(docker(&["rmi", &name]));
    }
}

/// Takes the table of checks out of the project's file: building their image takes longer than all the rest.
pub(crate) fn without_checks(place: &Place) {
    let toml = place.read("nuages.toml");
    let (before, checks) = toml.split_once("[checks]").expect("the sample has checks");
    let after = &checks[checks.find("\n[").expect("a table follows")..];
    place.write("nuages.toml", &format!("{before}{after}"));
}

/// The sample, without what a look at it may have left there.
pub(crate) fn copy_sample(to: &Path) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../django-sample");
    copy(&sample, to);
}

fn copy(from: &Path, to: &Path) {
    const LEFT: [&str; 7] = [
        ".nuages",
        ".venv",
        "__pycache__",
        ".pytest_cache",
        ".ruff_cache",
        "staticfiles",
        "db.sqlite3",
    ];
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if LEFT.iter().any(|left| name == *left) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
