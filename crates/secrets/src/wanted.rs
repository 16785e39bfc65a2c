//! What a release wants in its environment, and the names that follow from it.
//!
//! Invariant: a variable's secret has the same name on every run, so it is found again without any record.

use std::collections::BTreeSet;

use nuages_model::{AppName, Arn, EnvName, Region};
use serde::{Deserialize, Serialize};

use crate::SecretsError;

/// Shorter generated values can be guessed; Secrets Manager's own default is 32.
const LENGTH_MIN: u16 = 16;
/// Longer ones serve nobody and may not fit where they go.
const LENGTH_MAX: u16 = 1024;

/// One application in one environment: whose secrets these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
}

impl Scope {
    /// One application in one environment.
    pub const fn new(app: AppName, env: EnvName) -> Self {
        Self { app, env }
    }

    /// The name of a variable's own secret, `APP/ENV/NAME`.
    ///
    /// ```
    /// let scope = nuages_secrets::Scope::new("blog".parse()?, "staging".parse()?);
    /// assert_eq!(scope.secret_name("API_KEY"), "blog/staging/API_KEY");
    /// # Ok::<(), nuages_model::NameError>(())
    /// ```
    pub fn secret_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    /// What all of them begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("{}/{}/", self.app, self.env)
    }
}

/// One environment variable and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The environment variable.
    pub variable: String,
    /// Where its value comes from.
    pub source: Source,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A random value, made once and kept.
    Generate {
        /// Characters.
        length: u16,
        /// The last part of the secret's name; the variable's name where there is none.
        name: Option<String>,
    },
    /// A secret that somebody else made.
    Existing {
        /// Its name or ARN.
        secret: String,
        /// The key, where it is a JSON object.
        key: Option<String>,
        /// Whether the release can do without it.
        optional: bool,
    },
    /// The environment's own `DATABASE_URL`, which its stack composes.
    DatabaseUrl {
        /// The secret's ARN, from the stack's outputs.
        arn: Arn,
    },
    /// A parameter of SSM Parameter Store.
    Parameter {
        /// Its name or ARN.
        name: String,
        /// Whether the release can do without it.
        optional: bool,
    },
}

impl Wanted {
    /// A variable and its source.
    pub fn new(variable: impl Into<String>, source: Source) -> Self {
        Self {
            variable: variable.into(),
            source,
        }
    }

    /// The name or ARN of its secret; none for a parameter.
    pub(crate) fn secret_id(&self, scope: &Scope) -> Option<String> {
        match &self.source {
            Source::Generate { name, .. } => Some(scope.secret_name(name.as_deref().unwrap_or(&self.variable))),
            Source::Existing { secret, .. } => Some(secret.clone()),
            Source::DatabaseUrl { arn } => Some(arn.to_string()),
            Source::Parameter { .. } => None,
        }
    }

    pub(crate) fn key(&self) -> Option<&str> {
        match &self.source {
            Source::Existing { key, .. } => key.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn optional(&self) -> bool {
        match self.source {
            Source::Existing { optional, .. } | Source::Parameter { optional, .. } => optional,
            _ => false,
        }
    }

    fn validate(&self, scope: &Scope, region: &Region) -> Result<(), SecretsError> {
        let refuse = |why: String| {
            Err(SecretsError::Invalid {
                variable: self.variable.clone(),
                why,
            })
        };
        if !is_variable(&self.variable) {
            return refuse("a variable's name is letters, digits and `_`, and begins with no digit".into());
        }
        if let Source::Generate { length, .. } = self.source
            && !(LENGTH_MIN..=LENGTH_MAX).contains(&length)
        {
            return refuse(format!(
                "`generate` must be {LENGTH_MIN} to {LENGTH_MAX} characters, and is {length}"
            ));
        }
        let id = match &self.source {
            Source::Parameter { name, .. } => name.clone(),
            _ => self.secret_id(scope).unwrap_or_default(),
        };
        if self.key().is_some_and(|key| key.is_empty() || key.contains(':')) {
            return refuse(
                "a key is not empty and has no `:`, which separates it from the ARN in a task definition".into(),
            );
        }
        if id.starts_with("arn:") {
            let service = if matches!(self.source, Source::Parameter { .. }) {
                "ssm"
            } else {
                "secretsmanager"
            };
            let Ok(arn) = id.parse::<Arn>() else {
                return refuse(format!("`{id}` is not an ARN"));
            };
            if arn.service() != service {
                return refuse(format!("`{id}` is not an ARN of {service}"));
            }
            if arn.region() != region.as_str() {
                return refuse(format!(
                    "its secret is in {}, and a task can only take one of its own region, {region}",
                    arn.region()
                ));
            }
            if service == "secretsmanager" && arn.resource().matches(':').count() > 1 {
                return refuse("its ARN has a key or version after the name; write the key as `key`".into());
            }
            return Ok(());
        }
        // Both services' documentation of names; a parameter's selector, after `:`, would pin a version.
        let (allowed, most) = match self.source {
            Source::Parameter { .. } => ("/_.-", 1011),
            _ => ("/_+=.@-", 512),
        };
        if id.is_empty() || id.len() > most || !id.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c)) {
            return refuse(format!(
                "`{id}` is not a name: 1 to {most} letters, digits and `{allowed}`"
            ));
        }
        Ok(())
    }
}

/// Every entry valid, and no variable twice.
pub(crate) fn validate(wanted: &[Wanted], scope: &Scope, region: &Region) -> Result<(), SecretsError> {
    let mut seen = BTreeSet::new();
    for entry in wanted {
        entry.validate(scope, region)?;
        if !seen.insert(&entry.variable) {
            return Err(SecretsError::Invalid {
                variable: entry.variable.clone(),
                why: "it is wanted twice".into(),
            });
        }
    }
    Ok(())
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(wanted: &[Wanted]) -> String {
        let scope = Scope::new("blog".parse().unwrap(), "staging".parse().unwrap());
        let Err(SecretsError::Invalid { why, .. }) = validate(wanted, &scope, &"eu-west-1".parse().unwrap()) else {
            return String::new();
        };
        why
    }

    fn existing(secret: &str, key: Option<&str>) -> Wanted {
        let source = Source::Existing {
            secret: secret.into(),
            key: key.map(str::to_owned),
            optional: false,
        };
        Wanted::new("A", source)
    }

    #[test]
    fn refuses_what_no_task_could_take() {
        assert_eq!(why(&[existing("blog/sentry", Some("dsn"))]), "");
        assert_eq!(
            why(&[existing(
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/x-AbCdEf",
                None
            )]),
            ""
        );
        assert!(
            why(&[existing(
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:x-AbCdEf",
                None
            )])
            .contains("region")
        );
        assert!(
            why(&[existing(
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf:k::",
                None
            )])
            .contains("`key`")
        );
        assert!(why(&[existing("arn:aws:ssm:eu-west-1:123456789012:parameter/x", None)]).contains("secretsmanager"));
        assert!(why(&[existing("a b", None)]).contains("not a name"));
        assert!(why(&[existing("x", Some("a:b"))]).contains(':'));
        assert!(why(&[Wanted::new("1A", Source::Generate { length: 50, name: None })]).contains("digit"));
        assert!(why(&[Wanted::new("A", Source::Generate { length: 8, name: None })]).contains("16"));
        assert!(
            why(&[Wanted::new(
                "A",
                Source::Parameter {
                    name: "/a:3".into(),
                    optional: false
                }
            )])
            .contains("not a name")
        );
        assert!(why(&[existing("x", None), existing("y", None)]).contains("twice"));
    }
}
