//! What an environment costs a month, roughly, before anybody has sent it a request.
//!
//! Invariant: a price that is not in the table is said to be missing; it is never taken for zero.

use std::fmt;

use serde::Serialize;

use crate::spec::{Egress, StackSpec};

/// US dollars, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dollars(u64);

impl Dollars {
    /// From millionths of a dollar.
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// In millionths of a dollar.
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = (self.0 + 5_000) / 10_000;
        f.pad(&format!("${}.{:02}", cents / 100, cents % 100))
    }
}

/// One line of an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CostLine {
    /// What is paid for.
    pub what: String,
    /// How it is counted.
    pub basis: String,
    /// What it costs a month; none where the table has no price.
    pub monthly: Option<Dollars>,
}

/// What an environment costs a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CostEstimate {
    /// Line by line.
    pub lines: Vec<CostLine>,
    /// All lines that have a price.
    pub total: Dollars,
    /// Whose list prices they are.
    pub region: String,
    /// The month that the prices were taken down in.
    pub prices_of: &'static str,
    /// What the estimate takes for granted.
    pub assumptions: Vec<String>,
}

/// AWS bills by the hour; its own calculator takes this for a month.
const HOURS: u64 = 730;
const PRICES_OF: &str = "2025-06";

/// List prices in millionths of a dollar.
struct Prices {
    region: &'static str,
    fargate_vcpu_hour: u64,
    fargate_gib_hour: u64,
    load_balancer_hour: u64,
    nat_hour: u64,
    endpoint_hour: u64,
    storage_gib_month: u64,
    database_hour: &'static [(&'static str, u64)],
}

/// The same in both regions.
const PUBLIC_ADDRESS_HOUR: u64 = 5_000;
const SECRET_MONTH: u64 = 400_000;

const TABLE: [Prices; 2] = [
    Prices {
        region: "us-east-1",
        fargate_vcpu_hour: 40_480,
        fargate_gib_hour: 4_445,
        load_balancer_hour: 22_500,
        nat_hour: 45_000,
        endpoint_hour: 10_000,
        storage_gib_month: 115_000,
        database_hour: &[
            ("db.t4g.micro", 16_000),
            ("db.t4g.small", 32_000),
            ("db.t4g.medium", 65_000),
            ("db.t4g.large", 129_000),
        ],
    },
    Prices {
        region: "eu-west-1",
        fargate_vcpu_hour: 40_480,
        fargate_gib_hour: 4_445,
        load_balancer_hour: 25_200,
        nat_hour: 48_000,
        endpoint_hour: 11_000,
        storage_gib_month: 127_000,
        database_hour: &[
            ("db.t4g.micro", 17_000),
            ("db.t4g.small", 35_000),
            ("db.t4g.medium", 70_000),
            ("db.t4g.large", 141_000),
        ],
    },
];

/// Estimates an environment's monthly cost from list prices.
///
/// ```no_run
/// # fn example(spec: &nuages_infra::StackSpec) {
/// let estimate = nuages_infra::cost(spec);
/// println!("about {} a month", estimate.total);
/// # }
/// ```
pub fn cost(spec: &StackSpec) -> CostEstimate {
    let known = TABLE.iter().find(|p| p.region == spec.region.as_str());
    let prices = known.unwrap_or(&TABLE[0]);
    let mut lines = Vec::new();
    let mut line = |what: String, basis: String, monthly: Option<u64>| {
        lines.push(CostLine {
            what,
            basis,
            monthly: monthly.map(Dollars),
        });
    };
    for service in &spec.services {
        let hour = prices.fargate_vcpu_hour * u64::from(service.cpu) / 1024
            + prices.fargate_gib_hour * u64::from(service.memory) / 1024;
        let basis = format!(
            "{} × {} CPU units and {} MiB on Fargate",
            service.count, service.cpu, service.memory
        );
        line(
            format!("service {}", service.name),
            basis,
            Some(hour * HOURS * u64::from(service.count)),
        );
    }
    let tasks: u64 = spec.services.iter().map(|s| u64::from(s.count)).sum();
    if spec.web.is_some() {
        line(
            "load balancer".into(),
            "1, without what it serves".into(),
            Some(prices.load_balancer_hour * HOURS),
        );
        line(
            "its public addresses".into(),
            "one in each of 2 zones".into(),
            Some(2 * PUBLIC_ADDRESS_HOUR * HOURS),
        );
    }
    match spec.egress {
        Egress::Public => line(
            "egress: public addresses".into(),
            format!("one for each of {tasks} tasks"),
            Some(tasks * PUBLIC_ADDRESS_HOUR * HOURS),
        ),
        Egress::Nat { per_zone } => {
            let gateways = if per_zone { 2 } else { 1 };
            line(
                "egress: NAT".into(),
                format!("{gateways} with an address each, without traffic"),
                Some(gateways * (prices.nat_hour + PUBLIC_ADDRESS_HOUR) * HOURS),
            );
        }
        Egress::Endpoints => {
            let endpoints = crate::template::interface_endpoints(spec);
            line(
                "egress: VPC endpoints".into(),
                format!("{endpoints} in each of 2 zones, without traffic"),
                Some(endpoints * 2 * prices.endpoint_hour * HOURS),
            );
        }
    }
    if let Some(database) = &spec.database {
        let zones = if database.multi_az { 2 } else { 1 };
        let hour = prices
            .database_hour
            .iter()
            .find(|(class, _)| *class == database.class)
            .map(|(_, price)| *price);
        line(
            format!("database {}", database.class),
            format!("{zones} × PostgreSQL"),
            hour.map(|price| price * HOURS * zones),
        );
        line(
            "its storage".into(),
            format!(
                "{zones} × {} GiB of gp3; backups up to that size are free",
                database.storage_gib
            ),
            Some(prices.storage_gib_month * u64::from(database.storage_gib) * zones),
        );
        line("its secrets".into(), "2".into(), Some(2 * SECRET_MONTH));
    }
    let total = lines.iter().filter_map(|l| l.monthly).map(|d| d.0).sum();
    CostEstimate {
        lines,
        total: Dollars(total),
        region: prices.region.to_owned(),
        prices_of: PRICES_OF,
        assumptions: assumptions(spec, known.is_some(), prices),
    }
}

fn assumptions(spec: &StackSpec, known: bool, prices: &Prices) -> Vec<String> {
    let mut all = vec![
        format!(
            "approximate list prices of {} as of {PRICES_OF}, on demand, before taxes and free tiers",
            prices.region
        ),
        format!("everything runs the whole month ({HOURS} hours)"),
        "without traffic, requests, log volume and stored images, which are billed by use".to_owned(),
    ];
    if !known {
        all.insert(
            0,
            format!(
                "there are no prices of {} in the table; it may cost more there",
                spec.region
            ),
        );
    }
    if let Some(database) = &spec.database
        && !prices.database_hour.iter().any(|(class, _)| *class == database.class)
    {
        let class = &database.class;
        all.push(format!(
            "without the database's instance: the table has no price of {class}"
        ));
    }
    all
}
