//! What a person makes once in an account, made in one.

use nuages_aws::AwsContext;
use nuages_infra::policies::{GithubEnvironment, Place};
use nuages_infra::{Bootstrap, InfraError, Standing, bootstrapped};
use nuages_testkit::emulators::{self, unique_account, unique_name};
use nuages_testkit::http::{FakeServer, operation, xml};

fn place(app: &str, account: &str) -> Place {
    Place {
        app: app.parse().unwrap(),
        env: "staging".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        account: account.parse().unwrap(),
        partition: "aws".to_owned(),
        hosted_zone: None,
        secrets: Vec::new(),
        parameters: Vec::new(),
    }
}

fn github(repository: &str) -> GithubEnvironment {
    GithubEnvironment {
        repository: repository.to_owned(),
        environment: "staging".to_owned(),
    }
}

/// Makes what is missing or differs; answers what that was.
async fn apply(bootstrap: &Bootstrap) -> Vec<(String, Standing)> {
    let mut done = Vec::new();
    for item in bootstrap.look().await.unwrap() {
        bootstrap.put(&item).await.unwrap();
        if item.standing != Standing::Same {
            done.push((item.what, item.standing));
        }
    }
    done
}

/// All of it, twice, changed and changed again.
async fn story(aws: &AwsContext, account: &str) {
    let app = unique_name("boot");
    let place = place(&app, account);
    assert_eq!(bootstrapped(aws, &place).await.unwrap(), None);

    let alone = Bootstrap::new(aws, place.clone(), None);
    let made = apply(&alone).await;
    let name = |what: &str| format!("{app}-staging-eu-west-1-{what}");
    let expected: Vec<(String, Standing)> = [
        ("managed policy", "boundary"),
        ("role", "cloudformation"),
        ("policy of the role", "cloudformation"),
        ("role", "deployer"),
        ("policy of the role", "deployer"),
        ("managed policy", "teardown"),
    ]
    .iter()
    .map(|(kind, what)| (format!("{kind} {}", name(what)), Standing::Missing))
    .collect();
    assert_eq!(made, expected);
    assert_eq!(apply(&alone).await, [], "what is there is left alone");

    let found = bootstrapped(aws, &place).await.unwrap().unwrap();
    assert_eq!(found.service_role.name(), name("cloudformation"));
    assert_eq!(found.boundary.name(), name("boundary"));

    // GitHub may deploy from now on; who leaves it out another time does not lock it out again.
    let with_github = Bootstrap::new(aws, place.clone(), Some(&github("ana/blog")));
    let changed = apply(&with_github).await;
    let trust = (format!("role {}", name("deployer")), Standing::Differs);
    assert!(changed.contains(&trust), "{changed:?}");
    assert_eq!(apply(&with_github).await, []);
    assert_eq!(apply(&alone).await, []);

    // More versions of a policy than IAM keeps.
    for n in 0..7 {
        let place = Place {
            secrets: vec![format!("shared/{n}")],
            ..place.clone()
        };
        let changed = apply(&Bootstrap::new(aws, place.clone(), None)).await;
        let boundary = (format!("managed policy {}", name("boundary")), Standing::Differs);
        assert!(changed.contains(&boundary), "{changed:?}");
        assert_eq!(apply(&Bootstrap::new(aws, place, None)).await, []);
    }
    let iam = aws_sdk_iam::Client::new(aws.sdk());
    let versions = iam
        .list_policy_versions()
        .policy_arn(found.boundary.as_str())
        .send()
        .await
        .unwrap();
    assert_eq!(versions.versions().len(), 5);
}

#[tokio::test]
async fn is_made_once_and_changed_where_it_differs_on_localstack() {
    let emulator = emulators::localstack().await;
    let account = unique_account();
    let aws = nuages_testkit::aws::localstack(&emulator.url, &account);
    story(&aws, &account).await;
}

#[tokio::test]
async fn is_made_once_and_changed_where_it_differs_on_ministack() {
    let emulator = emulators::ministack().await;
    let account = unique_account();
    let aws = nuages_testkit::aws::ministack(&emulator.url, &account);
    story(&aws, &account).await;
}

/// In an account that has some of them.
#[tokio::test]
async fn a_real_account_gets_the_roles_that_services_work_as() {
    let server = FakeServer::start(|request| {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let answer = match operation(&request).as_deref() {
            Some("GetRole") if body.contains("AWSServiceRoleForRDS") => xml(
                200,
                "<GetRoleResponse><GetRoleResult><Role><Path>/</Path><RoleName>AWSServiceRoleForRDS</RoleName>\
                 <RoleId>AROA1</RoleId><Arn>arn:aws:iam::123456789012:role/AWSServiceRoleForRDS</Arn>\
                 <CreateDate>2026-01-01T00:00:00Z</CreateDate></Role></GetRoleResult></GetRoleResponse>",
            ),
            Some("CreateServiceLinkedRole") => xml(
                200,
                "<CreateServiceLinkedRoleResponse><CreateServiceLinkedRoleResult/></CreateServiceLinkedRoleResponse>",
            ),
            _ => xml(
                404,
                "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>none</Message></Error></ErrorResponse>",
            ),
        };
        std::future::ready(answer)
    })
    .await;
    let aws = nuages_testkit::aws::as_if_real(&server.url());
    let bootstrap = Bootstrap::new(&aws, place("blog", "123456789012"), None);
    let items = bootstrap.look().await.unwrap();
    let linked: Vec<_> = items
        .iter()
        .filter(|item| item.what.starts_with("service-linked"))
        .collect();
    for item in &linked {
        bootstrap.put(item).await.unwrap();
    }
    let missing: Vec<&str> = linked
        .iter()
        .filter(|item| item.standing == Standing::Missing)
        .map(|item| item.what.as_str())
        .collect();
    assert_eq!(
        missing,
        [
            "service-linked role AWSServiceRoleForECS",
            "service-linked role AWSServiceRoleForElasticLoadBalancing",
            "service-linked role AWSServiceRoleForApplicationAutoScaling_ECSService",
        ]
    );
    let made = server
        .requests()
        .iter()
        .filter(|r| operation(r).as_deref() == Some("CreateServiceLinkedRole"))
        .count();
    assert_eq!(made, 3);
}

/// A stack's roles would lose their boundary if this passed for "there is none".
#[tokio::test]
async fn who_may_not_look_is_told_so() {
    let server = FakeServer::start(|_| {
        std::future::ready(xml(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>",
        ))
    })
    .await;
    let aws = nuages_testkit::aws::as_if_real(&server.url());
    let error = bootstrapped(&aws, &place("blog", "123456789012")).await.unwrap_err();
    assert!(matches!(error, InfraError::Call { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "failed to look for the role that CloudFormation works as"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("`iam:GetRole`") && hint.contains("infra bootstrap"),
        "{hint}"
    );
}
