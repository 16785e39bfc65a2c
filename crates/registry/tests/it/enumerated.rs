//! Every fault of every call of a push: of Amazon ECR's API, of a token service, and of the registry itself.
//!
//! Invariant: a push ends pushed, or tells why it did not, and the same push again succeeds; what can be pulled meanwhile is
//! whole. Which call of which push is befallen by what is the case's name, and `NUAGES_TEST_CASE` runs those alone
//! whose name contains it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use nuages_model::{Blob, Digest, Progress};
use nuages_registry::manifest::OCI_MANIFEST;
use nuages_registry::{Credentials, Ecr, Options, Registry, RegistryError};
use nuages_testkit::aws::impatient;
use nuages_testkit::fake_ecr::FakeEcr;
use nuages_testkit::fake_registry::{Behaviour, FakeRegistry, Immutable, Mount};
use nuages_testkit::faults::{Before, FAULTS, Fault, FaultProxy, Rules, When};

use crate::{bytes, describe, manifest};

const CONFIG: &[u8] = b"{\"architecture\":\"amd64\"}";
const LAYER: &[u8] = b"some files of a project";
/// Two and a half parts.
const LARGE: [u8; 2500] = [7; 2500];
const PART: u64 = 1000;

/// How long nothing may move where something hangs: the clock is a real one, since sockets know no other.
const STALL: Duration = Duration::from_secs(1);
/// And where nothing does: longer than anything takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A push with everything that may befall it takes less.
const LIMIT: Duration = Duration::from_mins(2);

/// So many cases run at once, and so many of those that wait for most of their time.
const AT_ONCE: usize = 8;
const WAITING: usize = 48;

/// What is pushed to, and what it holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// A registry that lets anyone in.
    Anyone,
    /// One that asks for a token, another one to read and to write.
    Tokens,
    /// One that asks for a password, has tags that never move, and takes no blob whole.
    Parts,
    /// One that mounts a layer from another repository.
    Mounting,
    /// One that has this very image, under a tag that never moves.
    Again,
    /// One that had it, and lost all.
    Emptied,
    /// Amazon ECR: logging in, pushing, and another tag for what was pushed.
    Ecr,
}

const ALL: [To; 7] = [
    To::Anyone,
    To::Tokens,
    To::Parts,
    To::Mounting,
    To::Again,
    To::Emptied,
    To::Ecr,
];

/// Everything that befalls a call: what befalls any, and what befalls some.
fn faults() -> impl Iterator<Item = Fault> {
    FAULTS.into_iter().chain([
        Fault::Portal,
        Fault::Delayed(Duration::from_millis(50)),
        Fault::Late(Duration::from_millis(50)),
        Fault::Stale(Duration::ZERO),
    ])
}

struct World {
    to: To,
    rules: Rules,
    api: Option<(FakeEcr, FaultProxy)>,
    plain: Option<FakeRegistry>,
    proxy: FaultProxy,
}

impl World {
    async fn new(to: To) -> Self {
        let rules = Rules::default();
        let behaviour = match to {
            To::Tokens => Behaviour {
                bearer: Some(("tester".into(), "secret".into())),
                ..Behaviour::default()
            },
            To::Parts => Behaviour {
                whole_put: false,
                min_part: PART,
                ..Behaviour::ecr("tester", "secret")
            },
            To::Mounting => Behaviour {
                mount: Mount::Always,
                ..Behaviour::default()
            },
            To::Again => Behaviour {
                immutable: Immutable::All,
                ..Behaviour::default()
            },
            _ => Behaviour::default(),
        };
        let (mut api, mut plain) = (None, None);
        let upstream = if to == To::Ecr {
            let ecr = FakeEcr::start("blog").await;
            let proxy = FaultProxy::start_with(Before::Aws, ecr.address(), rules.clone()).await;
            let upstream = ecr.registry().address();
            api = Some((ecr, proxy));
            upstream
        } else {
            let registry = FakeRegistry::start(behaviour).await;
            registry.add_blob("base", LAYER);
            let upstream = registry.address();
            plain = Some(registry);
            upstream
        };
        let proxy = FaultProxy::start_with(Before::Registry, upstream, rules.clone()).await;
        let world = Self {
            to,
            rules,
            api,
            plain,
            proxy,
        };
        // Twice: the second time it reads that all is there, which is what a stale answer then says.
        let before = match to {
            To::Again => 1,
            To::Emptied => 2,
            _ => 0,
        };
        for _ in 0..before {
            world.push(PATIENCE).await.unwrap();
        }
        if to == To::Emptied {
            world.registry().lose_all("blog");
        }
        world
    }

