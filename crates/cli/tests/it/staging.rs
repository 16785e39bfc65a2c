//! The sample's `staging`, as its file says it, in an account that is an emulator's: the way to AWS with another
//! endpoint. Who deploys has the rights that nuages prints, and no more: the emulator enforces them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nuages_testkit::emulators::{Endpoint, Private, unique_name};
use nuages_testkit::identities::{Identities, Keys, root};
use nuages_testkit::recording::{Call, Needed, RecordingProxy, Whose, needed};
use serde_json::{Value, json};

use crate::support::{Place, Said, copy_sample, forget_images, without_checks};

/// The account in the sample's file.
const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-west-1";
/// What the run needs, call by call, for the tests of the policies.
const NEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/requests/staging.json");
/// What nuages does where the other side is an emulator, and never in AWS.
const THERE_ONLY: [&str; 4] = [
    "rds:CreateDBInstance",
    "rds:DeleteDBInstance",
    "secretsmanager:DeleteSecret",
    "secretsmanager:ListSecrets",
];
/// The same, where it deploys: taking down looks at the database in AWS too.
const THERE_ONLY_TO_DEPLOY: [&str; 1] = ["rds:DescribeDBInstances"];
/// On every page.
const BASE: &str = "blog/templates/base.html";

/// The project, what is written down before the emulator, and who deploys.
struct Staging {
    place: Place,
    name: String,
    proxy: RecordingProxy,
    identities: Identities,
    deployer: Keys,
    /// What `infra bootstrap` prints.
    documents: Vec<Value>,
}

impl Staging {
    async fn new(name: &str, emulator: &Endpoint) -> Self {
        let place = Place::new();
        copy_sample(&place.project());
        without_checks(&place);
        // Nothing else is changed. Under a name of its own its database is nobody else's.
        place.edit("nuages.toml", "name = \"blog\"", &format!("name = \"{name}\""));
        let identities = Identities::of(emulator);
        let deployer = identities.user("deployer").await;
        Self {
            place,
            name: name.to_owned(),
            proxy: RecordingProxy::start(emulator).await,
            identities,
            deployer,
            documents: Vec::new(),
        }
    }

    fn run(&self, who: &Keys, verb: &[&str]) -> Said {
        let store = self.place.store();
        let url = self.proxy.url();
        let env = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", &who.id),
            ("AWS_SECRET_ACCESS_KEY", &who.secret),
        ];
        let mut args = verb.to_vec();
        args.extend(["--env", "staging", "--store", store.to_str().unwrap()]);
        // The proxy goes on beside it.
        tokio::task::block_in_place(|| self.place.run_with(&args, &env))
    }

    fn deployer(&self, verb: &[&str]) -> Said {
        self.run(&self.deployer, verb)
    }

    /// What a person with rights does once.
    async fn bootstrap(&mut self) {
        self.run(&root(), &["infra", "bootstrap", "--apply", "--yes"]).ended(0);
        self.documents = self.run(&root(), &["infra", "bootstrap", "--json"]).ended(0).json();
        self.allow("deployer", &[]).await;
        // Its CloudFormation makes no database, so nuages does, there only; and there nothing outlives its environment.
        let actions = [&THERE_ONLY[..], &THERE_ONLY_TO_DEPLOY].concat();
        let there_only = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Resource": "*", "Action": actions,
        }]});
        self.give("there-only", &there_only).await;
    }

    /// A printed policy.
    fn policy(&self, whose: &str) -> &Value {
        let name = format!("{}-staging-{REGION}-{whose}", self.name);
        let is_it = |printed: &&Value| {
            printed["name"] == name.as_str()
                && printed["purpose"].to_string().contains(" policy")
                && !printed["purpose"].to_string().contains("trust")
        };
        let found = self.documents.iter().find(is_it);
        &found.unwrap_or_else(|| panic!("no policy of {name} is printed: {:?}", self.documents))["document"]
    }

    async fn give(&self, policy: &str, document: &Value) {
        let document = document.to_string();
        self.identities.allow("deployer", policy, &document).await;
    }

    /// Gives who deploys a printed policy, without these actions.
    async fn allow(&self, which: &str, without: &[&str]) {
        let mut policy = for_ministack(self.policy(which).clone());
        for statement in policy["Statement"].as_array_mut().unwrap() {
            let actions = statement["Action"].as_array_mut().unwrap();
            actions.retain(|action| !without.contains(&action.as_str().unwrap()));
        }
        // IAM refuses a statement that allows nothing.
        let statements = policy["Statement"].as_array_mut().unwrap();
        statements.retain(|statement| statement["Action"] != json!([]));
        self.give(which, &policy).await;
    }

    fn needs(&self, calls: &[Call]) -> BTreeSet<Needed> {
        let whose = Whose {
            account: ACCOUNT,
            region: REGION,
            app: &self.name,
        };
        let mut needed = needed(calls, whose);
        needed.retain(|one| {
            let is_database = one.resource.contains(":secret:") && one.resource.contains("/database-");
            let written_by_us = is_database && one.action.ends_with("SecretValue");
            !(written_by_us || THERE_ONLY.contains(&one.action.as_str()))
        });
        needed
    }

    fn mark(&self, mark: &str) {
        let text = self.place.read(BASE);
        self.place
            .write(BASE, &text.replacen("</body>", &format!("<!-- {mark} --></body>"), 1));
    }
}

