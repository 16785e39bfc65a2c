//! What is verified before anything is changed. Read-only.
//!
//! Invariant: every finding names the call that showed it and the identity that made it; what the caller merely may not
//! read is a warning. All checks run at once, and one that fails hides no other.

use std::future::Future;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use nuages_aws::Kind;
use nuages_model::{Digest, Finding, ImageRef};

use crate::cluster::{Cluster, told};
use crate::definition::TaskDefinitionSpec;
use crate::error::EcsError;
use crate::service::ServiceSpec;
use crate::state::ServiceStatus;

/// One service that is about to be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// The definition that would be registered.
    pub definition: TaskDefinitionSpec,
    /// The service that would run it.
    pub service: ServiceSpec,
}

impl Cluster {
    /// Verifies all that ECS, the load balancer and the logs must have ready. `resolve` asks the registry for an
    /// image's digest: none where the registry does not have it.
    pub async fn preflight<F, Fut>(&self, services: &[Preflight], resolve: F) -> Vec<Finding>
    where
        F: Fn(ImageRef) -> Fut + Sync,
        Fut: Future<Output = Result<Option<Digest>, String>> + Send,
    {
        let mut checks: Vec<BoxFuture<'_, Vec<Finding>>> = vec![self.verify_cluster().boxed()];
        checks.push(self.verify_services(services).boxed());
        for preflight in services {
            checks.push(async { vec![verify_definition(preflight)] }.boxed());
        }
        let mut images: Vec<&ImageRef> = services
            .iter()
            .flat_map(|p| &p.definition.containers)
            .map(|c| c.image.image())
            .collect();
        images.sort();
        images.dedup();
        for image in images {
            checks.push(verify_image(image, &resolve).boxed());
        }
        let mut groups: Vec<&str> = services
            .iter()
            .flat_map(|p| &p.definition.containers)
            .map(|c| c.log.group.as_str())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            checks.push(self.verify_log_group(group).boxed());
        }
        for preflight in services {
            for target in &preflight.service.settings.load_balancers {
                checks.push(self.verify_target_group(preflight, &target.target_group).boxed());
            }
        }
        join_all(checks).await.into_iter().flatten().collect()
    }

    fn proof(&self, call: &str) -> String {
        format!("{call} as {}", self.caller)
    }

    /// A check that could not be made.
    fn unread(&self, subject: &str, call: &str, error: &EcsError) -> Finding {
        let why = crate::rollout::describe_chain(error);
        let finding = match error.kind() {
            Some(Kind::AccessDenied) => Finding::warn(
                subject,
                format!("not verified, since this identity may not read it: {why}"),
            ),
            _ => Finding::fail(subject, format!("could not be verified: {why}")),
        };
        let finding = finding.proof(self.proof(call));
        match error.hint() {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }

    async fn verify_cluster(&self) -> Vec<Finding> {
        const CALL: &str = "ecs:DescribeClusters";
        let subject = format!("cluster {}", self.name);
        let answer = self.ecs.describe_clusters().clusters(&self.name).send().await;
        let answer = match answer.map_err(told(CALL)).map_err(EcsError::call("read the cluster")) {
            Ok(answer) => answer,
            Err(error) => return vec![self.unread(&subject, CALL, &error)],
        };
        let status = answer.clusters().first().and_then(|c| c.status());
        let finding = match status {
            Some("ACTIVE") => Finding::ok(subject, "active"),
            Some(other) => Finding::fail(subject, format!("it is {}", other.to_lowercase())),
            None => Finding::fail(subject, "it does not exist").hint("`nuages infra up` makes it"),
        };
        vec![finding.proof(self.proof(CALL))]
    }

    async fn verify_services(&self, services: &[Preflight]) -> Vec<Finding> {
        const CALL: &str = "ecs:DescribeServices";
        let names: Vec<&str> = services.iter().map(|p| p.service.name.as_str()).collect();
        let states = match self.observe_all(&names).await {
            Ok(states) => states,
            Err(error) => return vec![self.unread("services", CALL, &error)],
        };
        states
            .iter()
            .map(|state| {
                let subject = format!("service {}", state.name);
                let finding = if state.status == ServiceStatus::Draining {
                    Finding::warn(
                        subject,
                        "it is still being deleted; the deployment waits until it is gone",
                    )
                } else if !state.exists() {
                    Finding::ok(subject, "does not exist yet and will be made")
                } else if state.in_flight() {
                    Finding::fail(subject, "a deployment is under way")
                        .hint("wait for it (`nuages status`), or finish it with `nuages resume` or `nuages abort`")
                } else if state.settings.breaker.is_none() {
                    Finding::warn(subject, "its circuit breaker is off; this deployment turns it on")
                } else {
                    Finding::ok(
                        subject,
                        format!("active, {} of {} tasks run", state.running, state.settings.desired),
                    )
                };
                finding.proof(self.proof(CALL))
            })
            .collect()
    }

    async fn verify_log_group(&self, group: &str) -> Vec<Finding> {
        const CALL: &str = "logs:DescribeLogGroups";
        let subject = format!("log group {group}");
        let answer = self
            .logs
            .describe_log_groups()
            .log_group_name_prefix(group)
            .send()
            .await;
        let answer = match answer.map_err(told(CALL)).map_err(EcsError::call("read the log group")) {
            Ok(answer) => answer,
            Err(error) => return vec![self.unread(&subject, CALL, &error)],
        };
        let found = answer.log_groups().iter().find(|g| g.log_group_name() == Some(group));
        let finding = match found {
            None => {
                Finding::fail(subject, "it does not exist, and no task could start").hint("`nuages infra up` makes it")
            }
            Some(g) => match g.retention_in_days() {
                Some(days) => Finding::ok(subject, format!("keeps {days} days")),
                None => Finding::warn(subject, "keeps lines for ever, which costs more each month"),
            },
        };
        vec![finding.proof(self.proof(CALL))]
    }

    async fn verify_target_group(&self, preflight: &Preflight, arn: &str) -> Vec<Finding> {
        const CALL: &str = "elasticloadbalancing:DescribeTargetGroups";
        let subject = format!("target group of {}", preflight.service.name);
        let answer = self.elb.describe_target_groups().target_group_arns(arn).send().await;
        let answer = match answer
            .map_err(told(CALL))
            .map_err(EcsError::call("read the target group"))
        {
            Ok(answer) => answer,
            Err(error) if error.kind() == Some(Kind::NotFound) => {
                return vec![Finding::fail(subject, "it does not exist").proof(self.proof(CALL))];
            }
            Err(error) => return vec![self.unread(&subject, CALL, &error)],
        };
        let Some(group) = answer.target_groups().first() else {
            return vec![Finding::fail(subject, "it does not exist").proof(self.proof(CALL))];
        };
        let mut findings = Vec::new();
        let kind = group.target_type().map_or("instance", |t| t.as_str());
        if kind != "ip" {
            findings.push(Finding::fail(
                &subject,
                format!("its targets are of type `{kind}`; Fargate tasks need `ip`"),
            ));
        }
        if group.load_balancer_arns().is_empty() {
            findings.push(
                Finding::fail(
                    &subject,
                    "no listener sends it requests, and ECS refuses such a service",
                )
                .hint("`nuages infra up` attaches it"),
            );
        }
        let seconds = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        let (interval, unhealthy) = (
            seconds(group.health_check_interval_seconds()),
            seconds(group.unhealthy_threshold_count()),
        );
        let grace = preflight.service.settings.health_grace.unwrap_or_default();
        if grace < interval * seconds(group.healthy_threshold_count()) {
            findings.push(Finding::warn(
                &subject,
                format!("a grace period of {grace} s is shorter than the checks that make a target healthy"),
            ));
        }
        if findings.is_empty() {
            let path = group.health_check_path().unwrap_or("/");
            findings.push(Finding::ok(
                &subject,
                format!("attached; asks {path} each {interval} s, unhealthy after {unhealthy} failures"),
            ));
        }
        findings.into_iter().map(|f| f.proof(self.proof(CALL))).collect()
    }
}

