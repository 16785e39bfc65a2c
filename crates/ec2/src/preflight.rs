//! A network's facts as findings.
//!
//! Invariant: read-only; what this identity may not read is a warning, and one failed read hides no other finding.

use std::collections::BTreeSet;

use nuages_aws::Kind;
use nuages_model::Finding;

use crate::client::{Ec2, Ec2Error};
use crate::groups::SecurityGroup;
use crate::network::NetworkFacts;

/// What a deployment needs of its network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkPreflight {
    /// The subnets that tasks or instances run in.
    pub subnets: BTreeSet<String>,
    /// Whether they get a public address.
    pub public_ip: bool,
    /// How many addresses a rollout needs at most: every task at its maximum percent, and a one-off task.
    pub addresses: u32,
    /// The load balancer's groups; empty without one.
    pub balancer_groups: BTreeSet<String>,
    /// The tasks' groups.
    pub task_groups: BTreeSet<String>,
    /// The database's groups; empty without one.
    pub database_groups: BTreeSet<String>,
    /// The ports that the load balancer sends requests to.
    pub ports: BTreeSet<u16>,
    /// The database's port.
    pub database_port: Option<u16>,
}

const SUBNETS: &str = "ec2:DescribeSubnets, ec2:DescribeRouteTables, ec2:DescribeVpcEndpoints";
const GROUPS: &str = "ec2:DescribeSecurityGroups";

impl Ec2 {
    /// Verifies subnets, free addresses, ways out and the paths between security groups.
    pub async fn verify_network(&self, preflight: &NetworkPreflight) -> Vec<Finding> {
        let subnets: Vec<String> = preflight.subnets.iter().cloned().collect();
        let groups: BTreeSet<&String> = preflight
            .balancer_groups
            .iter()
            .chain(&preflight.task_groups)
            .chain(&preflight.database_groups)
            .collect();
        let groups: Vec<String> = groups.into_iter().cloned().collect();
        let (facts, groups) = futures_util::future::join(self.network(&subnets), self.security_groups(&groups)).await;
        let mut findings = match &facts {
            Ok(facts) => prove(judge_subnets(facts, preflight), SUBNETS, &self.caller),
            Err(error) => vec![self.unread("subnets", SUBNETS, error)],
        };
        findings.extend(match groups {
            Ok(groups) => prove(
                judge_groups(&groups, facts.as_ref().ok(), preflight),
                GROUPS,
                &self.caller,
            ),
            Err(error) => vec![self.unread("security groups", GROUPS, &error)],
        });
        findings
    }

    fn unread(&self, subject: &str, call: &str, error: &Ec2Error) -> Finding {
        let finding = match error.kind() {
            Kind::AccessDenied => Finding::warn(
                subject,
                format!("not verified, since this identity may not read it: {}", error.source),
            ),
            Kind::NotFound => Finding::fail(subject, error.source.message.clone()),
            _ => Finding::fail(subject, format!("could not be verified: {}", error.source)),
        };
        let finding = finding.proof(format!("{call} as {}", self.caller));
        match error.hint() {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

fn prove(findings: Vec<Finding>, call: &str, caller: &str) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|f| f.proof(format!("{call} as {caller}")))
        .collect()
}

fn judge_subnets(facts: &NetworkFacts, preflight: &NetworkPreflight) -> Vec<Finding> {
    let mut findings = Vec::new();
    let missing: Vec<&str> = preflight
        .subnets
        .iter()
        .filter(|id| !facts.subnets.iter().any(|s| s.id == **id))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        findings.push(Finding::fail("subnets", format!("{} do not exist", missing.join(", "))));
    }
    let zones: BTreeSet<&str> = facts.subnets.iter().map(|s| s.zone.as_str()).collect();
    findings.push(match facts.vpc() {
        None => Finding::fail("subnets", "they are not in one VPC"),
        Some(vpc) if zones.len() < 2 => Finding::warn(
            "subnets",
            format!("all in one zone of {vpc}: its failure would stop the service"),
        ),
        Some(vpc) => Finding::ok(
            "subnets",
            format!("{} in {vpc}, {} zones", facts.subnets.len(), zones.len()),
        ),
    });
    let free: u32 = facts.subnets.iter().map(|s| s.free).sum();
    findings.push(if free < preflight.addresses {
        Finding::fail(
            "addresses",
            format!("{free} are free, and a rollout needs up to {}", preflight.addresses),
        )
        .hint("stop what is not needed, or give the environment larger subnets")
    } else {
        Finding::ok(
            "addresses",
            format!("{free} free; a rollout needs up to {}", preflight.addresses),
        )
    });
    for subnet in &facts.subnets {
        let subject = format!("way out of {}", subnet.id);
        findings.push(match facts.way_out(subnet, preflight.public_ip) {
            Ok(by) => Finding::ok(subject, by),
            Err(why) => Finding::fail(subject, why).hint("choose `[network] egress` and run `nuages infra up`"),
        });
    }
    findings
}

fn judge_groups(groups: &[SecurityGroup], facts: Option<&NetworkFacts>, preflight: &NetworkPreflight) -> Vec<Finding> {
    let mut findings = Vec::new();
    let blocks: Vec<&str> = facts
        .iter()
        .flat_map(|f| &f.subnets)
        .map(|s| s.block.as_str())
        .collect();
    let named = |ids: &BTreeSet<String>| groups.iter().filter(|g| ids.contains(&g.id)).collect::<Vec<_>>();
    let (balancers, tasks, databases) = (
        named(&preflight.balancer_groups),
        named(&preflight.task_groups),
        named(&preflight.database_groups),
    );
    let paths = preflight
        .ports
        .iter()
        .map(|port| ("load balancer → tasks", &balancers, &tasks, *port));
    let paths = paths.chain(
        preflight
            .database_port
            .map(|port| ("tasks → database", &tasks, &databases, port)),
    );
    for (subject, from, to, port) in paths {
        let subject = format!("{subject} on {port}");
        if from.is_empty() || to.is_empty() {
            findings.push(Finding::skip(subject, "there is none"));
            continue;
        }
        // A member of several groups may do what any of them allows.
        let tried: Vec<_> = from
            .iter()
            .flat_map(|f| to.iter().map(|t| t.lets_in(f, port, &blocks)))
            .collect();
        findings.push(match tried.iter().find_map(|t| t.as_ref().err()) {
            Some(why) if !tried.iter().any(Result::is_ok) => Finding::fail(subject, why.clone()),
            _ => Finding::ok(subject, "open"),
        });
    }
    if !tasks.is_empty() {
        findings.push(if tasks.iter().any(|g| g.lets_out_anywhere(443)) {
            Finding::ok("tasks → AWS on 443", "open")
        } else {
            Finding::warn(
                "tasks → AWS on 443",
                "only to some addresses; ECR, secrets and logs must be among them",
            )
        });
    }
    findings
}
