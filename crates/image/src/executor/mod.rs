//! Runs the base image's Python, without an engine where that can be: for what must be done with the very Python and
//! packages of the image, such as collecting static files.
//!
//! There are three ways, and the first that works is taken: the base's own Python, from its unpacked files through its own
//! loader; this machine's Python of the same version; a container without a network. Which one it was, and why, is told.
//!
//! Invariant: a script sees the packages of the image and nothing of this machine's Python, no variable of this machine,
//! no input, and no more of the project than the image will have of it.

mod contained;
#[cfg(target_os = "linux")]
mod own;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuages_model::{Digest, Progress};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::contents::Python;
use crate::{Base, BlobStore, Contents, Context, Engine, ImageError, Packages};

/// So long a Python may take to say which one it is.
#[cfg(unix)]
const FIRST_WORDS: Duration = Duration::from_secs(30);
/// A script's result is no longer than this.
const LONGEST_RESULT: usize = 64 << 20;

/// Asked of every Python before it is used.
#[cfg(unix)]
const PROBE: &str = "import json, sys, zlib
home = getattr(sys, '_base_executable', None) or sys.executable
print(json.dumps({'version': sys.version_info[:2], 'tag': sys.implementation.cache_tag, 'build': sys.version, 'program': home}))";

/// What a Python says of itself.
#[cfg(unix)]
#[derive(Debug, Clone, Deserialize)]
struct Probed {
    version: (u32, u32),
    tag: Option<String>,
    build: String,
    program: PathBuf,
}

#[cfg(unix)]
impl Probed {
    /// What is wrong with it.
    fn misfit(&self, wanted: &Python) -> Option<String> {
        let ((major, minor), (of, other)) = (wanted.version, self.version);
        if wanted.version != self.version {
            return Some(format!(
                "it is Python {of}.{other}, and the base image has {major}.{minor}"
            ));
        }
        let tag = self.tag.as_deref().unwrap_or("no tag");
        (tag != wanted.cache_tag()).then(|| format!("it is {tag}, and the image's is {}", wanted.cache_tag()))
    }
}

/// A way to run the base's Python.
#[derive(Debug)]
pub(crate) struct Executor<'a> {
    way: Way<'a>,
    base: &'a Base,
    store: &'a BlobStore,
    told: String,
    /// Names what compiles: the same gives the same bytecode.
    identity: Digest,
}

#[derive(Debug)]
enum Way<'a> {
    #[cfg(target_os = "linux")]
    Own(own::Own),
    #[cfg(unix)]
    Machine {
        program: PathBuf,
    },
    Engine(&'a Engine),
}

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    /// Completes "failed to …".
    pub(crate) what: &'a str,
    /// Whose output it is.
    pub(crate) source: &'a str,
    /// A Python program. Its argument is a file of JSON: `input`, with the places of a [`Places`].
    pub(crate) script: &'a str,
    pub(crate) input: Value,
    pub(crate) packages: &'a Packages,
    pub(crate) project: &'a Context,
    /// Whether it gets a copy of the project, in which it may write.
    pub(crate) copied: bool,
    /// Where the project stands in the image.
    pub(crate) working_dir: &'a str,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) limit: Duration,
}

/// Where the script finds things.
#[derive(Debug, Clone)]
struct Places {
    /// The project.
    app: PathBuf,
    /// The packages.
    site: PathBuf,
    /// A folder for what comes out.
    out: PathBuf,
    /// The file for the script's answer.
    result: PathBuf,
    /// Where nothing of the project's is.
    elsewhere: Vec<PathBuf>,
}

impl Places {
    fn told(&self, input: &Value) -> Value {
        let mut told = input.clone();
        told["app"] = json!(self.app);
        told["site"] = json!(self.site);
        told["out"] = json!(self.out);
        told["result"] = json!(self.result);
        told["elsewhere"] = json!(self.elsewhere);
        told
    }
}

/// What a run's messages say of it.
#[derive(Debug)]
#[cfg_attr(not(unix), expect(dead_code, reason = "there only containers run"))]
struct Said<'a> {
    what: &'a str,
    source: &'a str,
    limit: Duration,
    instead: Instead,
}

/// Paths of this machine, and those of the image that are told instead.
#[derive(Debug, Clone, Default)]
struct Instead(Vec<(String, String)>);

