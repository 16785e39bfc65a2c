//! A step that was built for one attempt, with its deadline.
//!
//! Invariant: a step that does not end in time fails with what it said last.

use std::sync::{Arc, Mutex, PoisonError};

use nuages_model::{Note, Progress};
use tokio_util::sync::CancellationToken;

use crate::StepSpec;
use crate::context::StepContext;
use crate::drive::Drive;
use crate::error::{SagaError, StepError};
use crate::events::TaskScope;
use crate::output;
use crate::step::Step;

/// A step that was built, and its context for one attempt.
pub(crate) struct Hand {
    pub(crate) step: Box<dyn Step>,
    pub(crate) cx: StepContext,
    last_status: Arc<Mutex<Option<String>>>,
}

impl Drive<'_> {
    pub(crate) async fn take_in_hand(
        &self,
        spec: &StepSpec,
        attempt: u32,
        task: &TaskScope,
        token: CancellationToken,
    ) -> Result<Hand, SagaError> {
        let outputs = self.outputs().await;
        let params = output::resolve(&spec.params, &outputs).map_err(|source| SagaError::Reference {
            step: spec.id.clone(),
            source,
        })?;
        let step = self.runner.registry.build(self.plan, spec, params)?;
        let last_status = Arc::new(Mutex::new(None));
        let progress = {
            let (last_status, forward) = (last_status.clone(), task.progress());
            Progress::new(move |note| {
                if let Note::Status { text } = &note {
                    *last_status.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
                }
                forward.send(note);
            })
        };
        let cx = StepContext::new(self.plan, &spec.id, attempt, progress).stopping_with(token);
        Ok(Hand { step, cx, last_status })
    }
}

/// The step did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("it did not end within {seconds} s{}", .last.as_ref().map(|last| format!("; last seen: {last}")).unwrap_or_default())]
struct Late {
    seconds: u64,
    last: Option<String>,
}

impl Hand {
    /// Within the step's deadline; the last status stands in the error.
    pub(crate) async fn limited<T, E: From<StepError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let deadline = self.step.deadline();
        if let Ok(result) = tokio::time::timeout(deadline, work).await {
            return result;
        }
        let last = self.last_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(StepError::new(Late {
            seconds: deadline.as_secs(),
            last,
        })
        .into())
    }

    /// Whether this is the error of a step that did not end in time.
    pub(crate) fn is_late(error: &StepError) -> bool {
        error.is::<Late>()
    }
}
