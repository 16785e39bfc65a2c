//! The preflight: everything that would make the deployment fail, found before anything is touched.
//!
//! Invariant: reads only, all at once, and every finding names the identity that proved it.

use nuages_ecs::{Cluster, Preflight};
use nuages_infra::StackOutputs;
use nuages_model::{Digest, Finding, ImageRef, Level, ReleaseId};
use nuages_registry::Ecr;
use nuages_saga::ErrorReport;

use crate::error::PipelineError;
use crate::ground::Ground;
use crate::layout::Layout;
use crate::session::Session;
use crate::ui::Ui;
use crate::{live, secrets, stack};

/// Runs the preflight of a release, and refuses where anything would fail.
pub(crate) async fn preflight(
    session: &Session,
    layout: &Layout<'_>,
    release: ReleaseId,
    ui: &Ui,
) -> Result<Vec<Finding>, PipelineError> {
    let task = ui.events.task("preflight", "Preflight");
    let findings = findings(session, layout, release).await?;
    let failed: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.level == Level::Fail)
        .cloned()
        .collect();
    for finding in &findings {
        match finding.level {
            Level::Fail => {
                task.message(
                    nuages_saga::MessageLevel::Error,
                    finding.to_string(),
                    finding.hint.clone(),
                );
            }
            Level::Warn => {
                task.message(
                    nuages_saga::MessageLevel::Warning,
                    finding.to_string(),
                    finding.hint.clone(),
                );
            }
            Level::Ok | Level::Skip => {}
        }
    }
    if failed.is_empty() {
        let warnings = findings.iter().filter(|finding| finding.level == Level::Warn).count();
        let looked = findings.len();
        task.done(if warnings == 0 {
            format!("{looked} findings, all well")
        } else {
            format!("{looked} findings, {warnings} warnings")
        });
        Ok(findings)
    } else {
        let error = PipelineError::Preflight { findings: failed };
        task.failed_with(error.report());
        Err(error)
    }
}

async fn findings(session: &Session, layout: &Layout<'_>, release: ReleaseId) -> Result<Vec<Finding>, PipelineError> {
    let cluster = Cluster::new(&session.aws, &layout.outputs.cluster);
    let mut services = Vec::new();
    for (name, service) in &session.config.services {
        services.push(Preflight {
            definition: layout.definition(name, service, release)?,
            service: layout.service(name, service),
        });
    }
    let ecr = Ecr::new(&session.aws);
    let repository = layout.outputs.repository.clone();
    let resolve = |image: ImageRef| {
        let (ecr, repository) = (&ecr, repository.clone());
        async move {
            let Some(digest) = image.digest().cloned() else {
                return Ok(None);
            };
            let there = ecr.image(&repository, digest.as_str()).await;
            let there = there.map_err(|error| ErrorReport::of(&error).to_string())?;
            Ok::<Option<Digest>, String>(there.map(|there| there.digest))
        }
    };
    let network = network(session, layout.outputs);
    let roles = roles(session, layout.outputs);
    let (mut findings, network, roles) = tokio::join!(cluster.preflight(&services, resolve), network, roles);
    findings.extend(network);
    findings.extend(roles);
    findings.insert(0, identity(session));
    findings.extend(rollback_target(session).await?);
    Ok(findings)
}

fn identity(session: &Session) -> Finding {
    let identity = session.aws.identity();
    Finding::ok("identity", format!("{} in account {}", identity.arn, identity.account)).proof("sts:GetCallerIdentity")
}

