//! When a service was really steady: asked of the emulator itself, beside whoever is measured.
//!
//! Invariant: a deployment counts as steady from the first answer in which it is the primary one, completed, with every
//! task that it wants running.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::DeploymentRolloutState;
use jiff::Timestamp;

use super::Failure;

/// Often enough for a tenth of a second, seldom enough to leave the emulator its processor.
const PAUSE: Duration = Duration::from_millis(50);

/// One service of an emulator.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) client: Client,
    pub(super) cluster: String,
    pub(super) service: String,
}

impl Watched {
    /// Its primary deployment's id, and whether that is steady.
    async fn look(&self) -> Option<(String, bool)> {
        let asked = self
            .client
            .describe_services()
            .cluster(&self.cluster)
            .services(&self.service);
        let answer = asked.send().await.ok()?;
        let deployments = answer.services().first()?.deployments();
        let primary = deployments
            .iter()
            .find(|deployment| deployment.status() == Some("PRIMARY"))?;
        let running = primary.running_count();
        let steady = primary.rollout_state() == Some(&DeploymentRolloutState::Completed)
            && running > 0
            && running == primary.desired_count();
        Some((primary.id()?.to_owned(), steady))
    }

    /// Watches while `work` is done on a thread of its own, and answers its result with the time at which the deployment
    /// that it made was steady.
    pub(super) async fn during<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<(T, Timestamp), Failure> {
        let (before, _) = self.look().await.ok_or("the service is not there")?;
        let steady: Arc<Mutex<Option<Timestamp>>> = Arc::default();
        let (watched, seen) = (self.clone(), Arc::clone(&steady));
        let watching = tokio::spawn(async move {
            loop {
                if let Some((id, true)) = watched.look().await
                    && id != before
                {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Timestamp::now());
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let done = tokio::task::spawn_blocking(work).await?;
        watching.abort();
        let steady = *steady.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((done?, steady.ok_or("no new deployment was seen steady")?))
    }
}

/// From then to now, in milliseconds; never less than nothing, since the watch itself looks only so often.
pub(super) fn since(then: Timestamp, now: Timestamp) -> f64 {
    (now.duration_since(then).as_secs_f64() * 1e3).max(0.0)
}
