//! For whom an emulator runs: processes, by number and start time, in a file that the emulator's label names.
//!
//! Invariant: a process number that was given out again is nobody's owner.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Endpoint;

/// A process that wants an emulator to live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// When it started, in the system's own unit; 0 where the system does not say.
    started: u64,
}

impl Owner {
    /// The process with this number.
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            started: started(pid).unwrap_or(0),
        }
    }

    /// This process's parent: the test runner, in a test.
    pub fn parent() -> Self {
        #[cfg(unix)]
        return Self::of(std::os::unix::process::parent_id());
        #[cfg(not(unix))]
        return Self::of(std::process::id());
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        runs(self.pid) && started(self.pid).is_none_or(|started| started == self.started)
    }
}

#[cfg(unix)]
fn runs(pid: u32) -> bool {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    let Ok(pid) = i32::try_from(pid) else { return false };
    // Not permitted means that it is there.
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

#[cfg(not(unix))]
fn runs(_pid: u32) -> bool {
    true
}

/// The start time in `/proc`, where there is one. A zombie does not count as running.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next() == Some("Z") {
        return Some(u64::MAX);
    }
    fields.nth(18)?.parse().ok()
}

/// What the file says: the emulator, and for whom it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) definition: String,
    pub(super) owners: Vec<Owner>,
}

impl Record {
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Readers never see half a file.
        let half = path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&half, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(half, path)
    }

    pub(super) fn add(&mut self, owner: &Owner) {
        self.owners.retain(|known| known != owner && known.is_alive());
        self.owners.push(owner.clone());
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.owners.iter().any(Owner::is_alive)
    }
}

/// Says which process a temporary project folder is for.
const OWNER_FILE: &str = ".nuages-test-owner";

/// Marks a temporary project folder as this process's, so that a sweep can tell when its local environment is orphaned.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// nuages_testkit::emulators::own(folder.path())?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn own(folder: &Path) -> std::io::Result<()> {
    std::fs::write(
        folder.join(OWNER_FILE),
        serde_json::to_vec(&Owner::of(std::process::id()))?,
    )
}

/// Whether this is the folder of a test that is over: a temporary one that is gone, or whose owner is.
pub(super) fn is_orphaned(folder: &Path) -> bool {
    if !is_temporary(folder) {
        return false;
    }
    match std::fs::read(folder.join(OWNER_FILE)) {
        Ok(text) => serde_json::from_slice::<Owner>(&text).is_ok_and(|owner| !owner.is_alive()),
        Err(_) => !folder.exists(),
    }
}

/// Whether it lies where tests make their folders.
pub(super) fn is_temporary(folder: &Path) -> bool {
    let temporary = std::env::temp_dir();
    folder.starts_with(std::fs::canonicalize(&temporary).unwrap_or(temporary))
}

/// Where the records of this build's emulators are: in cargo's target folder, so that two checkouts share nothing.
pub fn state_folder() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    // TARGET/PROFILE/deps/NAME for a test, TARGET/PROFILE/NAME for a program.
    let deps = executable
        .ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "deps"));
    let profile = deps.and_then(Path::parent).or_else(|| executable.parent());
    let target = profile.and_then(Path::parent).map(Path::to_owned);
    target
        .filter(|folder| folder.is_dir())
        .unwrap_or_else(std::env::temp_dir)
        .join("nuages-testkit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_number_alone_is_not_enough() {
        let me = Owner::of(std::process::id());
        assert!(me.is_alive());
        if cfg!(target_os = "linux") {
            assert!(
                !Owner {
                    started: me.started + 1,
                    ..me
                }
                .is_alive(),
                "the number was given out again"
            );
        }
    }

    #[test]
    fn a_dead_process_owns_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let owner = Owner::of(child.id());
        child.wait().unwrap();
        assert!(!owner.is_alive());
        let mut record = Record {
            name: "x".into(),
            endpoint: None,
            definition: String::new(),
            owners: vec![owner],
        };
        assert!(!record.is_wanted());
        record.add(&Owner::of(std::process::id()));
        assert!(record.is_wanted());
        assert_eq!(record.owners.len(), 1, "the dead are dropped");
    }

    #[test]
    fn a_folder_is_orphaned_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_orphaned(folder.path()), "somebody's, as far as anyone knows");
        own(folder.path()).unwrap();
        assert!(!is_orphaned(folder.path()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let owner = Owner::of(child.id());
        child.wait().unwrap();
        std::fs::write(folder.path().join(OWNER_FILE), serde_json::to_vec(&owner).unwrap()).unwrap();
        assert!(is_orphaned(folder.path()));
        assert!(is_orphaned(&folder.path().join("gone")));
        assert!(
            !is_orphaned(Path::new("/no/such/project")),
            "only temporary folders are the tests'"
        );
    }

    #[test]
    fn a_record_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/ministack.json");
        assert_eq!(Record::read(&path), None);
        let record = Record {
            name: "nuages-test-ministack-x".into(),
            endpoint: Some(Endpoint::new(super::super::Kind::MiniStack, 1, "123456789012")),
            definition: "abc".into(),
            owners: vec![Owner::of(1)],
        };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path), Some(record));
    }
}
