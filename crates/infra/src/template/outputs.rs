//! What the stack tells the deployer.
//!
//! Invariant: what [`add`] puts into a template, [`StackOutputs::parse`] takes out of the stack again.

use std::collections::BTreeMap;

use nuages_model::{Arn, ServiceName, World};
use serde::Serialize;

use super::{HASH_OUTPUT, Template, Text, log_group_id, network};
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
    let mut out = |id: &'static str, about: &str, value: Text| template.output(id, about, value);
    out("World", "The environment's identity", spec.world.to_string().into());
    out("VpcId", "The network", Text::reference("Vpc"));
    out("TaskSubnets", "Where tasks run", Text::List(task_subnets));
    out(
        "AssignPublicIp",
        "Whether tasks ask for a public address",
        public_ip.into(),
    );
    out(
        "TaskSecurityGroup",
        "The tasks' security group",
        Text::attribute("TaskGroup", "GroupId"),
    );
    out("ClusterName", "The ECS cluster", Text::reference("Cluster"));
    out("ClusterArn", "The ECS cluster's ARN", Text::attribute("Cluster", "Arn"));
    out("RepositoryName", "The image repository", Text::reference("Repository"));
    out(
        "RepositoryUri",
        "Where images are pushed",
        Text::attribute("Repository", "RepositoryUri"),
    );
    out(
        "ExecutionRoleArn",
        "The role that starts tasks",
        Text::attribute("ExecutionRole", "Arn"),
    );
    out(
        "TaskRoleArn",
        "The role that the application's code holds",
        Text::attribute("TaskRole", "Arn"),
    );
    if spec.web.is_some() {
        out("LoadBalancerArn", "The load balancer", Text::reference("LoadBalancer"));
        out(
            "LoadBalancerDnsName",
            "The load balancer's own name",
            Text::attribute("LoadBalancer", "DNSName"),
        );
        out(
            "ListenerArn",
            "The listener of the application",
            Text::reference("Listener"),
        );
        out("TargetGroupArn", "Where tasks register", Text::reference("TargetGroup"));
        if let Some(domain) = spec.https() {
            out(
                "Domain",
                "Where people find the application",
                domain.name.as_str().into(),
            );
        }
    }
    if spec.database.is_some() {
        let identifier = if spec.emulation.database_by_api {
            spec.name().into()
        } else {
            Text::reference("Database")
        };
        out("DatabaseIdentifier", "The database instance", identifier);
        out(
            "DatabaseUrlSecretArn",
            "The secret that is DATABASE_URL",
            Text::attribute("DatabaseUrl", "Id"),
        );
        out(
            "DatabasePasswordSecretArn",
            "The master user's secret",
            Text::attribute("DatabasePassword", "Id"),
        );
        out(
            "DatabaseSecurityGroup",
            "The database's security group",
            Text::attribute("DatabaseGroup", "GroupId"),
        );
        out(
            "DatabaseSubnetGroup",
            "The database's subnet group",
            Text::reference("DatabaseSubnets"),
        );
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
        let web = match map.get("LoadBalancerArn") {
            None => None,
            Some(_) => Some(WebOutputs {
                load_balancer: reader.parse("LoadBalancerArn")?,
                dns_name: reader.text("LoadBalancerDnsName")?,
                listener: reader.parse("ListenerArn")?,
                target_group: reader.parse("TargetGroupArn")?,
                domain: map.get("Domain").map(|&d| d.to_owned()),
            }),
        };
        let database = match map.get("DatabaseIdentifier") {
            None => None,
            Some(_) => Some(DatabaseOutputs {
                identifier: reader.text("DatabaseIdentifier")?,
                url_secret: reader.parse("DatabaseUrlSecretArn")?,
                password_secret: reader.parse("DatabasePasswordSecretArn")?,
                security_group: reader.text("DatabaseSecurityGroup")?,
                subnet_group: reader.text("DatabaseSubnetGroup")?,
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
            world: reader.parse("World")?,
            template_hash: reader.text(HASH_OUTPUT)?,
            vpc_id: reader.text("VpcId")?,
            task_subnets: reader.text("TaskSubnets")?.split(',').map(str::to_owned).collect(),
            assign_public_ip: reader.text("AssignPublicIp")? == "ENABLED",
            task_security_group: reader.text("TaskSecurityGroup")?,
            cluster: reader.text("ClusterName")?,
            cluster_arn: reader.parse("ClusterArn")?,
            repository: reader.text("RepositoryName")?,
            repository_uri: reader.text("RepositoryUri")?,
            execution_role: reader.parse("ExecutionRoleArn")?,
            task_role: reader.parse("TaskRoleArn")?,
            log_groups: log_groups.collect(),
            web,
            database,
        })
    }
}

struct Reader<'a>(&'a BTreeMap<&'a str, &'a str>);

impl Reader<'_> {
    fn text(&self, key: &'static str) -> Result<String, OutputError> {
        self.0
            .get(key)
            .map(|&v| v.to_owned())
            .ok_or(OutputError { key, value: None })
    }

    fn parse<T: std::str::FromStr>(&self, key: &'static str) -> Result<T, OutputError> {
        let text = self.text(key)?;
        text.parse().map_err(|_| OutputError { key, value: Some(text) })
    }
}
