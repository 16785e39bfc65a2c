//! One scripted account of AWS, in the test's own process: all that a deployment asks for, in one world.
//!
//! ECS with its load balancer and logs, CloudFormation, Secrets Manager, ECR, IAM, EC2, Route 53, RDS and STS answer for
//! the same resources: what a stack makes is there for ECS, and what runs in a cluster keeps its stack from going. There
//! is no socket, so that tokio's clock can be paused, and the SDK repeats calls as it does in production. Before it stand
//! the [`Rules`] that lose, spoil, repeat and delay calls, and that answer from the past.
//!
//! Invariant: a call that no part of it knows fails the test.
//!
//! ```
//! use nuages_testkit::account::Account;
//! use nuages_testkit::faults::{Fault, When};
//!
//! let account = Account::new();
//! account.rules().add(When::Nth(3), Fault::LostAnswer);
//! let aws = account.context();
//! assert!(account.rules().calls().is_empty());
//! # drop(aws);
//! ```

mod beside;
mod connector;
mod images;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::Response;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use jiff::Timestamp;
use nuages_aws::AwsContext;

use crate::aws::{ACCOUNT, REGION, of_a_test, sdk_config_over};
use crate::fake_cloudformation::Cloud;
use crate::fake_ecs::FakeEcs;
use crate::fake_secrets::FakeSecrets;
use crate::faults::carry::{self, Moment};
use crate::faults::{Fault, Rules};
use crate::http::{Received, operation};
use crate::recording::recorded;
use connector::Connector;
use images::Images;

/// A scripted account. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Account {
    ecs: FakeEcs,
    cloud: Cloud,
    kept: Arc<Mutex<Kept>>,
    rules: Rules,
    past: Arc<Mutex<Option<Past>>>,
}

/// What is no world of its own.
#[derive(Debug, Clone, Default)]
struct Kept {
    secrets: FakeSecrets,
    images: Images,
    /// Public zones of Route 53: name and id.
    zones: Vec<(String, String)>,
    /// Roles that no stack made.
    roles: Vec<String>,
}

