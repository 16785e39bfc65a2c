//! Subnets, their ways out, and the VPC's endpoints.
//!
//! Invariant: a subnet's way out is that of its own route table, and of the VPC's main one where it has none.

use aws_sdk_ec2::types as ec2;
use serde::{Deserialize, Serialize};

use crate::client::{Ec2, Ec2Error, told};
use crate::instances::filter;

/// How a subnet reaches the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayOut {
    /// An internet gateway: only for who has a public address.
    InternetGateway(String),
    /// A NAT gateway, or an instance that is one.
    Nat(String),
    /// A transit gateway, peering or the like: somebody else's network decides.
    Elsewhere(String),
    /// A route whose other end is gone.
    Blackhole(String),
    /// None.
    None,
}

/// One subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its zone.
    pub zone: String,
    /// Its addresses.
    pub block: String,
    /// How many addresses are free.
    pub free: u32,
    /// The way to addresses outside.
    pub way_out: WayOut,
    /// Its route table.
    pub route_table: Option<String>,
}

/// A VPC endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The service without region: `ecr.api`, `ecr.dkr`, `s3`, `logs`, `secretsmanager`.
    pub service: String,
    /// Whether it is available.
    pub available: bool,
    /// Whether the service's usual name leads to it. Gateway endpoints need none.
    pub by_name: bool,
    /// The route tables of a gateway endpoint; empty for an interface one.
    pub route_tables: Vec<String>,
}

/// What is known of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// The subnets, in the order asked for.
    pub subnets: Vec<Subnet>,
    /// The endpoints of their VPC.
    pub endpoints: Vec<Endpoint>,
}

/// What a task needs to start: to pull from ECR (whose layers are in S3), read secrets and write its log.
pub(crate) const SERVICES: [&str; 5] = ["ecr.api", "ecr.dkr", "s3", "secretsmanager", "logs"];

impl NetworkFacts {
    /// The VPC, where all subnets are in one.
    pub fn vpc(&self) -> Option<&str> {
        let first = self.subnets.first()?.vpc.as_str();
        self.subnets.iter().all(|s| s.vpc == first).then_some(first)
    }

    /// Whether a task in this subnet can start, and by what; else what is missing.
    pub fn way_out(&self, subnet: &Subnet, public_ip: bool) -> Result<String, String> {
        match &subnet.way_out {
            WayOut::InternetGateway(id) if public_ip => return Ok(format!("{id} with a public address")),
            WayOut::Nat(id) | WayOut::Elsewhere(id) => return Ok(id.clone()),
            _ => {}
        }
        let missing: Vec<&str> = SERVICES
            .into_iter()
            .filter(|service| !self.has_endpoint(service, subnet))
            .collect();
        if missing.is_empty() {
            return Ok("VPC endpoints".into());
        }
        let no_route = match &subnet.way_out {
            WayOut::InternetGateway(_) => "its way out needs a public address, which tasks do not get",
            WayOut::Blackhole(_) => "its way out leads nowhere any more",
            _ => "it has no way out",
        };
        Err(format!(
            "{no_route}, and there are no endpoints for {}",
            missing.join(", ")
        ))
    }

    fn has_endpoint(&self, service: &str, subnet: &Subnet) -> bool {
        self.endpoints.iter().any(|e| {
            e.service == service
                && e.available
                && match &subnet.route_table {
                    _ if e.route_tables.is_empty() => e.by_name,
                    Some(table) => e.route_tables.contains(table),
                    None => false,
                }
        })
    }
}

impl Ec2 {
    /// Facts about these subnets and their VPC. One that does not exist is an error that names it.
    pub async fn network(&self, subnets: &[String]) -> Result<NetworkFacts, Ec2Error> {
        let call = self.ec2.describe_subnets().set_subnet_ids(Some(subnets.to_vec()));
        let answer = call
            .send()
            .await
            .map_err(told("ec2:DescribeSubnets", "read the subnets"))?;
        let mut vpcs: Vec<&str> = answer.subnets().iter().filter_map(|s| s.vpc_id()).collect();
        vpcs.sort_unstable();
        vpcs.dedup();
        let of_vpc = || filter("vpc-id", &vpcs);
        let tables = async {
            let call = self.ec2.describe_route_tables().filters(of_vpc()).send().await;
            call.map_err(told("ec2:DescribeRouteTables", "read the route tables"))
        };
        let endpoints = async {
            let call = self.ec2.describe_vpc_endpoints().filters(of_vpc()).send().await;
            call.map_err(told("ec2:DescribeVpcEndpoints", "read the VPC endpoints"))
        };
        let (tables, endpoints) = futures_util::future::try_join(tables, endpoints).await?;
        let mut found: Vec<Subnet> = answer
            .subnets()
            .iter()
            .map(|s| subnet(s, tables.route_tables()))
            .collect();
        found.sort_by_key(|s| subnets.iter().position(|id| *id == s.id));
        Ok(NetworkFacts {
            subnets: found,
            endpoints: endpoints.vpc_endpoints().iter().map(endpoint).collect(),
        })
    }
}

