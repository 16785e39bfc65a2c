//! The properties of every resource type that nuages makes, spelled as CloudFormation spells them.
//!
//! Invariant: a field that is left out is `None` or empty, and is not sent: CloudFormation's default holds.

#![expect(clippy::struct_field_names, reason = "the names are CloudFormation's")]

use serde::{Serialize, Serializer};

use super::value::Text;
use crate::iam::Document;

/// The properties of one resource type.
pub(crate) trait Properties: Serialize {
    /// Its name in CloudFormation.
    const TYPE: &'static str;
}

/// Declares structs with CloudFormation's spelling; those with a type name are resources.
macro_rules! cloudformation {
    ($($(#[$meta:meta])* $name:ident $(= $type:literal)? { $($(#[$field_meta:meta])* $field:ident : $kind:ty),* $(,)? })*) => {
        $(
            #[derive(Debug, Clone, PartialEq, Serialize)]
            #[serde(rename_all = "PascalCase")]
            $(#[$meta])*
            pub(crate) struct $name {
                $($(#[$field_meta])* pub(crate) $field: $kind,)*
            }
            $(impl Properties for $name { const TYPE: &'static str = $type; })?
        )*
    };
}

cloudformation! {
    #[derive(Eq)]
    Tag { key: &'static str, value: Text }

    Vpc = "AWS::EC2::VPC" {
        cidr_block: &'static str,
        enable_dns_hostnames: bool,
        enable_dns_support: bool,
        tags: Vec<Tag>,
    }

    InternetGateway = "AWS::EC2::InternetGateway" { tags: Vec<Tag> }

    GatewayAttachment = "AWS::EC2::VPCGatewayAttachment" { internet_gateway_id: Text, vpc_id: Text }

    Subnet = "AWS::EC2::Subnet" {
        availability_zone: Text,
        cidr_block: &'static str,
        map_public_ip_on_launch: bool,
        tags: Vec<Tag>,
        vpc_id: Text,
    }

    RouteTable = "AWS::EC2::RouteTable" { tags: Vec<Tag>, vpc_id: Text }

    Route = "AWS::EC2::Route" {
        destination_cidr_block: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        gateway_id: Option<Text>,
        #[serde(skip_serializing_if = "Option::is_none")]
        nat_gateway_id: Option<Text>,
        route_table_id: Text,
    }

    RouteTableAssociation = "AWS::EC2::SubnetRouteTableAssociation" { route_table_id: Text, subnet_id: Text }

    Address = "AWS::EC2::EIP" { domain: &'static str, tags: Vec<Tag> }

    NatGateway = "AWS::EC2::NatGateway" { allocation_id: Text, subnet_id: Text, tags: Vec<Tag> }

    VpcEndpoint = "AWS::EC2::VPCEndpoint" {
        #[serde(skip_serializing_if = "Option::is_none")]
        private_dns_enabled: Option<bool>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        route_table_ids: Vec<Text>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        security_group_ids: Vec<Text>,
        service_name: Text,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        subnet_ids: Vec<Text>,
        vpc_endpoint_type: &'static str,
        vpc_id: Text,
    }

    /// The rules stand in the group itself, because not every emulator has stand-alone ones. So that no two groups name
    /// each other, a group names only those that are nearer to the internet than itself.
    SecurityGroup = "AWS::EC2::SecurityGroup" {
        group_description: String,
        security_group_egress: Vec<Rule>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        security_group_ingress: Vec<Rule>,
        tags: Vec<Tag>,
        vpc_id: Text,
    }

    Rule {
        #[serde(skip_serializing_if = "Option::is_none")]
        cidr_ip: Option<&'static str>,
        description: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from_port: Option<u16>,
        ip_protocol: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        source_security_group_id: Option<Text>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_port: Option<u16>,
    }

    LoadBalancer = "AWS::ElasticLoadBalancingV2::LoadBalancer" {
        load_balancer_attributes: Vec<Attribute>,
        name: String,
        scheme: &'static str,
        security_groups: Vec<Text>,
        subnets: Vec<Text>,
        #[serde(rename = "Type")]
        kind: &'static str,
    }

    Attribute { key: &'static str, value: String }

    TargetGroup = "AWS::ElasticLoadBalancingV2::TargetGroup" {
        health_check_interval_seconds: u16,
        health_check_path: String,
        health_check_protocol: &'static str,
        health_check_timeout_seconds: u16,
        healthy_threshold_count: u16,
        matcher: Matcher,
        port: u16,
        protocol: &'static str,
        target_group_attributes: Vec<Attribute>,
        target_type: &'static str,
        unhealthy_threshold_count: u16,
        vpc_id: Text,
    }

    Matcher { http_code: &'static str }

    Listener = "AWS::ElasticLoadBalancingV2::Listener" {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        certificates: Vec<ListenerCertificate>,
        default_actions: Vec<Action>,
        load_balancer_arn: Text,
        port: u16,
        protocol: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        ssl_policy: Option<&'static str>,
    }

    ListenerCertificate { certificate_arn: Text }

    ListenerRule = "AWS::ElasticLoadBalancingV2::ListenerRule" {
        actions: Vec<Action>,
        conditions: Vec<RuleCondition>,
        listener_arn: Text,
        priority: u16,
    }

    RuleCondition { field: &'static str, host_header_config: HostHeader }

    HostHeader { values: Vec<String> }

    #[derive(Default)]
    Action {
        #[serde(skip_serializing_if = "Option::is_none")]
        fixed_response_config: Option<FixedResponse>,
        #[serde(skip_serializing_if = "Option::is_none")]
        redirect_config: Option<Redirect>,
        #[serde(skip_serializing_if = "Option::is_none")]
        target_group_arn: Option<Text>,
        #[serde(rename = "Type")]
        kind: &'static str,
    }

    FixedResponse { content_type: &'static str, message_body: &'static str, status_code: &'static str }

    Redirect { port: &'static str, protocol: &'static str, status_code: &'static str }

    Certificate = "AWS::CertificateManager::Certificate" {
        domain_name: String,
        domain_validation_options: Vec<ValidationOption>,
        validation_method: &'static str,
    }

    ValidationOption { domain_name: String, hosted_zone_id: String }

    RecordSet = "AWS::Route53::RecordSet" {
        alias_target: AliasTarget,
        hosted_zone_id: String,
        name: String,
        #[serde(rename = "Type")]
        kind: &'static str,
    }

    AliasTarget {
        #[serde(rename = "DNSName")]
        dns_name: Text,
        hosted_zone_id: Text,
    }

    Cluster = "AWS::ECS::Cluster" { cluster_name: String, cluster_settings: Vec<ClusterSetting> }

    ClusterSetting { name: &'static str, value: &'static str }

    LogGroup = "AWS::Logs::LogGroup" { log_group_name: String, retention_in_days: u16 }

    Repository = "AWS::ECR::Repository" {
        encryption_configuration: RepositoryEncryption,
        image_scanning_configuration: ImageScanning,
        image_tag_mutability: &'static str,
        lifecycle_policy: LifecyclePolicy,
        repository_name: String,
    }

    RepositoryEncryption { encryption_type: &'static str }

    ImageScanning { scan_on_push: bool }

    LifecyclePolicy {
        #[serde(serialize_with = "as_text")]
        lifecycle_policy_text: LifecycleRules,
    }

    Role = "AWS::IAM::Role" {
        assume_role_policy_document: Document,
        description: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        permissions_boundary: Option<Text>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        policies: Vec<RolePolicy>,
        role_name: String,
    }

    RolePolicy { policy_document: Document, policy_name: &'static str }

    Secret = "AWS::SecretsManager::Secret" {
        description: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        generate_secret_string: Option<GenerateSecretString>,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_string: Option<Text>,
    }

    GenerateSecretString {
        exclude_characters: &'static str,
        exclude_punctuation: bool,
        generate_string_key: &'static str,
        password_length: u16,
        #[serde(serialize_with = "as_text")]
        secret_string_template: PasswordTemplate,
    }

    DbSubnetGroup = "AWS::RDS::DBSubnetGroup" {
        #[serde(rename = "DBSubnetGroupDescription")]
        description: String,
        subnet_ids: Vec<Text>,
    }

    DbInstance = "AWS::RDS::DBInstance" {
        #[serde(serialize_with = "as_text")]
        allocated_storage: u32,
        auto_minor_version_upgrade: bool,
        backup_retention_period: u8,
        copy_tags_to_snapshot: bool,
        #[serde(rename = "DBInstanceClass")]
        class: String,
        #[serde(rename = "DBName")]
        db_name: &'static str,
        #[serde(rename = "DBSubnetGroupName")]
        subnet_group: Text,
        deletion_protection: bool,
        engine: &'static str,
        engine_version: String,
        master_username: &'static str,
        master_user_password: Text,
        #[serde(rename = "MultiAZ")]
        multi_az: bool,
        publicly_accessible: bool,
        storage_encrypted: bool,
        storage_type: &'static str,
        #[serde(rename = "VPCSecurityGroups")]
        security_groups: Vec<Text>,
    }
}

/// A lifecycle policy is JSON within JSON, in ECR's own spelling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LifecycleRules {
    pub(crate) rules: Vec<LifecycleRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LifecycleRule {
    pub(crate) rule_priority: u16,
    pub(crate) description: &'static str,
    pub(crate) selection: LifecycleSelection,
    pub(crate) action: LifecycleAction,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LifecycleSelection {
    pub(crate) tag_status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tag_prefix_list: Vec<&'static str>,
    pub(crate) count_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count_unit: Option<&'static str>,
    pub(crate) count_number: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LifecycleAction {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

/// What a generated password is put beside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PasswordTemplate {
    pub(crate) username: &'static str,
}

impl Tag {
    pub(crate) fn new(key: &'static str, value: impl Into<Text>) -> Self {
        Self {
            key,
            value: value.into(),
        }
    }
}

/// A `Name` tag, which is what consoles list by.
pub(crate) fn named(name: String) -> Vec<Tag> {
    vec![Tag::new("Name", name)]
}

fn as_text<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let text = serde_json::to_string(value).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
