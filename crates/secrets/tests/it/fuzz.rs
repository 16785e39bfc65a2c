//! Answers of Secrets Manager and Parameter Store that make no sense, whatever is asked.
//!
//! Invariant: nothing panics, and no error and no answer shows a value. `NUAGES_FUZZ_CASES` says how often it is tried.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use nuages_model::Secret;
use nuages_secrets::{EnvFile, Scope, SecretsError, SecretsManager};
use nuages_testkit::account::scripted;
use nuages_testkit::clock::on_paused_time;
use nuages_testkit::fake_secrets::FakeSecrets;
use nuages_testkit::faults::Rules;
use nuages_testkit::fuzz::{Spoiled, everything_told, lives, spoil_answers};

use crate::resolve::{existing, generate, parameter};

const VALUE: &str = "hunter2-plain-as-day";

fn told<T: Debug>(ended: Result<T, SecretsError>) -> Option<T> {
    let (text, value) = match ended {
        Ok(value) => (format!("{value:?}"), Some(value)),
        Err(error) => (format!("{}{:?}", everything_told(&error), error.hint()), None),
    };
    // Half of it is no better.
    assert!(!text.contains(&VALUE[..8]), "{text}");
    value
}

fn everything(at: &Spoiled) -> usize {
    on_paused_time(async {
        let mut world = FakeSecrets::default();
        world.put(
            "blog/json",
            Some(format!(r#"{{"dsn": "{VALUE}", "other": "{VALUE}"}}"#)),
            "one",
        );
        world.parameters.insert("/p".into(), (VALUE.into(), 1, "SecureString"));
        let (world, rules) = (Arc::new(Mutex::new(world)), Rules::default());
        spoil_answers(&rules, at);
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
    lives("rounds", 96, 20, everything);
}
