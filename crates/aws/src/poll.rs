//! Waiting until something is so.
//!
//! Invariant: every wait has a deadline and a cancel, keeps the last status for its error, and slows down only when the
//! service says that it is asked too often. Not yet is not failed.

use std::future::Future;
use std::time::Duration;

use nuages_model::Progress;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Kind, ServiceError};

/// What a condition says of one look at the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<R> {
    /// It is so.
    Ready(R),
    /// Not yet; a status for people.
    NotYet(String),
    /// It will never be so; why.
    Failed(String),
}

/// How long to pause between two looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The first pause.
    pub first: Duration,
    /// No pause is longer, throttling apart.
    pub max: Duration,
    /// Each pause is this many times the one before.
    pub factor: f64,
}

impl Pace {
    /// The same pause each time.
    pub const fn every(pause: Duration) -> Self {
        Self {
            first: pause,
            max: pause,
            factor: 1.0,
        }
    }

    /// Pauses that grow by half each time.
    pub const fn growing(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            factor: 1.5,
        }
    }

    fn next(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.factor.max(1.0)).min(self.max)
    }
}

/// One wait.
#[derive(Debug)]
pub struct Wait<'a> {
    /// What is waited for, completing "waiting for …".
    pub what: &'a str,
    /// The pauses.
    pub pace: Pace,
    /// How long in all.
    pub timeout: Duration,
    /// Ends the wait early.
    pub cancel: &'a CancellationToken,
    /// Hears each new status.
    pub progress: &'a Progress,
}

/// Why a wait ended without its condition.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// The condition can never hold.
    #[error("{what} failed: {why}")]
    Failed {
        /// What was waited for.
        what: String,
        /// Why it never will be.
        why: String,
    },
    /// The deadline passed.
    #[error("{what} took longer than {} s; last seen: {last}", timeout.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The last status.
        last: String,
        /// How long it was waited.
        timeout: Duration,
    },
    /// The wait was cancelled.
    #[error("the wait for {what} was cancelled; last seen: {last}")]
    Cancelled {
        /// What was waited for.
        what: String,
        /// The last status.
        last: String,
    },
    /// A look failed.
    #[error(transparent)]
    Fetch(E),
}

/// An error that can say that it is only a matter of asking less often.
pub trait MaybeThrottled {
    /// Whether the service asked for patience.
    fn is_throttled(&self) -> bool;
}

impl MaybeThrottled for ServiceError {
    fn is_throttled(&self) -> bool {
        self.kind == Kind::Throttled
    }
}

impl MaybeThrottled for std::convert::Infallible {
    fn is_throttled(&self) -> bool {
        match *self {}
    }
}

/// The longest pause after throttling.
const THROTTLED_MAX: Duration = Duration::from_secs(20);

/// Looks (`fetch`) until `condition` is ready or failed, the deadline passes, or the wait is cancelled.
///
/// ```
/// use nuages_aws::poll::{Pace, Verdict, Wait, wait_for};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut looks = 0;
/// let wait = Wait {
///     what: "the third look",
///     pace: Pace::every(Duration::from_millis(1)),
///     timeout: Duration::from_secs(5),
///     cancel: &Default::default(),
///     progress: &Default::default(),
/// };
/// let fetch = || { looks += 1; let seen = looks; async move { Ok::<_, std::convert::Infallible>(seen) } };
/// let third = wait_for(wait, fetch, |n| if *n == 3 { Verdict::Ready(*n) } else { Verdict::NotYet(format!("look {n}")) });
/// assert_eq!(third.await.unwrap(), 3);
/// # }
/// ```
pub async fn wait_for<T, R, E, F, Fut>(
    wait: Wait<'_>,
    mut fetch: F,
    mut condition: impl FnMut(&T) -> Verdict<R>,
) -> Result<R, WaitError<E>>
where
    E: MaybeThrottled,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + wait.timeout;
    let mut pause = wait.pace.first;
    let mut last = "nothing yet".to_owned();
    loop {
        let seen = tokio::select! {
            biased;
            () = wait.cancel.cancelled() => return Err(WaitError::Cancelled { what: wait.what.to_owned(), last }),
            seen = tokio::time::timeout_at(deadline, fetch()) => seen,
        };
        let sleep = match seen {
            Err(_) => return Err(timed_out(&wait, last)),
            Ok(Err(error)) if error.is_throttled() => {
                pause = (pause * 2).clamp(Duration::from_secs(1), THROTTLED_MAX);
                pause
            }
            Ok(Err(error)) => return Err(WaitError::Fetch(error)),
            Ok(Ok(value)) => match condition(&value) {
                Verdict::Ready(result) => return Ok(result),
                Verdict::Failed(why) => {
                    return Err(WaitError::Failed {
                        what: wait.what.to_owned(),
                        why,
                    });
                }
                Verdict::NotYet(status) => {
                    if status != last {
                        wait.progress.status(status.clone());
                        last = status;
                    }
                    let this = pause.min(wait.pace.max);
                    pause = wait.pace.next(this);
                    this
                }
            },
        };
        if Instant::now() + sleep >= deadline {
            // One last look at the deadline itself, rather than giving up a pause too early.
            if Instant::now() >= deadline {
                return Err(timed_out(&wait, last));
            }
        }
        tokio::select! {
            biased;
            () = wait.cancel.cancelled() => return Err(WaitError::Cancelled { what: wait.what.to_owned(), last }),
            () = tokio::time::sleep(sleep.min(deadline.saturating_duration_since(Instant::now()))) => {}
        }
        if Instant::now() >= deadline {
            return Err(timed_out(&wait, last));
        }
    }
}

