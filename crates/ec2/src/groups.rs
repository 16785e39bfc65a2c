//! Security groups, and whether one lets another in.
//!
//! Invariant: a path is open only where the sender's group lets the request out *and* the receiver's lets it in; the
//! answer needs no rule, since groups remember connections.

use aws_sdk_ec2::types as ec2;
use serde::{Deserialize, Serialize};

use crate::cidr;
use crate::client::{Ec2, Ec2Error, told};

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Members of a group.
    Group(String),
    /// A block of addresses.
    Block(String),
    /// A prefix list.
    Prefix(String),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, or `-1` for all.
    pub protocol: String,
    /// The first port; none for all.
    pub from: Option<u16>,
    /// The last port.
    pub to: Option<u16>,
    /// Whom it is about.
    pub peers: Vec<Peer>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its VPC.
    pub vpc: String,
    /// What it lets in.
    pub inbound: Vec<Rule>,
    /// What it lets out.
    pub outbound: Vec<Rule>,
}

impl Rule {
    fn allows_port(&self, port: u16) -> bool {
        match self.protocol.as_str() {
            "-1" => true,
            "tcp" | "6" => self.from.is_none_or(|from| from <= port) && self.to.is_none_or(|to| port <= to),
            _ => false,
        }
    }

    fn allows(&self, port: u16, group: &str, blocks: &[&str]) -> bool {
        self.allows_port(port)
            && self.peers.iter().any(|peer| match peer {
                Peer::Group(id) => id == group,
                Peer::Block(block) => {
                    block == "0.0.0.0/0" || (!blocks.is_empty() && blocks.iter().all(|b| cidr::contains(block, b)))
                }
                Peer::Prefix(_) => false,
            })
    }
}

impl SecurityGroup {
    /// Whether members of `from`, whose addresses are in `blocks`, may connect to members of this group on a TCP port.
    ///
    /// ```
    /// use nuages_ec2::{Peer, Rule, SecurityGroup};
    ///
    /// let rule = |peer| Rule { protocol: "tcp".into(), from: Some(8000), to: Some(8000), peers: vec![peer] };
    /// let all = Rule { protocol: "-1".into(), from: None, to: None, peers: vec![Peer::Block("0.0.0.0/0".into())] };
    /// let group = |id: &str, inbound| SecurityGroup {
    ///     id: id.into(), name: id.into(), vpc: "vpc-1".into(), inbound, outbound: vec![all.clone()],
    /// };
    /// let balancer = group("sg-alb", vec![]);
    /// let task = group("sg-task", vec![rule(Peer::Group("sg-alb".into()))]);
    /// assert_eq!(task.lets_in(&balancer, 8000, &[]), Ok(()));
    /// assert!(task.lets_in(&balancer, 80, &[]).is_err());
    /// ```
    pub fn lets_in(&self, from: &Self, port: u16, blocks: &[&str]) -> Result<(), String> {
        if !from.lets_out(&self.id, port) {
            return Err(format!(
                "{} ({}) lets nothing out to {} on port {port}",
                from.id, from.name, self.id
            ));
        }
        if !self.inbound.iter().any(|rule| rule.allows(port, &from.id, blocks)) {
            return Err(format!(
                "{} ({}) does not let {} in on port {port}",
                self.id, self.name, from.id
            ));
        }
        Ok(())
    }

    /// Whether its members may connect to members of a group on a TCP port.
    pub fn lets_out(&self, to_group: &str, port: u16) -> bool {
        self.outbound.iter().any(|rule| {
            rule.allows_port(port)
                && rule.peers.iter().any(|peer| match peer {
                    Peer::Group(id) => id == to_group,
                    // Which addresses the other side has is not known here: a block is taken for them.
                    Peer::Block(block) => block != "127.0.0.1/32",
                    Peer::Prefix(_) => false,
                })
        })
    }

    /// Whether its members may connect to any address on a TCP port.
    pub fn lets_out_anywhere(&self, port: u16) -> bool {
        self.outbound.iter().any(|rule| {
            rule.allows_port(port)
                && rule
                    .peers
                    .iter()
                    .any(|peer| matches!(peer, Peer::Block(b) if b == "0.0.0.0/0"))
        })
    }
}