    fn registry(&self) -> &FakeRegistry {
        let of_ecr = self.api.as_ref().map(|(ecr, _)| ecr.registry());
        of_ecr.or(self.plain.as_ref()).unwrap()
    }

    /// What a command does that pushes an image: it knows nothing of an earlier one.
    async fn push(&self, stall: Duration) -> Result<Digest, RegistryError> {
        let options = Options {
            password_first: self.to == To::Ecr,
            attempts: 4,
            first_pause: Duration::from_millis(1),
            stall,
            // Smaller ones are refused there.
            part_size: if self.to == To::Ecr { 5 << 20 } else { PART },
            ..Options::default()
        };
        let ecr = self
            .api
            .as_ref()
            .map(|(_, proxy)| Ecr::new(&impatient(&proxy.url(), stall)));
        let credentials = match (&ecr, self.to) {
            (Some(ecr), _) => ecr.login().await?.credentials,
            (None, To::Tokens | To::Parts) => Credentials::password("tester", "secret"),
            (None, _) => Credentials::Anonymous,
        };
        let host = self.proxy.address().to_string();
        let mut repository = Registry::new(&host, credentials, options)?.repository("blog");
        if self.to == To::Mounting {
            repository = repository.mounting_from(["base".to_owned()]);
        }
        let layer = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(layer.path(), LARGE).unwrap();
        for (content, blob) in [
            (LARGE.as_slice(), Blob::File(layer.path().to_owned())),
            (LAYER, bytes(LAYER)),
            (CONFIG, bytes(CONFIG)),
        ] {
            repository
                .push_blob(&describe(content), blob, &Progress::none())
                .await?;
        }
        let digest = repository.push_manifest(OCI_MANIFEST, image(), "build-1").await?;
        if let Some(ecr) = ecr {
            ecr.tag("blog", &digest, "r-1").await?;
        }
        Ok(digest)
    }

    /// What can be pulled is whole, and is what was pushed; `pushed` says that it is there.
    fn check(&self, pushed: bool) {
        let registry = self.registry();
        assert_eq!(registry.inconsistencies(), Vec::<String>::new());
        let expected: &[&str] = if self.to == To::Ecr {
            &["build-1", "r-1"]
        } else {
            &["build-1"]
        };
        let tags = registry.tags("blog");
        for tag in &tags {
            assert!(expected.contains(&tag.as_str()), "{tag}");
            let (digest, media_type, content) = registry.manifest("blog", tag).unwrap();
            assert_eq!(
                (digest, media_type.as_str()),
                (Digest::of(&image()), OCI_MANIFEST),
                "{tag}"
            );
            assert_eq!(content, image(), "{tag}");
            for content in [CONFIG, LAYER, &LARGE] {
                assert_eq!(registry.blob("blog", &Digest::of(content)).unwrap(), content, "{tag}");
            }
        }
        if pushed {
            assert_eq!(tags, expected);
        }
    }
}

fn image() -> bytes::Bytes {
    manifest(CONFIG, &[LAYER, &LARGE])
}

#[derive(Debug, Clone)]
struct Case {
    to: To,
    operation: String,
    when: When,
    fault: Fault,
}

impl Case {
    fn name(&self) -> String {
        let Self {
            to,
            operation,
            when,
            fault,
        } = self;
        let which = match when {
            When::Nth(n) => format!("call {n} ({operation})"),
            _ => format!("each {operation}"),
        };
        format!("{to:?}: {which}: {fault:?}")
    }

    fn stall(&self) -> Duration {
        if self.waits() { STALL } else { PATIENCE }
    }

    fn waits(&self) -> bool {
        matches!(self.fault, Fault::Hang | Fault::Unanswered)
    }

    /// Whether it must end pushed at once: whoever is asked again answers well.
    fn passes(&self) -> bool {
        let passing = matches!(
            self.fault,
            Fault::Throttle
                | Fault::ServerError
                | Fault::Hang
                | Fault::Reset
                | Fault::LostAnswer
                | Fault::Unanswered
                | Fault::Truncated
                | Fault::Delayed(_)
                | Fault::Late(_)
        );
        passing && matches!(self.when, When::Nth(_))
    }

