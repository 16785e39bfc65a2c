//! What the policies allow, and what they must not.

use super::*;

/// A secret that is named whole.
const MAP_KEY: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:maps/key-GhIjKl";

pub(super) fn place() -> Place {
    Place {
        app: "blog".parse().unwrap(),
        env: "staging".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        account: "123456789012".parse().unwrap(),
        partition: "aws".to_owned(),
        hosted_zone: Some("Z0123456789ABC".to_owned()),
        secrets: ["blog/sentry", "shared/mail", MAP_KEY].map(str::to_owned).to_vec(),
        parameters: ["/blog/token", "/shared/token"].map(str::to_owned).to_vec(),
    }
}

/// The calls that nuages makes, and what each is made on; `*` where the action knows no resource.
pub(super) fn calls(lines: &str) -> Vec<Request> {
    const ACCOUNT: &str = "123456789012";
    lines
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .flat_map(|line| {
            let mut words = line.split_whitespace();
            let (service, actions) = words.next().unwrap().split_once(':').unwrap();
            let resource = match words.next().unwrap() {
                "*" => "*".to_owned(),
                global if service == "iam" => format!("arn:aws:iam::{ACCOUNT}:{global}"),
                zone if service == "route53" => format!("arn:aws:route53:::{zone}"),
                resource => format!("arn:aws:{service}:eu-west-1:{ACCOUNT}:{resource}"),
            };
            let context: Vec<(String, String)> = words
                .map(|w| w.split_once('=').unwrap())
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
            let requests: Vec<Request> = actions
                .split(',')
                .map(|action| Request {
                    action: format!("{service}:{action}"),
                    resource: resource.clone(),
                    context: context.iter().cloned().collect(),
                })
                .collect();
            requests
        })
        .collect()
}

/// What a role does at run time, which its boundary must leave to it.
fn role_calls() -> Vec<Request> {
    calls(
        "ecr:GetAuthorizationToken *
         ecr:BatchCheckLayerAvailability,BatchGetImage,GetDownloadUrlForLayer repository/blog-staging
         logs:CreateLogStream,PutLogEvents log-group:/nuages/blog/staging/web:log-stream:web/1
         secretsmanager:GetSecretValue secret:blog/staging/database-url-01h-AbCdEf
         secretsmanager:GetSecretValue secret:shared/mail-AbCdEf
         secretsmanager:GetSecretValue secret:maps/key-GhIjKl
         ssm:GetParameters parameter/blog/staging/token
         ssm:GetParameters parameter/shared/token
         kms:Decrypt key/1 kms:ViaService=secretsmanager.eu-west-1.amazonaws.com
         ssmmessages:CreateControlChannel,CreateDataChannel,OpenControlChannel,OpenDataChannel *",
    )
}

/// Removing any one action from a policy must leave some call without permission.
fn every_action_is_needed(policy: &Document, needed: &[Request]) {
    assert_eq!(check(policy, needed), Vec::<&Request>::new());
    for (s, statement) in policy.statement.iter().enumerate() {
        for (a, action) in statement.action.iter().enumerate() {
            let mut without = policy.clone();
            without.statement[s].action.remove(a);
            assert!(
                !check(&without, needed).is_empty(),
                "nothing needs {action} of {}",
                statement.sid
            );
        }
    }
}

#[test]
fn the_boundary_leaves_what_roles_do() {
    every_action_is_needed(&boundary(&place()), &role_calls());
}

#[test]
fn who_deploys_writes_no_iam_and_passes_only_its_own_roles() {
    let policy = deployer(&place());
    let writes = policy
        .statement
        .iter()
        .flat_map(|s| &s.action)
        .filter(|a| a.starts_with("iam:"));
    assert!(writes.clone().all(|a| a == "iam:PassRole" || a == "iam:GetRole"));
    for refused in calls(
        "iam:PassRole role/admin iam:PassedToService=ecs-tasks.amazonaws.com
         iam:PassRole role/blog-staging-eu-west-1-task iam:PassedToService=lambda.amazonaws.com
         iam:PassRole role/blog-production-eu-west-1-task iam:PassedToService=ecs-tasks.amazonaws.com
         iam:CreateRole role/blog-staging-eu-west-1-task
         ecs:UpdateService service/blog-production/web
         ecs:RunTask task-definition/blog-staging-web:1 ecs:cluster=arn:aws:ecs:eu-west-1:123456789012:cluster/other
         secretsmanager:GetSecretValue secret:shop/staging/KEY-AbCdEf
         secretsmanager:GetSecretValue secret:shared/mailbox-AbCdEf
         secretsmanager:PutSecretValue secret:shared/mail-AbCdEf
         ssm:PutParameter parameter/shared/token
         cloudformation:ExecuteChangeSet stack/nuages-blog-production/1",
    ) {
        assert_ne!(evaluate(&policy, &refused), Decision::Allowed, "{refused:?}");
    }
}

