//! A clock that stands still while anything is done.
//!
//! Invariant: nothing waits, and no socket is used: an answer over one would not come.

/// Runs this to its end on a clock of its own, on this thread: whenever all of it waits, the time that it waits for is there.
///
/// ```
/// use std::time::Duration;
///
/// let began = std::time::Instant::now();
/// nuages_testkit::clock::on_paused_time(async { tokio::time::sleep(Duration::from_hours(5)).await });
/// assert!(began.elapsed() < Duration::from_mins(1));
/// ```
///
/// # Panics
/// When the system gives no runtime, or the work does.
pub fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(work)
}
