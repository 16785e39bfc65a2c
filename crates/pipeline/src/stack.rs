//! The environment's stack, as the configuration sizes it.

use nuages_config::{Config, Egress as ConfigEgress};
use nuages_infra::{
    DatabaseSpec, Domain, Egress, Emulation, Exposure, ServiceSize, Stack, StackOutputs, StackSpec, WebSpec,
};
use nuages_model::{Arn, World};
use nuages_secrets::Resolved;
use url::Url;

use crate::error::PipelineError;
use crate::session::Session;

/// Longer requests are cut by a deployment; it is also the load balancer's own idle timeout.
const LONGEST_REQUEST_SECONDS: u16 = 60;
const LOG_RETENTION_DAYS: u16 = 30;

/// The environment's stack.
pub(crate) fn stack(session: &Session) -> Stack {
    Stack::new(&session.aws, &session.config.app.name, &session.config.env.name)
}

/// What the stack must be.
pub(crate) fn spec(
    session: &Session,
    secrets: &Resolved,
    database_url: Option<&Arn>,
) -> Result<StackSpec, PipelineError> {
    let config = &session.config;
    let emulation = Emulation::of(session.aws.quirks());
    let kms_keys: Vec<Arn> = secrets
        .kms_keys()
        .into_iter()
        .filter_map(|key| key.parse().ok())
        .collect();
    Ok(StackSpec {
        app: config.app.name.clone(),
        env: config.env.name.clone(),
        world: World::generate(),
        region: config.region.clone(),
        partition: session.aws.identity().partition().to_owned(),
        egress: match config.network.egress {
            ConfigEgress::Public => Egress::Public,
            ConfigEgress::Nat => Egress::Nat { per_zone: false },
            ConfigEgress::Endpoints => Egress::Endpoints,
        },
        web: web(config, emulation)?,
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
        permissions_boundary: None,
        emulation,
    })
}

fn web(config: &Config, emulation: Emulation) -> Result<Option<WebSpec>, PipelineError> {
    let Some((_, service)) = config.web() else {
        return Ok(None);
    };
    let (Some(port), Some(health)) = (service.port, &service.health) else {
        return Ok(None);
    };
    let exposure = match (&config.domain, &config.hosted_zone) {
        _ if config.insecure_http || emulation.plain_http => Exposure::InsecureHttp,
        (Some(name), Some(zone)) => Exposure::Https(Domain {
            name: name.clone(),
            hosted_zone_id: zone.clone(),
        }),
        (Some(name), None) => {
            return Err(PipelineError::Arguments {
                what: format!("the domain `{name}` needs the Route 53 zone that it is in"),
                hint: Some(
                    "set `hosted_zone` of the environment to the zone's id; `aws route53 list-hosted-zones` lists them"
                        .into(),
                ),
            });
        }
        (None, _) => Exposure::InsecureHttp,
    };
    Ok(Some(WebSpec {
        port,
        health_live: health.live.clone(),
        longest_request_seconds: LONGEST_REQUEST_SECONDS,
        exposure,
    }))
}

/// How people reach the environment: its URL, and whether it is plain HTTP.
pub(crate) fn public_url(session: &Session, outputs: &StackOutputs) -> Result<Option<Url>, PipelineError> {
    let Some(web) = &outputs.web else { return Ok(None) };
    let url = match &web.domain {
        Some(domain) => Url::parse(&format!("https://{domain}/")),
        None => session.aws.quirks().load_balancer_url(&web.dns_name, false),
    };
    Ok(Some(url.map_err(|e| {
        PipelineError::machine("put together the environment's URL", e)
    })?))
}