/// What was, for reads that are behind.
#[derive(Debug)]
struct Past {
    /// So far back it goes, in milliseconds.
    reach: i64,
    /// The account after each call that may have changed something, by its clock; the first is older than the reach.
    known: VecDeque<(i64, Account)>,
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl Account {
    /// An account in which nothing is.
    pub fn new() -> Self {
        let ecs = FakeEcs::new("none");
        ecs.remove_cluster();
        Self {
            ecs,
            cloud: Cloud::default(),
            kept: Arc::default(),
            rules: Rules::default(),
            past: Arc::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its ECS, to script and to look at.
    pub fn ecs(&self) -> &FakeEcs {
        &self.ecs
    }

    /// Its CloudFormation.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// What befalls its calls.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Gives it a public zone.
    pub fn zone(&self, name: &str, id: &str) {
        self.kept().zones.push((name.to_owned(), id.to_owned()));
    }

    /// Gives it a role.
    pub fn role(&self, name: &str) {
        self.kept().roles.push(name.to_owned());
    }

    /// Somebody else's secret.
    pub fn secret(&self, name: &str, value: &str) {
        self.kept()
            .secrets
            .put(name, Some(value.to_owned()), &format!("given-{name}"));
    }

    /// The names of its secrets.
    pub fn secrets(&self) -> Vec<String> {
        self.kept().secrets.secrets.keys().cloned().collect()
    }

    /// Pushes an image, and answers its digest.
    pub fn push(&self, repository: &str, manifest: &str) -> String {
        self.kept().images.push(repository, manifest)
    }

    /// The tags of an image.
    pub fn tags(&self, repository: &str, digest: &str) -> Vec<String> {
        self.kept().images.tags(repository, digest)
    }

    /// A copy of all as it is now, without rules, whose time stands until it is asked: another test may go on from here.
    #[must_use]
    pub fn apart(&self) -> Self {
        self.at(self.ecs.now_ms())
    }

    fn at(&self, ms: i64) -> Self {
        Self {
            ecs: self.ecs.at(ms),
            cloud: self.cloud.apart(),
            kept: Arc::new(Mutex::new(self.kept().clone())),
            rules: Rules::default(),
            past: Arc::default(),
        }
    }

    /// From now on it remembers what was in this time, which stale reads are answered with.
    pub fn remember(&self, reach: Duration) {
        let now = self.ecs.now_ms();
        *self.past() = Some(Past {
            reach: milliseconds(reach),
            known: [(now, self.at(now))].into(),
        });
    }

    fn past(&self) -> MutexGuard<'_, Option<Past>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is there: tokio's, so that it goes on with a paused clock.
    pub fn clock(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let ecs = self.ecs.clone();
        Arc::new(move || Timestamp::from_millisecond(ecs.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// A context whose clients reach it, as production's do: standard retries, five attempts, time for each.
    pub fn context(&self) -> AwsContext {
        context_over(self.client())
    }

    /// The same, whose calls are kept for the check against AWS's models.
    pub fn recorded_context(&self) -> AwsContext {
        context_over(recorded(self.client()))
    }

    fn client(&self) -> SharedHttpClient {
        let account = self.clone();
        let answers = move |service: &str, request: &Received, moment| account.answer(service, request, moment);
        SharedHttpClient::new(Connector::new(self.rules.clone(), answers))
    }

    /// Answers one request to this service.
    fn answer(&self, service: &str, request: &Received, moment: Moment) -> Response<Bytes> {
        let earlier = match moment {
            Moment::Now => None,
            Moment::Ago(by) => self.before(milliseconds(by)),
        };
        // A stack moves on when it is looked at; all else only by itself, or when it is told to.
        let moves =
            service == "cloudformation" || !Fault::Stale(Duration::ZERO).befalls(&carry::operation(service, request));
        let answer = match &earlier {
            Some(earlier) if !moves => return earlier.answer_now(service, request),
            Some(earlier) => {
                self.answer_now(service, request);
                earlier.answer_now(service, request)
            }
            None => self.answer_now(service, request),
        };
        if moves && let Some(past) = self.past().as_mut() {
            let now = self.ecs.now_ms();
            past.known.push_back((now, self.at(now)));
            while past.known.get(1).is_some_and(|(at, _)| *at < now - past.reach) {
                past.known.pop_front();
            }
        }
        answer
    }

    /// The account as it was so many milliseconds ago; none where nothing is remembered.
    fn before(&self, ms: i64) -> Option<Self> {
        let then = self.ecs.now_ms() - ms;
        let past = self.past();
        let known = &past.as_ref()?.known;
        let (at, account) = known.iter().rev().find(|(at, _)| *at <= then).or(known.front())?;
        Some(account.at(then.max(*at)))
    }

    fn answer_now(&self, service: &str, request: &Received) -> Response<Bytes> {
        let named = operation(request).unwrap_or_default();
        match service {
            "ecs" | "logs" | "elasticloadbalancing" => self.ecs.answer(request),
            "cloudformation" | "rds" => self.stacks(request),
            "secretsmanager" | "ssm" => self.kept().secrets.answer(request),
            "ecr" => self.kept().images.answer(&named, request),
            "iam" if named == "CreateServiceLinkedRole" => self.cloud.answer(request),
            "iam" | "ec2" | "route53" | "sts" => self.beside(service, &named, request),
            other => panic!("the scripted account has no {other} (asked for {named})"),
        }
    }

    /// CloudFormation, and what follows from it for the others.
    fn stacks(&self, request: &Received) -> Response<Bytes> {
        let services = !self.ecs.services().is_empty();
        self.cloud.holds(services, self.kept().images.digests());
        let answer = self.cloud.answer(request);
        let Some(made) = self.cloud.made() else {
            self.ecs.remove_cluster();
            return answer;
        };
        for resource in made {
            match resource.kind.as_str() {
                "AWS::ECS::Cluster" => self.ecs.make_cluster(&resource.id),
                "AWS::Logs::LogGroup" => self.ecs.add_log_group(&resource.id),
                "AWS::ElasticLoadBalancingV2::TargetGroup" => self.ecs.make_target_group(&resource.id),
                "AWS::SecretsManager::Secret" => {
                    let name = resource.id.rsplit(':').next().unwrap_or_default();
                    let name = name.trim_end_matches("-AbCdEf").to_owned();
                    let mut kept = self.kept();
                    if !kept.secrets.secrets.contains_key(&name) {
                        kept.secrets
                            .put(&name, Some("made by the stack".into()), &format!("stack-{name}"));
                    }
                }
                _ => {}
            }
        }
        answer
    }
}

/// A context whose other side is this function: it is given the service and the request. What the rules say befalls its
/// calls, and with a paused clock nothing waits.
///
/// ```
/// use nuages_testkit::account::scripted;
/// use nuages_testkit::faults::Rules;
/// use nuages_testkit::http::json;
///
/// let aws = scripted(Rules::default(), |_, _| json(200, &serde_json::json!({"clusterArns": []})));
/// assert!(!aws.quirks().is_emulator());
/// ```
pub fn scripted(
    rules: Rules,
    answers: impl Fn(&str, &Received) -> Response<Bytes> + Send + Sync + 'static,
) -> AwsContext {
    let answers = move |service: &str, request: &Received, _| answers(service, request);
    context_over(SharedHttpClient::new(Connector::new(rules, answers)))
}

fn context_over(http: SharedHttpClient) -> AwsContext {
    let sdk = sdk_config_over(http, "http://account.invalid", ACCOUNT, REGION).to_builder();
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(30));
    let sdk = sdk
        // One for all clients, as the loader of the configuration makes it.
        .identity_cache(aws_config::identity::IdentityCache::lazy().build())
        // As `AwsContext::connect` has it.
        .retry_config(aws_config::retry::RetryConfig::standard().with_max_attempts(5))
        .timeout_config(timeouts.build());
    of_a_test(sdk.build())
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
