//! The handle that everything here is called on.
//!
//! Invariant: it holds no value and no cache; every answer is AWS's own of that moment.

use std::fmt;

use nuages_aws::AwsContext;
use nuages_model::Region;

use crate::parameters::Parameters;
use crate::store::SecretStore;
use crate::wanted::Scope;

/// One application's secrets in one environment.
#[derive(Clone)]
pub struct SecretsManager {
    pub(crate) scope: Scope,
    pub(crate) region: Region,
    pub(crate) store: SecretStore,
    pub(crate) parameters: Parameters,
}

// The clients would print their whole configuration.
impl fmt::Debug for SecretsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManager")
            .field("scope", &self.scope)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl SecretsManager {
    /// With the context's credentials and region. Makes no call.
    ///
    /// ```no_run
    /// # fn example(aws: &nuages_aws::AwsContext) -> Result<(), nuages_model::NameError> {
    /// use nuages_secrets::{Scope, SecretsManager};
    /// let secrets = SecretsManager::new(aws, Scope::new("blog".parse()?, "staging".parse()?));
    /// # Ok(()) }
    /// ```
    pub fn new(aws: &AwsContext, scope: Scope) -> Self {
        Self::with_clients(
            aws_sdk_secretsmanager::Client::new(aws.sdk()),
            aws_sdk_ssm::Client::new(aws.sdk()),
            aws.region().clone(),
            scope,
        )
    }

    /// With clients of your own.
    pub fn with_clients(
        secrets: aws_sdk_secretsmanager::Client,
        parameters: aws_sdk_ssm::Client,
        region: Region,
        scope: Scope,
    ) -> Self {
        Self {
            store: SecretStore::new(secrets, scope.clone()),
            parameters: Parameters::new(parameters),
            region,
            scope,
        }
    }

    /// Whose secrets these are.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}
