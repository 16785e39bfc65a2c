//! The context against a fake STS.

use nuages_aws::{AwsContext, AwsError, AwsSettings, Effect, Kind};
use nuages_model::Secret;
use nuages_testkit::http::{FakeServer, operation, xml};

const CALLER: &str = r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult><Arn>arn:aws-cn:iam::123456789012:user/ada</Arn><UserId>AIDAADA</UserId>
  <Account>123456789012</Account></GetCallerIdentityResult>
  <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"#;

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn settings(url: &str) -> AwsSettings {
    AwsSettings {
        region: Some("eu-west-1".parse().unwrap()),
        endpoint_url: Some(url.parse().unwrap()),
        static_credentials: Some(("AKIDEXAMPLE".into(), Secret::new("wJalrXUtnFEMI".into()))),
        ..AwsSettings::default()
    }
}

#[tokio::test]
async fn proves_who_we_are_in_one_call() {
    let sts = FakeServer::start(|_| async { xml(200, CALLER) }).await;
    let aws = AwsContext::connect(&settings(&sts.url())).await.unwrap();
    assert_eq!(aws.identity().account.as_str(), "123456789012");
    assert_eq!(aws.identity().partition(), "aws-cn");
    assert!(aws.quirks().is_emulator());
    let asked: Vec<_> = sts.requests().iter().filter_map(operation).collect();
    assert_eq!(asked, ["GetCallerIdentity"]);
    assert!(
        !format!("{aws:?}").contains("wJalrXUtnFEMI"),
        "the secret key shows in Debug"
    );
}

#[tokio::test]
async fn another_account_is_refused_before_anything_is_written() {
    let sts = FakeServer::start(|_| async { xml(200, CALLER) }).await;
    let wrong = AwsSettings {
        expected_account: Some("999999999999".parse().unwrap()),
        ..settings(&sts.url())
    };
    let error = AwsContext::connect(&wrong).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the credentials belong to account 123456789012 (arn:aws-cn:iam::123456789012:user/ada), and this environment \
         is in account 999999999999"
    );
    assert!(error.hint().unwrap().contains("AWS_PROFILE"));
}

#[tokio::test]
async fn expired_credentials_are_named_with_the_way_out() {
    let sts = FakeServer::start(|_| async {
        xml(
            403,
            "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>The security token included in \
             the request is expired</Message></Error><RequestId>r-2</RequestId></ErrorResponse>",
        )
    })
    .await;
    let AwsError::Identity(error) = AwsContext::connect(&settings(&sts.url())).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((error.kind, error.effect), (Kind::Credentials, Effect::None));
    assert!(
        error
            .to_string()
            .contains("ExpiredToken: The security token included in the request is expired"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("aws sso login"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_as_good_as_none() {
    let sts = FakeServer::start(|_| async { xml(200, "<html>{\"half") }).await;
    let AwsError::Identity(error) = AwsContext::connect(&settings(&sts.url())).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((error.kind, error.effect), (Kind::Server, Effect::Unknown), "{error}");
    assert!(
        error
            .message
            .starts_with("an answer (HTTP status 200) that cannot be read: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_connection_had_no_effect() {
    // A port that was free a moment ago.
    let url = FakeServer::start(|_| async { xml(200, CALLER) }).await.url();
    let AwsError::Identity(error) = AwsContext::connect(&settings(&url)).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!((error.kind, error.effect), (Kind::Unreachable, Effect::None), "{error}");
}
