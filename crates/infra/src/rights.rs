//! Whether the caller may take a stack down, asked before anything that serves is stopped.
//!
//! Invariant: nothing is changed. Each call is one that [`Stack::down`] makes, with inputs that change nothing: IAM is
//! asked before the service looks at them. There is no such input for `DeleteStack`.

use aws_sdk_ecr::types::ImageIdentifier;
use nuages_aws::error::describe;
use nuages_aws::{Kind, ServiceError};

use crate::down::list_digests;
use crate::emulated::find_instance;
use crate::error::InfraError;
use crate::stack::Stack;

/// No image has this digest: nothing is known that hashes to it.
const NO_IMAGE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

impl Stack {
    /// Refuses where the caller may not read the stack's resources, empty its repository, or lift its database's
    /// protection. Fine where there is no stack.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack) -> Result<(), nuages_infra::InfraError> {
    /// stack.may_go_down().await?;
    /// // Only now are services stopped.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn may_go_down(&self) -> Result<(), InfraError> {
        let Some(state) = self.describe().await? else {
            return Ok(());
        };
        for (kind, id) in self.physical_ids(&state).await? {
            match kind.as_str() {
                "AWS::ECR::Repository" => self.may_empty(&id).await?,
                "AWS::RDS::DBInstance" => self.may_lift_protection(&id).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn may_empty(&self, repository: &str) -> Result<(), InfraError> {
        let ecr = aws_sdk_ecr::Client::new(self.aws.sdk());
        if list_digests(&ecr, repository).await?.is_none() {
            return Ok(());
        }
        let nothing = ImageIdentifier::builder().image_digest(NO_IMAGE).build();
        let asked = ecr
            .batch_delete_image()
            .repository_name(repository)
            .image_ids(nothing)
            .send()
            .await;
        match asked {
            Ok(_) => Ok(()),
            Err(error) => unless_refused("empty the repository", describe("ecr:BatchDeleteImage", &error)),
        }
    }

    /// The protection is set to what it is.
    async fn may_lift_protection(&self, identifier: &str) -> Result<(), InfraError> {
        let rds = aws_sdk_rds::Client::new(self.aws.sdk());
        match find_instance(&rds, identifier).await? {
            Some(instance) if instance.deletion_protection() == Some(true) => {}
            _ => return Ok(()),
        }
        let asked = rds
            .modify_db_instance()
            .db_instance_identifier(identifier)
            .deletion_protection(true)
            .send()
            .await;
        match asked {
            Ok(_) => Ok(()),
            Err(error) => unless_refused(
                "lift the database's deletion protection",
                describe("rds:ModifyDBInstance", &error),
            ),
        }
    }
}

/// A service that objects to the input itself has let the caller in.
fn unless_refused(what: &'static str, source: ServiceError) -> Result<(), InfraError> {
    match source.kind {
        Kind::Invalid | Kind::NotFound | Kind::Conflict => Ok(()),
        _ => Err(InfraError::Call { what, source }),
    }
}