impl Instead {
    fn rewrite(&self, line: String) -> String {
        let known = self.0.iter().filter(|(here, _)| !here.is_empty());
        known.fold(line, |line, (here, there)| {
            if line.contains(here) {
                line.replace(here, there)
            } else {
                line
            }
        })
    }
}

/// How a run ended.
pub(crate) struct Done {
    /// The program's exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The last lines that it said.
    pub(crate) tail: Vec<String>,
    /// The script's answer.
    pub(crate) result: Option<Value>,
    /// What came out, below this folder.
    pub(crate) out: PathBuf,
    /// Where the script found the project.
    pub(crate) app: PathBuf,
    instead: Instead,
    /// Removes the folder.
    _folder: Box<dyn Send>,
}

impl Done {
    /// A text with the image's paths.
    pub(crate) fn in_image(&self, text: String) -> String {
        self.instead.rewrite(text)
    }
}

fn read_result(content: &[u8]) -> Option<Value> {
    (content.len() <= LONGEST_RESULT)
        .then(|| serde_json::from_slice(content).ok())
        .flatten()
}

impl<'a> Executor<'a> {
    /// Chooses a way.
    pub(crate) async fn choose(
        base: &'a Base,
        contents: &Contents,
        packages: &Packages,
        engine: Option<&'a Engine>,
        store: &'a BlobStore,
        progress: &Progress,
    ) -> Result<Self, ImageError> {
        let python = packages.python();
        let (major, minor) = python.version;
        let mut reasons = Vec::new();
        let of_base = Self::of_base(base);
        let made = |way, told, identity| Self {
            way,
            base,
            store,
            told,
            identity,
        };
        #[cfg(target_os = "linux")]
        match own::Own::of(base, python, store, progress).await? {
            Ok(own) => {
                let told = format!("the base image's Python {major}.{minor} ran on this machine, without an engine");
                return Ok(made(Way::Own(own), told, of_base));
            }
            Err(why) => reasons.push(format!("the base image's own: {why}")),
        }
        #[cfg(not(target_os = "linux"))]
        reasons.push("the base image's own: this machine is no Linux".to_owned());
        #[cfg(unix)]
        match of_machine(python, contents, packages, base).await {
            Ok(Probed { program, build, .. }) => {
                let why = reasons.join("; ");
                let identity = Digest::of(format!("{} {build}", program.display()).as_bytes());
                let told = format!("{} stood in for the image's Python ({why})", program.display());
                return Ok(made(Way::Machine { program }, told, identity));
            }
            Err(why) => reasons.push(format!("this machine's: {why}")),
        }
        let why = reasons.join("; ");
        let engine = engine.ok_or_else(|| ImageError::Python {
            why: format!("no Python {major}.{minor} for {} runs here ({why})", base.platform()),
        })?;
        Ok(Self::in_engine(base, engine, store, &why))
    }

    /// The way that works wherever there is an engine.
    pub(crate) fn in_engine(base: &'a Base, engine: &'a Engine, store: &'a BlobStore, why: &str) -> Self {
        Self {
            way: Way::Engine(engine),
            base,
            store,
            told: format!("the image's Python ran in the Docker engine ({why})"),
            identity: Self::of_base(base),
        }
    }

    /// What names the base's own Python, wherever it runs.
    pub(crate) fn of_base(base: &Base) -> Digest {
        base.key("python")
    }

    /// Which way it is, and why.
    pub(crate) fn told(&self) -> &str {
        &self.told
    }

    pub(crate) fn identity(&self) -> &Digest {
        &self.identity
    }

    /// How many may run at once.
    pub(crate) fn side_by_side(&self) -> usize {
        match self.way {
            Way::Engine(_) => 1,
            #[cfg(unix)]
            _ => std::thread::available_parallelism().map_or(1, usize::from).min(8),
        }
    }

    /// Whether the script finds the project where the image has it.
    pub(crate) fn is_in_image(&self) -> bool {
        matches!(self.way, Way::Engine(_))
    }

    /// Runs a script to its end.
    pub(crate) async fn run(
        &self,
        job: &Job<'_>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Done, ImageError> {
        match &self.way {
            #[cfg(target_os = "linux")]
            Way::Own(own) => {
                self.here(job, own.places(), |work| own.command(work), progress, cancel)
                    .await
            }
            #[cfg(unix)]
            Way::Machine { program } => {
                let home = program.parent().unwrap_or(program);
                let start = |work: &work::Work| tokio::process::Command::new(&work.python);
                let image = home.parent().unwrap_or(home);
                self.here(job, [program, home, image], start, progress, cancel).await
            }
            Way::Engine(engine) => contained::run(engine, self.base, self.store, job, progress, cancel).await,
        }
    }

