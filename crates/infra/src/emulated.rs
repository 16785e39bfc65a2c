//! The database beside the stack, on an emulator whose CloudFormation only records it.
//!
//! Invariant: afterwards `DATABASE_URL` leads to an instance of this very environment, wherever it stands by now.

use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_rds::types::DbInstance;
use nuages_aws::error::describe;
use nuages_aws::poll::{Pace, Verdict, Wait, wait_for};
use nuages_model::{Arn, Progress, Secret, World};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::error::InfraError;
use crate::spec::{DatabaseSpec, StackSpec};
use crate::stack::Stack;
use crate::template::database::{NAME, USER};
use crate::template::{DatabaseOutputs, StackOutputs, TAG_WORLD};

/// Starting a PostgreSQL container takes seconds; making its image first, minutes.
const DATABASE_TIMEOUT: Duration = Duration::from_mins(5);

/// The database as it is afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Ensured {
    /// Where the emulator says that it is.
    pub(crate) address: String,
    /// Whether `DATABASE_URL` led elsewhere before.
    pub(crate) rewritten: bool,
}

/// The master user's secret, as the stack generates it.
#[derive(Deserialize)]
struct Login {
    password: String,
}

impl Stack {
    /// Makes the instance if it is missing or failed, waits for it, and writes `DATABASE_URL` if it leads elsewhere.
    pub(crate) async fn ensure_database(
        &self,
        spec: &DatabaseSpec,
        made: &DatabaseOutputs,
        world: &World,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Ensured, InfraError> {
        let rds = aws_sdk_rds::Client::new(self.aws.sdk());
        let password = self.read_password(&made.password_secret).await?;
        let mut instance = find_instance(&rds, &made.identifier).await?;
        if let Some(found) = instance.take_if(|found| !is_of_world(found, world) || has_failed(found)) {
            // Of an environment that is gone: its password is, too. And what failed never becomes available by itself.
            let what = if has_failed(&found) {
                "that did not come up"
            } else {
                "of an earlier environment"
            };
            progress.status(format!("removing the database {what} ({})", made.identifier));
            delete_instance(&rds, &made.identifier, self.pace, progress, cancel).await?;
        }
        match &instance {
            None => {
                progress.status(format!("making the database {}", made.identifier));
                create_instance(&rds, spec, made, world, &password).await?;
            }
            Some(found) => {
                let version = found.engine_version().unwrap_or_default();
                if major(version) != major(&spec.version) {
                    progress.warning(format!(
                        "the emulated database stays at PostgreSQL {version}; to get {}, take the environment down first",
                        spec.version
                    ));
                }
            }
        }
        let (address, port) = wait_available(&rds, &made.identifier, self.pace, progress, cancel).await?;
        let url = database_url(&password, &address, port);
        let rewritten = self.write_url(&made.url_secret, &url).await?;
        Ok(Ensured { address, rewritten })
    }

    /// Makes the instance anew, where whoever can see it knows that its server is gone: the emulator goes on calling it
    /// available. Data that the emulator kept comes back with it. Answers where it is now.
    ///
    /// ```no_run
    /// # async fn example(stack: nuages_infra::Stack, spec: nuages_infra::StackSpec, up: nuages_infra::UpOutcome)
    /// # -> Result<(), nuages_infra::InfraError> {
    /// let address = stack.remake_database(&spec, &up.outputs, &Default::default(), &Default::default()).await?;
    /// println!("it is at {}", address.unwrap_or_default());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remake_database(
        &self,
        spec: &StackSpec,
        outputs: &StackOutputs,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Option<String>, InfraError> {
        let (Some(database), Some(made), true) = (&spec.database, &outputs.database, spec.emulation.database_by_api)
        else {
            return Ok(None);
        };
        let rds = aws_sdk_rds::Client::new(self.aws.sdk());
        progress.status(format!("removing what is left of the database {}", made.identifier));
        delete_instance(&rds, &made.identifier, self.pace, progress, cancel).await?;
        let ensured = Box::pin(self.ensure_database(database, made, &outputs.world, progress, cancel)).await?;
        Ok(Some(ensured.address))
    }

    async fn read_password(&self, secret: &Arn) -> Result<Secret<String>, InfraError> {
        let text = self.read_secret(secret).await?;
        let login: Result<Login, _> = serde_json::from_str(text.expose());
        login
            .map(|l| Secret::new(l.password))
            .map_err(|_| InfraError::Database {
                // serde's message could quote the value.
                instance: secret.to_string(),
                why: "the master user's secret is not the JSON that the stack makes".to_owned(),
            })
    }

    async fn read_secret(&self, secret: &Arn) -> Result<Secret<String>, InfraError> {
        let answer = aws_sdk_secretsmanager::Client::new(self.aws.sdk())
            .get_secret_value()
            .secret_id(secret.as_str())
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "read the database's secret",
                source: describe("secretsmanager:GetSecretValue", &e),
            })?;
        Ok(Secret::new(answer.secret_string.unwrap_or_default()))
    }

    async fn write_url(&self, secret: &Arn, url: &Secret<String>) -> Result<bool, InfraError> {
        if self.read_secret(secret).await? == *url {
            return Ok(false);
        }
        aws_sdk_secretsmanager::Client::new(self.aws.sdk())
            .put_secret_value()
            .secret_id(secret.as_str())
            .secret_string(url.expose())
            .send()
            .await
            .map_err(|e| InfraError::Call {
                what: "write DATABASE_URL",
                source: describe("secretsmanager:PutSecretValue", &e),
            })?;
        Ok(true)
    }

    /// Deletes the instance that [`ensure_database`](Self::ensure_database) made, and waits until it is gone.
    pub(crate) async fn remove_database(
        &self,
        identifier: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), InfraError> {
        let rds = aws_sdk_rds::Client::new(self.aws.sdk());
        if find_instance(&rds, identifier).await?.is_some() {
            progress.status(format!("deleting the database {identifier}"));
            delete_instance(&rds, identifier, self.pace, progress, cancel).await?;
        }
        Ok(())
    }
}

