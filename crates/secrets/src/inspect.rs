//! Finds where each wanted value stands, and says what would have to be made.
//!
//! Invariant: reads only. An unchanged environment costs one `DescribeSecret` a secret, all at once, and one
//! `GetParameters` for ten parameters; a value is read only to see whether a JSON secret has the wanted key, and not
//! even then where this version was seen before.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use nuages_model::{Secret, SecretVersion};
use serde::{Deserialize, Serialize};

use crate::SecretsError;
use crate::manager::SecretsManager;
use crate::parameters::Parameter;
use crate::store::{Described, Read};
use crate::wanted::{Source, Wanted, validate};

/// Calls in flight at once.
const PARALLEL: usize = 8;

/// The service that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// Secrets Manager.
    SecretsManager,
    /// SSM Parameter Store, encrypted.
    SecureParameter,
    /// SSM Parameter Store, in plain text.
    PlainParameter,
}

/// Where a variable's value stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The variable.
    pub variable: String,
    /// ARN, key and current version. `version.value_from()` is what a task definition takes.
    pub version: SecretVersion,
    /// The service that holds it.
    pub store: Store,
    /// The customer's KMS key, whose `kms:Decrypt` the execution role needs; none for the account's default key.
    pub kms_key: Option<String>,
}

/// What would be done for a variable whose value is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The variable.
    pub variable: String,
    /// The secret's name.
    pub secret: String,
    /// What would be done.
    pub action: PlannedAction,
}

/// What would be done to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedAction {
    /// It is made, with so many random characters.
    Create {
        /// Characters.
        length: u16,
    },
    /// Its scheduled deletion is taken back; it keeps its value.
    Restore,
}

/// An optional variable that the release does without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// The variable.
    pub variable: String,
    /// Why, in a few words.
    pub why: String,
}

/// Where every wanted value stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// What is there, in the order it was wanted.
    pub references: Vec<Reference>,
    /// What would be made.
    pub planned: Vec<Planned>,
    /// What the release does without.
    pub omitted: Vec<Omitted>,
    /// What could not be checked, one sentence each.
    pub warnings: Vec<String>,
}

impl Inspection {
    /// Whether nothing has to be made.
    pub fn is_satisfied(&self) -> bool {
        self.planned.is_empty()
    }
}

impl SecretsManager {
    /// Finds where each wanted value stands; makes nothing. `known` are the versions that an earlier release used:
    /// their keys are not checked again.
    ///
    /// ```no_run
    /// # async fn example(secrets: &nuages_secrets::SecretsManager) -> Result<(), nuages_secrets::SecretsError> {
    /// use nuages_secrets::{Source, Wanted};
    /// let dsn = Source::Existing { secret: "blog/sentry".into(), key: Some("dsn".into()), optional: true };
    /// let found = secrets.inspect(&[Wanted::new("SENTRY_DSN", dsn)], &[]).await?;
    /// assert!(found.is_satisfied());
    /// # Ok(()) }
    /// ```
    pub async fn inspect(&self, wanted: &[Wanted], known: &[SecretVersion]) -> Result<Inspection, SecretsError> {
        validate(wanted, &self.scope, &self.region)?;
        let parameters: BTreeSet<String> = wanted
            .iter()
            .filter_map(|entry| match &entry.source {
                Source::Parameter { name, .. } => Some(name.clone()),
                _ => None,
            })
            .collect();
        let (secrets, parameters) = tokio::try_join!(self.describe_all(wanted), self.parameters.find(&parameters))?;
        let readable = self.read_keys(wanted, known, &secrets).await?;

        let mut inspection = Inspection::default();
        for entry in wanted {
            let found = if let Source::Parameter { name, .. } = &entry.source {
                match parameters.get(name) {
                    Some(parameter) => Found::Is(of_parameter(entry, parameter)),
                    None => absent(entry, name)?,
                }
            } else {
                let id = entry.secret_id(&self.scope).unwrap_or_default();
                self.judge(entry, &id, secrets.get(&id), &readable, &mut inspection.warnings)?
            };
            match found {
                Found::Is(reference) => inspection.references.push(reference),
                Found::ToMake(planned) => inspection.planned.push(planned),
                Found::Without(omitted) => inspection.omitted.push(omitted),
            }
        }
        Ok(inspection)
    }

    async fn describe_all(&self, wanted: &[Wanted]) -> Result<BTreeMap<String, Described>, SecretsError> {
        let ids: BTreeSet<String> = wanted.iter().filter_map(|entry| entry.secret_id(&self.scope)).collect();
        let described: Vec<(String, Option<Described>)> = stream::iter(ids)
            .map(|id| async move { self.store.describe(&id).await.map(|described| (id, described)) })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        Ok(described
            .into_iter()
            .filter_map(|(id, described)| Some((id, described?)))
            .collect())
    }

    /// The JSON secrets whose keys have to be looked at.
    async fn read_keys(
        &self,
        wanted: &[Wanted],
        known: &[SecretVersion],
        secrets: &BTreeMap<String, Described>,
    ) -> Result<BTreeMap<String, Keys>, SecretsError> {
        let mut ids = BTreeSet::new();
        for entry in wanted {
            let Some(key) = entry.key() else { continue };
            let Some((id, described)) = entry.secret_id(&self.scope).and_then(|id| secrets.get_key_value(&id)) else {
                continue;
            };
            let seen = |old: &SecretVersion| {
                old.arn == described.arn
                    && old.key.as_deref() == Some(key)
                    && old.version_id.is_some()
                    && old.version_id == described.version_id
            };
            if !described.deleted && !known.iter().any(seen) {
                ids.insert(id.clone());
            }
        }
        let read = self.store.read(&ids).await?;
        Ok(read.into_iter().map(|(id, read)| (id, Keys::of(&read))).collect())
    }

