//! The load balancer, the target group and the certificate; the cluster and its logs.
//!
//! Invariant: with a domain, nothing but that domain over HTTPS reaches the application.

use super::resources::{
    Action, AliasTarget, Attribute, Certificate, Cluster, ClusterSetting, FixedResponse, HostHeader, Listener,
    ListenerCertificate, ListenerRule, LoadBalancer, LogGroup, Matcher, RecordSet, Redirect, Rule, RuleCondition,
    SecurityGroup, TargetGroup, ValidationOption, named,
};
use super::{Keep, Template, Text, log_group_id, network};
use crate::spec::{Domain, StackSpec, WebSpec};

/// TLS 1.2 and 1.3 only.
const SSL_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";
/// Connections are drained for the longest request and this much more.
const DRAIN_MARGIN_SECONDS: u16 = 5;
const DRAIN_MIN_SECONDS: u16 = 30;

pub(super) fn add(template: &mut Template, spec: &StackSpec) {
    template.add(
        "Cluster",
        &Cluster {
            cluster_name: spec.name(),
            // Container Insights is billed per metric, more than a small service itself.
            cluster_settings: vec![ClusterSetting {
                name: "containerInsights",
                value: "disabled",
            }],
        },
    );
    for service in &spec.services {
        let group = template.add(
            log_group_id(&service.name),
            &LogGroup {
                log_group_name: spec.log_group(&service.name),
                retention_in_days: spec.log_retention_days,
            },
        );
        group.keep(Keep::NOTHING);
    }
    if let Some(web) = &spec.web {
        add_load_balancer(template, spec, web);
        match spec.https() {
            Some(domain) => add_https(template, domain),
            None => {
                template.add("Listener", &http_listener(forward()));
            }
        }
    }
}

fn add_load_balancer(template: &mut Template, spec: &StackSpec, web: &WebSpec) {
    let name = spec.name();
    let from_anywhere = |port, description| Rule {
        cidr_ip: Some("0.0.0.0/0"),
        description,
        from_port: Some(port),
        ip_protocol: "tcp",
        source_security_group_id: None,
        to_port: Some(port),
    };
    let mut ingress = vec![from_anywhere(80, "HTTP from anywhere")];
    if spec.https().is_some() {
        ingress.push(from_anywhere(443, "HTTPS from anywhere"));
    }
    template.add(
        "LoadBalancerGroup",
        &SecurityGroup {
            group_description: format!("Load balancer of {name}"),
            // The network, not the tasks' group: two groups that name each other cannot be made.
            security_group_egress: vec![Rule {
                cidr_ip: Some(network::CIDR),
                description: "HTTP to the tasks",
                from_port: Some(web.port),
                ip_protocol: "tcp",
                source_security_group_id: None,
                to_port: Some(web.port),
            }],
            security_group_ingress: ingress,
            tags: named(format!("{name}-load-balancer")),
            vpc_id: Text::reference("Vpc"),
        },
    );
    let attribute = |key, value: &str| Attribute {
        key,
        value: value.to_owned(),
    };
    template
        .add(
            "LoadBalancer",
            &LoadBalancer {
                load_balancer_attributes: vec![
                    attribute("idle_timeout.timeout_seconds", "60"),
                    // Headers that no RFC allows are how requests are smuggled.
                    attribute("routing.http.drop_invalid_header_fields.enabled", "true"),
                    // Django compares a form's origin with the host, its port included: it must see the host as the
                    // browser sent it.
                    attribute("routing.http.preserve_host_header.enabled", "true"),
                ],
                name: name.clone(),
                scheme: "internet-facing",
                security_groups: vec![Text::attribute("LoadBalancerGroup", "GroupId")],
                subnets: network::public_subnets(),
                kind: "application",
            },
        )
        .after(&["PublicRoute"]);
    let drain = web
        .longest_request_seconds
        .saturating_add(DRAIN_MARGIN_SECONDS)
        .max(DRAIN_MIN_SECONDS);
    template.add(
        "TargetGroup",
        &TargetGroup {
            health_check_interval_seconds: 10,
            health_check_path: web.health_live.clone(),
            health_check_protocol: "HTTP",
            health_check_timeout_seconds: 5,
            healthy_threshold_count: 2,
            matcher: Matcher { http_code: "200" },
            // Each task registers with its own port; another one here would replace the group, and the service with it.
            port: 80,
            protocol: "HTTP",
            target_group_attributes: vec![Attribute {
                key: "deregistration_delay.timeout_seconds",
                value: drain.to_string(),
            }],
            target_type: "ip",
            unhealthy_threshold_count: 5,
            vpc_id: Text::reference("Vpc"),
        },
    );
}

fn forward() -> Action {
    Action {
        kind: "forward",
        target_group_arn: Some(Text::reference("TargetGroup")),
        ..Action::default()
    }
}

fn http_listener(action: Action) -> Listener {
    Listener {
        certificates: Vec::new(),
        default_actions: vec![action],
        load_balancer_arn: Text::reference("LoadBalancer"),
        port: 80,
        protocol: "HTTP",
        ssl_policy: None,
    }
}

fn add_https(template: &mut Template, domain: &Domain) {
    template.add(
        "Certificate",
        &Certificate {
            domain_name: domain.name.clone(),
            // Without the zone, CloudFormation waits for a person to make the validation record, for hours.
            domain_validation_options: vec![ValidationOption {
                domain_name: domain.name.clone(),
                hosted_zone_id: domain.hosted_zone_id.clone(),
            }],
            validation_method: "DNS",
        },
    );
    let not_found = FixedResponse {
        content_type: "text/plain",
        message_body: "Not found",
        status_code: "404",
    };
    template.add(
        "Listener",
        &Listener {
            certificates: vec![ListenerCertificate {
                certificate_arn: Text::reference("Certificate"),
            }],
            default_actions: vec![Action {
                kind: "fixed-response",
                fixed_response_config: Some(not_found),
                ..Action::default()
            }],
            load_balancer_arn: Text::reference("LoadBalancer"),
            port: 443,
            protocol: "HTTPS",
            ssl_policy: Some(SSL_POLICY),
        },
    );
    template.add(
        "ListenerRule",
        &ListenerRule {
            actions: vec![forward()],
            conditions: vec![RuleCondition {
                field: "host-header",
                host_header_config: HostHeader {
                    values: vec![domain.name.clone()],
                },
            }],
            listener_arn: Text::reference("Listener"),
            priority: 1,
        },
    );
    let redirect = Redirect {
        port: "443",
        protocol: "HTTPS",
        status_code: "HTTP_301",
    };
    template.add(
        "RedirectListener",
        &http_listener(Action {
            kind: "redirect",
            redirect_config: Some(redirect),
            ..Action::default()
        }),
    );
    template.add(
        "DomainRecord",
        &RecordSet {
            alias_target: AliasTarget {
                dns_name: Text::attribute("LoadBalancer", "DNSName"),
                hosted_zone_id: Text::attribute("LoadBalancer", "CanonicalHostedZoneID"),
            },
            hosted_zone_id: domain.hosted_zone_id.clone(),
            name: format!("{}.", domain.name),
            kind: "A",
        },
    );
}
