//! `[secrets]`: where the secret environment variables come from.
//!
//! Invariant: a value is never here, only the name of the place that holds it.

use std::collections::BTreeMap;

use nuages_model::Arn;
use serde::Serialize;

use crate::node::Span;
use crate::problem::Problem;
use crate::reader::{Field, Section};
use crate::variables;
use crate::words::shown;

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SecretSource {
    /// Made once, with so many random characters, and kept.
    Generate {
        /// The number of characters.
        generate: u32,
    },
    /// From a resource of the environment's own.
    From {
        /// The resource.
        from: Provider,
    },
    /// A secret in Secrets Manager.
    Secret {
        /// Its name or ARN.
        secret: String,
        /// The key within its JSON; the whole text where it is not named.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Left out where the secret does not exist, instead of stopping the deployment.
        optional: bool,
    },
    /// A parameter in SSM Parameter Store.
    Parameter {
        /// Its name or ARN.
        parameter: String,
        /// Left out where the parameter does not exist, instead of stopping the deployment.
        optional: bool,
    },
}

/// A resource of the environment that provides a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The URL of the managed database.
    Database,
}

const FORMS: &str = "one of { generate = 50 }, { from = \"database\" }, { secret = \"blog/sentry\", key = \"dsn\" } \
                     and { parameter = \"/blog/sentry\" }";

/// The secrets, and the place of each that needs a database.
pub(crate) fn read(field: Option<Field<'_>>) -> (BTreeMap<String, SecretSource>, Vec<Span>) {
    let mut secrets = BTreeMap::new();
    let mut need_database = Vec::new();
    for entry in field.and_then(|field| field.entries()).unwrap_or_default() {
        let named = variables::check_name(&entry);
        let Some(source) = source(&entry) else { continue };
        if matches!(
            source,
            SecretSource::From {
                from: Provider::Database
            }
        ) {
            need_database.push(entry.node.span.clone());
        }
        if named {
            secrets.insert(entry.name.to_owned(), source);
        }
    }
    (secrets, need_database)
}

fn source(field: &Field<'_>) -> Option<SecretSource> {
    if field.node.as_table().is_none() {
        // The value is not shown again: terminals scroll back, and CI keeps its logs.
        field.notes.add(
            field
                .problem(
                    format!("the value of the secret `{}` stands in the file", shown(field.name)),
                    "a value",
                )
                .hide(&field.node.span)
                .help(format!(
                    "name the place that holds it: {FORMS}; what is no secret belongs into [env]"
                )),
        );
        return None;
    }
    let mut section = field.section(format!("secrets.{}", field.name))?;
    let generate = section.get("generate");
    let from = section.get("from");
    let secret = section.get("secret");
    let parameter = section.get("parameter");
    let key = section.get("key");
    let optional = section.get("optional");

    let forms: Vec<Field<'_>> = [generate, from, secret, parameter].into_iter().flatten().collect();
    let read = match forms.as_slice() {
        [only] => match only.name {
            "generate" => only
                .number(16..=4096)
                .map(|generate| SecretSource::Generate { generate }),
            "from" => only
                .choice(&[("database", Provider::Database)])
                .map(|from| SecretSource::From { from }),
            "secret" => secret_name(only).map(|secret| SecretSource::Secret {
                secret,
                key: key.and_then(|key| key.words()).map(str::to_owned),
                optional: optional.and_then(|optional| optional.flag()).unwrap_or(false),
            }),
            _ => parameter_name(only).map(|parameter| SecretSource::Parameter {
                parameter,
                optional: optional.and_then(|optional| optional.flag()).unwrap_or(false),
            }),
        },
        [] => {
            section.notes.add(
                field
                    .problem(
                        format!(
                            "the secret `{}` does not say where its value comes from",
                            shown(field.name)
                        ),
                        "here",
                    )
                    .help(FORMS),
            );
            None
        }
        [first, second, ..] => {
            section.notes.add(
                Problem::new(format!("the secret `{}` has two sources", shown(field.name)))
                    .at(first.key, "one")
                    .at(second.key, "and another")
                    .help(FORMS),
            );
            None
        }
    };
    let form = forms.first().map_or("", |form| form.name);
    misplaced(&section, key, matches!(form, "secret"), "goes with `secret` only");
    misplaced(
        &section,
        optional,
        matches!(form, "secret" | "parameter"),
        "goes with `secret` and `parameter` only",
    );
    section.finish();
    read
}

fn misplaced(section: &Section<'_>, field: Option<Field<'_>>, fits: bool, label: &str) {
    if let Some(field) = field.filter(|_| !fits) {
        section
            .notes
            .add(Problem::new(format!("`{}` has no meaning here", field.name)).at(field.key, label));
    }
}

fn secret_name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    if name.starts_with("arn:") {
        return arn(field, "secretsmanager");
    }
    let valid = (1..=512).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '=' | '.' | '@' | '-'));
    if !valid {
        field.notes.add(
            field
                .problem(format!("`{}` is not the name of a secret", shown(name)), "here")
                .help("letters, digits and /_+=.@-, at most 512 characters; or the whole ARN"),
        );
    }
    valid.then(|| name.to_owned())
}

fn parameter_name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    if name.starts_with("arn:") {
        return arn(field, "ssm");
    }
    let valid = name.starts_with('/')
        && name.len() <= 1011
        && !name.ends_with('/')
        && !name.contains("//")
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-'));
    if !valid {
        field.notes.add(
            field
                .problem(format!("`{}` is not the path of a parameter", shown(name)), "here")
                .help("a path of letters, digits and _.- such as \"/blog/sentry-dsn\"; or the whole ARN"),
        );
    }
    valid.then(|| name.to_owned())
}

fn arn(field: &Field<'_>, service: &str) -> Option<String> {
    let arn = field.parsed::<Arn>()?;
    if arn.service() != service {
        field.notes.add(field.problem(
            format!(
                "this is an ARN of `{}`, and one of `{service}` is needed",
                shown(arn.service())
            ),
            "here",
        ));
        return None;
    }
    Some(arn.to_string())
}
