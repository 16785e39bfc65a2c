//! Makes what is to be generated, and answers where every value stands.
//!
//! Invariant: a value is generated once. Another run, or the same one again after a crash, finds the secret by its name
//! and tags and adopts it; a secret that is not ours is never touched.

use std::collections::BTreeSet;
use std::time::Duration;

use nuages_model::{Arn, SecretVersion};
use serde::{Deserialize, Serialize};

use crate::SecretsError;
use crate::generate::{random_value, request_token};
use crate::inspect::{Omitted, Planned, PlannedAction, Reference, reference};
use crate::manager::SecretsManager;
use crate::store::{Described, Made};
use crate::wanted::{Source, Wanted};

/// A name is free only some seconds after its secret was deleted at once; the pauses between tries.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Where every wanted value stands now, and what was done for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Where each value stands, in the order it was wanted.
    pub references: Vec<Reference>,
    /// What the release does without.
    pub omitted: Vec<Omitted>,
    /// What was made or brought back.
    pub changes: Vec<Change>,
    /// What could not be checked, one sentence each.
    pub warnings: Vec<String>,
}

/// A secret that was made or brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The variable.
    pub variable: String,
    /// The secret's ARN.
    pub arn: Arn,
    /// What was done.
    pub kind: ChangeKind,
}

/// What was done to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It was made.
    Created,
    /// Its scheduled deletion was taken back.
    Restored,
}

impl Resolved {
    /// Every secret's and parameter's ARN: what the execution role may read.
    pub fn arns(&self) -> BTreeSet<&Arn> {
        self.references.iter().map(|r| &r.version.arn).collect()
    }

    /// The customer's keys whose `kms:Decrypt` the execution role needs.
    pub fn kms_keys(&self) -> BTreeSet<&str> {
        self.references.iter().filter_map(|r| r.kms_key.as_deref()).collect()
    }

    /// What enters a release's fingerprint: a changed value has another version.
    pub fn versions(&self) -> Vec<(&str, &SecretVersion)> {
        self.references
            .iter()
            .map(|r| (r.variable.as_str(), &r.version))
            .collect()
    }
}

impl SecretsManager {
    /// Finds where each wanted value stands and makes what is to be generated and is not there. `known` as in
    /// [`inspect`](Self::inspect).
    ///
    /// ```no_run
    /// # async fn example(secrets: &nuages_secrets::SecretsManager) -> Result<(), nuages_secrets::SecretsError> {
    /// use nuages_secrets::{Source, Wanted};
    /// let key = Wanted::new("DJANGO_SECRET_KEY", Source::Generate { length: 50, name: None });
    /// let resolved = secrets.resolve(&[key], &[]).await?;
    /// assert_eq!(resolved.references.len(), 1);
    /// # Ok(()) }
    /// ```
    pub async fn resolve(&self, wanted: &[Wanted], known: &[SecretVersion]) -> Result<Resolved, SecretsError> {
        let inspection = self.inspect(wanted, known).await?;
        let mut resolved = Resolved {
            references: inspection.references,
            omitted: inspection.omitted,
            changes: Vec::new(),
            warnings: inspection.warnings,
        };
        for planned in &inspection.planned {
            let Some(entry) = wanted.iter().find(|entry| entry.variable == planned.variable) else {
                continue;
            };
            let (described, kind) = self.make(entry, planned).await?;
            resolved.references.push(reference(entry, &described));
            if let Some(kind) = kind {
                resolved.changes.push(Change {
                    variable: entry.variable.clone(),
                    arn: described.arn,
                    kind,
                });
            }
        }
        let position = |r: &Reference| wanted.iter().position(|entry| entry.variable == r.variable);
        resolved.references.sort_by_key(position);
        Ok(resolved)
    }

    /// Takes changes back: what was made or restored is scheduled for deletion, from which another run restores it.
    pub async fn undo(&self, changes: &[Change]) -> Result<(), SecretsError> {
        for change in changes.iter().rev() {
            self.store.delete(&change.arn, false).await?;
        }
        Ok(())
    }

    /// Deletes every secret that nuages generated for this environment, and answers their names. Without `force` they
    /// can be restored for a week.
    pub async fn delete_generated(&self, force: bool) -> Result<Vec<String>, SecretsError> {
        let mut deleted = Vec::new();
        for secret in self.store.list().await? {
            if secret.ours && secret.generated && (force || !secret.deleted) {
                self.store.delete(&secret.arn, force).await?;
                deleted.push(secret.name);
            }
        }
        Ok(deleted)
    }

    async fn make(&self, entry: &Wanted, planned: &Planned) -> Result<(Described, Option<ChangeKind>), SecretsError> {
        let PlannedAction::Create { length } = planned.action else {
            return self.adopt(entry, &planned.secret).await;
        };
        debug_assert!(matches!(entry.source, Source::Generate { .. }));
        let (value, token) = (random_value(length)?, request_token()?);
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self
                .store
                .create(&planned.secret, &value, &token, Made::Generated)
                .await
            {
                Ok((arn, version_id)) => {
                    let name = planned.secret.clone();
                    let made = Described {
                        arn,
                        name,
                        version_id,
                        kms_key: None,
                        deleted: false,
                        ours: true,
                    };
                    return Ok((made, Some(ChangeKind::Created)));
                }
                Err(error) => error,
            };
            let exists = error.is_code("ResourceExistsException");
            // What Secrets Manager answers while a secret of that name is being deleted.
            if exists || error.is_code("InvalidRequestException") {
                if self.store.describe(&planned.secret).await?.is_some() {
                    return self.adopt(entry, &planned.secret).await;
                }
                if let Some(pause) = pauses.next() {
                    tokio::time::sleep(*pause).await;
                    continue;
                }
            }
            let what = format!("make the secret `{}` for `{}`", planned.secret, entry.variable);
            return Err(SecretsError::Service { what, source: error });
        }
    }

    /// Takes the secret that is there, restored if it was to be deleted.
    async fn adopt(&self, entry: &Wanted, id: &str) -> Result<(Described, Option<ChangeKind>), SecretsError> {
        let described = self.store.describe(id).await?;
        let Some(described) = described else {
            return Err(SecretsError::NotFound {
                variable: entry.variable.clone(),
                id: id.to_owned(),
            });
        };
        if !described.ours {
            return Err(self.taken(entry, id));
        }
        if !described.deleted {
            return Ok((described, None));
        }
        self.store.restore(&described).await?;
        Ok((
            Described {
                deleted: false,
                ..described
            },
            Some(ChangeKind::Restored),
        ))
    }
}
