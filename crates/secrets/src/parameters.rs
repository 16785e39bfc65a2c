//! SSM Parameter Store's calls, in our words.
//!
//! Invariant: a value is asked for only by [`Parameters::read`]; to find where one stands, none is decrypted.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::ParameterType;
use nuages_aws::error::describe;
use nuages_model::{Arn, Secret};

use crate::SecretsError;

/// `GetParameters` takes so many names (API reference, `Names`).
const BATCH: usize = 10;

#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    client: Client,
}

/// A parameter; its value only where it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) arn: Arn,
    pub(crate) version: i64,
    /// Whether it is encrypted.
    pub(crate) secure: bool,
    pub(crate) value: Secret<String>,
}

impl Parameters {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Where these stand, by the name or ARN they were asked by. Absent ones are left out.
    pub(crate) async fn find(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Parameter>, SecretsError> {
        self.get(names, false).await
    }

    /// These with their values.
    pub(crate) async fn read(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Parameter>, SecretsError> {
        self.get(names, true).await
    }

    async fn get(&self, names: &BTreeSet<String>, decrypt: bool) -> Result<BTreeMap<String, Parameter>, SecretsError> {
        let mut found = BTreeMap::new();
        let names: Vec<&String> = names.iter().collect();
        for batch in names.chunks(BATCH) {
            let call = self.client.get_parameters().with_decryption(decrypt);
            let call = batch.iter().fold(call, |call, name| call.names(name.as_str()));
            let answer = call.send().await.map_err(|error| SecretsError::Service {
                what: "look up parameters".into(),
                source: describe("ssm:GetParameters", &error),
            })?;
            for parameter in answer.parameters() {
                let asked =
                    |name: &&&String| parameter.name() == Some(name.as_str()) || parameter.arn() == Some(name.as_str());
                let Some(name) = batch.iter().find(asked) else { continue };
                let arn = parameter.arn().and_then(|arn| arn.parse().ok());
                let arn = arn.ok_or_else(|| SecretsError::BadAnswer {
                    id: (*name).clone(),
                    why: "it has no ARN",
                })?;
                let value = if decrypt {
                    parameter.value().unwrap_or_default()
                } else {
                    ""
                };
                found.insert(
                    (*name).clone(),
                    Parameter {
                        arn,
                        version: parameter.version(),
                        secure: parameter.r#type() == Some(&ParameterType::SecureString),
                        value: Secret::new(value.to_owned()),
                    },
                );
            }
        }
        Ok(found)
    }

    /// Writes an encrypted parameter; answers its new version.
    pub(crate) async fn put(&self, name: &str, value: &Secret<String>) -> Result<i64, SecretsError> {
        let answer = self
            .client
            .put_parameter()
            .name(name)
            .value(value.expose())
            .r#type(ParameterType::SecureString)
            .overwrite(true)
            .send()
            .await
            .map_err(|error| SecretsError::Service {
                what: format!("change the parameter `{name}`"),
                source: describe("ssm:PutParameter", &error),
            })?;
        Ok(answer.version())
    }
}
