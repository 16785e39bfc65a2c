//! The connection to EC2, and why something could not be read.
//!
//! Invariant: only `Describe…` calls are made.

use nuages_aws::error::{ServiceError, describe};
use nuages_aws::{AwsContext, Kind};

/// EC2 of one account and region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ec2 {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) caller: String,
}

impl Ec2 {
    /// EC2 of this context.
    pub fn new(aws: &AwsContext) -> Self {
        Self {
            ec2: aws_sdk_ec2::Client::new(aws.sdk()),
            caller: aws.identity().arn.to_string(),
        }
    }
}

/// What could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Ec2Error {
    /// What was tried, completing "failed to …".
    pub what: String,
    /// What EC2 said.
    #[source]
    pub source: ServiceError,
}

impl Ec2Error {
    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        self.source.kind
    }

    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        self.source.hint()
    }
}

pub(crate) type SdkError<E> = aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>;

/// Describes an error in `map_err`.
pub(crate) fn told<E>(operation: &'static str, what: &str) -> impl FnOnce(SdkError<E>) -> Ec2Error
where
    E: aws_sdk_ec2::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    let what = what.to_owned();
    move |error| Ec2Error {
        what,
        source: describe(operation, &error),
    }
}
