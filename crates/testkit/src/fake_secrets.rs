//! Secrets Manager and Parameter Store in memory, as strict as their API references: idempotency tokens, recovery
//! windows, batch limits, and values only to whoever may read them.
//!
//! Invariant: a call that it does not know fails the test.

use std::collections::{BTreeMap, BTreeSet};

use ::http::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::aws::{ACCOUNT, REGION};
use crate::http::{Received, json, operation};

/// One value of a secret.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its id.
    pub id: String,
    /// None where it is binary.
    pub value: Option<String>,
}

/// A secret.
#[derive(Debug, Clone, Default)]
pub struct Secret {
    /// The current one last.
    pub versions: Vec<Version>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The key that encrypts it, where it is a customer's.
    pub kms_key: Option<String>,
    /// Whether it is scheduled for deletion.
    pub deleted: bool,
    current: usize,
}

/// All secrets and parameters of an account.
///
/// ```
/// let mut fake = nuages_testkit::fake_secrets::FakeSecrets::default();
/// fake.put("blog/key", Some("hunter2".into()), "one");
/// assert_eq!(fake.value("blog/key").as_deref(), Some("hunter2"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct FakeSecrets {
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// Value, version, type, by name.
    pub parameters: BTreeMap<String, (String, i64, &'static str)>,
    /// Whether no value may be read.
    pub sealed: bool,
    /// The next calls to this operation fail with this code and status.
    pub faults: Vec<(&'static str, &'static str, u16)>,
    made: usize,
}

fn refused(code: &str, message: &str) -> Response<Bytes> {
    json(400, &json!({"__type": code, "message": message}))
}

impl FakeSecrets {
    /// A secret's ARN.
    pub fn arn(name: &str) -> String {
        format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf")
    }

    /// A secret's current value.
    pub fn value(&self, name: &str) -> Option<String> {
        let secret = self.secrets.get(name)?;
        secret.versions.get(secret.current)?.value.clone()
    }

    /// Gives a secret another value, and makes it where it is not there.
    pub fn put(&mut self, name: &str, value: Option<String>, id: &str) {
        let secret = self.secrets.entry(name.to_owned()).or_default();
        secret.versions.push(Version {
            id: id.to_owned(),
            value,
        });
        secret.current = secret.versions.len() - 1;
    }

    /// By name or ARN.
    fn name_of(&self, id: &str) -> Option<String> {
        self.secrets
            .keys()
            .find(|name| *name == id || Self::arn(name) == id)
            .cloned()
    }

    fn stages(secret: &Secret) -> Value {
        let mut stages = serde_json::Map::new();
        for (index, version) in secret.versions.iter().enumerate() {
            if index == secret.current {
                stages.insert(version.id.clone(), json!(["AWSCURRENT"]));
            } else if index + 1 == secret.current {
                stages.insert(version.id.clone(), json!(["AWSPREVIOUS"]));
            }
        }
        Value::Object(stages)
    }

    fn tags(secret: &Secret) -> Value {
        secret
            .tags
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect()
    }

    /// Answers one request.
    pub fn answer(&mut self, request: &Received) -> Response<Bytes> {
        let operation = operation(request).unwrap_or_default();
        let input: Value = serde_json::from_slice(request.body()).expect("a JSON request");
        if let Some(position) = self.faults.iter().position(|(name, ..)| *name == operation) {
            let (_, code, status) = self.faults.remove(position);
            return json(status, &json!({"__type": code, "message": "as the test wants"}));
        }
        let text = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
        match operation.as_str() {
            "CreateSecret" => self.create(&input),
            "BatchGetSecretValue" => self.batch(&input),
            "ListSecrets" => self.list(&input),
            "GetParameters" => self.get_parameters(&input),
            "PutParameter" => {
                let entry = self
                    .parameters
                    .entry(text("Name"))
                    .or_insert_with(|| (String::new(), 0, "SecureString"));
                (entry.0, entry.1) = (text("Value"), entry.1 + 1);
                json(200, &json!({"Version": entry.1, "Tier": "Standard"}))
            }
            operation => {
                let Some(name) = self.name_of(&text("SecretId")) else {
                    return refused(
                        "ResourceNotFoundException",
                        "Secrets Manager can't find the specified secret.",
                    );
                };
                self.on_secret(operation, &name, &input)
            }
        }
    }

    fn on_secret(&mut self, operation: &str, name: &str, input: &Value) -> Response<Bytes> {
        let secret = self.secrets.get_mut(name).expect("looked up");
        let text = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
        let arn = Self::arn(name);
        if secret.deleted && !["DescribeSecret", "RestoreSecret", "DeleteSecret"].contains(&operation) {
            return refused(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            );
        }
        match operation {
            "DescribeSecret" => {
                let mut answer = json!({
                    "ARN": arn, "Name": name, "Tags": Self::tags(secret), "VersionIdsToStages": Self::stages(secret),
                });
                if let Some(key) = &secret.kms_key {
                    answer["KmsKeyId"] = json!(key);
                }
                if secret.deleted {
                    answer["DeletedDate"] = json!(1_700_000_000);
                }
                json(200, &answer)
            }
            "RestoreSecret" => {
                secret.deleted = false;
                json(200, &json!({"ARN": arn, "Name": name}))
            }
            "DeleteSecret" => {
                if input["ForceDeleteWithoutRecovery"] == json!(true) {
                    self.secrets.remove(name);
                } else {
                    assert!((7..=30).contains(&input["RecoveryWindowInDays"].as_i64().unwrap_or(30)));
                    secret.deleted = true;
                }
                json(200, &json!({"ARN": arn, "Name": name}))
            }
            "PutSecretValue" => {
                let token = text("ClientRequestToken");
                assert!((32..=64).contains(&token.len()), "{token}");
                self.put(name, Some(text("SecretString")), &token);
                json(200, &json!({"ARN": arn, "Name": name, "VersionId": token}))
            }
            "UpdateSecretVersionStage" => {
                let position = |id: String| secret.versions.iter().position(|v| v.id == id);
                let from = position(text("RemoveFromVersionId"));
                let Some(to) = position(text("MoveToVersionId")).filter(|_| from == Some(secret.current)) else {
                    return refused("InvalidParameterException", "the label is on another version");
                };
                secret.current = to;
                json(200, &json!({"ARN": arn, "Name": name}))
            }
            other => panic!("the fake does not know {other}"),
        }
    }

