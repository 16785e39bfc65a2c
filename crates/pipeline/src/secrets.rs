//! `[secrets]`: from the configuration's words to those of the secrets manager.

use std::collections::BTreeMap;

use nuages_config::{Provider, SecretSource};
use nuages_infra::StackOutputs;
use nuages_model::{Arn, SecretVersion};
use nuages_secrets::{Inspection, Resolved, Scope, SecretsManager, Source, Wanted};

use crate::error::PipelineError;
use crate::session::Session;

/// The secrets manager of the environment.
pub(crate) fn manager(session: &Session) -> SecretsManager {
    let config = &session.config;
    SecretsManager::new(
        &session.aws,
        Scope::new(config.app.name.clone(), config.env.name.clone()),
    )
}

/// What the configuration wants. The database's URL is known only once the stack stands.
pub(crate) fn wanted(session: &Session, database_url: Option<&Arn>) -> Vec<Wanted> {
    let source = |source: &SecretSource| {
        Some(match source {
            SecretSource::Generate { generate } => Source::Generate {
                length: u16::try_from(*generate).unwrap_or(u16::MAX),
                name: None,
            },
            SecretSource::From {
                from: Provider::Database,
            } => Source::DatabaseUrl {
                arn: database_url?.clone(),
            },
            SecretSource::Secret { secret, key, optional } => Source::Existing {
                secret: secret.clone(),
                key: key.clone(),
                optional: *optional,
            },
            SecretSource::Parameter { parameter, optional } => Source::Parameter {
                name: parameter.clone(),
                optional: *optional,
            },
        })
    };
    session
        .config
        .secrets
        .iter()
        .filter_map(|(variable, from)| Some(Wanted::new(variable, source(from)?)))
        .collect()
}

/// The database URL's secret, where the configuration asks for one and the stack has it.
pub(crate) fn database_url(outputs: Option<&StackOutputs>) -> Option<&Arn> {
    outputs
        .and_then(|outputs| outputs.database.as_ref())
        .map(|database| &database.url_secret)
}

/// Whether any variable is the database's URL.
pub(crate) fn wants_database(session: &Session) -> bool {
    session.config.secrets.values().any(|source| {
        matches!(
            source,
            SecretSource::From {
                from: Provider::Database
            }
        )
    })
}

/// Variable → where its value stands.
pub(crate) fn by_variable(resolved: &Resolved) -> BTreeMap<String, SecretVersion> {
    resolved
        .references
        .iter()
        .map(|reference| (reference.variable.clone(), reference.version.clone()))
        .collect()
}

/// The same of an inspection, for a plan that makes nothing.
pub(crate) fn as_resolved(inspection: Inspection) -> Resolved {
    Resolved {
        references: inspection.references,
        omitted: inspection.omitted,
        changes: Vec::new(),
        warnings: inspection.warnings,
    }
}

/// Refuses a configuration whose secrets need a database that it does not have.
pub(crate) fn check_database(session: &Session) -> Result<(), PipelineError> {
    if wants_database(session) && session.config.database.is_none() {
        return Err(PipelineError::Arguments {
            what: "a secret comes `from = \"database\"`, and there is no [database]".into(),
            hint: Some("add [database] to nuages.toml, or name a secret of your own".into()),
        });
    }
    Ok(())
}
