//! An `AwsContext` whose other side is a fake or an emulator.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_types::SdkConfig;
use aws_types::region::Region;
use nuages_aws::{AwsContext, EmulatorKind, Identity, Quirks};

use crate::recording::recorded;

/// The account of every test that does not choose its own.
pub const ACCOUNT: &str = "123456789012";
/// The region of every test that does not choose its own.
pub const REGION: &str = "eu-west-1";

/// An SDK configuration for this endpoint. The access key is the account, which emulators take as the caller's account.
pub fn sdk_config(endpoint: &str, account: &str, region: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            account, "test", None, None, "testkit",
        )))
        .http_client(recorded(Builder::new().build_http()))
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
            aws_smithy_async::rt::sleep::TokioSleep::new(),
        ))
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        // A fake's refusal is an answer to test, not an invitation to ask again.
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .build()
}

fn identity(account: &str) -> Identity {
    Identity {
        account: account.parse().expect("a test's account has twelve digits"),
        arn: format!("arn:aws:iam::{account}:user/tester").parse().expect("an ARN"),
        user_id: "AIDATESTER".to_owned(),
    }
}

/// A context that takes the endpoint for AWS itself: no emulator's quirks.
pub fn as_if_real(endpoint: &str) -> AwsContext {
    context(endpoint, ACCOUNT, REGION, Quirks::none())
}

/// A context for a MiniStack at this endpoint.
pub fn ministack(endpoint: &str, account: &str) -> AwsContext {
    let url = endpoint.parse().expect("the endpoint is a URL");
    context(
        endpoint,
        account,
        REGION,
        Quirks::emulator(EmulatorKind::MiniStack, url),
    )
}

/// A context for a LocalStack at this endpoint.
pub fn localstack(endpoint: &str, account: &str) -> AwsContext {
    let url = endpoint.parse().expect("the endpoint is a URL");
    context(
        endpoint,
        account,
        REGION,
        Quirks::emulator(EmulatorKind::LocalStack, url),
    )
}

fn context(endpoint: &str, account: &str, region: &str, quirks: Quirks) -> AwsContext {
    let region_name = region.parse().expect("a region");
    AwsContext::assume(
        sdk_config(endpoint, account, region),
        identity(account),
        region_name,
        quirks,
    )
}
