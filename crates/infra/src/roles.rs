//! Whether tasks can start as the roles that they are given.
//!
//! Invariant: reads only. What the caller may not read is a warning and no failure: ECS may be allowed more than it.

use nuages_aws::AwsContext;
use nuages_aws::error::describe;
use nuages_model::{Arn, Finding};
use serde_json::Value;

use crate::iam::decode;

/// Who starts tasks.
const ECS: &str = "ecs-tasks.amazonaws.com";
const CALL: &str = "iam:GetRole";

/// Looks whether each role, given with what it is for people, is there and lets ECS assume it. One finding a role.
///
/// ```no_run
/// # async fn example(aws: nuages_aws::AwsContext, outputs: nuages_infra::StackOutputs) {
/// let roles = [("execution role", &outputs.execution_role), ("task role", &outputs.task_role)];
/// for finding in nuages_infra::verify_task_roles(&aws, &roles).await {
///     println!("{finding}");
/// }
/// # }
/// ```
pub async fn verify_task_roles(aws: &AwsContext, roles: &[(&str, &Arn)]) -> Vec<Finding> {
    let iam = aws_sdk_iam::Client::new(aws.sdk());
    let looks = roles.iter().map(|(what, arn)| look(&iam, what, arn));
    let found = futures_util::future::join_all(looks).await;
    let proof = format!("{CALL} as {}", aws.identity().arn);
    found.into_iter().map(|finding| finding.proof(&proof)).collect()
}

async fn look(iam: &aws_sdk_iam::Client, what: &str, arn: &Arn) -> Finding {
    let mend = "bring the stack up to date with `nuages infra up`";
    let role = match iam.get_role().role_name(arn.name()).send().await {
        Ok(answer) => answer.role,
        Err(error) => {
            let error = describe(CALL, &error);
            if error.kind == nuages_aws::Kind::NotFound {
                return Finding::fail(what, format!("{arn} does not exist, so no task can start")).hint(mend);
            }
            let finding = Finding::warn(what, format!("could not be looked at: {error}"));
            return match error.hint() {
                Some(hint) => finding.hint(hint),
                None => finding,
            };
        }
    };
    let trust = role.and_then(|role| decode(role.assume_role_policy_document()?));
    match trust {
        Some(trust) if lets_in(&trust, arn.account()) => Finding::ok(what, format!("ECS may start tasks as {arn}")),
        _ => Finding::fail(
            what,
            format!("the trust policy of {arn} does not let {ECS} assume it, so no task can start"),
        )
        .hint(format!("`nuages infra drift` shows what differs; {mend}")),
    }
}

/// Whether a trust policy lets ECS assume the role for tasks of this account.
fn lets_in(trust: &Value, account: &str) -> bool {
    let applies = |statement: &Value, effect: &str| {
        statement["Effect"] == effect
            && (holds(&statement["Principal"]["Service"], ECS) || statement["Principal"] == "*")
            && ["sts:AssumeRole", "sts:*", "*"]
                .iter()
                .any(|action| holds(&statement["Action"], action))
            && of_account(&statement["Condition"], account)
    };
    let statements = match &trust["Statement"] {
        Value::Array(statements) => statements.iter().collect(),
        one => vec![one],
    };
    statements.iter().any(|s| applies(s, "Allow")) && !statements.iter().any(|s| applies(s, "Deny"))
}

/// Whether a list, or the one text that may stand in its place, has this text.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| holds(value, text)),
        value => value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(text)),
    }
}

/// The one condition that ECS is known to be asked: whose task it is. Others are left to IAM.
fn of_account(condition: &Value, account: &str) -> bool {
    let conditions = condition.as_object().into_iter().flatten();
    conditions
        .filter(|(operator, _)| operator.starts_with("StringEquals"))
        .filter_map(|(_, keys)| keys.as_object())
        .flatten()
        .filter(|(key, _)| key.eq_ignore_ascii_case("aws:SourceAccount"))
        .all(|(_, wanted)| holds(wanted, account))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lets(statement: &Value) -> bool {
        lets_in(
            &json!({"Version": "2012-10-17", "Statement": statement}),
            "123456789012",
        )
    }

    #[test]
    fn trust_is_read_in_every_form_that_iam_takes() {
        let plain = json!({"Effect": "Allow", "Principal": {"Service": ECS}, "Action": "sts:AssumeRole"});
        assert!(lets(&plain) && lets(&json!([plain])));
        let mut several = plain.clone();
        several["Principal"] = json!({"Service": ["ec2.amazonaws.com", ECS]});
        several["Action"] = json!(["sts:TagSession", "sts:AssumeRole"]);
        several["Condition"] = json!({"StringEquals": {"aws:SourceAccount": ["123456789012"]}});
        assert!(lets(&several));
        assert!(!lets(
            &json!([plain, {"Effect": "Deny", "Principal": "*", "Action": "sts:*"}])
        ));
        for (key, other) in [
            ("Effect", json!("Deny")),
            ("Principal", json!({"Service": "ec2.amazonaws.com"})),
            ("Principal", json!({"AWS": "arn:aws:iam::123456789012:root"})),
            ("Action", json!("sts:AssumeRoleWithWebIdentity")),
            (
                "Condition",
                json!({"StringEquals": {"aws:SourceAccount": "999999999999"}}),
            ),
        ] {
            let mut statement = plain.clone();
            statement[key] = other;
            assert!(!lets(&statement), "{statement}");
        }
        assert!(!lets(&Value::Null));
    }
}
