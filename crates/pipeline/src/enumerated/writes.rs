//! The writes into the records, counted; and death before one of them.
//!
//! Invariant: a write before which a process died has not happened, and none after it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;

/// What time it is, for a store.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The writes into a store.
#[derive(Debug, Clone)]
pub(super) struct Writes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    made: AtomicUsize,
    /// The write that does not happen, counted as `made` is.
    last: AtomicUsize,
    stopped: watch::Sender<bool>,
}

impl Default for Writes {
    fn default() -> Self {
        Self(Arc::new(Inner {
            made: AtomicUsize::new(0),
            last: AtomicUsize::new(usize::MAX),
            stopped: watch::Sender::new(false),
        }))
    }
}

impl Writes {
    /// How many there were.
    pub(super) fn made(&self) -> usize {
        self.0.made.load(Ordering::SeqCst)
    }

    /// Neither the n-th write from here, counted from 0, nor any after it happens.
    pub(super) fn stop_before(&self, write: usize) {
        self.0.last.store(self.made() + write, Ordering::SeqCst);
    }

    /// Waits until a write did not happen.
    pub(super) async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// From now on all happen again.
    pub(super) fn go_on(&self) {
        self.0.last.store(usize::MAX, Ordering::SeqCst);
        self.0.stopped.send_replace(false);
    }

    /// A clock that counts: a store asks it once in each transaction that writes, before it writes.
    pub(super) fn counted(&self, clock: Clock) -> Clock {
        let inner = Arc::clone(&self.0);
        Arc::new(move || {
            let write = inner.made.fetch_add(1, Ordering::SeqCst);
            if write >= inner.last.load(Ordering::SeqCst) {
                inner.stopped.send_replace(true);
                // Not a panic that anybody is told of: the thread ends, and its transaction with it.
                std::panic::resume_unwind(Box::new("the process died"));
            }
            clock()
        })
    }
}