fn subnet(s: &ec2::Subnet, tables: &[ec2::RouteTable]) -> Subnet {
    let (id, vpc) = (s.subnet_id().unwrap_or_default(), s.vpc_id().unwrap_or_default());
    let own = tables
        .iter()
        .find(|t| t.associations().iter().any(|a| a.subnet_id() == Some(id)));
    let main = || {
        tables
            .iter()
            .find(|t| t.vpc_id() == Some(vpc) && t.associations().iter().any(|a| a.main() == Some(true)))
    };
    let table = own.or_else(main);
    Subnet {
        id: id.to_owned(),
        vpc: vpc.to_owned(),
        zone: s.availability_zone().unwrap_or_default().to_owned(),
        block: s.cidr_block().unwrap_or_default().to_owned(),
        free: s
            .available_ip_address_count()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_default(),
        way_out: table.map_or(WayOut::None, way_out),
        route_table: table.and_then(|t| t.route_table_id()).map(str::to_owned),
    }
}

fn way_out(table: &ec2::RouteTable) -> WayOut {
    let Some(route) = table
        .routes()
        .iter()
        .find(|r| r.destination_cidr_block() == Some("0.0.0.0/0"))
    else {
        return WayOut::None;
    };
    let some = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let nat = some(route.nat_gateway_id())
        .or_else(|| some(route.instance_id()))
        .or_else(|| some(route.network_interface_id()));
    let gateway = some(route.gateway_id());
    let elsewhere = some(route.transit_gateway_id())
        .or_else(|| some(route.vpc_peering_connection_id()))
        .or_else(|| some(route.local_gateway_id()))
        .or_else(|| some(route.carrier_gateway_id()));
    if route.state() == Some(&ec2::RouteState::Blackhole) {
        return WayOut::Blackhole(nat.or(gateway).or(elsewhere).unwrap_or_default());
    }
    match (nat, gateway, elsewhere) {
        (Some(id), _, _) => WayOut::Nat(id),
        (_, Some(id), _) if id.starts_with("igw-") => WayOut::InternetGateway(id),
        (_, Some(id), _) | (_, _, Some(id)) => WayOut::Elsewhere(id),
        _ => WayOut::None,
    }
}

fn endpoint(e: &ec2::VpcEndpoint) -> Endpoint {
    // `com.amazonaws.eu-west-1.ecr.api`, `cn.com.amazonaws.cn-north-1.ecr.api`: what follows the region.
    let name = e.service_name().unwrap_or_default();
    let service = name
        .split("amazonaws.")
        .nth(1)
        .and_then(|rest| rest.split_once('.'))
        .map_or(name, |(_, s)| s);
    Endpoint {
        service: service.to_owned(),
        available: e.state().is_none_or(|s| s.as_str().eq_ignore_ascii_case("available")),
        by_name: e.private_dns_enabled().unwrap_or(false),
        route_tables: e.route_table_ids().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(way_out: WayOut, endpoints: &[(&str, bool)]) -> NetworkFacts {
        NetworkFacts {
            subnets: vec![Subnet {
                id: "subnet-1".into(),
                vpc: "vpc-1".into(),
                zone: "eu-west-1a".into(),
                block: "10.0.1.0/24".into(),
                free: 200,
                way_out,
                route_table: Some("rtb-1".into()),
            }],
            endpoints: endpoints
                .iter()
                .map(|(service, gateway)| Endpoint {
                    service: (*service).into(),
                    available: true,
                    by_name: !gateway,
                    route_tables: if *gateway { vec!["rtb-1".into()] } else { vec![] },
                })
                .collect(),
        }
    }

    fn out(facts: &NetworkFacts, public_ip: bool) -> Result<String, String> {
        facts.way_out(&facts.subnets[0], public_ip)
    }

    #[test]
    fn a_gateway_needs_a_public_address() {
        let facts = facts(WayOut::InternetGateway("igw-1".into()), &[]);
        assert!(out(&facts, true).is_ok());
        assert!(
            out(&facts, false)
                .unwrap_err()
                .starts_with("its way out needs a public address")
        );
    }

    #[test]
    fn endpoints_must_be_complete() {
        let all = [
            ("ecr.api", false),
            ("ecr.dkr", false),
            ("s3", true),
            ("secretsmanager", false),
            ("logs", false),
        ];
        assert_eq!(out(&facts(WayOut::None, &all), false), Ok("VPC endpoints".into()));
        assert_eq!(
            out(&facts(WayOut::None, &all[..3]), false).unwrap_err(),
            "it has no way out, and there are no endpoints for secretsmanager, logs"
        );
        let mut other_table = facts(WayOut::None, &all);
        other_table.subnets[0].route_table = Some("rtb-2".into());
        assert!(out(&other_table, false).unwrap_err().ends_with("no endpoints for s3"));
    }

    #[test]
    fn a_blackhole_is_no_way() {
        let facts = facts(WayOut::Blackhole("nat-1".into()), &[]);
        assert!(out(&facts, true).unwrap_err().starts_with("its way out leads nowhere"));
    }

    #[test]
    fn services_of_every_partition() {
        let service = |name: &str| endpoint(&ec2::VpcEndpoint::builder().service_name(name).build()).service;
        assert_eq!(service("com.amazonaws.eu-west-1.ecr.api"), "ecr.api");
        assert_eq!(service("cn.com.amazonaws.cn-north-1.ecr.dkr"), "ecr.dkr");
        assert_eq!(service("com.amazonaws.us-gov-west-1.s3"), "s3");
    }
}
