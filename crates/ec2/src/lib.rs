//! EC2, read: instances, and whether a network lets a deployment work.
//!
//! * [`Ec2::instances`]: the instances that carry an application's tags;
//! * [`Ec2::network`], [`Ec2::security_groups`]: facts about subnets, ways out, endpoints and groups;
//! * [`Ec2::verify_network`]: the same facts as preflight findings.
//!
//! Invariant: nothing here changes anything, and what follows from facts is decided by pure functions
//! ([`SecurityGroup::lets_in`], [`NetworkFacts::way_out`]).
//!
//! ```no_run
//! use nuages_ec2::{Ec2, NetworkPreflight};
//!
//! # async fn example(aws: nuages_aws::AwsContext) {
//! let preflight = NetworkPreflight {
//!     subnets: ["subnet-1".to_owned(), "subnet-2".to_owned()].into(),
//!     task_groups: ["sg-task".to_owned()].into(),
//!     public_ip: true,
//!     addresses: 4,
//!     ..NetworkPreflight::default()
//! };
//! for finding in Ec2::new(&aws).verify_network(&preflight).await {
//!     println!("{finding}");
//! }
//! # }
//! ```

mod cidr;
mod client;
mod groups;
mod instances;
mod network;
mod preflight;

pub use client::{Ec2, Ec2Error};
pub use groups::{Peer, Rule, SecurityGroup};
pub use instances::Instance;
pub use network::{Endpoint, NetworkFacts, Subnet, WayOut};
pub use preflight::NetworkPreflight;
