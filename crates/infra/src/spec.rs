//! What an environment's stack is made from.
//!
//! Invariant: the same [`StackSpec`] always gives the same template, byte for byte; that is how "nothing changed" is told
//! without asking CloudFormation for a change set.

use std::fmt;

use nuages_aws::Quirks;
use nuages_model::{AppName, Arn, EnvName, Region, ServiceName, World};

/// One environment, sized.
#[derive(Debug, Clone, PartialEq)]
pub struct StackSpec {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
    /// The identity that a new stack gets. A stack that exists keeps its own.
    pub world: World,
    /// The region.
    pub region: Region,
    /// `aws`, `aws-cn`, …, as STS said it.
    pub partition: String,
    /// How tasks reach the internet.
    pub egress: Egress,
    /// The service behind the load balancer, if one is.
    pub web: Option<WebSpec>,
    /// The PostgreSQL database, if there is one.
    pub database: Option<DatabaseSpec>,
    /// Every service, `web` included: each has a log group, and its size goes into the cost estimate.
    pub services: Vec<ServiceSize>,
    /// What containers may be given: Secrets Manager secrets and SSM parameters, by full ARN. The stack's own
    /// `DATABASE_URL` needs no entry.
    pub secrets: Vec<Arn>,
    /// Customer keys that those secrets are encrypted with.
    pub kms_keys: Vec<Arn>,
    /// How long logs are kept, in days; one of the periods that CloudWatch Logs knows.
    pub log_retention_days: u16,
    /// Whether `exec` into running tasks is allowed.
    pub exec: bool,
    /// The boundary that every role of the stack gets.
    pub permissions_boundary: Option<Arn>,
    /// What the other side lacks, where it is an emulator.
    pub emulation: Emulation,
}

/// How tasks reach the internet, ECR, logs and secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// Tasks stand in public subnets with a public address of their own; their security group admits the load balancer
    /// only.
    Public,
    /// Tasks stand in private subnets behind NAT gateways.
    Nat {
        /// One gateway in each zone, or one for all (cheaper, and gone with its zone).
        per_zone: bool,
    },
    /// Tasks stand in private subnets and reach ECR, S3, logs and secrets through VPC endpoints, and nothing else.
    Endpoints,
}

impl Egress {
    /// Whether tasks need a public address.
    pub const fn assigns_public_ip(self) -> bool {
        matches!(self, Self::Public)
    }
}

/// The service behind the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSpec {
    /// The port that its container listens on.
    pub port: u16,
    /// The path that the load balancer asks, which must not depend on the database.
    pub health_live: String,
    /// The longest request that a deploy must not cut, in seconds.
    pub longest_request_seconds: u16,
    /// How people reach it.
    pub exposure: Exposure,
}

/// How people reach the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// By HTTPS under a domain; plain HTTP is redirected.
    Https(Domain),
    /// By plain HTTP under the load balancer's own name: for trying things out.
    InsecureHttp,
}

/// A domain and the Route 53 zone that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The full name, such as `staging.example.org`.
    pub name: String,
    /// The zone's id, such as `Z0123456789ABCDEFGHIJ`.
    pub hosted_zone_id: String,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSpec {
    /// PostgreSQL's version, such as `17` or `17.4`.
    pub version: String,
    /// The instance class, such as `db.t4g.micro`.
    pub class: String,
    /// Storage in GiB.
    pub storage_gib: u32,
    /// A standby in the second zone.
    pub multi_az: bool,
    /// Whether RDS refuses to delete it.
    pub deletion_protection: bool,
    /// How many days of backups are kept.
    pub backup_retention_days: u8,
}

/// A service's name and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSize {
    /// The name.
    pub name: ServiceName,
    /// CPU units; 1024 are one vCPU.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// How many tasks.
    pub count: u32,
}

/// What the other side lacks. Each field is a reason for one difference in the template or in what is done beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent lacks")]
pub struct Emulation {
    /// The database instance is made by the RDS API: the emulator's CloudFormation only records it.
    pub database_by_api: bool,
    /// There is no domain and no certificate: the load balancer speaks plain HTTP whatever the exposure.
    pub plain_http: bool,
    /// There are no NAT gateways: tasks reach the internet without.
    pub no_nat: bool,
    /// Nothing here is worth keeping: nothing is retained and no snapshot is taken.
    pub disposable: bool,
}

impl Emulation {
    /// Real AWS.
    pub const fn none() -> Self {
        Self {
            database_by_api: false,
            plain_http: false,
            no_nat: false,
            disposable: false,
        }
    }

    /// What the emulator behind these quirks lacks.
    ///
    /// ```
    /// use nuages_infra::Emulation;
    /// assert_eq!(Emulation::of(&nuages_aws::Quirks::none()), Emulation::none());
    /// ```
    pub fn of(quirks: &Quirks) -> Self {
        let emulated = quirks.is_emulator();
        Self {
            database_by_api: quirks.database_by_api(),
            plain_http: emulated,
            no_nat: emulated,
            disposable: emulated,
        }
    }
}

/// Why a stack cannot be made from these inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`, which cannot be: {why}")]
pub struct SpecError {
    /// Which input.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub why: String,
}

fn refuse(field: &'static str, value: &dyn fmt::Display, why: impl Into<String>) -> SpecError {
    SpecError {
        field,
        value: value.to_string().chars().take(100).collect(),
        why: why.into(),
    }
}

