//! Answers of CloudFormation, IAM, Route 53, RDS and Secrets Manager that make no sense, at any point of a stack's life.
//!
//! Invariant: nothing panics, everything ends, no error shows the database's password, and what was not taken down stands.
//! `NUAGES_FUZZ_CASES` says how many stacks are tried.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuages_infra::{InfraError, Stack, StackSpec, find_zone, verify_task_roles};
use nuages_model::Progress;
use nuages_testkit::account::{Account, scripted};
use nuages_testkit::clock::on_paused_time;
use nuages_testkit::faults::Rules;
use nuages_testkit::fuzz::{Spoiled, everything_told, lives, spoil_answers};
use nuages_testkit::http::{Answer, Received, json, operation, xml};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::{blog, emulated};

const PASSWORD: &str = "hunter2-plain-as-day";

/// Longer than anything waits that was given up.
const LIMIT: Duration = Duration::from_hours(24);

/// The database beside a stack, and the secrets that the stack made for it.
#[derive(Debug, Default)]
struct Beside {
    instance: Option<String>,
    url: Option<(String, String)>,
}

impl Beside {
    fn answer(&mut self, request: &Received) -> Answer {
        let named = operation(request).unwrap_or_default();
        let input: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let id = input["SecretId"].as_str().unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(request.body()).into_owned();
        match named.as_str() {
            "GetSecretValue" => {
                let login = json!({"username": "blog", "password": PASSWORD}).to_string();
                let url = self
                    .url
                    .as_ref()
                    .filter(|(of, _)| *of == id)
                    .map(|(_, url)| url.clone());
                let text = url.unwrap_or(login);
                json(
                    200,
                    &json!({"ARN": id, "Name": "x", "VersionId": "v", "SecretString": text}),
                )
            }
            "PutSecretValue" => {
                self.url = Some((
                    id.clone(),
                    input["SecretString"].as_str().unwrap_or_default().to_owned(),
                ));
                json(
                    200,
                    &json!({"ARN": id, "Name": "x", "VersionId": "w", "VersionStages": ["AWSCURRENT"]}),
                )
            }
            "CreateDBInstance" => {
                let world = body
                    .split("Tags.Tag.1.Value=")
                    .nth(1)
                    .and_then(|rest| rest.split('&').next());
                self.instance = Some(world.unwrap_or_default().to_owned());
                self.described(&named)
            }
            "DeleteDBInstance" => {
                let answer = self.described(&named);
                self.instance = None;
                answer
            }
            _ if self.instance.is_some() => self.described(&named),
            _ => xml(
                404,
                "<ErrorResponse><Error><Code>DBInstanceNotFound</Code><Message>database not found.</Message></Error>\
                 <RequestId>0</RequestId></ErrorResponse>",
            ),
        }
    }

    /// As RDS writes it (Amazon RDS API reference, `DescribeDBInstances`).
    fn described(&self, named: &str) -> Answer {
        let world = self.instance.clone().unwrap_or_default();
        let instance = format!(
            "<DBInstance><DBInstanceIdentifier>nuages-blog-staging</DBInstanceIdentifier><Engine>postgres</Engine>\
             <DBInstanceStatus>available</DBInstanceStatus><EngineVersion>17.4</EngineVersion>\
             <Endpoint><Address>10.0.2.5</Address><Port>5432</Port><HostedZoneId>Z29XKXDKYMONMX</HostedZoneId></Endpoint>\
             <TagList><Tag><Key>nuages:world</Key><Value>{world}</Value></Tag></TagList></DBInstance>"
        );
        let result = if named == "DescribeDBInstances" {
            format!("<DBInstances>{instance}</DBInstances>")
        } else {
            instance
        };
        xml(
            200,
            format!("<{named}Response><{named}Result>{result}</{named}Result></{named}Response>"),
        )
    }
}

/// That no error shows what nobody may see.
fn told<T: Debug>(ended: Result<T, InfraError>) -> Option<T> {
    match ended {
        Ok(value) => {
            assert!(!format!("{value:?}").contains(PASSWORD));
            Some(value)
        }
        Err(error) => {
            let text = everything_told(&error);
            assert!(!text.contains(PASSWORD), "{text}");
            let _ = error.hint();
            None
        }
    }
}

fn changed(spec: StackSpec) -> StackSpec {
    StackSpec {
        log_retention_days: 7,
        ..spec
    }
}

/// Runs it on a clock that stands still, and ends it where it does not.
fn in_time<T>(work: impl Future<Output = T>) -> T {
    on_paused_time(async { tokio::time::timeout(LIMIT, work).await.expect("it did not end") })
}

/// A stack's life, but for its end, and then its end.
fn life(at: &Spoiled) -> usize {
    in_time(async {
        let account = Account::new();
        account.zone("example.org", "Z1");
        spoil_answers(account.rules(), at);
        let (aws, spec) = (account.context(), blog());
        let (none, never, nothing) = (Progress::none(), CancellationToken::new(), BTreeSet::new());
        let stack = Stack::new(&aws, &spec.app, &spec.env);
        told(stack.plan(&spec, &none, &never).await);
        let made = told(stack.up(&spec, &nothing, &none, &never).await);
        if let Some(made) = &made {
            let role = &made.outputs.execution_role;
            let _ = verify_task_roles(&aws, &[("execution role", role)]).await;
        }
        let stood = account.cloud().made().is_some();
        let spec = changed(spec);
        told(stack.plan(&spec, &none, &never).await);
        told(stack.up(&spec, &nothing, &none, &never).await);
        told(find_zone(&aws, "blog.example.org").await);
        // What stood stands, or is being changed.
        let last = || account.cloud().statuses(stack.name()).pop().unwrap_or_default();
        assert!(!stood || !last().starts_with("DELETE"), "{}", last());
        told(stack.may_go_down().await);
        told(stack.down(&none, &never).await);
        account.rules().calls().len()
    })
}

/// The same on an emulator that makes databases by their own API.
fn emulated_life(at: &Spoiled) -> usize {
    in_time(async {
        let (account, beside, rules) = (
            Account::new(),
            Arc::new(Mutex::new(Beside::default())),
            Rules::default(),
        );
        let cloud = account.cloud().clone();
        let aws = scripted(rules.clone(), move |service, request| match service {
            "rds" | "secretsmanager" => beside.lock().unwrap().answer(request),
            _ => cloud.answer(request),
        });
        spoil_answers(&rules, at);
        let spec = emulated(blog());
        let (none, never, nothing) = (Progress::none(), CancellationToken::new(), BTreeSet::new());
        let stack = Stack::new(&aws, &spec.app, &spec.env);
        for _ in 0..2 {
            if let Some(made) = told(stack.up(&spec, &nothing, &none, &never).await) {
                told(stack.remake_database(&spec, &made.outputs, &none, &never).await);
            }
        }
        told(stack.down(&none, &never).await);
        rules.calls().len()
    })
}

#[test]
fn no_answer_makes_a_stack_panic_or_lose_what_it_holds() {
    lives("stacks", 32, 20, life);
}

#[test]
fn no_answer_makes_an_emulated_database_panic_or_show_its_password() {
    lives("emulated databases", 48, 20, emulated_life);
}