/// MiniStack takes the cluster for the resource of every call to ECS, and `*` where there is none, and knows no key
/// `ecs:cluster`. The resources that AWS goes by are evaluated in the tests of the policies, from what is recorded here.
fn for_ministack(mut policy: Value) -> Value {
    for statement in policy["Statement"].as_array_mut().unwrap() {
        let of_ecs = |action: &Value| action.as_str().unwrap().starts_with("ecs:");
        if statement["Action"].as_array().unwrap().iter().all(of_ecs) {
            statement["Resource"] = json!("*");
            statement.as_object_mut().unwrap().remove("Condition");
        }
    }
    policy
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_is_deployed_by_the_rights_that_are_printed() {
    let name = unique_name("stg");
    let emulator = Private::start(ACCOUNT, true).await.unwrap();
    let lived = tokio::spawn({
        let (name, endpoint) = (name.clone(), emulator.endpoint.clone());
        tokio::time::timeout(Duration::from_mins(12), async move {
            live(Staging::new(&name, &endpoint).await).await;
        })
    });
    let lived = lived.await;
    // However it ended: the emulator goes in any case.
    emulator.down().await.unwrap();
    forget_images(&name);
    match lived {
        Ok(in_time) => in_time.expect("it ends"),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Deploys, deploys a change, goes back, looks, is refused, and takes all down.
async fn live(mut staging: Staging) {
    staging.bootstrap().await;
    staging.proxy.take();
    staging.deployer(&["deploy"]).ended(0).tells("v1 serves");
    let events = staging.deployer(&["deploy", "--json"]).ended(0).json();
    let release = events.iter().find(|event| event["name"] == "release");
    let release = release.expect("the release is told");
    assert_eq!(release["value"]["changed"], false, "{release}");
    staging.mark("changed");
    staging.deployer(&["deploy"]).ended(0).tells("v2 serves");
    staging.deployer(&["rollback"]).ended(0).tells("v1 serves");
    staging.deployer(&["status"]).ended(0);
    let releases = staging.deployer(&["releases", "--json"]).ended(0).json();
    assert_eq!(releases.len(), 2);
    staging.deployer(&["logs"]).ended(0);
    let mut deploy = staging.needs(&staging.proxy.take());
    deploy.retain(|one| !THERE_ONLY_TO_DEPLOY.contains(&one.action.as_str()));

    // One action less: the refusal is told by name, and what served goes on.
    staging.allow("deployer", &["ecs:UpdateService"]).await;
    let refused = staging.deployer(&["deploy"]);
    assert_ne!(refused.code, 0);
    refused.tells("ecs:UpdateService").tells("allow `ecs:UpdateService`");
    staging.allow("deployer", &["cloudformation:DescribeStacks"]).await;
    let blind = staging.deployer(&["status"]);
    assert_ne!(blind.code, 0);
    blind.ends_telling("`cloudformation:DescribeStacks`");

    // Who may stop the services and not empty the repository is told before anything stops.
    staging.allow("deployer", &[]).await;
    staging.allow("teardown", &["ecr:BatchDeleteImage"]).await;
    let refused = staging.deployer(&["infra", "down", "--yes"]).ended(4);
    refused
        .ends_telling("may not empty the repository: ecr:BatchDeleteImage failed")
        .ends_telling("-teardown` beside the deployer's");
    let status = staging.deployer(&["status", "--json"]).ended(0).json().remove(0);
    assert_eq!(status["services"][0]["state"], "steady", "{status}");

    staging.allow("teardown", &[]).await;
    staging.proxy.take();
    staging
        .deployer(&["infra", "down", "--yes"])
        .ended(0)
        .tells("staging is down");
    let calls = staging.proxy.take();
    // AWS deletes no cluster that has services, and no network that their tasks are in; MiniStack deletes both.
    let asked: Vec<&str> = calls.iter().map(Call::operation).collect();
    let last = |operation| asked.iter().rposition(|asked| *asked == operation).unwrap();
    assert!(last("DeleteService") < last("DescribeServices"), "{asked:?}");
    assert!(last("DescribeServices") < last("DeleteStack"), "{asked:?}");
    let down = staging.needs(&calls);
    compare(&json!({"deploy": deploy, "down": down}));
}

/// What the run needed is what is written down, where the policies' tests read it.
fn compare(needs: &Value) {
    let now = format!("{}\n", serde_json::to_string_pretty(needs).unwrap());
    if std::fs::read_to_string(NEEDS).unwrap_or_default() != now {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("staging.json");
        std::fs::write(&made, &now).unwrap();
        panic!(
            "nuages asks other things of AWS than {NEEDS} says; look at the difference, and copy {} there",
            made.display()
        );
    }
}
