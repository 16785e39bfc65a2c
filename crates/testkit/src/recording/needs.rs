//! Which permissions a call needs, as IAM counts them.
//!
//! Invariant: a call that is not known here is refused, so that none goes unchecked. Emulators check little of this: not
//! the roles that are passed, not the tags, nothing of `/v2`.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::Call;

/// Whose calls these are.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// The account.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
    /// The app's name, which becomes `blog`, so that two runs can be compared.
    pub app: &'a str,
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Needed {
    /// Such as `ecs:UpdateService`.
    pub action: String,
    /// The ARN, with ids that differ from run to run made the same; `*` where the action knows no resource.
    pub resource: String,
    /// The condition keys that the request carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

/// The permissions that these calls need, each once.
///
/// # Panics
/// At a call whose permissions are not written down here.
pub fn needed(calls: &[Call], whose: Whose<'_>) -> BTreeSet<Needed> {
    let ids = Ids::new(whose.app);
    let all = calls.iter().flat_map(|call| of(call, whose));
    all.map(|mut one| {
        one.resource = ids.level(&one.resource);
        one.context.values_mut().for_each(|value| *value = ids.level(value));
        one
    })
    .collect()
}

fn of(call: &Call, whose: Whose<'_>) -> Vec<Needed> {
    let mut list = List {
        whose,
        service: if call.is_registry() { "ecr" } else { &call.service },
        needed: Vec::new(),
    };
    let operation = call.operation();
    match call.service.as_str() {
        "registry" => list.registry(call),
        "cloudformation" => list.cloudformation(call, operation),
        "ecs" => list.ecs(call, operation),
        "ecr" => match call.text("repositoryName") {
            Some(name) => list.on(operation, &format!("repository/{name}")),
            None => list.anywhere(operation),
        },
        "secretsmanager" => list.secrets(call, operation),
        "ssm" => {
            let one = call.text("Name").map(str::to_owned);
            for name in one.into_iter().chain(call.texts("Names")) {
                list.on(operation, &format!("parameter/{}", name.trim_start_matches('/')));
            }
        }
        "logs" => match (call.text("logGroupName"), call.text("logStreamName")) {
            (Some(group), Some(stream)) => list.on(operation, &format!("log-group:{group}:log-stream:{stream}")),
            (Some(group), None) => list.on(operation, &format!("log-group:{group}")),
            _ => list.anywhere(operation),
        },
        "rds" => match call.text("DBInstanceIdentifier") {
            Some(name) if !operation.starts_with("Describe") => list.on(operation, &format!("db:{name}")),
            _ => list.anywhere(operation),
        },
        "route53" if call.path.ends_with("/hostedzonesbyname") => list.anywhere("ListHostedZonesByName"),
        // These describe without resources.
        "ec2" | "elasticloadbalancing" if operation.starts_with("Describe") => list.anywhere(operation),
        "iam" => {
            let role = call.text("RoleName").unwrap_or_default();
            let arn = format!("arn:aws:iam::{}:role/{role}", whose.account);
            list.push(operation, arn);
        }
        // Nobody can be refused to ask who they are.
        "sts" if operation == "GetCallerIdentity" => {}
        other => panic!("say in {} which permission {other}:{operation} needs", file!()),
    }
    list.needed
}

struct List<'a> {
    whose: Whose<'a>,
    service: &'a str,
    needed: Vec<Needed>,
}

