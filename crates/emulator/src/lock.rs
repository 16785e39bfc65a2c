//! One at a time across processes: two deploys must not build the same image, nor start the same emulator.
//!
//! Invariant: the lock lives as long as the value, and dies with the process.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::EmulatorError;

/// A lock on a file, held until dropped.
#[derive(Debug)]
pub struct FileLock(#[expect(dead_code, reason = "held for its lock, which closing the file gives back")] File);

impl FileLock {
    /// Takes the lock of this name in the user's cache folder, waiting for whoever holds it; `on_wait` is called once
    /// if that takes time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), nuages_emulator::EmulatorError> {
    /// let lock = nuages_emulator::FileLock::take("doctest", || {}).await?;
    /// drop(lock);
    /// # Ok(()) }
    /// ```
    pub async fn take(name: &str, on_wait: impl FnOnce() + Send) -> Result<Self, EmulatorError> {
        Self::take_at(folder().join(format!("{name}.lock")), on_wait).await
    }

    /// Takes the lock on this file, making it and its folder where they are missing.
    pub async fn take_at(path: PathBuf, on_wait: impl FnOnce() + Send) -> Result<Self, EmulatorError> {
        let failed = |source| EmulatorError::io(format!("lock {}", path.display()), source);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => on_wait(),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        match locked {
            Ok(Ok(file)) => Ok(Self(file)),
            Ok(Err(source)) => Err(failed(source)),
            Err(join) => Err(failed(std::io::Error::other(join))),
        }
    }
}

/// Where nuages keeps what it can do without.
pub(crate) fn folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("nuages")
}
