//! Taking an environment's stack down.
//!
//! Invariant: services are gone before; the pipeline has seen to that. What holds data is kept or leaves a snapshot,
//! and what is kept is said, with the command that removes it.

use std::time::Duration;

use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_rds::types::DbInstance;
use nuages_aws::error::describe;
use nuages_aws::poll::{Verdict, Wait, wait_for};
use nuages_model::Progress;
use tokio_util::sync::CancellationToken;

use crate::emulated::find_instance;
use crate::error::InfraError;
use crate::events::{Ended, Operation};
use crate::spec::Emulation;
use crate::stack::{Stack, StackState};

/// Something that outlives the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// What it is, for people.
    pub what: String,
    /// The command that removes it for good.
    pub command: String,
}

/// How a `down` ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownOutcome {
    /// Whether there was a stack.
    pub existed: bool,
    /// What is left, on purpose.
    pub retained: Vec<Retained>,
}

/// `BatchDeleteImage` takes this many.
const IMAGES_PER_CALL: usize = 100;
/// A network interface of a task that has just ended is let go within a minute or two; until then nothing around it
/// can be deleted.
const DELETIONS: usize = 3;
/// So often a repository is looked at until it is empty, and so long between: an index goes before what it names, and a
/// list may be behind.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
const PROTECTION_TIMEOUT: Duration = Duration::from_mins(5);

