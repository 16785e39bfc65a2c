//! What the load balancer says of its targets.
//!
//! Invariant: the codes that a health check got are numbers here, read once from the sentence that carries them.

use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, told};
use crate::error::EcsError;

/// One target as the load balancer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetState {
    /// The task's address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// `initial`, `healthy`, `unhealthy`, `unused`, `draining`, …
    pub state: String,
    /// Why, in a word, such as `Target.ResponseCodeMismatch`.
    pub reason: Option<String>,
    /// Why, in a sentence, such as `Health checks failed with these codes: [400]`.
    pub description: Option<String>,
}

impl TargetState {
    /// Whether requests are sent to it.
    pub fn is_healthy(&self) -> bool {
        self.state == "healthy"
    }

    /// The status codes that its health checks got instead of the wanted ones.
    pub fn codes(&self) -> Vec<u16> {
        codes_in(self.description.as_deref().unwrap_or_default())
    }
}

/// The codes of `Health checks failed with these codes: [400, 502]`, wherever it stands.
pub(crate) fn codes_in(sentence: &str) -> Vec<u16> {
    let Some((_, rest)) = sentence.split_once("codes: [") else {
        return Vec::new();
    };
    let list = rest.split(']').next().unwrap_or_default();
    list.split(',').filter_map(|code| code.trim().parse().ok()).collect()
}

impl Cluster {
    /// The health of every target of a target group.
    pub async fn target_health(&self, target_group: &str) -> Result<Vec<TargetState>, EcsError> {
        let answer = self
            .elb
            .describe_target_health()
            .target_group_arn(target_group)
            .send()
            .await
            .map_err(told("elasticloadbalancing:DescribeTargetHealth"))
            .map_err(EcsError::call("read the health of the load balancer's targets"))?;
        Ok(answer
            .target_health_descriptions()
            .iter()
            .map(|d| {
                let health = d.target_health();
                TargetState {
                    address: d.target().and_then(|t| t.id()).unwrap_or_default().to_owned(),
                    port: d
                        .target()
                        .and_then(aws_sdk_elasticloadbalancingv2::types::TargetDescription::port)
                        .and_then(|p| u16::try_from(p).ok())
                        .unwrap_or_default(),
                    state: health
                        .and_then(|h| h.state())
                        .map(|s| s.as_str().to_owned())
                        .unwrap_or_default(),
                    reason: health.and_then(|h| h.reason()).map(|r| r.as_str().to_owned()),
                    description: health.and_then(|h| h.description()).map(str::to_owned),
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        assert_eq!(codes_in("Health checks failed with these codes: [400]"), [400]);
        assert_eq!(
            codes_in("(reason Health checks failed with these codes: [502, 503])."),
            [502, 503]
        );
        assert!(codes_in("Request timed out").is_empty());
    }
}
