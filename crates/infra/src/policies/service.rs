//! What CloudFormation does on the environment's behalf, and the most that it can hand on.
//!
//! Invariant: a role without the boundary cannot be made, and the boundary cannot be taken off a role.

use super::Place;
use crate::iam::{Document, Statement};

pub(super) fn policy(place: &Place) -> Document {
    let name = place.name();
    // CloudFormation names databases, their subnets and their snapshots after the stack.
    let stack = crate::spec::stack_name(&place.app, &place.env);
    let region = place.region.as_str();
    let in_region = |statement: Statement| statement.when("StringEquals", "aws:RequestedRegion", [region]);
    let roles = [place.role_arn("execution"), place.role_arn("task")];
    let mut statements = vec![
        in_region(Statement::allow("Network", NETWORK, ["*"])),
        in_region(Statement::allow("LoadBalancer", LOAD_BALANCER, ["*"])),
        Statement::allow("Cluster", CLUSTER, [place.arn("ecs", &format!("cluster/{name}"))]),
        Statement::allow(
            "Repository",
            REPOSITORY,
            [place.arn("ecr", &format!("repository/{name}"))],
        ),
        Statement::allow(
            "Logs",
            LOGS,
            [place.arn("logs", &format!("log-group:/nuages/{}/{}/*", place.app, place.env))],
        ),
        Statement::allow("ListLogs", &["logs:DescribeLogGroups"], ["*"]),
        Statement::allow(
            "MakeRoles",
            &["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
            roles.clone(),
        )
        .when("StringEquals", "iam:PermissionsBoundary", [place.boundary_arn()]),
        Statement::allow("KeepRoles", ROLES, roles),
        Statement::deny("KeepBoundary", &["iam:DeleteRolePermissionsBoundary"], ["*"]),
        Statement::allow(
            "ServiceLinkedRoles",
            &["iam:CreateServiceLinkedRole"],
            [place.global("iam", "role/aws-service-role/*")],
        )
        .when(
            "StringEquals",
            "iam:AWSServiceName",
            [
                "ecs.amazonaws.com",
                "ecs.application-autoscaling.amazonaws.com",
                "elasticloadbalancing.amazonaws.com",
                "rds.amazonaws.com",
            ],
        ),
        Statement::allow(
            "Secrets",
            SECRETS,
            [place.arn(
                "secretsmanager",
                &format!("secret:{}/{}/database-*", place.app, place.env),
            )],
        ),
        Statement::allow("Passwords", &["secretsmanager:GetRandomPassword"], ["*"]),
        Statement::allow(
            "Database",
            DATABASE,
            ["db", "snapshot", "subgrp"].map(|kind| place.arn("rds", &format!("{kind}:{stack}-*"))),
        ),
        // An instance without option and parameter groups of its own is made with the default ones, which are checked too.
        Statement::allow(
            "DatabaseDefaults",
            &["rds:CreateDBInstance", "rds:ModifyDBInstance"],
            ["og", "pg"].map(|kind| place.arn("rds", &format!("{kind}:default*"))),
        ),
        Statement::allow(
            "ListDatabases",
            &[
                "rds:DescribeDBInstances",
                "rds:DescribeDBSnapshots",
                "rds:DescribeDBSubnetGroups",
            ],
            ["*"],
        ),
    ];
    if let Some(zone) = &place.hosted_zone {
        statements.extend([
            in_region(Statement::allow("Certificate", CERTIFICATE, ["*"])),
            Statement::allow(
                "Domain",
                &[
                    "route53:ChangeResourceRecordSets",
                    "route53:GetHostedZone",
                    "route53:ListResourceRecordSets",
                ],
                [format!("arn:{}:route53:::hostedzone/{zone}", place.partition)],
            ),
            Statement::allow(
                "DomainChanges",
                &["route53:GetChange"],
                [format!("arn:{}:route53:::change/*", place.partition)],
            ),
        ]);
    }
    Document::new(statements)
}

pub(super) fn boundary(place: &Place) -> Document {
    Document::new(vec![
        Statement::allow("SignIn", &["ecr:GetAuthorizationToken"], ["*"]),
        Statement::allow(
            "Pull",
            &[
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ],
            [place.arn("ecr", &format!("repository/{}", place.name()))],
        ),
        Statement::allow(
            "Log",
            &["logs:CreateLogStream", "logs:PutLogEvents"],
            [place.arn("logs", &format!("log-group:/nuages/{}/{}/*", place.app, place.env))],
        ),
        Statement::allow(
            "Secrets",
            &["secretsmanager:GetSecretValue"],
            with_own(
                place.arn("secretsmanager", &format!("secret:{}/*", place.app)),
                place.other_secrets(),
            ),
        ),
        Statement::allow(
            "Parameters",
            &["ssm:GetParameters"],
            with_own(
                place.arn("ssm", &format!("parameter/{}/*", place.app)),
                place.other_parameters(),
            ),
        ),
        Statement::allow("Keys", &["kms:Decrypt"], [place.arn("kms", "key/*")]).when(
            "StringEquals",
            "kms:ViaService",
            [
                format!("secretsmanager.{}.amazonaws.com", place.region),
                format!("ssm.{}.amazonaws.com", place.region),
            ],
        ),
        Statement::allow(
            "Exec",
            &[
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ],
            ["*"],
        ),
    ])
}

fn with_own(own: String, others: Vec<String>) -> impl Iterator<Item = String> {
    std::iter::once(own).chain(others)
}

/// EC2 names what it makes at random, so these are held to the region instead of to names.
const NETWORK: &[&str] = &[
    "ec2:AllocateAddress",
    "ec2:AssociateRouteTable",
    "ec2:AttachInternetGateway",
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateInternetGateway",
    "ec2:CreateNatGateway",
    "ec2:CreateRoute",
    "ec2:CreateRouteTable",
    "ec2:CreateSecurityGroup",
    "ec2:CreateSubnet",
    "ec2:CreateTags",
    "ec2:CreateVpc",
    "ec2:CreateVpcEndpoint",
    "ec2:DeleteInternetGateway",
    "ec2:DeleteNatGateway",
    "ec2:DeleteRoute",
    "ec2:DeleteRouteTable",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteSubnet",
    "ec2:DeleteTags",
    "ec2:DeleteVpc",
    "ec2:DeleteVpcEndpoints",
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeNatGateways",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcAttribute",
    "ec2:DescribeVpcEndpoints",
    "ec2:DescribeVpcs",
    "ec2:DetachInternetGateway",
    "ec2:DisassociateRouteTable",
    "ec2:ModifySubnetAttribute",
    "ec2:ModifyVpcAttribute",
    "ec2:ModifyVpcEndpoint",
    "ec2:ReleaseAddress",
    "ec2:ReplaceRoute",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
];

const LOAD_BALANCER: &[&str] = &[
    "elasticloadbalancing:AddTags",
    "elasticloadbalancing:CreateListener",
    "elasticloadbalancing:CreateLoadBalancer",
    "elasticloadbalancing:CreateRule",
    "elasticloadbalancing:CreateTargetGroup",
    "elasticloadbalancing:DeleteListener",
    "elasticloadbalancing:DeleteLoadBalancer",
    "elasticloadbalancing:DeleteRule",
    "elasticloadbalancing:DeleteTargetGroup",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:ModifyListener",
    "elasticloadbalancing:ModifyLoadBalancerAttributes",
    "elasticloadbalancing:ModifyRule",
    "elasticloadbalancing:ModifyTargetGroup",
    "elasticloadbalancing:ModifyTargetGroupAttributes",
    "elasticloadbalancing:RemoveTags",
    "elasticloadbalancing:SetSecurityGroups",
    "elasticloadbalancing:SetSubnets",
];

const CLUSTER: &[&str] = &[
    "ecs:CreateCluster",
    "ecs:DeleteCluster",
    "ecs:DescribeClusters",
    "ecs:TagResource",
    "ecs:UntagResource",
    "ecs:UpdateCluster",
    "ecs:UpdateClusterSettings",
];

const REPOSITORY: &[&str] = &[
    "ecr:CreateRepository",
    "ecr:DeleteLifecyclePolicy",
    "ecr:DeleteRepository",
    "ecr:DescribeRepositories",
    "ecr:GetLifecyclePolicy",
    "ecr:GetRepositoryPolicy",
    "ecr:ListTagsForResource",
    "ecr:PutImageScanningConfiguration",
    "ecr:PutImageTagMutability",
    "ecr:PutLifecyclePolicy",
    "ecr:TagResource",
    "ecr:UntagResource",
];

const LOGS: &[&str] = &[
    "logs:CreateLogGroup",
    "logs:DeleteLogGroup",
    "logs:DeleteRetentionPolicy",
    "logs:ListTagsForResource",
    "logs:PutRetentionPolicy",
    "logs:TagResource",
    "logs:UntagResource",
];

const ROLES: &[&str] = &[
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
    "iam:TagRole",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
    "iam:UpdateRoleDescription",
];

const SECRETS: &[&str] = &[
    "secretsmanager:CreateSecret",
    "secretsmanager:DeleteSecret",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:TagResource",
    "secretsmanager:UntagResource",
    "secretsmanager:UpdateSecret",
];

const DATABASE: &[&str] = &[
    "rds:AddTagsToResource",
    "rds:CreateDBInstance",
    "rds:CreateDBSnapshot",
    "rds:CreateDBSubnetGroup",
    "rds:DeleteDBInstance",
    "rds:DeleteDBSubnetGroup",
    "rds:ListTagsForResource",
    "rds:ModifyDBInstance",
    "rds:ModifyDBSubnetGroup",
    "rds:RemoveTagsFromResource",
];

const CERTIFICATE: &[&str] = &[
    "acm:AddTagsToCertificate",
    "acm:DeleteCertificate",
    "acm:DescribeCertificate",
    "acm:ListTagsForCertificate",
    "acm:RequestCertificate",
];
