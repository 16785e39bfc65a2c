//! Users in an emulator that enforces IAM, made by root.
//!
//! Invariant: nothing is allowed to them but what the test gives.

use aws_sdk_iam::Client;

use crate::emulators::{Endpoint, sdk_config};

/// What one signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// Its secret: of an emulator, and worth nothing elsewhere.
    pub secret: String,
}

/// The credentials that an emulator takes for the account's root.
pub fn root() -> Keys {
    Keys {
        id: "test".to_owned(),
        secret: "test".to_owned(),
    }
}

/// Makes identities in this emulator.
#[derive(Debug, Clone)]
pub struct Identities {
    iam: Client,
}

impl Identities {
    /// Those of an emulator that enforces IAM.
    pub fn of(emulator: &Endpoint) -> Self {
        Self {
            iam: Client::new(&sdk_config(emulator, "test")),
        }
    }

    /// Makes a user without any rights.
    ///
    /// # Panics
    /// When the emulator refuses; so do the others.
    pub async fn user(&self, name: &str) -> Keys {
        let made = self.iam.create_user().user_name(name).send().await;
        made.expect("root makes a user");
        let key = self.iam.create_access_key().user_name(name).send().await;
        let key = key
            .expect("root makes an access key")
            .access_key
            .expect("the access key");
        Keys {
            id: key.access_key_id,
            secret: key.secret_access_key,
        }
    }

    /// Gives a user this policy, in place of the one of the same name.
    pub async fn allow(&self, user: &str, policy: &str, document: &str) {
        let put = self.iam.put_user_policy().user_name(user).policy_name(policy);
        let put = put.policy_document(document).send().await;
        put.expect("root gives a user a policy");
    }
}
