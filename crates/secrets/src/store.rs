//! Secrets Manager's calls, in our words.
//!
//! Invariant: only a secret that carries this scope's tags is ever written, restored or deleted here.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};
use nuages_aws::error::{ServiceError, describe};
use nuages_model::{Arn, Secret};
use serde::{Deserialize, Serialize};

use crate::SecretsError;
use crate::wanted::Scope;

pub(crate) const CURRENT: &str = "AWSCURRENT";
const TAG_APP: &str = "nuages:app";
const TAG_ENV: &str = "nuages:env";
const TAG_MADE: &str = "nuages:made";
/// `BatchGetSecretValue` takes so many ids (API reference, `SecretIdList`).
const BATCH: usize = 20;
/// Days in which a deleted secret can be brought back: the fewest that Secrets Manager takes.
const RECOVERY_DAYS: i64 = 7;

/// How a secret of ours came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Made {
    /// Its value is random.
    Generated,
    /// Somebody gave its value.
    Given,
}

impl Made {
    fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Given => "given",
        }
    }
}

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) arn: Arn,
    pub(crate) name: String,
    pub(crate) version_id: Option<String>,
    pub(crate) kms_key: Option<String>,
    pub(crate) deleted: bool,
    pub(crate) ours: bool,
}

/// A secret of the environment, as `secrets list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: Arn,
    /// The current version.
    pub version_id: Option<String>,
    /// The customer's key that encrypts it; none for the account's default key.
    pub kms_key: Option<String>,
    /// When it was last changed, in seconds since 1970.
    pub changed: Option<i64>,
    /// Whether nuages generated its value.
    pub generated: bool,
    /// Whether it carries the environment's tags. Others merely have a name like ours and are never changed.
    pub ours: bool,
    /// Whether it is scheduled for deletion.
    pub deleted: bool,
}

/// A value and the version it is of.
#[derive(Debug, Clone)]
pub(crate) struct Valued {
    /// None where it is binary.
    pub(crate) text: Option<Secret<String>>,
}

/// What a batch read said about one secret.
#[derive(Debug)]
pub(crate) enum Read {
    Value(Valued),
    Absent,
    Denied,
}

#[derive(Debug, Clone)]
pub(crate) struct SecretStore {
    client: Client,
    scope: Scope,
}

fn failed(what: impl Into<String>, source: ServiceError) -> SecretsError {
    SecretsError::Service {
        what: what.into(),
        source,
    }
}

fn arn(id: &str, text: Option<&str>) -> Result<Arn, SecretsError> {
    text.and_then(|arn| arn.parse().ok())
        .ok_or_else(|| SecretsError::BadAnswer {
            id: id.to_owned(),
            why: "it has no ARN",
        })
}

fn current<'a>(mut versions: impl Iterator<Item = (&'a String, &'a Vec<String>)>) -> Option<String> {
    versions
        .find(|(_, stages)| stages.iter().any(|s| s == CURRENT))
        .map(|(id, _)| id.clone())
}

impl SecretStore {
    pub(crate) fn new(client: Client, scope: Scope) -> Self {
        Self { client, scope }
    }

    fn ours(&self, tags: &[Tag]) -> bool {
        let has = |key: &str, value: &str| tags.iter().any(|t| t.key() == Some(key) && t.value() == Some(value));
        has(TAG_APP, self.scope.app.as_str()) && has(TAG_ENV, self.scope.env.as_str())
    }

    fn tags(&self, made: Made) -> Vec<Tag> {
        [
            (TAG_APP, self.scope.app.as_str()),
            (TAG_ENV, self.scope.env.as_str()),
            (TAG_MADE, made.as_str()),
        ]
        .into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
    }

