//! What the stack tells the deployer.
//!
//! Invariant: what `add` puts into a template, [`StackOutputs::parse`] takes out of the stack again.

use std::collections::BTreeMap;

use nuages_model::{Arn, ServiceName, World};
use serde::Serialize;

use super::{Template, Text, log_group_id, network};
use crate::spec::{Egress, StackSpec};

/// One output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Output {
    pub(crate) description: String,
    pub(crate) value: Text,
}

/// Everything that a deployment needs to know of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackOutputs {
    /// The environment's identity.
    pub world: World,
    /// What the template hashed to that the stack was made from.
    pub template_hash: String,
    /// The network.
    pub vpc_id: String,
    /// Where tasks run.
    pub task_subnets: Vec<String>,
    /// Whether tasks must ask for a public address there.
    pub assign_public_ip: bool,
    /// The tasks' security group.
    pub task_security_group: String,
    /// The ECS cluster's name.
    pub cluster: String,
    /// The ECS cluster's ARN.
    pub cluster_arn: Arn,
    /// The image repository's name.
    pub repository: String,
    /// The image repository as AWS calls it, `ACCOUNT.dkr.ecr.REGION.…/NAME`.
    pub repository_uri: String,
    /// The role that starts tasks.
    pub execution_role: Arn,
    /// The role that the application's code holds.
    pub task_role: Arn,
    /// Each service's log group.
    pub log_groups: BTreeMap<ServiceName, String>,
    /// The load balancer, if there is one.
    pub web: Option<WebOutputs>,
    /// The database, if there is one.
    pub database: Option<DatabaseOutputs>,
}

/// The load balancer and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOutputs {
    /// The load balancer.
    pub load_balancer: Arn,
    /// Its own name in DNS.
    pub dns_name: String,
    /// The listener that leads to the application.
    pub listener: Arn,
    /// Where tasks register.
    pub target_group: Arn,
    /// The load balancer's security group.
    pub security_group: String,
    /// The domain, where HTTPS is served.
    pub domain: Option<String>,
}

/// The database and its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseOutputs {
    /// The instance's identifier.
    pub identifier: String,
    /// The secret that is `DATABASE_URL`, whole.
    pub url_secret: Arn,
    /// The master user's secret, JSON with `username` and `password`.
    pub password_secret: Arn,
    /// Its security group.
    pub security_group: String,
    /// Its subnet group.
    pub subnet_group: String,
}

/// Why a stack's outputs cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stack's output {key} is {}", value.as_ref().map_or_else(|| "missing".to_owned(), |v| format!("`{v}`, which makes no sense")))]
pub struct OutputError {
    key: &'static str,
    value: Option<String>,
}

/// Name and description, as people see them in the console.
struct Key {
    name: &'static str,
    about: &'static str,
}

/// Every output but the services' log groups: each name stands here and nowhere else.
mod key {
    use super::Key;

    const fn key(name: &'static str, about: &'static str) -> Key {
        Key { name, about }
    }

