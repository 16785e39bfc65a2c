//! What can be done with a store and no project: finishing, undoing, and looking at what is on record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuages_model::Digest;
use nuages_releases::{EnvironmentKey, EnvironmentStore, ReleaseDraft, ReleaseOutcome, Store};
use nuages_saga::{DeploymentId, Entry, Holder, JournalEvent, JournalStore, Plan, StepSpec, StoredPlan};
use nuages_testkit::http::{FakeServer, operation, xml};
use serde_json::json;

use crate::support::{Place, Said};

const TTL: Duration = Duration::from_secs(30);
const ACCOUNT: &str = "123456789012";

/// A folder without a project, and a store beside it.
struct Elsewhere {
    place: Place,
    server: FakeServer,
}

/// An account that has nothing: it says who asks, and knows no stack.
async fn empty_account(account: &'static str) -> FakeServer {
    FakeServer::start(move |request| async move {
        if operation(&request).as_deref() == Some("GetCallerIdentity") {
            let identity = format!(
                "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::{account}:user/somebody</Arn><UserId>AIDAEXAMPLE</UserId><Account>{account}</Account>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>"
            );
            return xml(200, identity);
        }
        let error = "<ErrorResponse xmlns='http://cloudformation.amazonaws.com/doc/2010-05-15/'><Error><Type>Sender</Type>\
                     <Code>ValidationError</Code><Message>Stack with id x does not exist</Message></Error>\
                     <RequestId>11111111-2222-3333-4444-555555555555</RequestId></ErrorResponse>";
        xml(400, error)
    })
    .await
}

impl Elsewhere {
    async fn new() -> Self {
        Self::of(ACCOUNT).await
    }

    /// Whoever runs the command is in this account.
    async fn of(account: &'static str) -> Self {
        Self {
            place: Place::new(),
            server: empty_account(account).await,
        }
    }

    fn file(&self) -> PathBuf {
        self.place.home().join("nuages.db")
    }

    async fn environment(&self, app: &str, region: &str) -> EnvironmentStore {
        let key = EnvironmentKey {
            account: ACCOUNT.parse().unwrap(),
            region: region.parse().unwrap(),
            app: app.parse().unwrap(),
            env: "staging".parse().unwrap(),
        };
        let store = Store::open(&self.file()).await.unwrap();
        store.environment(key).await.unwrap()
    }

    /// Leaves a run as a process that died leaves it.
    async fn interrupted(&self, app: &str, change: impl FnOnce(Plan) -> Plan) -> DeploymentId {
        let plan = Plan::new("deploy", app.parse().unwrap(), "staging".parse().unwrap(), "0.0.9");
        let plan = change(plan);
        let environment = self.environment(app, "eu-west-1").await;
        let stored = StoredPlan::of(&plan);
        let first = Entry {
            position: 0,
            at: plan.created,
            event: JournalEvent::Planned { plan: stored.digest() },
        };
        let fence = environment.acquire(&Holder::here("deploy"), TTL).await.unwrap().fence;
        environment.create(fence, TTL, &stored, &first).await.unwrap();
        JournalStore::release(&environment, fence).await.unwrap();
        plan.deployment
    }

    /// With the store, and with the account's keys.
    fn run(&self, args: &[&str]) -> Said {
        let file = self.file();
        let url = self.server.url();
        let env = [
            ("NUAGES_STORE", file.to_str().unwrap()),
            ("AWS_ENDPOINT_URL", &url),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "example"),
        ];
        // The server goes on beside it.
        tokio::task::block_in_place(|| self.place.run_with(args, &env))
    }

    /// With the store alone: whoever asks anybody fails.
    fn alone(&self, args: &[&str]) -> Said {
        let file = self.file();
        tokio::task::block_in_place(|| self.place.run_with(args, &[("NUAGES_STORE", file.to_str().unwrap())]))
    }
}

