//! Says why the tasks of a service stopped: `cargo run -p nuages-ecs --example why -- CLUSTER SERVICE`.
//!
//! Credentials, region and endpoint come from where the AWS CLI reads them.

use std::error::Error;
use std::io::Write as _;

use nuages_aws::{AwsContext, AwsSettings};
use nuages_ecs::{Cluster, Evidence, diagnose};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(cluster), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("usage: why CLUSTER SERVICE".into());
    };
    let aws = AwsContext::connect(&AwsSettings::default()).await?;
    let cluster = Cluster::new(&aws, cluster);
    let summaries = cluster.status(&[&service]).await?;
    let summary = summaries.into_iter().next().ok_or("no answer")?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{service}: {}, {} of {} tasks run",
        summary.word(),
        summary.state.running,
        summary.state.settings.desired
    )?;
    for task in cluster
        .stopped_tasks(&service)
        .await?
        .into_iter()
        .filter(nuages_ecs::TaskState::failed)
    {
        let evidence = Evidence {
            service: service.clone(),
            health_grace: summary.state.settings.health_grace,
            task: Some(task),
            events: summary.state.events.iter().map(|event| event.message.clone()).collect(),
            failures: 1,
            ..Evidence::default()
        };
        let diagnosis = diagnose(&evidence);
        writeln!(out, "\n{diagnosis}")?;
        if let Some(hint) = diagnosis.hint {
            writeln!(out, "  hint      {hint}")?;
        }
    }
    Ok(())
}
