//! Who we are, as AWS itself says.

use nuages_model::{AccountId, Arn};
use serde::{Deserialize, Serialize};

/// The answer of STS `GetCallerIdentity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The account of the credentials.
    pub account: AccountId,
    /// The user or the assumed role.
    pub arn: Arn,
    /// The unique id of the user or role session.
    pub user_id: String,
}

impl Identity {
    /// `aws`, `aws-cn`, `aws-us-gov`, …: read from the answer, never assumed.
    pub fn partition(&self) -> &str {
        self.arn.partition()
    }
}
