//! Who deploys: without credentials, with those of somebody else, with expired ones.

use std::time::Duration;

use nuages_testkit::http::{FakeServer, xml};

use crate::support::{Place, Said};

const TOML: &str = "\
[app]
name = 'blog'

[services.worker]
command = ['true']

[environments.staging]
region = 'eu-west-1'
account = '123456789012'
insecure_http = true
";

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "example"),
];

async fn deploy(env: Vec<(String, String)>, args: &'static [&'static str]) -> Said {
    let run = tokio::task::spawn_blocking(move || {
        let env: Vec<(&str, &str)> = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Place::with(TOML).run_with(args, &env)
    });
    // A generous bound: without one a command that waits for a metadata service for ever would hang the tests.
    tokio::time::timeout(Duration::from_mins(1), run)
        .await
        .expect("it ends at once")
        .unwrap()
}

fn environment(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let both = KEYS.iter().chain(more);
    both.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn sts(account: &'static str) -> FakeServer {
    FakeServer::start(move |_| async move {
        xml(
            200,
            format!(
                "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::{account}:user/somebody</Arn><UserId>AIDAEXAMPLE</UserId><Account>{account}</Account>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>"
            ),
        )
    })
    .await
}

#[tokio::test]
async fn without_credentials_it_says_what_is_missing() {
    let said = deploy(Vec::new(), &["deploy", "--env", "staging"]).await.ended(4);
    let said = said
        .ends_telling("found no AWS credentials")
        .ends_telling("AWS_PROFILE");
    let said = said.ends_telling("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and repeat the command");
    // The next command is the one that was typed, whichever it was.
    assert!(!said.err.contains("nuages deploy"), "{}", said.err);
    said.ends_telling("an environment with `emulator = \"ministack\"` needs none");
}

#[tokio::test]
async fn a_profile_that_is_not_there_is_told_beside_those_that_are() {
    let files = tempfile::tempdir().unwrap();
    let config = files.path().join("config");
    std::fs::write(
        &config,
        "[profile dev]\nregion = eu-west-1\n[profile work]\nsso_session = x\n",
    )
    .unwrap();
    let config = config.display().to_string();
    let env = |profile: &str| {
        vec![
            ("AWS_CONFIG_FILE".to_owned(), config.clone()),
            ("AWS_PROFILE".to_owned(), profile.to_owned()),
        ]
    };
    let said = deploy(env("wrok"), &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling("there is no AWS profile `wrok`")
        .ends_telling(&format!(
            "{config} has no `[profile wrok]`, and ~/.aws/credentials no `[wrok]`"
        ))
        .ends_telling("hint: set AWS_PROFILE to one that is there: `dev`, `work`");

    std::fs::write(&config, "[profile dev\n").unwrap();
    let said = deploy(env("dev"), &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling("failed to read the profiles of the AWS tools")
        .ends_telling("line 1")
        .ends_telling("hint: ");
}

#[tokio::test]
async fn half_a_key_is_told_as_such() {
    let env = vec![("AWS_ACCESS_KEY_ID".to_owned(), "AKIAEXAMPLE".to_owned())];
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not");
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_bad_input() {
    let env = environment(&[("AWS_ENDPOINT_URL", "nowhere")]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(3);
    said.ends_telling("the endpoint `nowhere`")
        .ends_telling("hint: set AWS_ENDPOINT_URL");
}

#[tokio::test]
async fn another_account_is_refused_before_anything_is_asked_of_it() {
    let server = sts("999999999999").await;
    let env = environment(&[("AWS_ENDPOINT_URL", &server.url())]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    let said = said
        .ends_telling("belong to account 999999999999")
        .ends_telling("arn:aws:iam::999999999999:user/somebody");
    said.ends_telling("this environment is in account 123456789012")
        .ends_telling("hint: ");
    assert_eq!(server.requests().len(), 1, "only STS was asked");
}

#[tokio::test]
async fn expired_credentials_are_told_with_the_way_to_new_ones() {
    let server = FakeServer::start(|_| async {
        xml(
            403,
            "<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Type>Sender</Type>\
             <Code>ExpiredToken</Code><Message>The security token included in the request is expired</Message></Error>\
             <RequestId>11111111-2222-3333-4444-555555555555</RequestId></ErrorResponse>",
        )
    })
    .await;
    let env = environment(&[("AWS_ENDPOINT_URL", &server.url()), ("AWS_SESSION_TOKEN", "old")]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    let said = said.ends_telling("sts:GetCallerIdentity").ends_telling("ExpiredToken");
    said.ends_telling("hint: sign in again");
}

#[tokio::test]
async fn a_runner_of_ci_needs_a_store_that_outlives_it() {
    let server = sts("123456789012").await;
    // For STS alone: everything else is AWS, and the environment is in a real account.
    let env = environment(&[("AWS_ENDPOINT_URL_STS", &server.url()), ("CI", "true")]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling("in CI the store would vanish with the runner")
        .ends_telling("--store");
}

#[tokio::test]
async fn a_store_that_is_none_is_refused_and_left_alone() {
    let server = sts("123456789012").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("diary.db");
    std::fs::write(&file, "Dear diary").unwrap();
    let store = file.display().to_string();
    // For STS alone, so that it is a real account: elsewhere nobody is asked yet.
    let env = environment(&[("AWS_ENDPOINT_URL_STS", &server.url()), ("NUAGES_STORE", &store)]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling(&format!("{store} is damaged"))
        .ends_telling("hint: keep a copy");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "Dear diary");
}

#[tokio::test]
async fn a_region_that_aws_does_not_have_is_named() {
    // Nobody listens where this region's STS would be.
    let env = environment(&[("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling("sts:GetCallerIdentity")
        .ends_telling("that `region` in nuages.toml is one that AWS has");
}

#[tokio::test]
async fn a_region_that_the_account_has_not_enabled_is_named() {
    let server = FakeServer::start(|_| async {
        xml(
            403,
            "<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><Error><Type>Sender</Type>\
             <Code>InvalidClientTokenId</Code><Message>The security token included in the request is invalid</Message></Error>\
             <RequestId>11111111-2222-3333-4444-555555555555</RequestId></ErrorResponse>",
        )
    })
    .await;
    let env = environment(&[("AWS_ENDPOINT_URL_STS", &server.url())]);
    let said = deploy(env, &["deploy", "--env", "staging"]).await.ended(4);
    said.ends_telling("InvalidClientTokenId")
        .ends_telling("aws account enable-region");
}
