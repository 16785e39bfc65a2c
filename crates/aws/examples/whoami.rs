//! Who the current AWS credentials belong to: `cargo run -p nuages-aws --example whoami`.

use nuages_aws::{AwsContext, AwsSettings};

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example's output is its purpose"
)]
async fn main() {
    match AwsContext::connect(&AwsSettings::default()).await {
        Ok(aws) => println!("{} in {}", aws.identity().arn, aws.region()),
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            std::process::exit(1);
        }
    }
}