fn timed_out<E>(wait: &Wait<'_>, last: String) -> WaitError<E> {
    WaitError::TimedOut {
        what: wait.what.to_owned(),
        last,
        timeout: wait.timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttled() -> ServiceError {
        ServiceError {
            operation: "ecs:DescribeServices",
            code: Some("ThrottlingException".into()),
            message: "Rate exceeded".into(),
            request_id: None,
            kind: Kind::Throttled,
            effect: crate::Effect::None,
        }
    }

    async fn run(
        answers: Vec<Result<u32, ServiceError>>,
        timeout: u64,
    ) -> (Result<u32, WaitError<ServiceError>>, Duration) {
        let started = Instant::now();
        let mut answers = answers.into_iter();
        let result = wait_for(
            Wait {
                what: "three",
                pace: Pace::every(Duration::from_secs(1)),
                timeout: Duration::from_secs(timeout),
                cancel: &CancellationToken::new(),
                progress: &Progress::none(),
            },
            || std::future::ready(answers.next().unwrap_or(Ok(0))),
            |n| match n {
                3 => Verdict::Ready(3),
                9 => Verdict::Failed("nine".into()),
                n => Verdict::NotYet(format!("at {n}")),
            },
        )
        .await;
        (result, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_until_ready() {
        let (result, took) = run(vec![Ok(1), Ok(2), Ok(3)], 60).await;
        assert_eq!((result.unwrap(), took), (3, Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn backs_off_only_when_throttled() {
        let (result, took) = run(vec![Ok(1), Err(throttled()), Err(throttled()), Ok(1), Ok(3)], 60).await;
        // 1 s, then 2 s and 4 s for patience, then 1 s again.
        assert_eq!((result.unwrap(), took), (3, Duration::from_secs(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_last_status() {
        let (result, took) = run(vec![Ok(7)], 5).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "three took longer than 5 s; last seen: at 0"
        );
        assert_eq!(took, Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn fails_at_once() {
        let (result, _) = run(vec![Ok(1), Ok(9)], 60).await;
        assert_eq!(result.unwrap_err().to_string(), "three failed: nine");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_look_ends_at_the_deadline() {
        let result: Result<(), WaitError<ServiceError>> = wait_for(
            Wait {
                what: "an answer",
                pace: Pace::every(Duration::from_secs(1)),
                timeout: Duration::from_secs(3),
                cancel: &CancellationToken::new(),
                progress: &Progress::none(),
            },
            std::future::pending::<Result<(), ServiceError>>,
            |()| Verdict::Ready(()),
        )
        .await;
        assert!(matches!(result, Err(WaitError::TimedOut { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn cancel_ends_it() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let result: Result<(), WaitError<ServiceError>> = wait_for(
            Wait {
                what: "nothing",
                pace: Pace::every(Duration::from_secs(1)),
                timeout: Duration::from_secs(3),
                cancel: &cancel,
                progress: &Progress::none(),
            },
            || std::future::ready(Ok(())),
            |()| Verdict::Ready(()),
        )
        .await;
        assert!(matches!(result, Err(WaitError::Cancelled { .. })));
    }
}
