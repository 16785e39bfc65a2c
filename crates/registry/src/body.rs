//! Request bodies that can be made again: a request that was refused for a stale token is repeated whole.
//!
//! Invariant: a file is streamed, and a few chunks of it are in memory at any time.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use nuages_model::Progress;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use crate::RegistryError;

const CHUNK: usize = 256 * 1024;

/// A request's body.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    None,
    Bytes(Bytes),
    Part { path: PathBuf, offset: u64, length: u64 },
}

impl Body {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part { length, .. } => *length,
        }
    }

    /// A part of this body.
    pub(crate) fn part(&self, from: u64, length: u64) -> Self {
        match self {
            Self::None => Self::None,
            Self::Bytes(bytes) => {
                let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Self::Bytes(bytes.slice(clamp(from)..clamp(from.saturating_add(length))))
            }
            Self::Part { path, offset, .. } => Self::Part {
                path: path.clone(),
                offset: offset + from,
                length,
            },
        }
    }

    /// The body for one request; every byte that leaves is told to the meter.
    pub(crate) async fn open(&self, meter: &Meter) -> Result<reqwest::Body, RegistryError> {
        match self {
            Self::None => Ok(reqwest::Body::from("")),
            Self::Bytes(bytes) => {
                meter.moved(bytes.len() as u64);
                Ok(bytes.clone().into())
            }
            Self::Part { path, offset, length } => {
                let broken = |source| RegistryError::File {
                    what: "read",
                    path: path.clone(),
                    source,
                };
                let mut file = tokio::fs::File::open(path).await.map_err(broken)?;
                file.seek(SeekFrom::Start(*offset)).await.map_err(broken)?;
                let meter = meter.clone();
                let stream = ReaderStream::with_capacity(file.take(*length), CHUNK);
                Ok(reqwest::Body::wrap_stream(
                    stream.inspect_ok(move |chunk| meter.moved(chunk.len() as u64)),
                ))
            }
        }
    }
}

/// Counts the bytes of one transfer, and notices when they stop.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    progress: Progress,
    what: String,
    total: u64,
    done: AtomicU64,
    last: Mutex<Instant>,
}

impl Meter {
    pub(crate) fn new(progress: &Progress, what: impl Into<String>, total: u64) -> Self {
        Self(Arc::new(Counters {
            progress: progress.clone(),
            what: what.into(),
            total,
            done: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
        }))
    }

    /// For requests whose bytes nobody wants to see.
    pub(crate) fn silent() -> Self {
        Self::new(&Progress::none(), "", 0)
    }

    /// Begins at this many bytes: a part that is sent again does not count twice.
    pub(crate) fn at(&self, done: u64) {
        self.0.done.store(done, Ordering::Relaxed);
        self.touch();
    }

    pub(crate) fn moved(&self, bytes: u64) {
        let done = self.0.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.touch();
        if self.0.total > 0 {
            self.0
                .progress
                .bytes(self.0.what.clone(), done.min(self.0.total), Some(self.0.total));
        }
    }

    fn touch(&self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends when nothing moved for so long.
    pub(crate) async fn stalled(&self, limit: Duration) {
        self.touch();
        loop {
            let last = *self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(last + limit).await;
        }
    }
}
