//! An `AwsContext` whose other side is a fake or an emulator.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::http::HttpClient;
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
    sdk_config_over(recorded(Builder::new().build_http()), endpoint, account, region)
}

/// The same over another HTTP client, such as one that needs no socket.
pub(crate) fn sdk_config_over(
    http: impl HttpClient + 'static,
    endpoint: &str,
    account: &str,
    region: &str,
) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            account, "test", None, None, "testkit",
        )))
        .http_client(http)
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

/// A context that takes the endpoint for AWS itself, and asks again what failed, after next to no pause, or what was not
/// answered within this time: for going through all that may befall a call where the clock cannot be paused.
pub fn impatient(endpoint: &str, limit: Duration) -> AwsContext {
    let timeouts = aws_config::timeout::TimeoutConfig::builder();
    let sdk = sdk_config(endpoint, ACCOUNT, REGION)
        .to_builder()
        .retry_config(
            aws_config::retry::RetryConfig::standard()
                .with_max_attempts(4)
                .with_initial_backoff(Duration::from_millis(1)),
        )
        .timeout_config(timeouts.operation_attempt_timeout(limit).build())
        .build();
    of_a_test(sdk)
}

/// A context of the account and region of every test that chooses none, with this configuration.
pub(crate) fn of_a_test(sdk: SdkConfig) -> AwsContext {
    let region = REGION.parse().expect("a region");
    AwsContext::assume(sdk, identity(ACCOUNT), region, Quirks::none())
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
