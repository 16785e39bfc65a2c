//! Names that a person chose and that AWS will see in many places.
//!
//! Invariant: a name fits every resource it becomes part of. The tightest is a load balancer's, 32 characters for
//! `APP-ENV` (Elastic Load Balancing API, `CreateLoadBalancer`), so an app has at most 19 and an environment 12.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {why}")]
pub struct NameError {
    what: &'static str,
    value: String,
    why: String,
}

fn validate(what: &'static str, value: &str, max: usize) -> Result<(), NameError> {
    let refuse = |why: String| {
        Err(NameError {
            what,
            value: value.chars().take(64).collect(),
            why,
        })
    };
    let Some(first) = value.chars().next() else {
        return refuse("it is empty".into());
    };
    if !first.is_ascii_lowercase() {
        return refuse("it must begin with a lowercase letter".into());
    }
    if let Some(bad) = value
        .chars()
        .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
    {
        return refuse(format!("`{bad}` is not a lowercase letter, a digit or `-`"));
    }
    if value.ends_with('-') || value.contains("--") {
        return refuse("a `-` must stand between letters or digits".into());
    }
    if value.len() > max {
        return refuse(format!(
            "it has {} characters, and at most {max} fit into AWS's names",
            value.len()
        ));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The longest that this name may be, in characters.
            pub const MAX: usize = $max;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                validate($what, value, $max)?;
                Ok(Self(value.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
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

name!(
    /// The application's name, `[app] name` in `nuages.toml`.
    AppName,
    "application name",
    19
);
name!(
    /// An environment's name, such as `staging`.
    EnvName,
    "environment name",
    12
);
name!(
    /// A service's name, such as `web` or `worker`.
    ServiceName,
    "service name",
    24
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_what_is_wrong() {
        let why = |v: &str| v.parse::<EnvName>().unwrap_err().to_string();
        assert_eq!(why(""), "`` is not a valid environment name: it is empty");
        assert!(why("Prod").contains("lowercase letter"));
        assert!(why("a_b").contains("`_`"));
        assert!(why("a--b").contains("between"));
        assert!(why("production-eu").contains("13 characters"));
    }

    proptest! {
        #[test]
        fn every_accepted_name_fits_a_load_balancer(app in "[a-z0-9-]{0,24}", env in "[a-z0-9-]{0,16}") {
            if let (Ok(app), Ok(env)) = (app.parse::<AppName>(), env.parse::<EnvName>()) {
                let joined = format!("{app}-{env}");
                prop_assert!(joined.len() <= 32);
                prop_assert!(!joined.starts_with('-') && !joined.ends_with('-'));
            }
        }

        #[test]
        fn serde_validates(text in ".{0,20}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<AppName>(&json).is_ok(), text.parse::<AppName>().is_ok());
        }
    }
}
