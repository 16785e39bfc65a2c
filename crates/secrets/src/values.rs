//! Reads and writes the values themselves, for the person at the keyboard.
//!
//! Invariant: a write that would change nothing is not made, so no version and no redeployment comes of it; and only a
//! secret with the environment's tags, or one that `[secrets]` names, is written.

use std::collections::{BTreeMap, BTreeSet};

use nuages_model::Secret;
use serde::{Deserialize, Serialize};

use crate::SecretsError;
use crate::generate::request_token;
use crate::inspect::{as_text, object};
use crate::manager::SecretsManager;
use crate::store::{Listed, Made, Read};
use crate::wanted::{Source, Wanted, validate};

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// The secret was made.
    Created,
    /// It has another value now.
    Changed,
    /// It had that value.
    Unchanged,
    /// It had another value, which was to be kept.
    Kept,
}

/// What a push or an import did, by variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Each variable of the file.
    pub written: BTreeMap<String, Written>,
    /// Variables that `[secrets]` does not name: their secrets exist now, and no release uses them.
    pub undeclared: Vec<String>,
}

impl SecretsManager {
    /// The secrets under the environment's prefix, without values. May be minutes behind (`ListSecrets`).
    pub async fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        self.store.list().await
    }

    /// One variable's value; none where it is optional and absent.
    pub async fn get(&self, wanted: &Wanted) -> Result<Option<Secret<String>>, SecretsError> {
        let mut values = self.environment_for_process(std::slice::from_ref(wanted)).await?;
        Ok(values.remove(&wanted.variable))
    }

    /// Every wanted variable with its value, for a child process; optional ones that are absent are left out.
    ///
    /// ```no_run
    /// # async fn example(secrets: &nuages_secrets::SecretsManager, wanted: &[nuages_secrets::Wanted]) -> Result<(), Box<dyn std::error::Error>> {
    /// let environment = secrets.environment_for_process(wanted).await?;
    /// let mut command = std::process::Command::new("python");
    /// command.envs(environment.iter().map(|(name, value)| (name, value.expose())));
    /// # Ok(()) }
    /// ```
    pub async fn environment_for_process(
        &self,
        wanted: &[Wanted],
    ) -> Result<BTreeMap<String, Secret<String>>, SecretsError> {
        validate(wanted, &self.scope, &self.region)?;
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        for entry in wanted {
            match &entry.source {
                Source::Parameter { name, .. } => names.insert(name.clone()),
                _ => ids.insert(entry.secret_id(&self.scope).unwrap_or_default()),
            };
        }
        let (secrets, parameters) = tokio::try_join!(self.store.read(&ids), self.parameters.read(&names))?;
        let mut environment = BTreeMap::new();
        for entry in wanted {
            let value = match &entry.source {
                Source::Parameter { name, .. } => parameters.get(name).map(|p| p.value.clone()),
                _ => self.value_of(entry, &secrets)?,
            };
            match value {
                Some(value) => {
                    environment.insert(entry.variable.clone(), value);
                }
                None if entry.optional() => {}
                None => {
                    let id = match &entry.source {
                        Source::Parameter { name, .. } => name.clone(),
                        _ => entry.secret_id(&self.scope).unwrap_or_default(),
                    };
                    return Err(SecretsError::NotFound {
                        variable: entry.variable.clone(),
                        id,
                    });
                }
            }
        }
        Ok(environment)
    }

    fn value_of(
        &self,
        entry: &Wanted,
        secrets: &BTreeMap<String, Read>,
    ) -> Result<Option<Secret<String>>, SecretsError> {
        let id = entry.secret_id(&self.scope).unwrap_or_default();
        let variable = entry.variable.clone();
        let text = match secrets.get(&id) {
            None | Some(Read::Absent) => return Ok(None),
            Some(Read::Denied) => {
                let why = format!("this identity may not read `{id}`");
                return Err(SecretsError::Invalid { variable, why });
            }
            Some(Read::Value(value)) => value.text.clone(),
        };
        let Some(text) = text else {
            return Err(SecretsError::Invalid {
                variable,
                why: format!("`{id}` is binary"),
            });
        };
        let Some(key) = entry.key() else { return Ok(Some(text)) };
        let no_keys = |why| SecretsError::NoKeys {
            variable: variable.clone(),
            secret: id.clone(),
            key: key.into(),
            why,
        };
        let object = object(&text).ok_or_else(|| no_keys("it is no JSON object"))?;
        match object.expose().get(key) {
            Some(value) => as_text(value)
                .map(|text| Some(Secret::new(text)))
                .ok_or_else(|| no_keys("the key holds no text")),
            None if entry.optional() => Ok(None),
            None => Err(SecretsError::KeyMissing {
                variable: variable.clone(),
                secret: id.clone(),
                key: key.to_owned(),
                available: object.expose().keys().cloned().collect(),
            }),
        }
    }

    /// Gives a variable a value. A secret that is not there is made; a key of a JSON secret is changed within it.
    pub async fn set(&self, wanted: &Wanted, value: &Secret<String>) -> Result<Written, SecretsError> {
        validate(std::slice::from_ref(wanted), &self.scope, &self.region)?;
        self.write(wanted, value, true).await
    }

    async fn write(&self, wanted: &Wanted, value: &Secret<String>, overwrite: bool) -> Result<Written, SecretsError> {
        match &wanted.source {
            Source::DatabaseUrl { .. } => Err(database_url(&wanted.variable)),
            Source::Parameter { name, .. } => self.write_parameter(name, value, overwrite).await,
            Source::Existing {
                secret, key: Some(key), ..
            } => self.write_key(wanted, secret, key, value, overwrite).await,
            Source::Generate { .. } | Source::Existing { key: None, .. } => {
                self.write_whole(wanted, value, overwrite).await
            }
        }
    }

    async fn write_parameter(
        &self,
        name: &str,
        value: &Secret<String>,
        overwrite: bool,
    ) -> Result<Written, SecretsError> {
        let found = self.parameters.read(&BTreeSet::from([name.to_owned()])).await?;
        match found.get(name) {
            Some(parameter) if parameter.value == *value => return Ok(Written::Unchanged),
            Some(_) if !overwrite => return Ok(Written::Kept),
            _ => {}
        }
        self.parameters.put(name, value).await?;
        Ok(if found.is_empty() {
            Written::Created
        } else {
            Written::Changed
        })
    }

    async fn write_whole(
        &self,
        wanted: &Wanted,
        value: &Secret<String>,
        overwrite: bool,
    ) -> Result<Written, SecretsError> {
        let id = wanted.secret_id(&self.scope).unwrap_or_default();
        let Some(described) = self.store.describe(&id).await? else {
            return self.create_given(wanted, &id, value).await;
        };
        if described.deleted {
            return Err(SecretsError::Deleted {
                variable: wanted.variable.clone(),
                secret: described.name,
            });
        }
        if matches!(wanted.source, Source::Generate { .. }) && !described.ours {
            return Err(self.taken(wanted, &id));
        }
        // One without any version has no value to compare with.
        if let Some(Read::Value(read)) = self.store.read(&BTreeSet::from([id.clone()])).await?.get(&id) {
            if read.text.as_ref() == Some(value) {
                return Ok(Written::Unchanged);
            }
            if !overwrite {
                return Ok(Written::Kept);
            }
        }
        self.store.put(described.arn.as_str(), value, &request_token()?).await?;
        Ok(Written::Changed)
    }

    async fn write_key(
        &self,
        wanted: &Wanted,
        id: &str,
        key: &str,
        value: &Secret<String>,
        overwrite: bool,
    ) -> Result<Written, SecretsError> {
        let no_keys = |why| SecretsError::NoKeys {
            variable: wanted.variable.clone(),
            secret: id.into(),
            key: key.into(),
            why,
        };
        let with = |mut object: serde_json::Map<String, serde_json::Value>| {
            object.insert(key.to_owned(), serde_json::Value::String(value.expose().clone()));
            Secret::new(serde_json::Value::Object(object).to_string())
        };
        let read = self.store.read(&BTreeSet::from([id.to_owned()])).await?;
        match read.get(id) {
            Some(Read::Value(read)) => {
                let text = read.text.as_ref().ok_or_else(|| no_keys("it is binary"))?;
                let object = object(text)
                    .ok_or_else(|| no_keys("it is no JSON object"))?
                    .into_exposed();
                match object.get(key) {
                    Some(old) if as_text(old).as_deref() == Some(value.expose()) => return Ok(Written::Unchanged),
                    Some(_) if !overwrite => return Ok(Written::Kept),
                    _ => {}
                }
                self.store.put(id, &with(object), &request_token()?).await?;
                Ok(Written::Changed)
            }
            Some(Read::Denied) => Err(SecretsError::Invalid {
                variable: wanted.variable.clone(),
                why: format!("this identity may not read `{id}`, and so cannot change one of its keys"),
            }),
            _ => self.create_given(wanted, id, &with(serde_json::Map::new())).await,
        }
    }

    async fn create_given(&self, wanted: &Wanted, id: &str, value: &Secret<String>) -> Result<Written, SecretsError> {
        if id.starts_with("arn:") {
            return Err(SecretsError::NotFound {
                variable: wanted.variable.clone(),
                id: id.to_owned(),
            });
        }
        self.store
            .create(id, value, &request_token()?, Made::Given)
            .await
            .map_err(|source| SecretsError::Service {
                what: format!("make the secret `{id}` for `{}`", wanted.variable),
                source,
            })?;
        Ok(Written::Created)
    }

    /// Makes the live values those of `values`: what is absent is made, what differs is changed, and nothing is
    /// deleted. A variable goes where `wanted` says, or else to its own secret, `APP/ENV/NAME`.
    pub async fn push(
        &self,
        values: &BTreeMap<String, Secret<String>>,
        wanted: &[Wanted],
    ) -> Result<Pushed, SecretsError> {
        self.write_all(values, wanted, true).await
    }

    /// As [`push`](Self::push), but a value that is there is kept.
    pub async fn import(
        &self,
        values: &BTreeMap<String, Secret<String>>,
        wanted: &[Wanted],
    ) -> Result<Pushed, SecretsError> {
        self.write_all(values, wanted, false).await
    }

    async fn write_all(
        &self,
        values: &BTreeMap<String, Secret<String>>,
        wanted: &[Wanted],
        overwrite: bool,
    ) -> Result<Pushed, SecretsError> {
        let mut pushed = Pushed::default();
        let mut entries = Vec::new();
        for variable in values.keys() {
            let entry = wanted
                .iter()
                .find(|entry| entry.variable == *variable)
                .cloned()
                .unwrap_or_else(|| {
                    pushed.undeclared.push(variable.clone());
                    // Its own secret, as a generated one's: refused where the name is somebody else's.
                    Wanted::new(variable.clone(), Source::Generate { length: 50, name: None })
                });
            if let Source::DatabaseUrl { .. } = entry.source {
                return Err(database_url(variable));
            }
            entries.push(entry);
        }
        // Everything is checked before anything is written.
        validate(&entries, &self.scope, &self.region)?;
        for entry in &entries {
            let Some(value) = values.get(&entry.variable) else {
                continue;
            };
            pushed
                .written
                .insert(entry.variable.clone(), self.write(entry, value, overwrite).await?);
        }
        Ok(pushed)
    }
}

fn database_url(variable: &str) -> SecretsError {
    let why = "the database's password and URL belong to the environment's stack";
    SecretsError::NotOurs {
        variable: variable.to_owned(),
        why,
    }
}
