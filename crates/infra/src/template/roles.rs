//! The two roles of a task.
//!
//! Invariant: the execution role reads exactly the secrets that are listed; the task role, which the application's own
//! code holds, can do nothing that nobody asked for.

use super::resources::{Role, RolePolicy};
use super::{Template, Text, log_group_id};
use crate::iam::{Document, Principal, Statement};
use crate::spec::StackSpec;

pub(super) fn add(template: &mut Template, spec: &StackSpec) {
    let boundary = spec.permissions_boundary.as_ref().map(Text::from);
    let role = |name: &str, description: String, statements: Vec<Statement>, policy_name| Role {
        assume_role_policy_document: trust(),
        description,
        permissions_boundary: boundary.clone(),
        policies: if statements.is_empty() {
            Vec::new()
        } else {
            vec![RolePolicy {
                policy_document: Document::new(statements),
                policy_name,
            }]
        },
        role_name: spec.role_name(name),
    };
    let name = spec.name();
    template.add(
        "ExecutionRole",
        &role(
            "execution",
            format!("Starts the tasks of {name}"),
            execution(spec),
            "start-tasks",
        ),
    );
    let exec = if spec.exec { vec![exec_statement()] } else { Vec::new() };
    template.add(
        "TaskRole",
        &role("task", format!("What the code of {name} may do"), exec, "exec"),
    );
}

/// ECS may assume the role, and only for this account's own tasks.
fn trust() -> Document {
    let service = Principal::Service("ecs-tasks.amazonaws.com".to_owned());
    Document::new(vec![Statement::trust("Ecs", service, "sts:AssumeRole").when(
        "StringEquals",
        "aws:SourceAccount",
        [Text::reference("AWS::AccountId")],
    )])
}

fn execution(spec: &StackSpec) -> Vec<Statement> {
    let mut statements = vec![
        // This one action knows no resources.
        Statement::allow("SignIn", &["ecr:GetAuthorizationToken"], ["*"]),
        Statement::allow(
            "Pull",
            &[
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            ],
            [Text::attribute("Repository", "Arn")],
        ),
    ];
    if !spec.services.is_empty() {
        // A log group's `Arn` ends in `:*`, which is its streams.
        let groups = spec
            .services
            .iter()
            .map(|s| Text::attribute(log_group_id(&s.name), "Arn"));
        statements.push(Statement::allow(
            "Log",
            &["logs:CreateLogStream", "logs:PutLogEvents"],
            groups,
        ));
    }
    let of_service = |name: &'static str| spec.secrets.iter().filter(move |a| a.service() == name).map(Text::from);
    let own = spec.database.iter().map(|_| Text::attribute("DatabaseUrl", "Id"));
    let secrets: Vec<Text> = own.chain(of_service("secretsmanager")).collect();
    if !secrets.is_empty() {
        statements.push(Statement::allow("Secrets", &["secretsmanager:GetSecretValue"], secrets));
    }
    let parameters: Vec<Text> = of_service("ssm").collect();
    if !parameters.is_empty() {
        statements.push(Statement::allow("Parameters", &["ssm:GetParameters"], parameters));
    }
    if !spec.kms_keys.is_empty() {
        statements.push(Statement::allow("Keys", &["kms:Decrypt"], &spec.kms_keys));
    }
    statements
}

fn exec_statement() -> Statement {
    Statement::allow(
        "Exec",
        &[
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ],
        ["*"],
    )
}
