//! What deploying needs, call by call.
//!
//! Invariant: no action here writes IAM, and the only roles that can be passed are the environment's own.

use super::Place;
use crate::iam::{Document, Statement};

pub(super) fn policy(place: &Place) -> Document {
    let name = place.name();
    let cluster = place.arn("ecs", &format!("cluster/{name}"));
    let service = place.arn("ecs", &format!("service/{name}/*"));
    let task = place.arn("ecs", &format!("task/{name}/*"));
    let definition = place.arn("ecs", &format!("task-definition/{name}*:*"));
    let mut statements = vec![
        Statement::allow(
            "Stack",
            &[
                "cloudformation:ContinueUpdateRollback",
                "cloudformation:CreateChangeSet",
                "cloudformation:DeleteChangeSet",
                "cloudformation:DeleteStack",
                "cloudformation:DescribeChangeSet",
                "cloudformation:DescribeStackEvents",
                "cloudformation:DescribeStacks",
                "cloudformation:ExecuteChangeSet",
                "cloudformation:ListChangeSets",
                "cloudformation:TagResource",
            ],
            [place.stack()],
        ),
        Statement::allow(
            "PassToCloudFormation",
            &["iam:PassRole"],
            [place.role_arn("cloudformation")],
        )
        .when("StringEquals", "iam:PassedToService", ["cloudformation.amazonaws.com"]),
        Statement::allow(
            "PassToTasks",
            &["iam:PassRole"],
            [place.role_arn("execution"), place.role_arn("task")],
        )
        .when("StringEquals", "iam:PassedToService", ["ecs-tasks.amazonaws.com"]),
        Statement::allow(
            "Roles",
            &["iam:GetRole"],
            ["cloudformation", "execution", "task"].map(|role| place.role_arn(role)),
        ),
        Statement::allow("SignInToRegistry", &["ecr:GetAuthorizationToken"], ["*"]),
        Statement::allow(
            "Images",
            &[
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:CompleteLayerUpload",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
            [place.arn("ecr", &format!("repository/{name}"))],
        ),
        // It knows no resources.
        Statement::allow("TaskDefinitions", &["ecs:DescribeTaskDefinition"], ["*"]),
        Statement::allow("Register", &["ecs:RegisterTaskDefinition"], [definition.clone()]),
        Statement::allow("Clusters", &["ecs:DescribeClusters", "ecs:ListTasks"], ["*"]).when(
            "ArnEqualsIfExists",
            "ecs:cluster",
            [cluster.clone()],
        ),
        Statement::allow(
            "Services",
            &[
                "ecs:CreateService",
                "ecs:DeleteService",
                "ecs:DescribeServices",
                "ecs:UpdateService",
            ],
            [service.clone()],
        ),
        Statement::allow(
            "Rollouts",
            &["ecs:DescribeServiceDeployments"],
            [
                service.clone(),
                place.arn("ecs", &format!("service-deployment/{name}/*")),
            ],
        ),
        Statement::allow("Run", &["ecs:RunTask"], [definition.clone()]).when("ArnEquals", "ecs:cluster", [cluster]),
        Statement::allow("Tasks", &["ecs:DescribeTasks", "ecs:StopTask"], [task.clone()]),
        Statement::allow("TagInEcs", &["ecs:TagResource"], [service, task, definition]),
        Statement::allow(
            "Logs",
            &["logs:FilterLogEvents", "logs:GetLogEvents"],
            [place.arn("logs", &format!("log-group:/nuages/{}/{}/*", place.app, place.env))],
        ),
        Statement::allow(
            "Secrets",
            &[
                "secretsmanager:CreateSecret",
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
                "secretsmanager:PutSecretValue",
                "secretsmanager:RestoreSecret",
                "secretsmanager:TagResource",
            ],
            [place.arn("secretsmanager", &format!("secret:{}/*", place.app))],
        ),
        Statement::allow(
            "Parameters",
            &["ssm:GetParameters", "ssm:PutParameter"],
            [place.arn("ssm", &format!("parameter/{}/*", place.app))],
        ),
        // Reads without resources, for the preflight; and those that list.
        Statement::allow(
            "Look",
            &[
                "ec2:DescribeRouteTables",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcEndpoints",
                "elasticloadbalancing:DescribeTargetGroups",
                "elasticloadbalancing:DescribeTargetHealth",
                "logs:DescribeLogGroups",
                "route53:ListHostedZonesByName",
                "secretsmanager:BatchGetSecretValue",
            ],
            ["*"],
        ),
    ];
    let secrets = place.other_secrets();
    if !secrets.is_empty() {
        let read = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"];
        statements.push(Statement::allow("OtherSecrets", &read, secrets));
    }
    let parameters = place.other_parameters();
    if !parameters.is_empty() {
        statements.push(Statement::allow("OtherParameters", &["ssm:GetParameters"], parameters));
    }
    Document::new(statements)
}

pub(super) fn teardown(place: &Place) -> Document {
    let name = place.name();
    let database = place.arn(
        "rds",
        &format!("db:{}-*", crate::spec::stack_name(&place.app, &place.env)),
    );
    Document::new(vec![
        Statement::allow(
            "EmptyRepository",
            &["ecr:BatchDeleteImage", "ecr:ListImages"],
            [place.arn("ecr", &format!("repository/{name}"))],
        ),
        Statement::allow("LiftProtection", &["rds:ModifyDBInstance"], [database]),
        Statement::allow(
            "LookAtDatabases",
            &["rds:DescribeDBInstances", "rds:DescribeDBSnapshots"],
            ["*"],
        ),
        Statement::allow("Stack", &["cloudformation:ListStackResources"], [place.stack()]),
        Statement::allow("FindServices", &["ecs:ListServices"], ["*"]).when(
            "ArnEquals",
            "ecs:cluster",
            [place.arn("ecs", &format!("cluster/{name}"))],
        ),
        // It knows no resources.
        Statement::allow("TaskDefinitions", &["ecs:DeregisterTaskDefinition"], ["*"]),
    ])
}
