//! The template as it is sent, and what no linter knows about it.

use nuages_infra::{Egress, StackSpec, Template};
use serde_json::Value;

use crate::fixture::{blog, emulated, render, secret, with_domain};

fn snapshot(name: &str, spec: &StackSpec) {
    insta::with_settings!({ filters => vec![(r#""Value": "[0-9a-f]{64}""#, r#""Value": "[hash]""#)] }, {
        insta::assert_snapshot!(name, Template::render(spec).unwrap().pretty());
    });
}

#[test]
fn public_http() {
    snapshot("public-http", &blog());
}

#[test]
fn nat_per_zone_with_domain() {
    let spec = StackSpec {
        egress: Egress::Nat { per_zone: true },
        ..with_domain(blog())
    };
    snapshot("nat-https", &spec);
}

#[test]
fn endpoints_and_exec() {
    snapshot(
        "endpoints-http",
        &StackSpec {
            egress: Egress::Endpoints,
            exec: true,
            ..blog()
        },
    );
}

#[test]
fn on_an_emulator() {
    let spec = StackSpec {
        egress: Egress::Nat { per_zone: false },
        ..emulated(with_domain(blog()))
    };
    snapshot("emulated", &spec);
}

/// Every combination that can be configured.
fn all() -> Vec<(String, StackSpec)> {
    let mut specs = Vec::new();
    for egress in [
        Egress::Public,
        Egress::Nat { per_zone: false },
        Egress::Nat { per_zone: true },
        Egress::Endpoints,
    ] {
        for bits in 0..32_u8 {
            let has = |bit: u8| bits & (1 << bit) != 0;
            let mut spec = StackSpec {
                egress,
                exec: has(0),
                ..blog()
            };
            if has(1) {
                spec = with_domain(spec);
            }
            if has(2) {
                spec = emulated(spec);
            }
            if has(3) {
                spec.database = None;
            }
            if has(4) {
                spec.web = None;
            }
            spec.secrets.push(secret("ssm", "parameter/blog/staging/token"));
            spec.kms_keys.push(secret("kms", "key/1234"));
            spec.permissions_boundary = Some("arn:aws:iam::123456789012:policy/boundary".parse().unwrap());
            specs.push((format!("{egress:?} {bits:05b}"), spec));
        }
    }
    specs
}

fn resources<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let all = template["Resources"].as_object().unwrap();
    all.iter()
        .filter(move |(_, r)| r["Type"] == kind)
        .map(|(id, r)| (id, &r["Properties"]))
}

fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|i| texts(i, found)),
        Value::Object(map) => map.values().for_each(|v| texts(v, found)),
        _ => {}
    }
}

