//! A release's identity, and the identity of the place it was made in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Why a release id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a release id (26 letters and digits, as `nuages releases` prints them)")]
pub struct ReleaseIdError(String);

macro_rules! ulid_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Ulid);

        impl $type {
            /// A new one, later than every earlier one of this machine.
            pub fn generate() -> Self {
                Self(Ulid::new())
            }
        }

        impl FromStr for $type {
            type Err = ReleaseIdError;
            fn from_str(value: &str) -> Result<Self, ReleaseIdError> {
                let ulid = Ulid::from_string(value).map_err(|_| ReleaseIdError(value.chars().take(64).collect()))?;
                Ok(Self(ulid))
            }
        }

        impl TryFrom<String> for $type {
            type Error = ReleaseIdError;
            fn try_from(value: String) -> Result<Self, ReleaseIdError> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }

        // Lowercase: it becomes part of image tags and resource names.
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.to_string().to_ascii_lowercase())
            }
        }
    };
}

ulid_type!(
    /// One release of an application to one environment. Sorts by time.
    ReleaseId
);
ulid_type!(
    /// The identity of an environment's account as it stands: kept in the environment's stack, and another one after
    /// the stack was deleted, the account rebuilt, or an emulator has lost its state. Records of another world do not
    /// describe this one.
    World
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let id = ReleaseId::generate();
        assert_eq!(id.to_string().parse::<ReleaseId>().unwrap(), id);
        assert_eq!(id.to_string(), id.to_string().to_lowercase());
        assert!("v12".parse::<ReleaseId>().is_err());
    }
}
