//! The network: two public and two private subnets, and the way out of them.
//!
//! Invariant: whatever the egress, the load balancer stands in the public subnets and the database in the private ones.

use super::resources::{
    Address, GatewayAttachment, InternetGateway, NatGateway, Route, RouteTable, RouteTableAssociation, Rule,
    SecurityGroup, Subnet, Vpc, VpcEndpoint, named,
};
use super::{Id, Template, Text};
use crate::spec::{Egress, StackSpec};

/// The whole network.
pub(super) const CIDR: &str = "10.0.0.0/16";
const PUBLIC: [(&str, &str); 2] = [("PublicSubnetA", "10.0.0.0/20"), ("PublicSubnetB", "10.0.16.0/20")];
const PRIVATE: [(&str, &str); 2] = [("PrivateSubnetA", "10.0.128.0/20"), ("PrivateSubnetB", "10.0.144.0/20")];
const EVERYWHERE: &str = "0.0.0.0/0";

pub(super) fn public_subnets() -> Vec<Text> {
    PUBLIC.iter().map(|&(id, _)| Text::reference(id)).collect()
}

pub(super) fn private_subnets() -> Vec<Text> {
    PRIVATE.iter().map(|&(id, _)| Text::reference(id)).collect()
}

pub(super) fn add(template: &mut Template, spec: &StackSpec) {
    let name = spec.name();
    template.add(
        "Vpc",
        &Vpc {
            cidr_block: CIDR,
            enable_dns_hostnames: true,
            enable_dns_support: true,
            tags: named(name.clone()),
        },
    );
    template.add(
        "InternetGateway",
        &InternetGateway {
            tags: named(name.clone()),
        },
    );
    template.add(
        "InternetGatewayAttachment",
        &GatewayAttachment {
            internet_gateway_id: Text::reference("InternetGateway"),
            vpc_id: Text::reference("Vpc"),
        },
    );
    let subnets = PUBLIC
        .iter()
        .map(|s| (s, "public"))
        .zip(0..)
        .chain(PRIVATE.iter().map(|s| (s, "private")).zip(0..));
    for ((&(id, cidr_block), kind), zone) in subnets {
        let letter = if zone == 0 { "a" } else { "b" };
        template.add(
            id,
            &Subnet {
                availability_zone: Text::Zone(zone),
                cidr_block,
                // Tasks ask for their public address themselves, so that nothing else gets one by standing here.
                map_public_ip_on_launch: false,
                tags: named(format!("{name}-{kind}-{letter}")),
                vpc_id: Text::reference("Vpc"),
            },
        );
    }
    add_public_routes(template, &name);
    add_private_routes(template, spec, &name);
    add_task_group(template, spec, &name);
    if spec.egress == Egress::Endpoints {
        add_endpoints(template, spec, &name);
    }
}

fn add_public_routes(template: &mut Template, name: &str) {
    let tags = named(format!("{name}-public"));
    template.add(
        "PublicRoutes",
        &RouteTable {
            tags,
            vpc_id: Text::reference("Vpc"),
        },
    );
    template
        .add(
            "PublicRoute",
            &Route {
                destination_cidr_block: EVERYWHERE,
                gateway_id: Some(Text::reference("InternetGateway")),
                nat_gateway_id: None,
                route_table_id: Text::reference("PublicRoutes"),
            },
        )
        .after(&["InternetGatewayAttachment"]);
    associate(template, "PublicSubnetARoutes", "PublicSubnetA", "PublicRoutes");
    associate(template, "PublicSubnetBRoutes", "PublicSubnetB", "PublicRoutes");
}

fn associate(template: &mut Template, id: &'static str, subnet: &'static str, table: &'static str) {
    template.add(
        id,
        &RouteTableAssociation {
            route_table_id: Text::reference(table),
            subnet_id: Text::reference(subnet),
        },
    );
}

/// One private route table a zone, whatever the egress: going from one gateway to two replaces no association.
fn add_private_routes(template: &mut Template, spec: &StackSpec, name: &str) {
    let nat = match spec.egress {
        Egress::Nat { per_zone } if !spec.emulation.no_nat => Some(per_zone),
        _ => None,
    };
    let zones = [
        (
            "a",
            "PrivateRoutesA",
            "PrivateRouteA",
            "PrivateSubnetARoutes",
            "PrivateSubnetA",
            "NatGatewayA",
        ),
        (
            "b",
            "PrivateRoutesB",
            "PrivateRouteB",
            "PrivateSubnetBRoutes",
            "PrivateSubnetB",
            "NatGatewayB",
        ),
    ];
    for (zone, table, route, association, subnet, gateway) in zones {
        let tags = named(format!("{name}-private-{zone}"));
        template.add(
            table,
            &RouteTable {
                tags,
                vpc_id: Text::reference("Vpc"),
            },
        );
        associate(template, association, subnet, table);
        if let Some(per_zone) = nat {
            let gateway = if per_zone { gateway } else { "NatGatewayA" };
            template.add(
                route,
                &Route {
                    destination_cidr_block: EVERYWHERE,
                    gateway_id: None,
                    nat_gateway_id: Some(Text::reference(gateway)),
                    route_table_id: Text::reference(table),
                },
            );
        }
    }
    if let Some(per_zone) = nat {
        add_nat_gateway(template, name, "NatGatewayA", "NatAddressA", "PublicSubnetA");
        if per_zone {
            add_nat_gateway(template, name, "NatGatewayB", "NatAddressB", "PublicSubnetB");
        }
    }
}