/// The retention periods that `PutRetentionPolicy` accepts.
const RETENTION_DAYS: [u16; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

impl StackSpec {
    /// `APP-ENV`: the load balancer, the cluster, the repository and the beginning of the roles' names.
    pub fn name(&self) -> String {
        format!("{}-{}", self.app, self.env)
    }

    /// The stack's name.
    pub fn stack_name(&self) -> String {
        stack_name(&self.app, &self.env)
    }

    /// The name of one of the stack's two roles. Roles are global, so the region is part of it.
    pub fn role_name(&self, role: &str) -> String {
        format!("{}-{}-{role}", self.name(), self.region)
    }

    /// The log group of a service.
    pub fn log_group(&self, service: &ServiceName) -> String {
        format!("/nuages/{}/{}/{service}", self.app, self.env)
    }

    /// Whether the load balancer terminates HTTPS.
    pub fn https(&self) -> Option<&Domain> {
        match &self.web.as_ref()?.exposure {
            Exposure::Https(domain) if !self.emulation.plain_http => Some(domain),
            _ => None,
        }
    }

    /// Refuses what CloudFormation would refuse only after minutes, or accept and get wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        let role = self.role_name("execution");
        if role.len() > 64 {
            return Err(refuse(
                "the execution role's name",
                &role,
                "IAM takes at most 64 characters",
            ));
        }
        if !RETENTION_DAYS.contains(&self.log_retention_days) {
            return Err(refuse(
                "the log retention",
                &format!("{} days", self.log_retention_days),
                format!("CloudWatch Logs keeps for one of {RETENTION_DAYS:?} days"),
            ));
        }
        self.validate_services()?;
        for arn in &self.secrets {
            if !matches!(arn.service(), "secretsmanager" | "ssm") || arn.name().contains('*') {
                return Err(refuse(
                    "a secret",
                    &arn,
                    "it must be the full ARN of a secret or of an SSM parameter",
                ));
            }
        }
        for arn in &self.kms_keys {
            if arn.service() != "kms" || !arn.resource().starts_with("key/") {
                return Err(refuse("a customer key", &arn, "it must be the ARN of a KMS key"));
            }
        }
        if let Some(web) = &self.web {
            validate_web(web)?;
        }
        if let Some(database) = &self.database {
            validate_database(database)?;
        }
        Ok(())
    }

    fn validate_services(&self) -> Result<(), SpecError> {
        let mut ids = std::collections::BTreeMap::new();
        for service in &self.services {
            let id = crate::template::log_group_id(&service.name);
            if let Some(other) = ids.insert(id, &service.name) {
                let why = format!("`{other}` gives the same resource name; rename one of the two");
                return Err(refuse("a service's name", &service.name, why));
            }
        }
        Ok(())
    }
}

fn validate_web(web: &WebSpec) -> Result<(), SpecError> {
    if web.port == 0 {
        return Err(refuse(
            "the web port",
            &web.port,
            "a container listens on a port from 1 to 65535",
        ));
    }
    let path = &web.health_live;
    if !path.starts_with('/') || path.len() > 1024 || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refuse(
            "the health check's path",
            &path,
            "it must begin with `/` and hold no spaces",
        ));
    }
    if web.longest_request_seconds > 3595 {
        return Err(refuse(
            "the longest request",
            &format!("{} s", web.longest_request_seconds),
            "a load balancer drains for at most an hour",
        ));
    }
    if let Exposure::Https(domain) = &web.exposure {
        let labels: Vec<&str> = domain.name.split('.').collect();
        let label_is_good = |label: &&str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if labels.len() < 2 || domain.name.len() > 253 || !labels.iter().all(label_is_good) {
            return Err(refuse(
                "the domain",
                &domain.name,
                "it must be a full lowercase name such as `www.example.org`",
            ));
        }
        let zone = &domain.hosted_zone_id;
        if zone.is_empty() || zone.len() > 32 || !zone.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return Err(refuse(
                "the hosted zone",
                &zone,
                "it must be a Route 53 zone id such as `Z0123456789ABC`",
            ));
        }
    }
    Ok(())
}

fn validate_database(database: &DatabaseSpec) -> Result<(), SpecError> {
    let version = &database.version;
    let numbers: Vec<&str> = version.split('.').collect();
    if numbers.len() > 2
        || !numbers
            .iter()
            .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(refuse(
            "the database's version",
            &version,
            "it must be a PostgreSQL version such as `17` or `17.4`",
        ));
    }
    let class = &database.class;
    if class.split('.').count() != 3 || !class.starts_with("db.") {
        return Err(refuse(
            "the database's class",
            &class,
            "it must be an RDS instance class such as `db.t4g.micro`",
        ));
    }
    if !(20..=65_536).contains(&database.storage_gib) {
        return Err(refuse(
            "the database's storage",
            &database.storage_gib,
            "RDS takes 20 to 65536 GiB of gp3",
        ));
    }
    // Zero would switch automated backups off, and with them point-in-time recovery.
    if !(1..=35).contains(&database.backup_retention_days) {
        return Err(refuse(
            "the backups' retention",
            &database.backup_retention_days,
            "RDS keeps backups for 1 to 35 days",
        ));
    }
    Ok(())
}

/// The name of an environment's stack.
pub fn stack_name(app: &AppName, env: &EnvName) -> String {
    format!("nuages-{app}-{env}")
}
