//! When a container really crashed: told by the engine, not by who was to notice it.
//!
//! Invariant: only containers of one image's repository count, and only those that ended with an error.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Failure;

/// How long a release that cannot start may run before it is called unbroken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens to the engine; it ends with its handle.
pub(super) struct Crashes {
    listening: Child,
    seen: Arc<Mutex<Vec<Timestamp>>>,
}

impl Drop for Crashes {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.listening.kill();
        let _ = self.listening.wait();
    }
}

impl Crashes {
    /// Begins to listen for crashes of containers whose image's name contains this.
    pub(super) fn of(image: &str) -> Result<Self, Failure> {
        let format = "{{.TimeNano}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.image}}";
        let mut listening = Command::new("docker")
            .args([
                "events",
                "--filter",
                "type=container",
                "--filter",
                "event=die",
                "--format",
                format,
            ])
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()?;
        let said = listening.stdout.take().ok_or("the engine's events cannot be read")?;
        let seen: Arc<Mutex<Vec<Timestamp>>> = Arc::default();
        let (kept, image) = (Arc::clone(&seen), image.to_owned());
        std::thread::spawn(move || {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(said));
            for line in lines.map_while(Result::ok) {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(crash(&line, &image));
            }
        });
        Ok(Self { listening, seen })
    }

    /// The first crash. Where there was none yet, it is waited for.
    pub(super) async fn first(&self) -> Result<Timestamp, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let first = self
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .min()
                .copied();
            if let Some(crash) = first {
                return Ok(crash);
            }
            if Instant::now() > deadline {
                return Err("no container of the broken release ended".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// When, if this event is one.
fn crash(line: &str, image: &str) -> Option<Timestamp> {
    let mut words = line.splitn(3, ' ');
    let (at, code, of) = (words.next()?, words.next()?, words.next()?);
    // Ended by a signal, it was told to.
    let told = ["0", "137", "143"].contains(&code);
    if told || !of.contains(image) {
        return None;
    }
    Timestamp::from_nanosecond(at.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_with_an_error_is_a_crash() {
        let at = Some(Timestamp::from_second(1_767_225_600).unwrap());
        assert_eq!(
            crash(
                "1767225600000000000 1 localhost:4566/bench-local@sha256:0",
                "bench-local"
            ),
            at
        );
        assert_eq!(
            crash(
                "1767225600000000000 143 localhost:4566/bench-local@sha256:0",
                "bench-local"
            ),
            None
        );
        assert_eq!(crash("1767225600000000000 1 postgres:17-alpine", "bench-local"), None);
        assert_eq!(crash("nothing", "bench-local"), None);
    }
}
