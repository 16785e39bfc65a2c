//! `[network]`: how tasks reach the world.
//!
//! Invariant: there is always one way out, since a task that cannot reach the registry never starts.

use serde::Serialize;

use crate::reader::Section;

/// How tasks reach the world.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Network {
    /// The way out.
    pub egress: Egress,
}

/// The way out of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Tasks in public subnets, each with a public address; only the load balancer may open connections to them.
    #[default]
    Public,
    /// Tasks in private subnets behind NAT gateways.
    Nat,
    /// Tasks in private subnets that reach AWS's services, and nothing else, through endpoints.
    Endpoints,
}

impl Network {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let Some(mut section) = section else {
            return Self::default();
        };
        let choices = [
            ("public", Egress::Public),
            ("nat", Egress::Nat),
            ("endpoints", Egress::Endpoints),
        ];
        let egress = section
            .get("egress")
            .and_then(|field| field.choice(&choices))
            .unwrap_or_default();
        section.finish();
        Self { egress }
    }
}
