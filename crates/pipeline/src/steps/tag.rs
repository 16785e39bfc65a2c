//! `ecr.tag`: gives the image the tag `r-ID`, which keeps it from every lifecycle rule while its release is recorded.

use std::sync::Arc;

use async_trait::async_trait;
use nuages_model::Digest;
use nuages_registry::{Ecr, RegistryError};
use nuages_saga::{ApplyError, Reversal, StepContext, StepError, TypedCheck, TypedObservation, TypedStep};
use serde::{Deserialize, Serialize};

use super::Tools;

/// Parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagParams {
    pub(crate) repository: String,
    pub(crate) digest: Digest,
    pub(crate) tag: String,
}

pub(crate) struct Tag(pub(crate) Arc<Tools>, pub(crate) TagParams);

fn step_error(error: RegistryError) -> StepError {
    let hint = error.hint();
    let error = StepError::new(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[async_trait]
impl TypedStep for Tag {
    type Before = ();
    type After = ();

    async fn check(&self, _: &StepContext) -> Result<TypedCheck<(), ()>, StepError> {
        Ok(TypedCheck::Change {
            before: (),
            diff: vec![format!("+ image tag {}", self.1.tag)],
        })
    }

    async fn apply(&self, _: &StepContext, (): ()) -> Result<(), ApplyError> {
        let ecr = Ecr::new(&self.0.aws);
        let tagged = ecr.tag(&self.1.repository, &self.1.digest, &self.1.tag).await;
        tagged.map_err(|error| ApplyError::unknown(step_error(error)))
    }

    /// Tagging again is no error and changes nothing.
    async fn observe(&self, _: &StepContext, (): ()) -> Result<TypedObservation<()>, StepError> {
        Ok(TypedObservation::NotDone)
    }

    async fn undo(&self, _: &StepContext, (): (), _: Option<()>) -> Result<(), StepError> {
        Ok(())
    }

    /// One tag more harms nobody, and an immutable one cannot be taken back.
    fn reversal(&self) -> Reversal {
        Reversal::Nothing
    }

    fn by_hand(&self, (): (), _: Option<()>) -> Vec<String> {
        Vec::new()
    }
}