    /// What it is, if it is. `ListSecrets` would answer for all at once, and may be five minutes behind (its API
    /// reference): a changed secret would be taken for an unchanged one.
    pub(crate) async fn describe(&self, id: &str) -> Result<Option<Described>, SecretsError> {
        let answer = match self.client.describe_secret().secret_id(id).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = describe("secretsmanager:DescribeSecret", &error);
                if error.is_code("ResourceNotFoundException") {
                    return Ok(None);
                }
                return Err(failed(format!("look up the secret `{id}`"), error));
            }
        };
        Ok(Some(Described {
            arn: arn(id, answer.arn())?,
            name: answer.name().unwrap_or(id).to_owned(),
            version_id: answer.version_ids_to_stages().and_then(|v| current(v.iter())),
            kms_key: answer.kms_key_id().map(str::to_owned),
            deleted: answer.deleted_date().is_some(),
            ours: self.ours(answer.tags()),
        }))
    }

    /// The values of these secrets, twenty a call. What cannot be read is said for each.
    pub(crate) async fn read(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Read>, SecretsError> {
        let mut read = BTreeMap::new();
        let ids: Vec<&String> = ids.iter().collect();
        for batch in ids.chunks(BATCH) {
            let wanted: BTreeSet<&String> = batch.iter().copied().collect();
            let mut token = None;
            loop {
                let call = self.client.batch_get_secret_value().set_next_token(token.take());
                let call = wanted.iter().fold(call, |call, id| call.secret_id_list(id.as_str()));
                let answer = match call.send().await {
                    Ok(answer) => answer,
                    Err(error) => {
                        let error = describe("secretsmanager:BatchGetSecretValue", &error);
                        if error.kind == nuages_aws::Kind::AccessDenied {
                            read.extend(wanted.iter().map(|id| ((*id).clone(), Read::Denied)));
                            break;
                        }
                        return Err(failed("read the secrets' values", error));
                    }
                };
                for value in answer.secret_values() {
                    let same = |id: &&&String| value.name() == Some(id.as_str()) || value.arn() == Some(id.as_str());
                    for id in wanted.iter().filter(same) {
                        let text = value.secret_string().map(|text| Secret::new(text.to_owned()));
                        read.insert((*id).clone(), Read::Value(Valued { text }));
                    }
                }
                for error in answer.errors() {
                    let Some(id) = wanted.iter().find(|id| error.secret_id() == Some(id.as_str())) else {
                        continue;
                    };
                    let code = error.error_code().unwrap_or_default();
                    let outcome = match code {
                        // Scheduled for deletion is as good as absent to a task.
                        "ResourceNotFoundException" | "InvalidRequestException" => Read::Absent,
                        "AccessDeniedException" | "DecryptionFailure" => Read::Denied,
                        code => {
                            return Err(failed(
                                format!("read the value of the secret `{id}`"),
                                ServiceError {
                                    operation: "secretsmanager:BatchGetSecretValue",
                                    code: Some(code.to_owned()),
                                    message: error.message().unwrap_or("no message").to_owned(),
                                    request_id: None,
                                    kind: nuages_aws::Kind::Other,
                                    effect: nuages_aws::Effect::None,
                                },
                            ));
                        }
                    };
                    read.insert((*id).clone(), outcome);
                }
                token = answer.next_token().map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
            for id in wanted {
                read.entry(id.clone()).or_insert(Read::Absent);
            }
        }
        Ok(read)
    }

    /// Makes a secret. The same token again is the same call again.
    pub(crate) async fn create(
        &self,
        name: &str,
        value: &Secret<String>,
        token: &str,
        made: Made,
    ) -> Result<(Arn, Option<String>), ServiceError> {
        let answer = self
            .client
            .create_secret()
            .name(name)
            .client_request_token(token)
            .description(format!(
                "{} of {} in {}, by nuages",
                made.as_str(),
                self.scope.app,
                self.scope.env
            ))
            .secret_string(value.expose())
            .set_tags(Some(self.tags(made)))
            .send()
            .await
            .map_err(|error| describe("secretsmanager:CreateSecret", &error))?;
        let arn = answer
            .arn()
            .and_then(|arn| arn.parse().ok())
            .ok_or_else(|| ServiceError {
                operation: "secretsmanager:CreateSecret",
                code: None,
                message: "the answer has no ARN".into(),
                request_id: None,
                kind: nuages_aws::Kind::Other,
                effect: nuages_aws::Effect::Unknown,
            })?;
        Ok((arn, answer.version_id().map(str::to_owned)))
    }

    /// Takes back a scheduled deletion.
    pub(crate) async fn restore(&self, secret: &Described) -> Result<(), SecretsError> {
        self.client
            .restore_secret()
            .secret_id(secret.arn.as_str())
            .send()
            .await
            .map_err(|e| {
                failed(
                    format!("restore the secret `{}`", secret.name),
                    describe("secretsmanager:RestoreSecret", &e),
                )
            })?;
        Ok(())
    }

    /// Gives a secret another value; answers the new version.
    pub(crate) async fn put(&self, id: &str, value: &Secret<String>, token: &str) -> Result<String, SecretsError> {
        let answer = self
            .client
            .put_secret_value()
            .secret_id(id)
            .client_request_token(token)
            .secret_string(value.expose())
            .send()
            .await
            .map_err(|e| {
                failed(
                    format!("change the secret `{id}`"),
                    describe("secretsmanager:PutSecretValue", &e),
                )
            })?;
        Ok(answer.version_id().unwrap_or(token).to_owned())
    }

    /// Moves the label of the current version back to an earlier one.
    pub(crate) async fn make_current(&self, arn: &Arn, version: &str, instead_of: &str) -> Result<(), SecretsError> {
        self.client
            .update_secret_version_stage()
            .secret_id(arn.as_str())
            .version_stage(CURRENT)
            .move_to_version_id(version)
            .remove_from_version_id(instead_of)
            .send()
            .await
            .map_err(|e| {
                let what = format!("bring back the earlier version of the secret `{}`", arn.name());
                failed(what, describe("secretsmanager:UpdateSecretVersionStage", &e))
            })?;
        Ok(())
    }

    /// Schedules a secret for deletion, or with `force` deletes it at once. One that is gone is no error.
    pub(crate) async fn delete(&self, arn: &Arn, force: bool) -> Result<(), SecretsError> {
        let call = self.client.delete_secret().secret_id(arn.as_str());
        let call = if force {
            call.force_delete_without_recovery(true)
        } else {
            call.recovery_window_in_days(RECOVERY_DAYS)
        };
        match call
            .send()
            .await
            .map_err(|error| describe("secretsmanager:DeleteSecret", &error))
        {
            Err(error) if !error.is_code("ResourceNotFoundException") => {
                Err(failed(format!("delete the secret `{}`", arn.name()), error))
            }
            _ => Ok(()),
        }
    }

    /// All secrets under the scope's prefix, deleted ones included. May be minutes behind.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        let by_name = Filter::builder()
            .key(FilterNameStringType::Name)
            .values(self.scope.prefix())
            .build();
        let mut pages = self
            .client
            .list_secrets()
            .filters(by_name)
            .include_planned_deletion(true)
            .max_results(100)
            .into_paginator()
            .send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| failed("list the secrets", describe("secretsmanager:ListSecrets", &e)))?;
            for entry in page.secret_list() {
                let name = entry.name().unwrap_or_default();
                // The filter matches prefixes of the name's words too.
                if !name.starts_with(&self.scope.prefix()) {
                    continue;
                }
                let tags = entry.tags();
                listed.push(Listed {
                    name: name.to_owned(),
                    arn: arn(name, entry.arn())?,
                    version_id: entry.secret_versions_to_stages().and_then(|v| current(v.iter())),
                    kms_key: entry.kms_key_id().map(str::to_owned),
                    changed: entry
                        .last_changed_date()
                        .map(aws_sdk_secretsmanager::primitives::DateTime::secs),
                    generated: tags
                        .iter()
                        .any(|t| t.key() == Some(TAG_MADE) && t.value() == Some(Made::Generated.as_str())),
                    ours: self.ours(tags),
                    deleted: entry.deleted_date().is_some(),
                });
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }
}