    pub(super) const WORLD: Key = key("World", "The environment's identity");
    pub(super) const VPC_ID: Key = key("VpcId", "The network");
    pub(super) const TASK_SUBNETS: Key = key("TaskSubnets", "Where tasks run");
    pub(super) const ASSIGN_PUBLIC_IP: Key = key("AssignPublicIp", "Whether tasks ask for a public address");
    pub(super) const TASK_SECURITY_GROUP: Key = key("TaskSecurityGroup", "The tasks' security group");
    pub(super) const CLUSTER_NAME: Key = key("ClusterName", "The ECS cluster");
    pub(super) const CLUSTER_ARN: Key = key("ClusterArn", "The ECS cluster's ARN");
    pub(super) const REPOSITORY_NAME: Key = key("RepositoryName", "The image repository");
    pub(super) const REPOSITORY_URI: Key = key("RepositoryUri", "Where images are pushed");
    pub(super) const EXECUTION_ROLE_ARN: Key = key("ExecutionRoleArn", "The role that starts tasks");
    pub(super) const TASK_ROLE_ARN: Key = key("TaskRoleArn", "The role that the application's code holds");
    pub(super) const LOAD_BALANCER_ARN: Key = key("LoadBalancerArn", "The load balancer");
    pub(super) const LOAD_BALANCER_DNS_NAME: Key = key("LoadBalancerDnsName", "The load balancer's own name");
    pub(super) const LISTENER_ARN: Key = key("ListenerArn", "The listener of the application");
    pub(super) const TARGET_GROUP_ARN: Key = key("TargetGroupArn", "Where tasks register");
    pub(super) const LOAD_BALANCER_SECURITY_GROUP: Key =
        key("LoadBalancerSecurityGroup", "The load balancer's security group");
    pub(super) const DOMAIN: Key = key("Domain", "Where people find the application");
    pub(super) const DATABASE_IDENTIFIER: Key = key("DatabaseIdentifier", "The database instance");
    pub(super) const DATABASE_URL_SECRET_ARN: Key = key("DatabaseUrlSecretArn", "The secret that is DATABASE_URL");
    pub(super) const DATABASE_PASSWORD_SECRET_ARN: Key = key("DatabasePasswordSecretArn", "The master user's secret");
    pub(super) const DATABASE_SECURITY_GROUP: Key = key("DatabaseSecurityGroup", "The database's security group");
    pub(super) const DATABASE_SUBNET_GROUP: Key = key("DatabaseSubnetGroup", "The database's subnet group");
    pub(super) const TEMPLATE_HASH: Key = key("TemplateHash", "What this template and its tags hash to");
}

/// The key of the output that holds the template's own hash.
pub(crate) const HASH_OUTPUT: &str = key::TEMPLATE_HASH.name;

/// Adds the hash of all the rest.
pub(super) fn add_hash(template: &mut Template, hash: &str) {
    let key = key::TEMPLATE_HASH;
    template.output(key.name, key.about, hash);
}

pub(super) fn add(template: &mut Template, spec: &StackSpec) {
    let task_subnets = match spec.egress {
        Egress::Public => network::public_subnets(),
        Egress::Nat { .. } | Egress::Endpoints => network::private_subnets(),
    };
    let public_ip = if spec.egress.assigns_public_ip() {
        "ENABLED"
    } else {
        "DISABLED"
    };
    let mut out = |key: &Key, value: Text| template.output(key.name, key.about, value);
    out(&key::WORLD, spec.world.to_string().into());
    out(&key::VPC_ID, Text::reference("Vpc"));
    out(&key::TASK_SUBNETS, Text::List(task_subnets));
    out(&key::ASSIGN_PUBLIC_IP, public_ip.into());
    out(&key::TASK_SECURITY_GROUP, Text::attribute("TaskGroup", "GroupId"));
    out(&key::CLUSTER_NAME, Text::reference("Cluster"));
    out(&key::CLUSTER_ARN, Text::attribute("Cluster", "Arn"));
    out(&key::REPOSITORY_NAME, Text::reference("Repository"));
    out(&key::REPOSITORY_URI, Text::attribute("Repository", "RepositoryUri"));
    out(&key::EXECUTION_ROLE_ARN, Text::attribute("ExecutionRole", "Arn"));
    out(&key::TASK_ROLE_ARN, Text::attribute("TaskRole", "Arn"));
    if spec.web.is_some() {
        out(&key::LOAD_BALANCER_ARN, Text::reference("LoadBalancer"));
        out(&key::LOAD_BALANCER_DNS_NAME, Text::attribute("LoadBalancer", "DNSName"));
        out(&key::LISTENER_ARN, Text::reference("Listener"));
        out(&key::TARGET_GROUP_ARN, Text::reference("TargetGroup"));
        out(
            &key::LOAD_BALANCER_SECURITY_GROUP,
            Text::attribute("LoadBalancerGroup", "GroupId"),
        );
        if let Some(domain) = spec.https() {
            out(&key::DOMAIN, domain.name.as_str().into());
        }
    }
    if spec.database.is_some() {
        let identifier = if spec.emulation.database_by_api {
            spec.name().into()
        } else {
            Text::reference("Database")
        };
        out(&key::DATABASE_IDENTIFIER, identifier);
        out(&key::DATABASE_URL_SECRET_ARN, Text::attribute("DatabaseUrl", "Id"));
        out(
            &key::DATABASE_PASSWORD_SECRET_ARN,
            Text::attribute("DatabasePassword", "Id"),
        );
        out(
            &key::DATABASE_SECURITY_GROUP,
            Text::attribute("DatabaseGroup", "GroupId"),
        );
        out(&key::DATABASE_SUBNET_GROUP, Text::reference("DatabaseSubnets"));
    }
    for service in &spec.services {
        let about = format!("Where {} logs", service.name);
        template.output(
            log_group_id(&service.name),
            &about,
            Text::reference(log_group_id(&service.name)),
        );
    }
}