#[test]
fn cloudformation_makes_roles_only_under_the_boundary() {
    let policy = service_role(&place());
    let role = "arn:aws:iam::123456789012:role/blog-staging-eu-west-1-task";
    let create = Request::new("iam:CreateRole", role);
    assert_eq!(evaluate(&policy, &create), Decision::NotAllowed);
    let bounded = create.clone().with("iam:PermissionsBoundary", place().boundary_arn());
    assert_eq!(evaluate(&policy, &bounded), Decision::Allowed);
    let other = create.with("iam:PermissionsBoundary", "arn:aws:iam::aws:policy/AdministratorAccess");
    assert_eq!(evaluate(&policy, &other), Decision::NotAllowed);
    let unbind = Request::new("iam:DeleteRolePermissionsBoundary", role);
    assert_eq!(evaluate(&policy, &unbind), Decision::Denied);
}

/// An action of each resource type that the template has must be there to make and to delete it.
#[test]
fn cloudformation_can_make_and_delete_what_the_template_has() {
    let policy = service_role(&place());
    for request in calls(
        "ec2:CreateVpc,DeleteVpc,CreateNatGateway,DeleteNatGateway,AllocateAddress,ReleaseAddress * aws:RequestedRegion=eu-west-1
         ec2:CreateSecurityGroup,DeleteSecurityGroup,CreateVpcEndpoint,DeleteVpcEndpoints * aws:RequestedRegion=eu-west-1
         elasticloadbalancing:CreateLoadBalancer,CreateTargetGroup,CreateListener,CreateRule,DeleteRule * aws:RequestedRegion=eu-west-1
         ecs:CreateCluster,DeleteCluster cluster/blog-staging
         ecr:CreateRepository,DeleteRepository,PutLifecyclePolicy repository/blog-staging
         logs:CreateLogGroup,PutRetentionPolicy,DeleteLogGroup log-group:/nuages/blog/staging/web:*
         iam:DeleteRole,DeleteRolePolicy,UpdateAssumeRolePolicy role/blog-staging-eu-west-1-task
         iam:CreateServiceLinkedRole role/aws-service-role/rds.amazonaws.com/AWSServiceRoleForRDS iam:AWSServiceName=rds.amazonaws.com
         secretsmanager:CreateSecret,GetSecretValue,UpdateSecret,DeleteSecret secret:blog/staging/database-url-01h-AbCdEf
         secretsmanager:GetRandomPassword *
         rds:CreateDBInstance,ModifyDBInstance,DeleteDBInstance db:nuages-blog-staging-database-abc
         rds:CreateDBInstance,ModifyDBInstance og:default:postgres-17
         rds:CreateDBInstance,ModifyDBInstance pg:default.postgres17
         rds:CreateDBSubnetGroup subgrp:nuages-blog-staging-databasesubnets-abc
         rds:CreateDBSnapshot snapshot:nuages-blog-staging-snapshot-database-abc
         acm:RequestCertificate,DeleteCertificate * aws:RequestedRegion=eu-west-1
         route53:ChangeResourceRecordSets hostedzone/Z0123456789ABC
         route53:GetChange change/C1",
    ) {
        assert_eq!(evaluate(&policy, &request), Decision::Allowed, "{request:?}");
    }
    let elsewhere = Request::new("ec2:CreateVpc", "*").with("aws:RequestedRegion", "us-east-1");
    assert_eq!(evaluate(&policy, &elsewhere), Decision::NotAllowed);
}

#[test]
fn github_may_deploy_from_one_environment_of_one_repository() {
    let github = GithubEnvironment {
        repository: "ana/blog".to_owned(),
        environment: "staging".to_owned(),
    };
    insta::assert_snapshot!(github_trust(&place(), &github).to_json());
}

#[test]
fn without_github_who_may_assume_roles_in_the_account_deploys() {
    insta::assert_snapshot!(account_trust(&place()).to_json());
}

/// IAM refuses longer ones: 6,144 characters in a managed policy, 10,240 in a role's inline policies, 2,048 in a trust.
#[test]
fn documents_fit_into_iam() {
    let long = Place {
        app: "nineteen-characters".parse().unwrap(),
        env: "twelve-chars".parse().unwrap(),
        region: "ap-southeast-1".parse().unwrap(),
        partition: "aws-us-gov".to_owned(),
        ..place()
    };
    let github = GithubEnvironment {
        repository: "o".repeat(39) + "/" + &"r".repeat(100),
        environment: "e".repeat(255),
    };
    for named in bootstrap(&long, Some(&github)) {
        let limit = match named.kind {
            Kind::ManagedPolicy => 6144,
            Kind::Trust | Kind::FirstTrust => 2048,
            Kind::RolePolicy => 10_240,
        };
        let size = named.document.to_compact_json().len();
        assert!(size <= limit, "{}: {size} characters of {limit}", named.purpose);
        assert!(named.name.len() <= 64, "{}", named.name);
    }
}