fn as_it_is(plan: Plan) -> Plan {
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_say_what_is_to_be_finished() {
    for (verb, done) in [("resume", "is finished"), ("abort", "is undone")] {
        let elsewhere = Elsewhere::new().await;
        // Made by another version of nuages, of kinds that this one has: it goes on.
        let run = elsewhere.interrupted("blog", as_it_is).await;
        elsewhere
            .run(&[verb, "--env", "staging"])
            .ended(0)
            .tells(&format!(
                "has deploy {run} of blog-staging in eu-west-1 of account {ACCOUNT}, interrupted"
            ))
            .tells(&format!("deploy {run} {done}"));
        // What has ended is known without asking anybody.
        elsewhere
            .alone(&[verb, "--env", "staging"])
            .ended(0)
            .tells("nothing was interrupted, by the records in ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_none_is_taken_unless_it_is_named() {
    let elsewhere = Elsewhere::new().await;
    let blog = elsewhere.interrupted("blog", as_it_is).await.to_string();
    let shop = elsewhere.interrupted("shop", as_it_is).await.to_string();
    elsewhere
        .alone(&["abort", "--env", "staging"])
        .ended(4)
        .ends_telling("several runs of `staging` were interrupted: ")
        .ends_telling(&format!("deploy {blog} of blog-staging in eu-west-1"))
        .ends_telling(&format!("deploy {shop} of shop-staging in eu-west-1"))
        .ends_telling("hint: add the id of the one that is meant");
    elsewhere
        .alone(&["abort", "--env", "staging", "zzzz"])
        .ended(3)
        .ends_telling("no interrupted run of `staging` begins with `zzzz`")
        .ends_telling(&blog);
    elsewhere
        .run(&["abort", "--env", "staging", &shop.to_uppercase()])
        .ended(0)
        .tells(&format!("deploy {shop} is undone"));
    elsewhere
        .run(&["abort", "--env", "staging"])
        .ended(0)
        .tells(&format!("deploy {blog} is undone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_this_version_does_not_know_names_the_version_to_install() {
    let elsewhere = Elsewhere::new().await;
    let newer = |plan: Plan| Plan {
        tool: "9.4.1".into(),
        ..plan.stage(
            "Wait",
            [StepSpec::new(
                "healthy".parse().unwrap(),
                "ecs.rollout",
                99,
                "Wait",
                json!({}),
            )],
        )
    };
    elsewhere.interrupted("blog", newer).await;
    for verb in ["resume", "abort"] {
        elsewhere
            .run(&[verb, "--env", "staging"])
            .ended(4)
            .ends_telling("this version cannot run step `healthy`: it knows no `ecs.rollout` of version 99")
            .ends_telling("hint: install nuages 9.4.1, which made this plan: `cargo install ")
            .ends_telling(" --tag v9.4.1 nuages`");
    }
    elsewhere
        .alone(&["lease", "show", "--env", "staging"])
        .ended(0)
        .prints("Nobody holds staging, by the records in ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_not_made_and_an_unknown_environment_is_told() {
    let elsewhere = Elsewhere::new().await;
    for verb in ["resume", "abort", "releases", "history"] {
        elsewhere
            .alone(&[verb, "--env", "staging"])
            .ended(3)
            .ends_telling("there is no store at ")
            .ends_telling("hint: --store and NUAGES_STORE name the file nuages.db, or its folder");
        assert!(!elsewhere.file().exists(), "{verb}");
    }
    elsewhere.interrupted("blog", as_it_is).await;
    elsewhere
        .alone(&["resume", "--env", "production"])
        .ended(3)
        .ends_telling("has no records of an environment `production`")
        .ends_telling("hint: it has records of `staging`");
    // Without a store the project is missed, and the way without one is told.
    let said = elsewhere.place.run(&["resume", "--env", "staging"]).ended(3);
    said.ends_telling("failed to find nuages.toml")
        .ends_telling("`--store PATH`");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_than_that_of_the_records_is_refused() {
    let elsewhere = Elsewhere::of("999999999999").await;
    elsewhere.interrupted("blog", as_it_is).await;
    let said = elsewhere.run(&["resume", "--env", "staging"]).ended(4);
    assert!(!said.err.contains("nuages.toml"), "there is none: {}", said.err);
    said.ends_telling("belong to account 999999999999")
        .ends_telling("hint: use credentials of 123456789012");
    assert_eq!(elsewhere.server.requests().len(), 1, "only STS was asked");
}

fn draft(settings: serde_json::Value) -> ReleaseDraft {
    let digest = Digest::of(b"image");
    ReleaseDraft {
        id: nuages_model::ReleaseId::generate(),
        created_by: "ana@laptop".into(),
        deployment: None,
        parent: None,
        world: None,
        outcome: ReleaseOutcome::Healthy,
        git: None,
        image_reference: format!("localhost:4566/blog@{digest}").parse().unwrap(),
        image_digest: digest,
        task_definitions: BTreeMap::new(),
        fingerprint: "f".into(),
        config_hash: "c".into(),
        config: settings,
        secrets: Vec::new(),
        migrations: BTreeMap::new(),
        checks: Vec::new(),
        builder: "docker 27".into(),
        url: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_is_not_taken_for_aws() {
    let elsewhere = Elsewhere::new().await;
    let record = |plan: Plan| {
        let params = json!({"draft": draft(json!({"emulator": "ministack"})), "task_definitions": {}, "applied": null});
        let record = StepSpec::new("record".parse().unwrap(), "release.record", 1, "Record", params);
        plan.stage("Record", [record])
    };
    elsewhere.interrupted("blog", record).await;
    elsewhere
        .alone(&["resume", "--env", "staging"])
        .ended(4)
        .ends_telling("is in an emulator, which is found by its project's folder")
        .ends_telling("hint: run this in that folder, or set AWS_ENDPOINT_URL");
    elsewhere
        .run(&["resume", "--env", "staging"])
        .ended(0)
        .tells("v1 serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_record_is_told_without_a_project() {
    let elsewhere = Elsewhere::new().await;
    let run = elsewhere.interrupted("blog", as_it_is).await.to_string();
    let environment = elsewhere.environment("blog", "eu-west-1").await;
    let fence = environment.acquire(&Holder::here("deploy"), TTL).await.unwrap().fence;
    environment.record_serving(fence, draft(json!({}))).await.unwrap();
    elsewhere
        .alone(&["releases", "--env", "staging"])
        .ended(0)
        .prints("→ v1");
    elsewhere.alone(&["history", "--env", "staging"]).ended(0).prints(&run);
    elsewhere
        .alone(&["lease", "show", "--env", "staging"])
        .ended(0)
        .prints("state     held");
    elsewhere.environment("blog", "eu-north-1").await;
    elsewhere
        .alone(&["releases", "--env", "staging"])
        .ended(4)
        .ends_telling("records of several environments `staging`: blog-staging in eu-north-1")
        .ends_telling("blog-staging in eu-west-1");
}

const TOML: &str = "\
[app]
name = 'blog'

[services.worker]
command = ['true']

[environments.staging]
region = 'eu-west-1'
account = '123456789012'
insecure_http = true
";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_left_aside_where_a_store_is_named() {
    let broken = TOML.replace("[app]", "[app");
    let other = TOML.replace("[environments.staging]", "[environments.production]");
    for toml in [broken, other] {
        let elsewhere = Elsewhere::new().await;
        elsewhere.place.write("nuages.toml", &toml);
        let run = elsewhere.interrupted("blog", as_it_is).await;
        // In the store of a project that cannot be read nothing is looked for.
        elsewhere.place.run(&["resume", "--env", "staging"]).ended(3);
        elsewhere
            .run(&["resume", "--env", "staging"])
            .ended(0)
            .tells("the file is left aside, and the records alone say what `staging` is")
            .tells(&format!("deploy {run} is finished"));
    }
    // A folder that was named is a word of the person's.
    let elsewhere = Elsewhere::new().await;
    elsewhere.interrupted("blog", as_it_is).await;
    let nowhere = Path::new("/").join("nowhere");
    elsewhere
        .alone(&["resume", "--env", "staging", "--project", nowhere.to_str().unwrap()])
        .ended(3)
        .ends_telling("failed to read /nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_project_its_own_run_is_meant_and_others_are_told() {
    let elsewhere = Elsewhere::new().await;
    elsewhere
        .place
        .write("nuages.toml", &TOML.replace("eu-west-1", "eu-north-1"));
    let run = elsewhere.interrupted("blog", as_it_is).await.to_string();
    elsewhere
        .run(&["resume", "--env", "staging"])
        .ended(0)
        .tells("nothing was interrupted")
        .tells(&format!(
            "deploy {run} of blog-staging in eu-west-1 of account {ACCOUNT} was interrupted"
        ))
        .tells(&format!(" {run}`"));
    elsewhere
        .run(&["resume", "--env", "staging", &run])
        .ended(3)
        .ends_telling(&format!("no interrupted run of `staging` begins with `{run}`"));
    elsewhere.place.write("nuages.toml", TOML);
    elsewhere
        .run(&["resume", "--env", "staging", &run[..20]])
        .ended(0)
        .tells("is finished");
}
