//! Records two releases, and goes back from the second.
//!
//! `cargo run -p nuages-releases --example rollback [FILE]`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use nuages_model::{Digest, ReleaseId};
use nuages_releases::{EnvironmentKey, ReleaseDraft, ReleaseOutcome, Store, location};
use nuages_saga::{Holder, LeaseGuard, LeaseTiming};

fn draft(page: &str, parent: Option<ReleaseId>) -> Result<ReleaseDraft, Box<dyn std::error::Error>> {
    let image_digest = Digest::of(page.as_bytes());
    Ok(ReleaseDraft {
        id: ReleaseId::generate(),
        created_by: "ana@laptop".into(),
        deployment: None,
        parent,
        world: None,
        outcome: ReleaseOutcome::Healthy,
        git: None,
        image_reference: format!("localhost:4566/blog@{image_digest}").parse()?,
        image_digest,
        task_definitions: BTreeMap::new(),
        fingerprint: page.into(),
        config_hash: "none".into(),
        config: serde_json::json!({}),
        secrets: Vec::new(),
        migrations: BTreeMap::new(),
        checks: Vec::new(),
        builder: "example".into(),
        url: None,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = std::env::temp_dir().join(format!("nuages-example-{}", std::process::id()));
    let store = Store::open(&location(&folder, named.as_deref())).await?;
    let key = EnvironmentKey {
        account: "000000000000".parse()?,
        region: "eu-west-1".parse()?,
        app: "blog".parse()?,
        env: "local".parse()?,
    };
    let environment = store.environment(key).await?;
    let lease = LeaseGuard::acquire(
        Arc::new(environment.clone()),
        Holder::here("example"),
        LeaseTiming::default(),
    )
    .await?;

    let first = environment
        .record_serving(lease.fence(), draft("the old page", None)?)
        .await?;
    let second = environment
        .record_serving(lease.fence(), draft("the new page", Some(first.id))?)
        .await?;
    let target = environment
        .rollback_target()
        .await?
        .ok_or("there is nothing to go back to")?;
    environment.rolled_back(lease.fence(), second.id, target.id).await?;
    lease.release().await;

    let mut out = std::io::stdout().lock();
    let serving = environment.serving().await?.map(|release| release.id);
    for release in environment.releases(20).await? {
        let serves = if serving == Some(release.id) { "  serves" } else { "" };
        writeln!(
            out,
            "{:<4} {:<17} {}{serves}",
            release.number.to_string(),
            release.outcome,
            release.fingerprint
        )?;
    }
    if named.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