impl List<'_> {
    fn push(&mut self, action: &str, resource: String) {
        self.needed.push(Needed {
            action: format!("{}:{action}", self.service),
            resource,
            context: BTreeMap::new(),
        });
    }

    fn arn(&self, resource: &str) -> String {
        if resource.starts_with("arn:") {
            return resource.to_owned();
        }
        format!(
            "arn:aws:{}:{}:{}:{resource}",
            self.service, self.whose.region, self.whose.account
        )
    }

    fn on(&mut self, action: &str, resource: &str) {
        let arn = self.arn(resource);
        self.push(action, arn);
    }

    fn anywhere(&mut self, action: &str) {
        self.push(action, "*".to_owned());
    }

    fn with(&mut self, key: &str, value: String) {
        if let Some(last) = self.needed.last_mut() {
            last.context.insert(key.to_owned(), value);
        }
    }

    fn passes(&mut self, role: Option<&str>, to: &str) {
        let Some(role) = role else { return };
        self.needed.push(Needed {
            action: "iam:PassRole".to_owned(),
            resource: role.to_owned(),
            context: BTreeMap::from([("iam:PassedToService".to_owned(), to.to_owned())]),
        });
    }

    fn cloudformation(&mut self, call: &Call, operation: &str) {
        match call.text("StackName") {
            // A name stands for the stack that has it, whichever its id.
            Some(name) if !name.starts_with("arn:") => self.on(operation, &format!("stack/{name}/1")),
            Some(arn) => self.on(operation, arn),
            None => self.anywhere(operation),
        }
        if let (Some(name), true) = (call.text("StackName"), call.has("Tags")) {
            self.on("TagResource", &format!("stack/{name}/1"));
        }
        self.passes(call.text("RoleARN"), "cloudformation.amazonaws.com");
    }

    fn ecs(&mut self, call: &Call, operation: &str) {
        let cluster = call.text("cluster").unwrap_or("default");
        let cluster = cluster.rsplit('/').next().unwrap_or_default().to_owned();
        let in_cluster = |kind: &str, name: &str| {
            if name.starts_with("arn:") {
                return name.to_owned();
            }
            format!("{kind}/{cluster}/{name}")
        };
        let cluster_arn = self.arn(&format!("cluster/{cluster}"));
        let one = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| call.text(name))
                .unwrap_or_default()
                .to_owned()
        };
        let mut tagged = None;
        match operation {
            "RegisterTaskDefinition" => {
                let definition = format!("task-definition/{}:1", one(&["family"]));
                self.on(operation, &definition);
                for role in ["executionRoleArn", "taskRoleArn"] {
                    self.passes(call.text(role), "ecs-tasks.amazonaws.com");
                }
                tagged = Some(definition);
            }
            "DescribeTaskDefinition" | "DeregisterTaskDefinition" | "ListTaskDefinitions" => self.anywhere(operation),
            "DescribeClusters" => {
                for name in call.texts("clusters") {
                    let name = name.rsplit('/').next().unwrap_or_default();
                    self.on(operation, &format!("cluster/{name}"));
                }
            }
            "ListServices" | "ListTasks" => {
                self.anywhere(operation);
                self.with("ecs:cluster", cluster_arn);
            }
            "CreateService" | "UpdateService" | "DeleteService" | "ListServiceDeployments" => {
                let service = in_cluster("service", &one(&["serviceName", "service"]));
                self.on(operation, &service);
                tagged = Some(service);
            }
            "DescribeServices" => {
                for name in call.texts("services") {
                    self.on(operation, &in_cluster("service", &name));
                }
            }
            // It asks for both: the deployment, and the service that it is of.
            "DescribeServiceDeployments" => {
                for arn in call.texts("serviceDeploymentArns") {
                    let service = arn.replace(":service-deployment/", ":service/");
                    self.on(
                        operation,
                        service.rsplit_once('/').map_or(&*service, |(service, _)| service),
                    );
                    self.on(operation, &arn);
                }
            }
            "RunTask" => {
                let definition = one(&["taskDefinition"]);
                let is_arn = definition.starts_with("arn:");
                let prefix = if is_arn { "" } else { "task-definition/" };
                self.on(operation, &format!("{prefix}{definition}"));
                self.with("ecs:cluster", cluster_arn);
                tagged = Some(in_cluster("task", "0"));
            }
            "DescribeTasks" => {
                for task in call.texts("tasks") {
                    self.on(operation, &in_cluster("task", &task));
                }
            }
            "StopTask" => self.on(operation, &in_cluster("task", &one(&["task"]))),
            other => panic!("say in {} which permission ecs:{other} needs", file!()),
        }
        if let (Some(resource), true) = (tagged, call.has("tags")) {
            self.on("TagResource", &resource);
        }
    }

    fn secrets(&mut self, call: &Call, operation: &str) {
        let secret = |name: &str| {
            if name.starts_with("arn:") {
                return name.to_owned();
            }
            // Its ARN ends in a hyphen and six characters more.
            format!("secret:{name}-AbCdEf")
        };
        match operation {
            // It knows no resources; each secret is then looked at with GetSecretValue's permission.
            "BatchGetSecretValue" => {
                self.anywhere(operation);
                for id in call.texts("SecretIdList") {
                    self.on("GetSecretValue", &secret(&id));
                }
            }
            "ListSecrets" => self.anywhere(operation),
            _ => {
                let id = secret(call.text("SecretId").or_else(|| call.text("Name")).unwrap_or_default());
                self.on(operation, &id);
                if call.has("Tags") {
                    self.on("TagResource", &id);
                }
            }
        }
    }

    /// A registry's `/v2`, as ECR's own documentation pairs it with actions.
    fn registry(&mut self, call: &Call) {
        let path = call.path.trim_start_matches("/v2/");
        let Some((name, rest)) = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
            .iter()
            .find_map(|part| path.split_once(part).map(|(name, _)| (name, *part)))
        else {
            // `/v2/` itself asks only whether one is signed in.
            return;
        };
        let uploads = path.contains("/blobs/uploads/");
        let actions: &[&str] = match (call.method.as_str(), rest) {
            ("GET" | "HEAD", "/manifests/" | "/referrers/") => &["BatchGetImage"],
            ("PUT", "/manifests/") => &["PutImage"],
            ("HEAD", "/blobs/") => &["BatchCheckLayerAvailability"],
            ("GET", "/blobs/") if !uploads => &["GetDownloadUrlForLayer"],
            ("POST", "/blobs/") => &["InitiateLayerUpload"],
            ("PATCH", "/blobs/") => &["UploadLayerPart"],
            ("PUT", "/blobs/") => &["UploadLayerPart", "CompleteLayerUpload"],
            ("GET", "/tags/") => &["ListImages"],
            other => panic!("say in {} which permission {other:?} on /v2 needs", file!()),
        };
        for action in actions {
            self.on(action, &format!("repository/{name}"));
        }
    }
}

/// Makes the ids of one run those of every run.
struct Ids {
    app: String,
    rules: Vec<(Regex, &'static str)>,
}

impl Ids {
    fn new(app: &str) -> Self {
        let rules = [
            // Stacks, change sets.
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "1"),
            // Tasks.
            (r"[0-9a-f]{32}", "0123"),
            // An environment's world.
            (r"\b[0-9a-hjkmnp-tv-zA-HJKMNP-TV-Z]{26}\b", "world"),
            (r"(:secret:.*)-[A-Za-z0-9]{6}$", "$1-AbCdEf"),
            (r"(:task-definition/.*):\d+$", "$1:1"),
            (r"(:service-deployment/.*)/[^/]+$", "$1/1"),
        ];
        let compiled = rules.map(|(pattern, with)| (Regex::new(pattern).expect("a static pattern"), with));
        Self {
            app: app.to_owned(),
            rules: compiled.into(),
        }
    }

    fn level(&self, text: &str) -> String {
        let mut text = text.replace(&self.app, "blog");
        for (pattern, with) in &self.rules {
            text = pattern.replace_all(&text, *with).into_owned();
        }
        text
    }
}

#[cfg(test)]
mod tests;