impl Stack {
    /// Deletes the stack with everything in it, apart from what holds data. The services must be gone.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack) -> Result<(), nuages_infra::InfraError> {
    /// let down = stack.down(&Default::default(), &Default::default()).await?;
    /// for kept in &down.retained {
    ///     println!("{} is left; remove it with: {}", kept.what, kept.command);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn down(&self, progress: &Progress, cancel: &CancellationToken) -> Result<DownOutcome, InfraError> {
        if Emulation::of(self.aws.quirks()).database_by_api {
            // Beside the stack, and by a name that needs no stack to be known.
            self.remove_database(&format!("{}-{}", self.app, self.env), progress, cancel)
                .await?;
        }
        let Some(state) = self.wait_while_busy(progress, cancel).await? else {
            return Ok(DownOutcome::default());
        };
        let databases = self.prepare_deletion(&state, progress, cancel).await?;
        let ended = self.delete(&state, progress, cancel).await?;
        let mut retained: Vec<Retained> = ended.skipped.iter().map(|(kind, id)| self.retained(kind, id)).collect();
        for database in &databases {
            retained.extend(self.snapshots_of(database).await?);
        }
        Ok(DownOutcome {
            existed: true,
            retained,
        })
    }

    /// Deletes what a failed creation has left. It never served, so nothing in it is worth keeping.
    pub(crate) async fn clear_remains(
        &self,
        state: &StackState,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), InfraError> {
        self.prepare_deletion(state, progress, cancel).await?;
        self.delete(state, progress, cancel).await?;
        Ok(())
    }

    /// Empties the repository and lifts the database's protection. Answers the database instances.
    async fn prepare_deletion(
        &self,
        state: &StackState,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, InfraError> {
        let mut databases = Vec::new();
        for (kind, id) in self.physical_ids(state).await? {
            match kind.as_str() {
                "AWS::ECR::Repository" => self.empty_repository(&id, progress, cancel).await?,
                "AWS::RDS::DBInstance" => {
                    self.lift_protection(&id, progress, cancel).await?;
                    databases.push(id);
                }
                _ => {}
            }
        }
        Ok(databases)
    }

    pub(crate) async fn physical_ids(&self, state: &StackState) -> Result<Vec<(String, String)>, InfraError> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .cloudformation
                .list_stack_resources()
                .stack_name(state.arn.as_str())
                .set_next_token(token)
                .send()
                .await
                .map_err(|e| InfraError::Call {
                    what: "list the stack's resources",
                    source: describe("cloudformation:ListStackResources", &e),
                })?;
            let resources = page.stack_resource_summaries().iter().filter_map(|r| {
                let gone = r.resource_status().is_some_and(|s| s.as_str() == "DELETE_COMPLETE");
                let id = r.physical_resource_id().filter(|id| !id.is_empty() && !gone)?;
                Some((r.resource_type()?.to_owned(), id.to_owned()))
            });
            found.extend(resources);
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn empty_repository(
        &self,
        name: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), InfraError> {
        let ecr = aws_sdk_ecr::Client::new(self.aws.sdk());
        for look in 0..LOOKS {
            // The second one is the usual end.
            if look > 1 {
                tokio::select! {
                    () = cancel.cancelled() => {
                        return Err(InfraError::Cancelled {
                            what: format!("empty the repository {name}"),
                            last: "images are left".into(),
                        });
                    }
                    () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                }
            }
            let Some(images) = list_digests(&ecr, name).await? else {
                return Ok(());
            };
            if images.is_empty() {
                return Ok(());
            }
            progress.status(format!("deleting {} images of {name}", images.len()));
            let mut deleted = 0;
            for chunk in images.chunks(IMAGES_PER_CALL) {
                let answer = ecr
                    .batch_delete_image()
                    .repository_name(name)
                    .set_image_ids(Some(chunk.to_vec()))
                    .send()
                    .await
                    .map_err(|e| InfraError::Call {
                        what: "empty the repository",
                        source: describe("ecr:BatchDeleteImage", &e),
                    })?;
                deleted += answer.image_ids().len();
            }
            if deleted == 0 {
                break;
            }
        }
        // Of what stays without any progress CloudFormation will say why.
        Ok(())
    }

    async fn lift_protection(
        &self,
        identifier: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), InfraError> {
        let rds = aws_sdk_rds::Client::new(self.aws.sdk());
        let protected = |instance: &Option<DbInstance>| {
            instance
                .as_ref()
                .and_then(DbInstance::deletion_protection)
                .unwrap_or(false)
        };
        if !protected(&find_instance(&rds, identifier).await?) {
            return Ok(());
        }
        progress.status(format!("lifting the deletion protection of {identifier}"));
        rds.modify_db_instance()
            .db_instance_identifier(identifier)
            .deletion_protection(false)
            .apply_immediately(true)
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "lift the database's deletion protection",
                source: describe("rds:ModifyDBInstance", &e),
            })?;
        let wait = Wait {
            what: "the end of the protection",
            pace: self.pace,
            timeout: PROTECTION_TIMEOUT,
            cancel,
            progress,
        };
        let lifted = wait_for(
            wait,
            || find_instance(&rds, identifier),
            |instance| {
                if protected(instance) {
                    Verdict::NotYet("still protected".to_owned())
                } else {
                    Verdict::Ready(())
                }
            },
        );
        Ok(lifted.await?)
    }

    async fn delete(
        &self,
        state: &StackState,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Ended, InfraError> {
        let arn = state.arn.as_str();
        let what = format!("the deletion of the stack {}", self.name);
        let mut skipped = Vec::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let after = self.newest_event(arn).await?;
            let token = self.request_deletion(arn).await?;
            let operation = Operation {
                stack_arn: arn,
                token: &token,
                after,
                what: &what,
                resources: None,
                hash: None,
            };
            let mut ended = self.follow(&operation, progress, cancel).await?;
            skipped.append(&mut ended.skipped);
            if ended.succeeded() {
                skipped.sort();
                skipped.dedup();
                return Ok(Ended { skipped, ..ended });
            }
            if attempts == DELETIONS {
                let status = ended.status.to_string();
                return Err(InfraError::Failed {
                    stack: self.name.clone(),
                    status,
                    cause: ended.cause,
                });
            }
            let cause = ended.cause.map(|c| c.to_string()).unwrap_or_default();
            progress.status(format!("deleting what is left, again ({cause})"));
        }
    }

    fn retained(&self, kind: &str, id: &str) -> Retained {
        let region = self.aws.region();
        let (what, command) = match kind {
            "AWS::SecretsManager::Secret" => (
                format!("the secret {id}"),
                format!("aws secretsmanager delete-secret --region {region} --secret-id {id}"),
            ),
            _ => (
                format!("{id} ({kind})"),
                format!("aws cloudcontrol delete-resource --region {region} --type-name {kind} --identifier {id}"),
            ),
        };
        Retained { what, command }
    }

    async fn snapshots_of(&self, database: &str) -> Result<Vec<Retained>, InfraError> {
        let rds = aws_sdk_rds::Client::new(self.aws.sdk());
        let answer = rds
            .describe_db_snapshots()
            .db_instance_identifier(database)
            .snapshot_type("manual")
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "list the database's snapshots",
                source: describe("rds:DescribeDBSnapshots", &e),
            })?;
        let region = self.aws.region();
        let kept = answer
            .db_snapshots()
            .iter()
            .filter_map(|s| s.db_snapshot_identifier())
            .map(|id| Retained {
                what: format!("the database snapshot {id}"),
                command: format!("aws rds delete-db-snapshot --region {region} --db-snapshot-identifier {id}"),
            });
        Ok(kept.collect())
    }
}

/// The digests of all images; none where there is no repository.
pub(crate) async fn list_digests(
    ecr: &aws_sdk_ecr::Client,
    name: &str,
) -> Result<Option<Vec<ImageIdentifier>>, InfraError> {
    let mut digests = std::collections::BTreeSet::new();
    let mut token = None;
    loop {
        let page = match ecr
            .list_images()
            .repository_name(name)
            .set_next_token(token)
            .send()
            .await
        {
            Ok(page) => page,
            Err(error) => {
                let source = describe("ecr:ListImages", &error);
                return if source.kind == nuages_aws::Kind::NotFound {
                    Ok(None)
                } else {
                    Err(InfraError::Call {
                        what: "list the repository's images",
                        source,
                    })
                };
            }
        };
        // By digest: an image with two tags is listed twice, and deleting a tag alone would leave the image.
        digests.extend(
            page.image_ids()
                .iter()
                .filter_map(|i| i.image_digest().map(str::to_owned)),
        );
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            return Ok(Some(
                digests
                    .into_iter()
                    .map(|d| ImageIdentifier::builder().image_digest(d).build())
                    .collect(),
            ));
        }
    }
}
