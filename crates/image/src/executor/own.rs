//! The base's own Python, started by the base's own loader from its unpacked files: no engine, no privileges, and the very
//! program and libraries that the image has.
//!
//! Invariant: no library of this machine is loaded before one of the image's.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nuages_model::Progress;
use tokio::process::Command;

use super::{own_platform, probe, work::Work};
use crate::contents::Python;
use crate::elf::Elf;
use crate::root::Root;
use crate::{Base, BlobStore, ImageError};

/// No Python is longer than this.
const LONGEST: u64 = 1 << 30;
/// The loader's list of folders is no longer than this.
const LONGEST_LIST: u64 = 1 << 16;

#[derive(Debug)]
pub(super) struct Own {
    root: PathBuf,
    program: PathBuf,
    loader: PathBuf,
    libraries: OsString,
    /// GNU's loader knows of options that musl's refuses.
    gnu: bool,
}

impl Own {
    /// The outer error is one of unpacking; the inner one says why it cannot be started here.
    pub(super) async fn of(
        base: &Base,
        python: &Python,
        store: &BlobStore,
        progress: &Progress,
    ) -> Result<Result<Self, String>, ImageError> {
        let (own, platform) = (own_platform(), base.platform());
        // A newer variant is the same family.
        if platform != own && !platform.starts_with(&format!("{own}/")) {
            return Ok(Err(format!("it is for {platform}, and this machine is {own}")));
        }
        let root = Root::unpack(base, store, progress).await?;
        let found = match Self::find(&root, python) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let mut command = found.start(&found.program);
        command.env_clear();
        Ok(match probe(command).await.map(|probed| probed.misfit(python)) {
            Ok(None) => Ok(found),
            Ok(Some(why)) | Err(why) => Err(why),
        })
    }

    fn find(root: &Root, python: &Python) -> Result<Self, String> {
        let program = root
            .find(&python.path)
            .ok_or_else(|| format!("{} is not there", python.path))?;
        if program.metadata().is_ok_and(|metadata| metadata.len() > LONGEST) {
            return Err(format!("{} is too long", python.path));
        }
        let content = std::fs::read(&program).map_err(|error| error.to_string())?;
        let elf = Elf::read(&content)?.ok_or_else(|| format!("{} is no compiled program", python.path))?;
        let interpreter = elf
            .interpreter
            .ok_or_else(|| format!("{} names no loader", python.path))?;
        let loader = root
            .find(&interpreter)
            .ok_or_else(|| format!("its loader {interpreter} is not there"))?;
        let gnu = !interpreter.contains("ld-musl-");
        let mut folders = libraries(root);
        // Some Pythons bring libraries of their own.
        folders.extend(program.parent().and_then(Path::parent).map(|home| home.join("lib")));
        let mut seen = BTreeSet::new();
        folders.retain(|folder| folder.is_dir() && seen.insert(folder.clone()));
        let text: Option<Vec<&str>> = folders.iter().map(|folder| folder.to_str()).collect();
        let odd = |text: &&str| text.contains([':', ';', '$', '\n']);
        match text {
            Some(text) if !text.iter().any(odd) => {
                let libraries = text.join(":").into();
                Ok(Self {
                    root: root.folder().to_owned(),
                    program,
                    loader,
                    libraries,
                    gnu,
                })
            }
            _ => Err("the path of the cache holds a character that a loader's path cannot".to_owned()),
        }
    }

    /// The program, the folder from which its standard library is found, and the one that holds all of it.
    pub(super) fn places(&self) -> [&Path; 3] {
        [
            &self.program,
            self.program.parent().unwrap_or(&self.program),
            &self.root,
        ]
    }

    pub(super) fn command(&self, work: &Work) -> Command {
        // By the link of the environment: Python finds its packages by the name that it was started under.
        self.start(&work.python)
    }

    fn start(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.loader);
        if self.gnu {
            // That list is this machine's.
            command.arg("--inhibit-cache");
        }
        command.arg("--library-path").arg(&self.libraries).arg(program);
        command
    }
}

/// Where the image's loader looks, in its order.
fn libraries(root: &Root) -> Vec<PathBuf> {
    let mut named = Vec::new();
    let mut lists = vec![PathBuf::from("/etc/ld.so.conf")];
    if let Some(folder) = root.find("/etc/ld.so.conf.d") {
        let mut more: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        more.sort();
        lists.extend(
            more.iter()
                .filter_map(|path| path.file_name())
                .map(|name| Path::new("/etc/ld.so.conf.d").join(name)),
        );
    }
    for list in lists.iter().filter_map(|list| root.find(list.to_str()?)) {
        if list.metadata().is_ok_and(|metadata| metadata.len() <= LONGEST_LIST)
            && let Ok(text) = std::fs::read_to_string(list)
        {
            named.extend(
                text.lines()
                    .map(str::trim)
                    .filter(|line| line.starts_with('/'))
                    .map(str::to_owned),
            );
        }
    }
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    for folder in ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"] {
        named.push(format!("{folder}/{triple}"));
        named.push(folder.to_owned());
    }
    named.iter().filter_map(|folder| root.find(folder)).collect()
}