    /// How it ended, in a word or two, and all of it.
    async fn run(&self) -> (&'static str, String) {
        let world = World::new(self.to).await;
        let done = world.rules.calls().len();
        let when = match &self.when {
            When::Nth(n) => When::Nth(done + n),
            other => other.clone(),
        };
        world.rules.add(when, self.fault);
        let first = tokio::time::timeout(LIMIT, world.push(self.stall())).await;
        let first = first.expect("it did not end");
        assert!(!world.rules.hits().is_empty(), "nothing befell it");
        world.rules.clear();
        world.check(first.is_ok());
        let so = match &first {
            Ok(digest) => {
                assert_eq!(*digest, Digest::of(&image()));
                "pushed"
            }
            Err(error) => {
                assert!(!self.passes(), "it was not tried again: {}", told(error));
                assert!(error.to_string().starts_with("failed to "), "{}", told(error));
                assert!(!told(error).contains("secret"), "{}", told(error));
                assert!(error.hint().is_some(), "no hint: {}", told(error));
                "told and pushed again"
            }
        };
        let more = format!(
            "{}: {so}\n  {}\n  {}",
            self.name(),
            first.as_ref().map_or_else(told, ToString::to_string),
            world.rules.calls()[done..].join("\n  ")
        );
        let again = tokio::time::timeout(LIMIT, world.push(PATIENCE)).await;
        let again = again.expect("it did not end");
        let again = again.unwrap_or_else(|error| panic!("again: {}", told(&error)));
        assert_eq!(again, Digest::of(&image()));
        world.check(true);
        (so, more)
    }
}

/// An error with its causes.
fn told(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}

/// The calls of one push without faults.
async fn calls(to: To) -> Vec<String> {
    let world = World::new(to).await;
    let before = world.rules.calls().len();
    world.push(PATIENCE).await.unwrap();
    world.check(true);
    world.rules.calls()[before..].to_vec()
}

fn cases(to: To, calls: &[String]) -> Vec<Case> {
    let at_each = calls.iter().enumerate().map(|(n, name)| (name, When::Nth(n)));
    let mut names: Vec<&String> = calls.iter().collect();
    names.sort();
    names.dedup();
    let of_each = names.into_iter().map(|name| (name, When::EachOf(name.clone())));
    at_each
        .chain(of_each)
        .flat_map(|(operation, when)| {
            let befalls = faults().filter(|fault| fault.befalls(operation));
            befalls.map(move |fault| Case {
                to,
                operation: operation.clone(),
                when: when.clone(),
                fault,
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_meets_every_fault() {
    let (mut all, mut shown) = (Vec::new(), Vec::new());
    for to in ALL {
        let calls = calls(to).await;
        shown.push(format!("{to:?} ({})", calls.len()));
        all.extend(cases(to, &calls));
    }
    let operations: std::collections::BTreeSet<&str> = all.iter().map(|case| case.operation.as_str()).collect();
    for call in [
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:PutImage",
        "registry:GET token",
        "registry:HEAD blob",
        "registry:HEAD manifest",
        "registry:PATCH upload",
        "registry:POST upload",
        "registry:PUT manifest",
        "registry:PUT upload",
    ] {
        assert!(operations.contains(call), "no push asks for {call}");
    }
    let total = all.len();
    let only = std::env::var("NUAGES_TEST_CASE").unwrap_or_default();
    all.retain(|case| case.name().contains(&only));
    let chosen = all.len();
    let (waiting, busy): (Vec<_>, Vec<_>) = all.into_iter().partition(Case::waits);
    let mut ended = run(busy, AT_ONCE).await;
    ended.extend(run(waiting, WAITING).await);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failed = Vec::new();
    for (name, so) in ended {
        match so {
            Ok((so, more)) => {
                *counts.entry(so).or_default() += 1;
                if !only.is_empty() {
                    println!("{more}");
                }
            }
            Err(why) => failed.push(format!("{name}\n    {why}")),
        }
    }
    let counts: Vec<String> = counts.iter().map(|(so, n)| format!("{n} {so}")).collect();
    println!(
        "faults of pushes: {chosen} of {total} cases: {}; calls of a push: {}",
        counts.join(", "),
        shown.join(", ")
    );
    failed.sort();
    assert!(
        failed.is_empty(),
        "{} of {chosen}:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

type Ended = (String, Result<(&'static str, String), String>);

async fn run(cases: Vec<Case>, at_once: usize) -> Vec<Ended> {
    stream::iter(cases)
        .map(|case| async move {
            let name = case.name();
            // Each in a task of its own, so that one that fails hides no other.
            let run = tokio::spawn(async move { case.run().await });
            (name, run.await.map_err(panicked))
        })
        .buffer_unordered(at_once)
        .collect()
        .await
}

fn panicked(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "it was cancelled".to_owned();
    };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
