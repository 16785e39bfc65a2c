//! Starts the shared MiniStack, or finds it, and asks it who it is.
//!
//! Run with `cargo run -p nuages-testkit --example emulators`, and afterwards `testkit sweep --all`.

use nuages_testkit::emulators::{ministack, sdk_config};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it found")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = ministack().await;
    let client = aws_sdk_ecs::Client::new(&sdk_config(&emulator, &emulator.account));
    let clusters = client.list_clusters().send().await?;
    println!(
        "{} of account {} has the clusters {:?}",
        emulator.url,
        emulator.account,
        clusters.cluster_arns()
    );
    Ok(())
}
