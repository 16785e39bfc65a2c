//! What a stack's resources are called once they are made.
//!
//! Invariant: a name that the template gives is kept; any other follows from the logical id alone.

use serde_json::Value;

use crate::aws::{ACCOUNT, REGION};

/// What `Ref` gives of a resource, which is also its physical id.
pub(super) fn reference(id: &str, resource: &Value) -> String {
    let kind = resource["Type"].as_str().unwrap_or("AWS::Fake");
    let named = |property: &str| resource["Properties"][property].as_str().map(str::to_owned);
    let low = id.to_lowercase();
    let arn = |service: &str, name: String| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}");
    match kind {
        "AWS::EC2::VPC" => format!("vpc-{low}"),
        "AWS::EC2::Subnet" => format!("subnet-{low}"),
        "AWS::EC2::SecurityGroup" => format!("sg-{low}"),
        "AWS::ECS::Cluster" => named("ClusterName").unwrap_or(low),
        "AWS::ECR::Repository" => named("RepositoryName").unwrap_or(low),
        "AWS::IAM::Role" => named("RoleName").unwrap_or(low),
        "AWS::Logs::LogGroup" => named("LogGroupName").unwrap_or(low),
        "AWS::ElasticLoadBalancingV2::TargetGroup" => {
            let name = named("Name").unwrap_or(low);
            arn("elasticloadbalancing", format!("targetgroup/{name}/0123456789abcdef"))
        }
        "AWS::ElasticLoadBalancingV2::LoadBalancer" => {
            let name = named("Name").unwrap_or(low);
            arn(
                "elasticloadbalancing",
                format!("loadbalancer/app/{name}/0123456789abcdef"),
            )
        }
        "AWS::SecretsManager::Secret" => {
            let name = named("Name").unwrap_or_else(|| id.to_owned());
            arn("secretsmanager", format!("secret:{name}-AbCdEf"))
        }
        kind => {
            let service = kind.split("::").nth(1).unwrap_or("fake").to_lowercase();
            arn(&service, id.to_owned())
        }
    }
}

/// What `Fn::GetAtt` gives.
fn attribute(id: &str, resource: &Value, name: &str) -> String {
    let reference = reference(id, resource);
    let arn = |service: &str, name: &str| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}");
    match (resource["Type"].as_str().unwrap_or_default(), name) {
        ("AWS::ECS::Cluster", "Arn") => arn("ecs", &format!("cluster/{reference}")),
        ("AWS::IAM::Role", "Arn") => format!("arn:aws:iam::{ACCOUNT}:role/{reference}"),
        ("AWS::ECR::Repository", "RepositoryUri") => format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{reference}"),
        ("AWS::ElasticLoadBalancingV2::LoadBalancer", "DNSName") => {
            let name = reference.split('/').nth(2).unwrap_or_default();
            format!("{name}-1.{REGION}.elb.amazonaws.com")
        }
        _ => reference,
    }
}

/// A value of the template: literals as they are, joined texts, references and attributes.
pub(super) fn compute(template: &Value, value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(parts) = value["Fn::Join"][1].as_array() {
        return parts.iter().map(|p| compute(template, p)).collect::<Vec<_>>().join(",");
    }
    if let Some(id) = value["Ref"].as_str() {
        return reference(id, &template["Resources"][id]);
    }
    let id = value["Fn::GetAtt"][0].as_str().unwrap_or("Unknown");
    let name = value["Fn::GetAtt"][1].as_str().unwrap_or_default();
    attribute(id, &template["Resources"][id], name)
}
