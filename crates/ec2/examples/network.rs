//! Says whether tasks could start in some subnets: `cargo run -p nuages-ec2 --example network -- SUBNET…`.
//!
//! Credentials, region and endpoint come from where the AWS CLI reads them.

use std::error::Error;
use std::io::Write as _;

use nuages_aws::{AwsContext, AwsSettings};
use nuages_ec2::{Ec2, NetworkPreflight};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let aws = AwsContext::connect(&AwsSettings::default()).await?;
    let preflight = NetworkPreflight {
        subnets: std::env::args().skip(1).collect(),
        public_ip: true,
        addresses: 4,
        ..NetworkPreflight::default()
    };
    let mut out = std::io::stdout().lock();
    for finding in Ec2::new(&aws).verify_network(&preflight).await {
        writeln!(out, "{finding}")?;
    }
    Ok(())
}
