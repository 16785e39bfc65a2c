//! Gives a generated secret another value, and takes that back.
//!
//! Invariant: the earlier value stays a version of the secret, so taking a rotation back needs nobody to know it.

use nuages_model::Arn;
use serde::{Deserialize, Serialize};

use crate::SecretsError;
use crate::generate::{random_value, request_token};
use crate::manager::SecretsManager;
use crate::wanted::{Source, Wanted, validate};

/// A secret that has another value now. Running tasks keep the earlier one until they are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The variable.
    pub variable: String,
    /// The secret's ARN.
    pub arn: Arn,
    /// The version before; what `undo_rotation` goes back to.
    pub from: Option<String>,
    /// The version now.
    pub to: String,
}

impl SecretsManager {
    /// Generates another value for a generated secret.
    ///
    /// ```no_run
    /// # async fn example(secrets: &nuages_secrets::SecretsManager) -> Result<(), nuages_secrets::SecretsError> {
    /// use nuages_secrets::{Source, Wanted};
    /// let key = Wanted::new("DJANGO_SECRET_KEY", Source::Generate { length: 50, name: None });
    /// let rotated = secrets.rotate(&key).await?;
    /// secrets.undo_rotation(&rotated).await?;
    /// # Ok(()) }
    /// ```
    pub async fn rotate(&self, wanted: &Wanted) -> Result<Rotated, SecretsError> {
        validate(std::slice::from_ref(wanted), &self.scope, &self.region)?;
        let not_ours = |why| {
            Err(SecretsError::NotOurs {
                variable: wanted.variable.clone(),
                why,
            })
        };
        let Source::Generate { length, .. } = wanted.source else {
            return not_ours(match wanted.source {
                Source::DatabaseUrl { .. } => "the database's password and URL belong to the environment's stack",
                _ => "nuages did not generate it; `aws secretsmanager put-secret-value` gives it a value of yours",
            });
        };
        let id = wanted.secret_id(&self.scope).unwrap_or_default();
        let Some(described) = self.store.describe(&id).await? else {
            return Err(SecretsError::NotFound {
                variable: wanted.variable.clone(),
                id,
            });
        };
        if !described.ours {
            return not_ours("a secret without the environment's tags has its name");
        }
        if described.deleted {
            return Err(SecretsError::Deleted {
                variable: wanted.variable.clone(),
                secret: described.name,
            });
        }
        let to = self
            .store
            .put(described.arn.as_str(), &random_value(length)?, &request_token()?)
            .await?;
        Ok(Rotated {
            variable: wanted.variable.clone(),
            arn: described.arn,
            from: described.version_id,
            to,
        })
    }

    /// Makes the version before a rotation the current one again.
    pub async fn undo_rotation(&self, rotated: &Rotated) -> Result<(), SecretsError> {
        let Some(from) = &rotated.from else {
            let why = "it had no version before";
            return Err(SecretsError::NotOurs {
                variable: rotated.variable.clone(),
                why,
            });
        };
        self.store.make_current(&rotated.arn, from, &rotated.to).await
    }
}