impl StackOutputs {
    /// Reads a stack's outputs.
    pub fn parse<'a>(outputs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OutputError> {
        let map: BTreeMap<&str, &str> = outputs.into_iter().collect();
        let reader = Reader(&map);
        let web = match map.get(key::LOAD_BALANCER_ARN.name) {
            None => None,
            Some(_) => Some(WebOutputs {
                load_balancer: reader.parse(&key::LOAD_BALANCER_ARN)?,
                dns_name: reader.text(&key::LOAD_BALANCER_DNS_NAME)?,
                listener: reader.parse(&key::LISTENER_ARN)?,
                target_group: reader.parse(&key::TARGET_GROUP_ARN)?,
                security_group: reader.text(&key::LOAD_BALANCER_SECURITY_GROUP)?,
                domain: map.get(key::DOMAIN.name).map(|&d| d.to_owned()),
            }),
        };
        let database = match map.get(key::DATABASE_IDENTIFIER.name) {
            None => None,
            Some(_) => Some(DatabaseOutputs {
                identifier: reader.text(&key::DATABASE_IDENTIFIER)?,
                url_secret: reader.parse(&key::DATABASE_URL_SECRET_ARN)?,
                password_secret: reader.parse(&key::DATABASE_PASSWORD_SECRET_ARN)?,
                security_group: reader.text(&key::DATABASE_SECURITY_GROUP)?,
                subnet_group: reader.text(&key::DATABASE_SUBNET_GROUP)?,
            }),
        };
        // `/nuages/APP/ENV/SERVICE`
        let log_groups = map
            .iter()
            .filter(|(key, _)| key.starts_with("Log"))
            .filter_map(|(_, &group)| {
                let service: ServiceName = group.rsplit('/').next()?.parse().ok()?;
                group.starts_with("/nuages/").then(|| (service, group.to_owned()))
            });
        Ok(Self {
            world: reader.parse(&key::WORLD)?,
            template_hash: reader.text(&key::TEMPLATE_HASH)?,
            vpc_id: reader.text(&key::VPC_ID)?,
            task_subnets: reader.text(&key::TASK_SUBNETS)?.split(',').map(str::to_owned).collect(),
            assign_public_ip: reader.text(&key::ASSIGN_PUBLIC_IP)? == "ENABLED",
            task_security_group: reader.text(&key::TASK_SECURITY_GROUP)?,
            cluster: reader.text(&key::CLUSTER_NAME)?,
            cluster_arn: reader.parse(&key::CLUSTER_ARN)?,
            repository: reader.text(&key::REPOSITORY_NAME)?,
            repository_uri: reader.text(&key::REPOSITORY_URI)?,
            execution_role: reader.parse(&key::EXECUTION_ROLE_ARN)?,
            task_role: reader.parse(&key::TASK_ROLE_ARN)?,
            log_groups: log_groups.collect(),
            web,
            database,
        })
    }
}

struct Reader<'a>(&'a BTreeMap<&'a str, &'a str>);

impl Reader<'_> {
    fn text(&self, key: &Key) -> Result<String, OutputError> {
        self.0.get(key.name).map(|&v| v.to_owned()).ok_or(OutputError {
            key: key.name,
            value: None,
        })
    }

    fn parse<T: std::str::FromStr>(&self, key: &Key) -> Result<T, OutputError> {
        let text = self.text(key)?;
        text.parse().map_err(|_| OutputError {
            key: key.name,
            value: Some(text),
        })
    }
}