async fn network(session: &Session, outputs: &StackOutputs) -> Vec<Finding> {
    let ec2 = nuages_ec2::Ec2::new(&session.aws);
    let services = session.config.services.values();
    let question = nuages_ec2::NetworkPreflight {
        subnets: outputs.task_subnets.iter().cloned().collect(),
        public_ip: outputs.assign_public_ip,
        // A rollout runs the old and the new tasks side by side.
        addresses: services.clone().map(|service| service.count * 2).sum(),
        balancer_groups: outputs.web.iter().map(|web| web.security_group.clone()).collect(),
        task_groups: [outputs.task_security_group.clone()].into(),
        database_groups: outputs
            .database
            .iter()
            .map(|database| database.security_group.clone())
            .collect(),
        ports: services.filter_map(|service| service.port).collect(),
        database_port: outputs.database.as_ref().map(|_| 5432),
    };
    ec2.verify_network(&question).await
}

async fn roles(session: &Session, outputs: &StackOutputs) -> Vec<Finding> {
    let roles = [
        ("execution role", &outputs.execution_role),
        ("task role", &outputs.task_role),
    ];
    nuages_infra::verify_task_roles(&session.aws, &roles).await
}

/// Whether there is something to go back to.
async fn rollback_target(session: &Session) -> Result<Vec<Finding>, PipelineError> {
    let Some(serving) = session.store.serving().await? else {
        return Ok(vec![Finding::skip(
            "rollback",
            "there is no earlier release to go back to",
        )]);
    };
    let ecr = Ecr::new(&session.aws);
    let repository = serving.image_reference.repository();
    let there = ecr.image(repository, serving.image_digest.as_str()).await;
    Ok(vec![match there {
        Err(error) => Finding::warn(
            "rollback",
            format!(
                "whether the image of {} is still there was not verified: {}",
                serving.number,
                ErrorReport::of(&error)
            ),
        ),
        Ok(Some(_)) => Finding::ok(
            "rollback",
            format!(
                "a deployment that fails can return to {}: its image is there",
                serving.number
            ),
        ),
        Ok(None) => Finding::warn(
            "rollback",
            format!(
                "a deployment that fails cannot return to {}: its image is no longer in the registry",
                serving.number
            ),
        ),
    }])
}

/// The preflight alone, for the release that would be made from what is in the registry now.
pub async fn verify(session: &Session, ui: &Ui) -> Result<Vec<Finding>, PipelineError> {
    let stack = stack::stack(session);
    let Some(state) = stack.describe().await?.filter(nuages_infra::StackState::stands) else {
        return Ok(vec![
            identity(session),
            Finding::fail(
                "stack",
                format!("the environment `{}` has no stack yet", session.config.env.name),
            )
            .hint(format!(
                "make it with `nuages deploy --env {}`",
                session.config.env.name
            )),
        ]);
    };
    let outputs = state.outputs()?;
    let url = secrets::database_url(Some(&outputs)).cloned();
    let inspected = secrets::manager(session)
        .inspect(&secrets::wanted(session, url.as_ref()), &[])
        .await?;
    let missing: Vec<Finding> = inspected
        .planned
        .iter()
        .map(|planned| {
            Finding::warn(
                "secrets",
                format!("{} is made at the next deployment", planned.variable),
            )
        })
        .collect();
    let Some(serving) = session.store.serving().await? else {
        let mut findings = vec![identity(session)];
        let unrecorded = live::unrecorded(session, &outputs.cluster).await?;
        if unrecorded.is_empty() {
            findings.push(Finding::skip("image", "nothing was deployed yet"));
        }
        for running in unrecorded {
            let text = format!(
                "`{}` runs {running}, of which this store has no record",
                running.service
            );
            findings.push(Finding::warn("image", text).hint(live::OTHER_STORE));
        }
        findings.extend(missing);
        findings.extend(network(session, &outputs).await);
        findings.extend(roles(session, &outputs).await);
        return Ok(findings);
    };
    let ground = Ground {
        outputs,
        secrets: secrets::as_resolved(inspected),
        database_moved: false,
        pending: None,
    };
    let layout = crate::deploy::layout(session, &ground, serving.image_reference.clone())?;
    let task = ui.events.task("verify", "Verify");
    let mut found = findings(session, &layout, serving.id).await?;
    found.extend(missing);
    task.done(format!("{} findings", found.len()));
    Ok(found)
}