pub(crate) async fn find_instance(
    rds: &aws_sdk_rds::Client,
    identifier: &str,
) -> Result<Option<DbInstance>, InfraError> {
    match rds
        .describe_db_instances()
        .db_instance_identifier(identifier)
        .send()
        .await
    {
        Ok(answer) => Ok(answer.db_instances.unwrap_or_default().into_iter().next()),
        Err(error) => {
            let source = describe("rds:DescribeDBInstances", &error);
            if source.kind == nuages_aws::Kind::NotFound {
                Ok(None)
            } else {
                Err(InfraError::Call {
                    what: "look at the database",
                    source,
                })
            }
        }
    }
}

fn is_of_world(instance: &DbInstance, world: &World) -> bool {
    let world = world.to_string();
    instance
        .tag_list()
        .iter()
        .any(|t| t.key() == Some(TAG_WORLD) && t.value() == Some(world.as_str()))
}

fn has_failed(instance: &DbInstance) -> bool {
    instance.db_instance_status() == Some("failed")
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

async fn create_instance(
    rds: &aws_sdk_rds::Client,
    spec: &DatabaseSpec,
    made: &DatabaseOutputs,
    world: &World,
    password: &Secret<String>,
) -> Result<(), InfraError> {
    let storage = i32::try_from(spec.storage_gib).unwrap_or(i32::MAX);
    rds.create_db_instance()
        .db_instance_identifier(&made.identifier)
        .db_instance_class(&spec.class)
        .engine("postgres")
        .engine_version(&spec.version)
        .allocated_storage(storage)
        .storage_type("gp3")
        .master_username(USER)
        .master_user_password(password.expose())
        .db_name(NAME)
        .vpc_security_group_ids(&made.security_group)
        .db_subnet_group_name(&made.subnet_group)
        .tags(
            aws_sdk_rds::types::Tag::builder()
                .key(TAG_WORLD)
                .value(world.to_string())
                .build(),
        )
        .send()
        .await
        .map_err(|e| InfraError::Call {
            what: "make the database",
            source: describe("rds:CreateDBInstance", &e),
        })?;
    Ok(())
}

async fn wait_available(
    rds: &aws_sdk_rds::Client,
    identifier: &str,
    pace: Pace,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(String, i32), InfraError> {
    let what = format!("the database {identifier}");
    let wait = Wait {
        what: &what,
        pace,
        timeout: DATABASE_TIMEOUT,
        cancel,
        progress,
    };
    let found = wait_for(
        wait,
        || find_instance(rds, identifier),
        |instance| {
            let Some(instance) = instance else {
                return Verdict::NotYet("the database does not show yet".to_owned());
            };
            let status = instance.db_instance_status().unwrap_or("unknown");
            let endpoint = instance
                .endpoint()
                .and_then(|e| Some((e.address()?.to_owned(), e.port()?)));
            match (status, endpoint) {
                ("available", Some(endpoint)) => Verdict::Ready(endpoint),
                ("failed" | "incompatible-parameters" | "inaccessible-encryption-credentials", _) => {
                    Verdict::Failed(format!("it is {status}"))
                }
                _ => Verdict::NotYet(format!("the database is {status}")),
            }
        },
    );
    Ok(found.await?)
}

async fn delete_instance(
    rds: &aws_sdk_rds::Client,
    identifier: &str,
    pace: Pace,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(), InfraError> {
    let deleted = rds
        .delete_db_instance()
        .db_instance_identifier(identifier)
        .skip_final_snapshot(true)
        .delete_automated_backups(true)
        .send()
        .await;
    if let Err(error) = deleted {
        let source = describe("rds:DeleteDBInstance", &error);
        // Somebody was faster, or it is on its way out already.
        if !matches!(source.kind, nuages_aws::Kind::NotFound) && !source.is_code("InvalidDBInstanceState") {
            return Err(InfraError::Call {
                what: "delete the database",
                source,
            });
        }
    }
    let what = format!("the deletion of the database {identifier}");
    let wait = Wait {
        what: &what,
        pace,
        timeout: DATABASE_TIMEOUT,
        cancel,
        progress,
    };
    let gone = wait_for(
        wait,
        || find_instance(rds, identifier),
        |instance| match instance {
            None => Verdict::Ready(()),
            Some(found) => Verdict::NotYet(format!(
                "the database is {}",
                found.db_instance_status().unwrap_or("unknown")
            )),
        },
    );
    Ok(gone.await?)
}

/// The URL as the stack composes it on AWS.
fn database_url(password: &Secret<String>, address: &str, port: i32) -> Secret<String> {
    let password = percent_encode(password.expose());
    Secret::new(format!(
        "postgres://{USER}:{password}@{address}:{port}/{NAME}?sslmode=require"
    ))
}

/// Everything but unreserved characters (RFC 3986, 2.3). Passwords of the stack need none of it; one that a person set
/// may.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                // Writing into a text cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
            encoded
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_cannot_leave_its_place_in_the_url() {
        let url = database_url(&Secret::new("p@ss/w:rd%".to_owned()), "10.0.0.1", 5432);
        assert_eq!(
            url.expose(),
            "postgres://nuages:p%40ss%2Fw%3Ard%25@10.0.0.1:5432/app?sslmode=require"
        );
        assert_eq!(format!("{url:?}"), "[redacted]");
    }
}