impl Ec2 {
    /// These groups. One that does not exist is an error that names it.
    pub async fn security_groups(&self, ids: &[String]) -> Result<Vec<SecurityGroup>, Ec2Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.ec2.describe_security_groups().set_group_ids(Some(ids.to_vec()));
        let answer = call
            .send()
            .await
            .map_err(told("ec2:DescribeSecurityGroups", "read the security groups"))?;
        Ok(answer
            .security_groups()
            .iter()
            .map(|g| SecurityGroup {
                id: g.group_id().unwrap_or_default().to_owned(),
                name: g.group_name().unwrap_or_default().to_owned(),
                vpc: g.vpc_id().unwrap_or_default().to_owned(),
                inbound: g.ip_permissions().iter().map(rule).collect(),
                outbound: g.ip_permissions_egress().iter().map(rule).collect(),
            })
            .collect())
    }
}

fn rule(p: &ec2::IpPermission) -> Rule {
    let port = |port: Option<i32>| port.and_then(|p| u16::try_from(p).ok());
    let groups = p
        .user_id_group_pairs()
        .iter()
        .filter_map(|g| g.group_id())
        .map(|id| Peer::Group(id.to_owned()));
    let blocks = p
        .ip_ranges()
        .iter()
        .filter_map(|r| r.cidr_ip())
        .map(|b| Peer::Block(b.to_owned()));
    let lists = p
        .prefix_list_ids()
        .iter()
        .filter_map(|l| l.prefix_list_id())
        .map(|l| Peer::Prefix(l.to_owned()));
    Rule {
        protocol: p.ip_protocol().unwrap_or("-1").to_owned(),
        from: port(p.from_port()),
        to: port(p.to_port()),
        peers: groups.chain(blocks).chain(lists).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str, inbound: Vec<Rule>, outbound: Vec<Rule>) -> SecurityGroup {
        SecurityGroup {
            id: id.into(),
            name: id.into(),
            vpc: "vpc-1".into(),
            inbound,
            outbound,
        }
    }

    fn tcp(from: u16, to: u16, peer: Peer) -> Rule {
        Rule {
            protocol: "tcp".into(),
            from: Some(from),
            to: Some(to),
            peers: vec![peer],
        }
    }

    fn anywhere() -> Rule {
        Rule {
            protocol: "-1".into(),
            from: None,
            to: None,
            peers: vec![Peer::Block("0.0.0.0/0".into())],
        }
    }

    #[test]
    fn both_sides_must_allow() {
        let database = group("sg-db", vec![tcp(5432, 5432, Peer::Group("sg-task".into()))], vec![]);
        let task = group("sg-task", vec![], vec![anywhere()]);
        let mute = group("sg-task", vec![], vec![]);
        assert_eq!(database.lets_in(&task, 5432, &[]), Ok(()));
        assert_eq!(
            database.lets_in(&mute, 5432, &[]).unwrap_err(),
            "sg-task (sg-task) lets nothing out to sg-db on port 5432"
        );
        let stranger = group("sg-other", vec![], vec![anywhere()]);
        assert_eq!(
            database.lets_in(&stranger, 5432, &[]).unwrap_err(),
            "sg-db (sg-db) does not let sg-other in on port 5432"
        );
    }

    #[test]
    fn a_block_lets_in_who_is_within() {
        let task = group(
            "sg-task",
            vec![tcp(8000, 8100, Peer::Block("10.0.0.0/16".into()))],
            vec![],
        );
        let balancer = group("sg-alb", vec![], vec![anywhere()]);
        assert_eq!(task.lets_in(&balancer, 8050, &["10.0.1.0/24", "10.0.2.0/24"]), Ok(()));
        assert!(task.lets_in(&balancer, 8050, &["10.0.1.0/24", "10.1.0.0/24"]).is_err());
        assert!(
            task.lets_in(&balancer, 8050, &[]).is_err(),
            "who has no known address is not within"
        );
        assert!(task.lets_in(&balancer, 8101, &["10.0.1.0/24"]).is_err());
    }

    #[test]
    fn udp_is_not_tcp() {
        let rule = Rule {
            protocol: "udp".into(),
            ..tcp(53, 53, Peer::Block("0.0.0.0/0".into()))
        };
        assert!(!group("sg-1", vec![], vec![rule]).lets_out_anywhere(53));
    }
}
