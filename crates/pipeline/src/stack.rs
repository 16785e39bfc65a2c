//! The environment's stack, as the configuration sizes it.
//!
//! Invariant: a domain is served over HTTPS, and the stack's roles keep the boundary that was made for them; where
//! either cannot be found out, nothing is changed.

use nuages_config::{Config, Egress as ConfigEgress, SecretSource};
use nuages_infra::policies::Place;
use nuages_infra::{
    Bootstrapped, DatabaseSpec, Domain, Egress, Emulation, Exposure, InfraError, ServiceSize, Stack, StackOutputs,
    StackSpec, WebSpec,
};
use nuages_model::{Arn, World};
use nuages_saga::MessageLevel;
use nuages_secrets::Resolved;
use url::Url;

use crate::environment::Environment;
use crate::error::PipelineError;
use crate::session::Session;
use crate::ui::Ui;

/// Longer requests are cut by a deployment; it is also the load balancer's own idle timeout.
const LONGEST_REQUEST_SECONDS: u16 = 60;
const LOG_RETENTION_DAYS: u16 = 30;

/// The environment's stack, to look at.
pub(crate) fn stack(environment: &Environment) -> Stack {
    Stack::new(&environment.aws, environment.app(), environment.env())
}

/// The environment's stack, worked on as the role that was made for it where there is one.
pub(crate) fn managed(session: &Session, made: Option<&Bootstrapped>) -> Stack {
    stack(session).with_service_role(made.map(|made| made.service_role.clone()))
}

/// The role that CloudFormation works as, and the boundary, where `infra bootstrap` made them.
pub(crate) async fn bootstrapped(session: &Session) -> Result<Option<Bootstrapped>, PipelineError> {
    if session.config.emulator.is_some() {
        // It lives on this machine, and everybody who reaches it may do everything.
        return Ok(None);
    }
    Ok(nuages_infra::bootstrapped(&session.aws, &place(session, None)).await?)
}

/// Says with whose rights a stack is changed, where that may surprise.
pub(crate) fn tell_rights(session: &Session, made: Option<&Bootstrapped>, ui: &Ui) {
    if made.is_none() && !session.aws.quirks().is_emulator() {
        let env = &session.config.env.name;
        let hint = format!("`nuages infra bootstrap --env {env} --apply`, once, gives it a role with a boundary");
        let text = "CloudFormation works with your own rights";
        ui.events.message(MessageLevel::Info, text, Some(hint));
    }
}

/// The environment as its policies name it.
pub(crate) fn place(session: &Session, hosted_zone: Option<String>) -> Place {
    let config = &session.config;
    let named =
        |pick: fn(&SecretSource) -> Option<&String>| config.secrets.values().filter_map(pick).cloned().collect();
    Place {
        app: config.app.name.clone(),
        env: config.env.name.clone(),
        region: session.aws.region().clone(),
        account: session.aws.identity().account.clone(),
        partition: session.aws.identity().partition().to_owned(),
        hosted_zone,
        secrets: named(|source| match source {
            SecretSource::Secret { secret, .. } => Some(secret),
            _ => None,
        }),
        parameters: named(|source| match source {
            SecretSource::Parameter { parameter, .. } => Some(parameter),
            _ => None,
        }),
    }
}

/// The domain with its zone: the one that is named, else the one that Route 53 has. None where plain HTTP is served.
pub(crate) async fn domain(session: &Session) -> Result<Option<Domain>, PipelineError> {
    let config = &session.config;
    let plain = config.insecure_http || Emulation::of(session.aws.quirks()).plain_http;
    let Some(name) = config.domain.clone().filter(|_| !plain) else {
        return Ok(None);
    };
    let hosted_zone_id = match &config.hosted_zone {
        Some(zone) => zone.clone(),
        None => nuages_infra::find_zone(&session.aws, &name).await.map_err(unfit)?,
    };
    Ok(Some(Domain { name, hosted_zone_id }))
}

/// A domain that the account has no zone for, or several, is a matter of the configuration.
fn unfit(error: InfraError) -> PipelineError {
    match error {
        InfraError::NoZone { .. } | InfraError::SeveralZones { .. } => PipelineError::Arguments {
            what: error.to_string(),
            hint: error.hint(),
        },
        error => error.into(),
    }
}

/// What is known of the place where a stack is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct There {
    partition: String,
    emulation: Emulation,
}

impl There {
    /// As the identity and the endpoint of a connection say it.
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            partition: session.aws.identity().partition().to_owned(),
            emulation: Emulation::of(session.aws.quirks()),
        }
    }

    /// As far as it can be known without a connection: enough for an estimate.
    pub(crate) fn unasked(config: &Config) -> Self {
        Self {
            partition: "aws".to_owned(),
            emulation: Emulation::of(&crate::session::quirks(config)),
        }
    }
}

/// What the stack must be.
pub(crate) fn spec(
    config: &Config,
    there: There,
    secrets: &Resolved,
    database_url: Option<&Arn>,
    made: Option<&Bootstrapped>,
    domain: Option<Domain>,
) -> StackSpec {
    let kms_keys: Vec<Arn> = secrets
        .kms_keys()
        .into_iter()
        .filter_map(|key| key.parse().ok())
        .collect();
    StackSpec {
        app: config.app.name.clone(),
        env: config.env.name.clone(),
        world: World::generate(),
        region: config.region.clone(),
        partition: there.partition,
        egress: match config.network.egress {
            ConfigEgress::Public => Egress::Public,
            ConfigEgress::Nat => Egress::Nat { per_zone: false },
            ConfigEgress::Endpoints => Egress::Endpoints,
        },
        web: web(config, domain),
        database: config.database.as_ref().map(|database| DatabaseSpec {
            version: database.version.clone(),
            class: database.class.clone(),
            storage_gib: database.storage,
            multi_az: database.multi_az,
            deletion_protection: database.deletion_protection,
            backup_retention_days: u8::try_from(database.backup_retention).unwrap_or(u8::MAX),
        }),
        services: config
            .services
            .iter()
            .map(|(name, service)| ServiceSize {
                name: name.clone(),
                cpu: service.cpu,
                memory: service.memory,
                count: service.count,
            })
            .collect(),
        // The stack's own secret needs no grant beside the one that the stack gives itself.
        secrets: secrets
            .arns()
            .into_iter()
            .filter(|arn| Some(*arn) != database_url)
            .cloned()
            .collect(),
        kms_keys,
        log_retention_days: LOG_RETENTION_DAYS,
        exec: false,
        permissions_boundary: made.map(|made| made.boundary.clone()),
        emulation: there.emulation,
    }
}

fn web(config: &Config, domain: Option<Domain>) -> Option<WebSpec> {
    let (_, service) = config.web()?;
    Some(WebSpec {
        port: service.port?,
        health_live: service.health.as_ref()?.live.clone(),
        longest_request_seconds: LONGEST_REQUEST_SECONDS,
        exposure: domain.map_or(Exposure::InsecureHttp, Exposure::Https),
    })
}

/// How people reach the environment: its URL, and whether it is plain HTTP.
pub(crate) fn public_url(environment: &Environment, outputs: &StackOutputs) -> Result<Option<Url>, PipelineError> {
    let Some(web) = &outputs.web else { return Ok(None) };
    let url = match &web.domain {
        Some(domain) => Url::parse(&format!("https://{domain}/")),
        None => environment.aws.quirks().load_balancer_url(&web.dns_name, false),
    };
    Ok(Some(url.map_err(|e| {
        PipelineError::machine("put together the environment's URL", e)
    })?))
}

#[cfg(test)]
pub(crate) mod tests;