/// What cfn-lint and checkov do not look at.
#[test]
fn every_template_keeps_the_rules() {
    for (which, spec) in all() {
        let template = render(&spec);
        let size = Template::render(&spec).unwrap().body().len();
        assert!(
            size < 51_200,
            "{which}: a template in a request has at most 51,200 bytes, this has {size}"
        );

        let mut all_texts = Vec::new();
        texts(&template["Resources"], &mut all_texts);
        let given = |t: &str| {
            spec.secrets.iter().chain(&spec.kms_keys).any(|a| a.as_str() == t)
                || spec.permissions_boundary.as_ref().is_some_and(|b| b.as_str() == t)
        };
        for text in all_texts.iter().filter(|t| !given(t)) {
            assert!(!text.contains("arn:aws"), "{which}: a literal partition in {text}");
        }

        for (id, group) in resources(&template, "AWS::ElasticLoadBalancingV2::TargetGroup") {
            let seconds = |key: &str| group[key].as_u64().unwrap();
            assert!(
                seconds("HealthCheckTimeoutSeconds") < seconds("HealthCheckIntervalSeconds"),
                "{which}: {id}"
            );
            assert_eq!(group["HealthCheckPath"], "/livez");
            assert!(
                group.get("Name").is_none(),
                "{which}: {id} has a name, and could never be replaced"
            );
        }
        for (id, balancer) in resources(&template, "AWS::ElasticLoadBalancingV2::LoadBalancer") {
            assert!(balancer["Name"].as_str().unwrap().len() <= 32, "{which}: {id}");
        }
        for (id, role) in resources(&template, "AWS::IAM::Role") {
            assert!(role["RoleName"].as_str().unwrap().len() <= 64, "{which}: {id}");
            assert!(role["PermissionsBoundary"].is_string(), "{which}: {id} has no boundary");
            assert!(
                role["AssumeRolePolicyDocument"]["Statement"][0]["Condition"].is_object(),
                "{which}: {id}"
            );
        }
        for (id, repository) in resources(&template, "AWS::ECR::Repository") {
            let policy = repository["LifecyclePolicy"]["LifecyclePolicyText"].as_str().unwrap();
            let policy: Value = serde_json::from_str(policy).unwrap();
            let rules = policy["rules"].as_array().unwrap();
            assert!(
                rules.iter().all(|r| r["selection"]["tagStatus"] != "any"),
                "{which}: {id}"
            );
            assert_eq!(
                rules[0]["selection"]["tagPrefixList"][0], "r-",
                "{which}: releases must be matched first"
            );
        }
        for (id, table) in template["Resources"].as_object().unwrap() {
            let precious = ["AWS::RDS::DBInstance", "AWS::SecretsManager::Secret"];
            if precious.contains(&table["Type"].as_str().unwrap()) && !spec.emulation.disposable {
                assert!(
                    table["DeletionPolicy"].is_string() && table["UpdateReplacePolicy"].is_string(),
                    "{which}: {id}"
                );
            }
        }
        for (id, database) in resources(&template, "AWS::RDS::DBInstance") {
            assert_eq!(database["StorageEncrypted"], true, "{which}: {id}");
            assert_eq!(database["PubliclyAccessible"], false, "{which}: {id}");
            assert!(
                database["BackupRetentionPeriod"].as_u64().unwrap() >= 7,
                "{which}: {id}"
            );
        }
        for (id, listener) in resources(&template, "AWS::ElasticLoadBalancingV2::Listener") {
            if listener["Protocol"] == "HTTPS" {
                assert_eq!(
                    listener["SslPolicy"], "ELBSecurityPolicy-TLS13-1-2-2021-06",
                    "{which}: {id}"
                );
                assert_eq!(
                    listener["DefaultActions"][0]["FixedResponseConfig"]["StatusCode"], "404",
                    "{which}: {id}"
                );
            } else if spec.https().is_some() {
                assert_eq!(
                    listener["DefaultActions"][0]["RedirectConfig"]["StatusCode"], "HTTP_301",
                    "{which}: {id}"
                );
            }
        }
        no_group_cycles(&which, &template);
    }
}