fn verify_definition(preflight: &Preflight) -> Finding {
    let (definition, service) = (&preflight.definition, &preflight.service);
    let subject = format!("task definition {}", definition.family);
    if let Err(error) = definition.check() {
        let finding = Finding::fail(subject, error.to_string());
        return match error.hint() {
            Some(hint) => finding.hint(hint),
            None => finding,
        };
    }
    for target in &service.settings.load_balancers {
        let matches = definition
            .containers
            .iter()
            .any(|c| c.name == target.container && c.port == Some(target.port));
        if !matches {
            let why = format!("no container `{}` listens on port {}", target.container, target.port);
            return Finding::fail(subject, why);
        }
    }
    Finding::ok(
        subject,
        format!(
            "cpu {}, memory {} MiB, content {}",
            definition.cpu,
            definition.memory,
            definition.content().short()
        ),
    )
}

async fn verify_image<F, Fut>(image: &ImageRef, resolve: &F) -> Vec<Finding>
where
    F: Fn(ImageRef) -> Fut,
    Fut: Future<Output = Result<Option<Digest>, String>>,
{
    let subject = format!("image {}", image.repository());
    let finding = match resolve(image.clone()).await {
        Ok(Some(found)) if Some(&found) == image.digest() => {
            Finding::ok(subject, format!("{} is there", found.short()))
        }
        Ok(Some(found)) => Finding::fail(subject, format!("the registry answers {found} for {image}")),
        Ok(None) => {
            Finding::fail(subject, format!("the registry does not have {image}")).hint("`nuages push` sends it")
        }
        Err(why) => Finding::warn(subject, format!("not verified: {why}")),
    };
    vec![finding.proof(format!("the manifest of {image}"))]
}