    fn create(&mut self, input: &Value) -> Response<Bytes> {
        let name = input["Name"].as_str().expect("a name").to_owned();
        let token = input["ClientRequestToken"].as_str().expect("a token").to_owned();
        let value = input["SecretString"].as_str().expect("a value").to_owned();
        assert!((32..=64).contains(&token.len()), "{token}");
        if let Some(secret) = self.secrets.get(&name) {
            if secret.deleted {
                return refused(
                    "InvalidRequestException",
                    "a secret with this name is already scheduled for deletion.",
                );
            }
            // The same call again.
            if !secret
                .versions
                .iter()
                .any(|v| v.id == token && v.value.as_ref() == Some(&value))
            {
                return refused("ResourceExistsException", "the secret already exists.");
            }
        } else {
            self.put(&name, Some(value), &token);
            self.made += 1;
            let tags = input["Tags"].as_array().cloned().unwrap_or_default();
            let text = |tag: &Value, key: &str| tag[key].as_str().unwrap_or_default().to_owned();
            let tags = tags.iter().map(|tag| (text(tag, "Key"), text(tag, "Value"))).collect();
            self.secrets.get_mut(&name).expect("just made").tags = tags;
        }
        json(200, &json!({"ARN": Self::arn(&name), "Name": name, "VersionId": token}))
    }

    fn batch(&mut self, input: &Value) -> Response<Bytes> {
        let ids = input["SecretIdList"].as_array().expect("a list of ids").clone();
        assert!((1..=20).contains(&ids.len()), "{} ids", ids.len());
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in ids.iter().filter_map(Value::as_str) {
            let name = self.name_of(id);
            let error = match name.as_ref().map(|name| &self.secrets[name]) {
                None => "ResourceNotFoundException",
                Some(secret) if secret.deleted => "InvalidRequestException",
                Some(_) if self.sealed => "AccessDeniedException",
                Some(secret) if secret.versions.is_empty() => "ResourceNotFoundException",
                Some(secret) => {
                    let name = name.expect("found");
                    let version = &secret.versions[secret.current];
                    let mut value = json!({"ARN": Self::arn(&name), "Name": name, "VersionId": version.id, "VersionStages": ["AWSCURRENT"]});
                    match &version.value {
                        Some(text) => value["SecretString"] = json!(text),
                        None => value["SecretBinary"] = json!("AAEC"),
                    }
                    values.push(value);
                    continue;
                }
            };
            errors.push(json!({"SecretId": id, "ErrorCode": error, "Message": "as documented"}));
        }
        json(200, &json!({"SecretValues": values, "Errors": errors}))
    }

    /// Two to a page.
    fn list(&mut self, input: &Value) -> Response<Bytes> {
        let prefix = input["Filters"][0]["Values"][0].as_str().expect("a name filter");
        let from: usize = input["NextToken"]
            .as_str()
            .map_or(0, |token| token.parse().expect("our token"));
        let matching: Vec<_> = self
            .secrets
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .collect();
        let entries: Vec<Value> = matching
            .iter()
            .skip(from)
            .take(2)
            .map(|(name, secret)| {
                let mut entry = json!({
                    "ARN": Self::arn(name), "Name": name, "Tags": Self::tags(secret),
                    "SecretVersionsToStages": Self::stages(secret), "LastChangedDate": 1_700_000_000,
                });
                if secret.deleted {
                    entry["DeletedDate"] = json!(1_700_000_000);
                }
                entry
            })
            .collect();
        let mut answer = json!({"SecretList": entries});
        if from + 2 < matching.len() {
            answer["NextToken"] = json!((from + 2).to_string());
        }
        json(200, &answer)
    }

    fn get_parameters(&mut self, input: &Value) -> Response<Bytes> {
        let names: Vec<&str> = input["Names"]
            .as_array()
            .expect("names")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert!((1..=10).contains(&names.len()), "{} names", names.len());
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name twice");
        let decrypted = input["WithDecryption"] == json!(true);
        let (mut parameters, mut invalid) = (Vec::new(), Vec::new());
        for name in names {
            let Some((value, version, kind)) = self.parameters.get(name) else {
                invalid.push(name);
                continue;
            };
            let sealed = *kind == "SecureString" && !decrypted;
            parameters.push(json!({
                "Name": name, "Type": kind, "Version": version, "Value": if sealed { "AQICAHh" } else { value },
                "ARN": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{}", name.trim_start_matches('/')),
            }));
        }
        json(200, &json!({"Parameters": parameters, "InvalidParameters": invalid}))
    }
}
