//! Which process holds a lease, told so exactly that another process on the machine can see whether it still runs.
//!
//! Invariant: a holder is called dead only where the same running kernel and the same process namespace answer for
//! its process id and start time. Anywhere else nothing is known, and the lease's time decides.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// A process that holds, or wants, a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The person and the machine: `ana@laptop`.
    pub owner: String,
    /// The machine's name.
    pub host: String,
    /// The running kernel's id, where the system has one.
    pub boot: Option<String>,
    /// The process namespace, where the system has one: a container's process ids are not its host's.
    pub namespace: Option<String>,
    /// The process.
    pub pid: u32,
    /// When it was started, as the system tells it; tells a process from a later one of the same id.
    pub started: Option<String>,
    /// What it does: `deploy`, `rollback`, ….
    pub doing: String,
}

impl Holder {
    /// This process.
    pub fn here(doing: impl Into<String>) -> Self {
        // What does not change while the process lives.
        static HERE: LazyLock<Holder> = LazyLock::new(|| {
            let host = system::host();
            let named = ["USER", "LOGNAME", "USERNAME"];
            let named = named.iter().find_map(|name| std::env::var(name).ok());
            let user = named.filter(|name| !name.is_empty()).unwrap_or_else(account);
            let pid = std::process::id();
            Holder {
                owner: format!("{user}@{host}"),
                host,
                boot: system::boot(),
                namespace: system::namespace(),
                pid,
                started: system::started(pid),
                doing: String::new(),
            }
        });
        Self {
            doing: doing.into(),
            ..HERE.clone()
        }
    }

    /// Whether the holder's process runs, as far as `here`, a process of this machine, can tell.
    pub fn is_running_beside(&self, here: &Self) -> Option<bool> {
        let (boot, started) = (self.boot.as_ref()?, self.started.as_ref()?);
        if here.boot.as_ref() != Some(boot) || here.namespace != self.namespace {
            return None;
        }
        Some(system::started(self.pid).as_ref() == Some(started))
    }
}

/// The name of the account that this process runs as; its number where the system has no name for it.
#[cfg(unix)]
fn account() -> String {
    let id = nix::unistd::Uid::effective();
    let found = nix::unistd::User::from_uid(id).ok().flatten();
    found.map_or_else(|| format!("uid-{id}"), |user| user.name)
}

#[cfg(not(unix))]
fn account() -> String {
    "somebody".to_owned()
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, process {})", self.owner, self.doing, self.pid)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;

    fn line(path: &str) -> Option<String> {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    pub(super) fn host() -> String {
        line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".into())
    }

    pub(super) fn boot() -> Option<String> {
        line("/proc/sys/kernel/random/boot_id")
    }

    pub(super) fn namespace() -> Option<String> {
        fs::read_link("/proc/self/ns/pid")
            .ok()
            .map(|link| link.to_string_lossy().into_owned())
    }

    /// Field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`), counted after the name, which may hold spaces and brackets.
    /// A process that ended and was not waited for runs no more.
    pub(super) fn started(pid: u32) -> Option<String> {
        let stat = line(&format!("/proc/{pid}/stat"))?;
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        fields.nth(18).map(str::to_owned)
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod system {
    use std::process::{Command, Stdio};

    fn answer(program: &str, args: &[&str]) -> Option<String> {
        let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }

    pub(super) fn host() -> String {
        answer("hostname", &[]).unwrap_or_else(|| "unknown".into())
    }

    pub(super) fn boot() -> Option<String> {
        answer("sysctl", &["-n", "kern.bootsessionuuid"])
    }

    pub(super) fn namespace() -> Option<String> {
        None
    }

    pub(super) fn started(pid: u32) -> Option<String> {
        answer("ps", &["-o", "lstart=", "-p", &pid.to_string()])
    }
}

#[cfg(not(unix))]
mod system {
    // Nothing is known of other processes here: a lease's time decides alone.
    pub(super) fn host() -> String {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".into())
    }

    pub(super) fn boot() -> Option<String> {
        None
    }

    pub(super) fn namespace() -> Option<String> {
        None
    }

    pub(super) fn started(_pid: u32) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn tells_the_living_from_the_dead() {
        let here = Holder::here("test");
        assert_eq!(here.is_running_beside(&here), Some(true));

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Holder {
            pid: child.id(),
            started: system::started(child.id()),
            ..here.clone()
        };
        assert_eq!(other.is_running_beside(&here), Some(true));
        // Another process that got the same number is not the holder.
        let reused = Holder {
            started: Some("long ago".into()),
            ..other.clone()
        };
        assert_eq!(reused.is_running_beside(&here), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(other.is_running_beside(&here), Some(false));
    }

    /// `id -un` asks the system in its own way.
    #[cfg(unix)]
    #[test]
    fn whose_process_it_is_is_known_without_the_surroundings() {
        let asked = std::process::Command::new("id").arg("-un").output().unwrap();
        assert_eq!(account(), String::from_utf8_lossy(&asked.stdout).trim());
    }

    #[test]
    fn knows_nothing_of_other_machines() {
        let here = Holder::here("test");
        for elsewhere in [
            Holder {
                boot: Some("another".into()),
                ..here.clone()
            },
            Holder {
                boot: None,
                ..here.clone()
            },
            Holder {
                started: None,
                ..here.clone()
            },
            Holder {
                namespace: Some("pid:[1]".into()),
                ..here.clone()
            },
        ] {
            assert_eq!(elsewhere.is_running_beside(&here), None);
        }
    }
}
