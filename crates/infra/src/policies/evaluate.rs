//! Whether a policy allows a call, worked out without asking AWS.
//!
//! Invariant: what cannot be decided counts as not allowed. A condition with an operator that is not known here never
//! holds, and a key that the request does not have makes its condition fail.

use std::collections::BTreeMap;

use crate::iam::{Conditions, Document, Effect, Statement};
use crate::template::Text;

/// One call, as IAM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The action, such as `ecs:UpdateService`.
    pub action: String,
    /// The resource's ARN, or `*` for actions that know none.
    pub resource: String,
    /// Condition keys that the request carries.
    pub context: BTreeMap<String, String>,
}

impl Request {
    /// A call without condition keys.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            context: BTreeMap::new(),
        }
    }

    /// Adds a condition key.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.context.insert(key.into(), value.into());
        self
    }
}

/// What a policy says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    Denied,
    /// No statement speaks of it, which is as good as a denial.
    NotAllowed,
}

/// What a policy says of a call.
pub fn evaluate(policy: &Document, request: &Request) -> Decision {
    let speaks = |effect: Effect| {
        policy
            .statement
            .iter()
            .any(|s| s.effect == effect && applies(s, request))
    };
    if speaks(Effect::Deny) {
        Decision::Denied
    } else if speaks(Effect::Allow) {
        Decision::Allowed
    } else {
        Decision::NotAllowed
    }
}

/// The calls that a policy does not allow.
pub fn check<'a>(policy: &Document, needed: &'a [Request]) -> Vec<&'a Request> {
    needed
        .iter()
        .filter(|request| evaluate(policy, request) != Decision::Allowed)
        .collect()
}

fn applies(statement: &Statement, request: &Request) -> bool {
    let action = request.action.to_ascii_lowercase();
    statement
        .action
        .iter()
        .any(|pattern| matches(&pattern.to_ascii_lowercase(), &action))
        && statement
            .resource
            .iter()
            .any(|resource| text_matches(resource, &request.resource))
        && conditions_hold(&statement.condition, &request.context)
}

fn conditions_hold(conditions: &Conditions, context: &BTreeMap<String, String>) -> bool {
    conditions.iter().all(|(operator, keys)| {
        keys.iter().all(|(key, wanted)| {
            let (operator, optional) = match operator.strip_suffix("IfExists") {
                Some(operator) => (operator, true),
                None => (operator.as_str(), false),
            };
            let Some(actual) = context.get(key) else {
                return optional;
            };
            wanted.iter().any(|wanted| match operator {
                "StringEquals" => literal(wanted) == Some(actual),
                "StringLike" | "ArnLike" | "ArnEquals" => text_matches(wanted, actual),
                _ => false,
            })
        })
    })
}

fn literal(text: &Text) -> Option<&str> {
    match text {
        Text::Literal(text) => Some(text),
        _ => None,
    }
}

fn text_matches(pattern: &Text, text: &str) -> bool {
    literal(pattern).is_some_and(|pattern| matches(pattern, text))
}

/// `*` stands for any number of characters and `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star does not fit: the star takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*:task/blog/*", "arn:aws:ecs:x:1:task/blog/7", true),
            ("a*b*c", "axbxbxc", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_with_any_part_starred(text in "[a-c*?]{0,12}", from in 0..12_usize, len in 0..12_usize) {
            let from = from.min(text.len());
            let to = (from + len).min(text.len());
            let pattern = format!("{}*{}", &text[..from], &text[to..]);
            prop_assert!(matches(&pattern, &text));
        }
    }

    #[test]
    fn deny_wins_and_unknown_operators_never_hold() {
        let allow = Statement::allow("A", &["s3:*"], ["*"]);
        let deny = Statement::deny("D", &["s3:DeleteBucket"], ["*"]);
        let odd = Statement::allow("O", &["sqs:*"], ["*"]).when("NumericLessThan", "k", ["1"]);
        let policy = Document::new(vec![allow, deny, odd]);
        assert_eq!(evaluate(&policy, &Request::new("s3:GetObject", "x")), Decision::Allowed);
        assert_eq!(
            evaluate(&policy, &Request::new("s3:DeleteBucket", "x")),
            Decision::Denied
        );
        assert_eq!(
            evaluate(&policy, &Request::new("sqs:Send", "x").with("k", "0")),
            Decision::NotAllowed
        );
    }
}