    /// Runs it on this machine: by this program, which finds its standard library from this folder, in this one.
    #[cfg(unix)]
    async fn here(
        &self,
        job: &Job<'_>,
        [program, home, image]: [&Path; 3],
        start: impl FnOnce(&work::Work) -> tokio::process::Command,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Done, ImageError> {
        let work = work::Work::prepare(self.store, job, program, home, image)?;
        let mut command = start(&work);
        command.arg(&work.script).arg(&work.input);
        command
            .env_clear()
            .envs(work.env(&self.base.env(), job))
            .current_dir(&work.places.app);
        let image_site = job.packages.site();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let said = Said {
            what: job.what,
            source: job.source,
            limit: job.limit,
            instead: Instead(vec![
                (text(&work.places.app), job.working_dir.to_owned()),
                (text(&work.places.out), "STATIC_ROOT".to_owned()),
                (text(&work.places.site), image_site.clone()),
                (text(job.packages.folder()), image_site),
            ]),
        };
        let ended = process::run(command, &said, progress, cancel).await?;
        Ok(Done {
            code: ended.code,
            tail: ended.tail,
            result: work.result(),
            out: work.places.out.clone(),
            app: work.places.app.clone(),
            instead: said.instead,
            _folder: Box::new(work),
        })
    }
}

/// A Python of this machine that can stand in for the image's.
#[cfg(unix)]
async fn of_machine(python: &Python, contents: &Contents, packages: &Packages, base: &Base) -> Result<Probed, String> {
    let same = cfg!(target_os = "linux") && own_platform() == base.platform();
    let loads_them = same && matches!(contents.libc, Some(crate::Libc::Glibc(..)));
    if !loads_them && !packages.is_pure() {
        return Err(format!(
            "it cannot load packages that are compiled for {}",
            base.platform()
        ));
    }
    let (major, minor) = python.version;
    let mut last = format!("there is no python{major}.{minor} on PATH");
    for name in [format!("python{major}.{minor}"), "python3".into(), "python".into()] {
        let Ok(probed) = probe(tokio::process::Command::new(name)).await else {
            continue;
        };
        match probed.misfit(python) {
            None => return Ok(probed),
            Some(why) => last = why,
        }
    }
    Err(last)
}

/// This machine, as images name it.
#[cfg(unix)]
pub(crate) fn own_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}

/// Asks a Python which one it is.
#[cfg(unix)]
async fn probe(mut python: tokio::process::Command) -> Result<Probed, String> {
    python.args(["-I", "-S", "-B", "-c", PROBE]);
    python.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(FIRST_WORDS, python.output()).await {
        Ok(output) => output.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("it said nothing within {} s", FIRST_WORDS.as_secs())),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    serde_json::from_slice(&output.stdout).map_err(|_| last.chars().take(300).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_python_is_asked_before_it_is_used() {
        let wanted = Python {
            path: "/usr/bin/python3.13".into(),
            version: (3, 13),
        };
        let ask = async |says: &str| {
            let mut shell = tokio::process::Command::new("/bin/sh");
            // What follows are arguments of the script.
            shell.args(["-c", says, "sh"]);
            probe(shell).await.map(|probed| probed.misfit(&wanted))
        };
        let says = |version: &str, tag: &str| {
            format!(r#"echo '{{"version": [{version}], "tag": "{tag}", "build": "x", "program": "/p"}}'"#)
        };
        assert_eq!(ask(&says("3, 13", "cpython-313")).await, Ok(None));
        assert_eq!(
            ask(&says("3, 11", "cpython-311")).await,
            Ok(Some("it is Python 3.11, and the base image has 3.13".to_owned()))
        );
        assert_eq!(
            ask(&says("3, 13", "pypy313")).await,
            Ok(Some("it is pypy313, and the image's is cpython-313".to_owned()))
        );
        let broken = "echo 'error while loading shared libraries: libz.so.1' >&2; exit 127";
        assert_eq!(
            ask(broken).await,
            Err("error while loading shared libraries: libz.so.1".to_owned())
        );
        assert_eq!(ask("exit 1").await, Err("it said nothing".to_owned()));
    }
}
