//! Amazon resource names, accounts and regions.
//!
//! Invariant: the partition is always read from an answer of AWS, never written as `aws`: China and GovCloud differ.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an ARN, an account or a region was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {what}")]
pub struct ArnError {
    what: &'static str,
    value: String,
}

fn refuse<T>(what: &'static str, value: &str) -> Result<T, ArnError> {
    Err(ArnError {
        what,
        value: value.chars().take(200).collect(),
    })
}

macro_rules! text_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = ArnError;
            fn try_from(value: String) -> Result<Self, ArnError> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(
    /// An AWS account: twelve digits.
    AccountId
);
text_type!(
    /// An AWS region, such as `eu-west-1`.
    Region
);
text_type!(
    /// An Amazon resource name, `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
    Arn
);

impl FromStr for AccountId {
    type Err = ArnError;
    fn from_str(value: &str) -> Result<Self, ArnError> {
        if value.len() == 12 && value.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(value.to_owned()))
        } else {
            refuse("an AWS account id (twelve digits)", value)
        }
    }
}

impl FromStr for Region {
    type Err = ArnError;
    fn from_str(value: &str) -> Result<Self, ArnError> {
        let valid = value.len() <= 32
            && value.split('-').count() >= 3
            && value
                .split('-')
                .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
            && value.starts_with(|c: char| c.is_ascii_lowercase())
            && value.ends_with(|c: char| c.is_ascii_digit());
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            refuse("an AWS region such as `eu-west-1`", value)
        }
    }
}

impl FromStr for Arn {
    type Err = ArnError;
    fn from_str(value: &str) -> Result<Self, ArnError> {
        let parts: Vec<&str> = value.splitn(6, ':').collect();
        let valid = parts.len() == 6
            && parts[0] == "arn"
            && !parts[1].is_empty()
            && !parts[2].is_empty()
            && !parts[5].is_empty()
            && value.len() <= 2048
            && !value.contains(char::is_whitespace);
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            refuse("an ARN", value)
        }
    }
}

impl Arn {
    fn part(&self, index: usize) -> &str {
        // Validated at construction: six parts.
        self.0.splitn(6, ':').nth(index).unwrap_or_default()
    }

    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// The service, such as `ecs`.
    pub fn service(&self) -> &str {
        self.part(2)
    }

    /// The region; empty for global services.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// The account; empty for some global resources.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// All that follows the account, such as `cluster/blog-staging`.
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    /// The last part of the resource, after the last `/` or else `:`.
    pub fn name(&self) -> &str {
        let resource = self.resource();
        resource
            .rsplit('/')
            .next()
            .filter(|n| *n != resource)
            .unwrap_or_else(|| resource.rsplit(':').next().unwrap_or(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let arn: Arn = "arn:aws-cn:ecs:cn-north-1:123456789012:service/blog/web"
            .parse()
            .unwrap();
        assert_eq!(
            (
                arn.partition(),
                arn.service(),
                arn.region(),
                arn.account(),
                arn.resource(),
                arn.name()
            ),
            ("aws-cn", "ecs", "cn-north-1", "123456789012", "service/blog/web", "web")
        );
        let secret: Arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/key-AbCdEf"
            .parse()
            .unwrap();
        assert_eq!(secret.name(), "key-AbCdEf");
    }

    #[test]
    fn refuses() {
        assert!("arn:aws:ecs".parse::<Arn>().is_err());
        assert!("12345678901".parse::<AccountId>().is_err());
        assert!("europe".parse::<Region>().is_err());
        assert!("eu-west-1".parse::<Region>().is_ok());
        assert!("us-gov-west-1".parse::<Region>().is_ok());
    }
}