    fn judge(
        &self,
        entry: &Wanted,
        id: &str,
        described: Option<&Described>,
        readable: &BTreeMap<String, Keys>,
        warnings: &mut Vec<String>,
    ) -> Result<Found, SecretsError> {
        let variable = entry.variable.clone();
        if let Source::Generate { length, .. } = entry.source {
            let planned = |action| {
                Found::ToMake(Planned {
                    variable: variable.clone(),
                    secret: id.to_owned(),
                    action,
                })
            };
            match described {
                None => return Ok(planned(PlannedAction::Create { length })),
                Some(described) if !described.ours => return Err(self.taken(entry, id)),
                Some(described) if described.deleted => return Ok(planned(PlannedAction::Restore)),
                Some(_) => {}
            }
        }
        let Some(described) = described else {
            return absent(entry, id);
        };
        if described.deleted {
            if entry.optional() {
                let why = format!("`{}` is scheduled for deletion", described.name);
                return Ok(Found::Without(Omitted { variable, why }));
            }
            return Err(SecretsError::Deleted {
                variable,
                secret: described.name.clone(),
            });
        }
        if let (Some(key), Some(keys)) = (entry.key(), readable.get(id)) {
            let no_keys = |why| SecretsError::NoKeys {
                variable: variable.clone(),
                secret: described.name.clone(),
                key: key.to_owned(),
                why,
            };
            match keys {
                Keys::Unreadable => warnings.push(format!(
                    "whether `{}` has the key `{key}` is not known: its value may not be read by this identity",
                    described.name
                )),
                Keys::Binary => return Err(no_keys("it is binary")),
                Keys::NotJson => return Err(no_keys("it is no JSON object")),
                Keys::Some(keys) => match keys.get(key) {
                    Some(true) => {}
                    Some(false) => return Err(no_keys("the key holds no text")),
                    None if entry.optional() => {
                        let why = format!("`{}` has no key `{key}`", described.name);
                        return Ok(Found::Without(Omitted { variable, why }));
                    }
                    None => {
                        return Err(SecretsError::KeyMissing {
                            variable,
                            secret: described.name.clone(),
                            key: key.to_owned(),
                            available: keys.keys().cloned().collect(),
                        });
                    }
                },
            }
        }
        Ok(Found::Is(reference(entry, described)))
    }

    pub(crate) fn taken(&self, entry: &Wanted, id: &str) -> SecretsError {
        SecretsError::Taken {
            variable: entry.variable.clone(),
            secret: id.to_owned(),
            scope: format!("{}/{}", self.scope.app, self.scope.env),
        }
    }
}

enum Found {
    Is(Reference),
    ToMake(Planned),
    Without(Omitted),
}

/// The keys of a JSON secret, and whether each holds something a variable can.
enum Keys {
    Some(BTreeMap<String, bool>),
    NotJson,
    Binary,
    Unreadable,
}

impl Keys {
    fn of(read: &Read) -> Self {
        let Read::Value(value) = read else {
            return Self::Unreadable;
        };
        let Some(text) = &value.text else { return Self::Binary };
        match object(text) {
            Some(object) => Self::Some(
                object
                    .expose()
                    .iter()
                    .map(|(k, v)| (k.clone(), as_text(v).is_some()))
                    .collect(),
            ),
            None => Self::NotJson,
        }
    }
}

/// A JSON secret's object. The parser's error is dropped: it may quote the value.
pub(crate) fn object(text: &Secret<String>) -> Option<Secret<serde_json::Map<String, serde_json::Value>>> {
    match serde_json::from_str(text.expose()) {
        Ok(serde_json::Value::Object(object)) => Some(Secret::new(object)),
        _ => None,
    }
}

/// A key's value as a variable holds it.
pub(crate) fn as_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn absent(entry: &Wanted, id: &str) -> Result<Found, SecretsError> {
    let variable = entry.variable.clone();
    if entry.optional() {
        return Ok(Found::Without(Omitted {
            variable,
            why: format!("there is no `{id}`"),
        }));
    }
    Err(SecretsError::NotFound {
        variable,
        id: id.to_owned(),
    })
}

fn of_parameter(entry: &Wanted, parameter: &Parameter) -> Reference {
    Reference {
        variable: entry.variable.clone(),
        version: SecretVersion {
            arn: parameter.arn.clone(),
            key: None,
            version_id: Some(parameter.version.to_string()),
        },
        store: if parameter.secure {
            Store::SecureParameter
        } else {
            Store::PlainParameter
        },
        kms_key: None,
    }
}

pub(crate) fn reference(entry: &Wanted, described: &Described) -> Reference {
    Reference {
        variable: entry.variable.clone(),
        version: SecretVersion {
            arn: described.arn.clone(),
            key: entry.key().map(str::to_owned),
            version_id: described.version_id.clone(),
        },
        store: Store::SecretsManager,
        kms_key: described.kms_key.clone(),
    }
}