/// Groups whose rules name each other cannot be made.
fn no_group_cycles(which: &str, template: &Value) {
    let named = |group: &Value| {
        let rules = ["SecurityGroupIngress", "SecurityGroupEgress"].map(|k| group[k].as_array().cloned());
        let rules = rules.into_iter().flatten().flatten();
        rules
            .filter_map(|r| r["SourceSecurityGroupId"]["Fn::GetAtt"][0].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let groups: Vec<(String, Vec<String>)> = resources(template, "AWS::EC2::SecurityGroup")
        .map(|(id, g)| (id.clone(), named(g)))
        .collect();
    let mut made: Vec<&String> = Vec::new();
    while made.len() < groups.len() {
        let next = groups
            .iter()
            .find(|(id, needs)| !made.contains(&id) && needs.iter().all(|n| made.contains(&n)));
        made.push(
            &next
                .unwrap_or_else(|| panic!("{which}: security groups name each other"))
                .0,
        );
    }
}

#[test]
fn the_execution_role_reads_what_is_listed_and_nothing_else() {
    let template = render(&blog());
    let (_, role) = resources(&template, "AWS::IAM::Role")
        .find(|(id, _)| *id == "ExecutionRole")
        .unwrap();
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"].as_array().unwrap();
    let secrets = statements.iter().find(|s| s["Sid"] == "Secrets").unwrap();
    let own = serde_json::json!({ "Fn::GetAtt": ["DatabaseUrl", "Id"] });
    let listed =
        serde_json::json!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/staging/DJANGO_SECRET_KEY-AbCdEf");
    assert_eq!(secrets["Resource"], serde_json::json!([own, listed]));
    let everything: Vec<&str> = statements
        .iter()
        .filter(|s| s["Resource"] == serde_json::json!(["*"]))
        .map(|s| s["Sid"].as_str().unwrap())
        .collect();
    assert_eq!(everything, ["SignIn"]);
}

#[test]
fn the_deregistration_delay_covers_the_longest_request() {
    let delay = |seconds: u16| {
        let mut spec = blog();
        spec.web.as_mut().unwrap().longest_request_seconds = seconds;
        let template = render(&spec);
        template["Resources"]["TargetGroup"]["Properties"]["TargetGroupAttributes"][0]["Value"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(delay(5), "30");
    assert_eq!(delay(60), "65");
}

#[test]
fn china_has_its_own_names() {
    let spec = StackSpec {
        egress: Egress::Endpoints,
        partition: "aws-cn".to_owned(),
        ..blog()
    };
    let template = render(&spec);
    let name = &template["Resources"]["RegistryEndpoint"]["Properties"]["ServiceName"]["Fn::Sub"];
    assert_eq!(name, "cn.com.amazonaws.${AWS::Region}.ecr.dkr");
}

#[test]
fn the_hash_tells_templates_and_tags_apart() {
    let hash = |spec: &StackSpec| Template::render(spec).unwrap().hash().to_owned();
    assert_eq!(hash(&blog()), hash(&blog()));
    assert_ne!(
        hash(&blog()),
        hash(&StackSpec {
            log_retention_days: 7,
            ..blog()
        })
    );
    // Without a database the world is in the tags and an output only.
    let bare = StackSpec {
        database: None,
        ..blog()
    };
    let other = StackSpec {
        world: "01hxyzabcdefghjkmnpqrstvwy".parse().unwrap(),
        ..bare.clone()
    };
    assert_ne!(hash(&bare), hash(&other));
}

#[test]
fn bad_inputs_are_refused_with_one_sentence() {
    let mut sentences = Vec::new();
    let mut refuse = |change: &dyn Fn(&mut StackSpec)| {
        let mut spec = blog();
        change(&mut spec);
        sentences.push(Template::render(&spec).unwrap_err().to_string());
    };
    refuse(&|s| s.log_retention_days = 31);
    refuse(&|s| s.web.as_mut().unwrap().health_live = "livez".to_owned());
    refuse(&|s| s.web.as_mut().unwrap().port = 0);
    refuse(&|s| s.database.as_mut().unwrap().version = "latest".to_owned());
    refuse(&|s| s.database.as_mut().unwrap().class = "t4g.micro".to_owned());
    refuse(&|s| s.database.as_mut().unwrap().storage_gib = 5);
    refuse(&|s| s.database.as_mut().unwrap().backup_retention_days = 0);
    refuse(&|s| s.secrets.push(secret("s3", "bucket")));
    refuse(&|s| {
        s.services[0].name = "a-1".parse().unwrap();
        s.services[1].name = "a1".parse().unwrap();
    });
    refuse(&|s| *s = with_bad_domain(s.clone()));
    insta::assert_snapshot!(sentences.join("\n"));
}

fn with_bad_domain(spec: StackSpec) -> StackSpec {
    let mut spec = with_domain(spec);
    if let Some(web) = &mut spec.web
        && let nuages_infra::Exposure::Https(domain) = &mut web.exposure
    {
        "*.Example.org".clone_into(&mut domain.name);
    }
    spec
}
