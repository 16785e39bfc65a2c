//! Where in the network tasks run.
//!
//! Invariant: two placements that name the same subnets and groups are equal, in whatever order they were written.

use std::collections::BTreeSet;

use aws_sdk_ecs::types as ecs;
use serde::{Deserialize, Serialize};

/// Subnets, security groups, and whether tasks get a public address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// The subnets' ids.
    pub subnets: BTreeSet<String>,
    /// The security groups' ids.
    pub security_groups: BTreeSet<String>,
    /// Whether tasks get a public address: without one, a task in a public subnet reaches nothing, ECR included.
    pub public_ip: bool,
}

impl Placement {
    pub(crate) fn to_ecs(&self) -> ecs::NetworkConfiguration {
        let vpc = ecs::AwsVpcConfiguration::builder()
            .set_subnets(Some(self.subnets.iter().cloned().collect()))
            .set_security_groups(Some(self.security_groups.iter().cloned().collect()))
            .assign_public_ip(if self.public_ip {
                ecs::AssignPublicIp::Enabled
            } else {
                ecs::AssignPublicIp::Disabled
            })
            .build();
        // A builder fails only where a required field is missing, and the subnets are set.
        ecs::NetworkConfiguration::builder()
            .set_awsvpc_configuration(vpc.ok())
            .build()
    }

    pub(crate) fn from_ecs(network: Option<&ecs::NetworkConfiguration>) -> Self {
        let Some(vpc) = network.and_then(|n| n.awsvpc_configuration()) else {
            return Self::default();
        };
        Self {
            subnets: vpc.subnets().iter().cloned().collect(),
            security_groups: vpc.security_groups().iter().cloned().collect(),
            public_ip: vpc.assign_public_ip() == Some(&ecs::AssignPublicIp::Enabled),
        }
    }
}
