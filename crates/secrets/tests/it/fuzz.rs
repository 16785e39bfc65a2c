//! Answers of Secrets Manager and Parameter Store that make no sense, whatever is asked.
//!
//! Invariant: nothing panics, and no error and no answer shows a value. `NUAGES_FUZZ_CASES` says how often it is tried.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use nuages_model::Secret;
use nuages_secrets::{EnvFile, Scope, SecretsError, SecretsManager};
use nuages_testkit::account::scripted;
use nuages_testkit::fake_secrets::FakeSecrets;
use nuages_testkit::faults::{Fault, Rules, When};
use nuages_testkit::fuzz::{cases, seed};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::resolve::{existing, generate, parameter};

const VALUE: &str = "hunter2-plain-as-day";

/// Everything that an error can be turned into.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error}\n{error:?}\n");
    let mut cause = error.source();
    while let Some(next) = cause {
        let _ = write!(text, "{next}\n{next:?}\n");
        cause = next.source();
    }
    text
}

fn told<T: Debug>(ended: Result<T, SecretsError>) -> Option<T> {
    let (text, value) = match ended {
        Ok(value) => (format!("{value:?}"), Some(value)),
        Err(error) => (format!("{}{:?}", chain(&error), error.hint()), None),
    };
    // Half of it is no better.
    assert!(!text.contains(&VALUE[..8]), "{text}");
    value
}

fn everything(at: &[(usize, u64)]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let mut world = FakeSecrets::default();
        world.put(
            "blog/json",
            Some(format!(r#"{{"dsn": "{VALUE}", "other": "{VALUE}"}}"#)),
            "one",
        );
        world.parameters.insert("/p".into(), (VALUE.into(), 1, "SecureString"));
        let (world, rules) = (Arc::new(Mutex::new(world)), Rules::default());
        for (call, seed) in at {
            rules.add(When::Nth(*call), Fault::Spoiled(*seed));
        }
        let aws = scripted(rules.clone(), move |_, request| world.lock().unwrap().answer(request));
        let scope = Scope::new("blog".parse().unwrap(), "staging".parse().unwrap());
        let secrets = SecretsManager::new(&aws, scope);
        let wanted = [
            generate("KEY"),
            existing("DSN", "blog/json", Some("dsn"), false),
            existing("GONE", "blog/gone", None, true),
            parameter("P", "/p", false),
        ];
        told(secrets.inspect(&wanted, &[]).await);
        let resolved = told(secrets.resolve(&wanted, &[]).await);
        let known: Vec<_> = resolved
            .iter()
            .flat_map(|resolved| resolved.references.iter().map(|reference| reference.version.clone()))
            .collect();
        told(secrets.resolve(&wanted, &known).await);
        if let Some(rotated) = told(secrets.rotate(&wanted[0]).await) {
            told(secrets.undo_rotation(&rotated).await);
        }
        told(secrets.list().await);
        for one in &wanted {
            told(secrets.get(one).await);
        }
        told(secrets.set(&wanted[1], &Secret::new(VALUE.to_owned())).await);
        told(secrets.environment_for_process(&wanted).await);
        let file = EnvFile::parse(&format!("NEW={VALUE}\nKEY={VALUE}")).unwrap();
        told(secrets.push(&file.values(), &wanted).await);
        told(secrets.import(&file.values(), &wanted).await);
        if let Some(resolved) = resolved {
            told(secrets.undo(&resolved.changes).await);
        }
        told(secrets.delete_generated(true).await);
        rules.calls().len()
    })
}

#[test]
fn no_answer_makes_it_panic_or_show_a_value() {
    let (calls, cases) = (everything(&[]), cases(96));
    assert!(calls > 20, "{calls}");
    let seed = seed();
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(at in prop::collection::vec((0..calls, any::<u64>()), 1..5))| {
        everything(&at);
    });
    println!("{cases} times {calls} calls, some answers of which were spoiled (NUAGES_SEED={seed})");
}