fn add_nat_gateway(template: &mut Template, name: &str, id: &'static str, address: &'static str, subnet: &'static str) {
    template
        .add(
            address,
            &Address {
                domain: "vpc",
                tags: named(name.to_owned()),
            },
        )
        .after(&["InternetGatewayAttachment"]);
    template
        .add(
            id,
            &NatGateway {
                allocation_id: Text::attribute(address, "AllocationId"),
                subnet_id: Text::reference(subnet),
                tags: named(name.to_owned()),
            },
        )
        .after(&["InternetGatewayAttachment"]);
}

/// The tasks' own group: in from the load balancer only, out to anywhere that the route tables lead.
fn add_task_group(template: &mut Template, spec: &StackSpec, name: &str) {
    let ingress = spec.web.iter().map(|web| Rule {
        cidr_ip: None,
        description: "HTTP from the load balancer",
        from_port: Some(web.port),
        ip_protocol: "tcp",
        source_security_group_id: Some(Text::attribute("LoadBalancerGroup", "GroupId")),
        to_port: Some(web.port),
    });
    template.add(
        "TaskGroup",
        &SecurityGroup {
            group_description: format!("Tasks of {name}"),
            security_group_egress: vec![outbound_anywhere()],
            security_group_ingress: ingress.collect(),
            tags: named(format!("{name}-tasks")),
            vpc_id: Text::reference("Vpc"),
        },
    );
}

fn outbound_anywhere() -> Rule {
    Rule {
        cidr_ip: Some(EVERYWHERE),
        description: "Registry, secrets, logs, database and whatever the application calls",
        from_port: None,
        ip_protocol: "-1",
        source_security_group_id: None,
        to_port: None,
    }
}

/// A group without a rule lets everything out; this one rule leads nowhere.
pub(super) fn outbound_nowhere() -> Rule {
    Rule {
        cidr_ip: Some("127.0.0.1/32"),
        description: "Nothing goes out",
        from_port: None,
        ip_protocol: "-1",
        source_security_group_id: None,
        to_port: None,
    }
}

fn add_endpoints(template: &mut Template, spec: &StackSpec, name: &str) {
    template.add(
        "EndpointGroup",
        &SecurityGroup {
            group_description: format!("VPC endpoints of {name}"),
            security_group_egress: vec![outbound_nowhere()],
            security_group_ingress: vec![Rule {
                cidr_ip: None,
                description: "HTTPS from the tasks",
                from_port: Some(443),
                ip_protocol: "tcp",
                source_security_group_id: Some(Text::attribute("TaskGroup", "GroupId")),
                to_port: Some(443),
            }],
            tags: named(format!("{name}-endpoints")),
            vpc_id: Text::reference("Vpc"),
        },
    );
    for (id, service) in interfaces(spec) {
        template.add(
            id,
            &VpcEndpoint {
                private_dns_enabled: Some(true),
                route_table_ids: Vec::new(),
                security_group_ids: vec![Text::attribute("EndpointGroup", "GroupId")],
                service_name: Text::sub(service),
                subnet_ids: private_subnets(),
                vpc_endpoint_type: "Interface",
                vpc_id: Text::reference("Vpc"),
            },
        );
    }
    // Layers of images come from S3, which costs nothing through a gateway.
    template.add(
        Id::Borrowed("StorageEndpoint"),
        &VpcEndpoint {
            private_dns_enabled: None,
            route_table_ids: vec![Text::reference("PrivateRoutesA"), Text::reference("PrivateRoutesB")],
            security_group_ids: Vec::new(),
            service_name: Text::sub("com.amazonaws.${AWS::Region}.s3"),
            subnet_ids: Vec::new(),
            vpc_endpoint_type: "Gateway",
            vpc_id: Text::reference("Vpc"),
        },
    );
}

/// The services that tasks reach through an interface of their own in each zone.
pub(super) fn interfaces(spec: &StackSpec) -> Vec<(&'static str, String)> {
    // In China the endpoint of ECR has a prefix of its own (Amazon ECR user guide, "interface VPC endpoints").
    let ecr_prefix = if spec.partition == "aws-cn" { "cn." } else { "" };
    let mut interfaces = vec![
        (
            "RegistryApiEndpoint",
            format!("{ecr_prefix}com.amazonaws.${{AWS::Region}}.ecr.api"),
        ),
        (
            "RegistryEndpoint",
            format!("{ecr_prefix}com.amazonaws.${{AWS::Region}}.ecr.dkr"),
        ),
        ("LogsEndpoint", "com.amazonaws.${AWS::Region}.logs".to_owned()),
        (
            "SecretsEndpoint",
            "com.amazonaws.${AWS::Region}.secretsmanager".to_owned(),
        ),
    ];
    if spec.secrets.iter().any(|arn| arn.service() == "ssm") {
        interfaces.push(("ParametersEndpoint", "com.amazonaws.${AWS::Region}.ssm".to_owned()));
    }
    if spec.exec {
        interfaces.push(("ExecEndpoint", "com.amazonaws.${AWS::Region}.ssmmessages".to_owned()));
    }
    interfaces
}
