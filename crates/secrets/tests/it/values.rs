//! Reading, writing, comparing.

use std::collections::BTreeMap;

use nuages_model::Secret;
use nuages_secrets::{EnvFile, SecretsError, Source, Wanted, Written, diff};

use crate::fake::Fake;
use crate::resolve::{existing, generate, parameter};

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret<String>> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), secret(value)))
        .collect()
}

#[tokio::test]
async fn a_process_gets_every_value() {
    let fake = Fake::start().await;
    fake.given("blog/sentry", r#"{"dsn": "d", "rate": 0.5, "on": true}"#);
    fake.world
        .lock()
        .unwrap()
        .parameters
        .insert("/p".into(), ("pv".into(), 1, "SecureString"));
    let secrets = fake.manager();
    secrets.resolve(&[generate("KEY")], &[]).await.unwrap();
    let wanted = [
        generate("KEY"),
        existing("DSN", "blog/sentry", Some("dsn"), false),
        existing("RATE", "blog/sentry", Some("rate"), false),
        existing("ON", "blog/sentry", Some("on"), false),
        existing("WHOLE", "blog/sentry", None, false),
        existing("NONE", "nope", None, true),
        parameter("P", "/p", false),
        parameter("Q", "/nope", true),
    ];
    let environment = secrets.environment_for_process(&wanted).await.unwrap();
    let shown: BTreeMap<&str, &str> = environment
        .iter()
        .map(|(n, v)| (n.as_str(), v.expose().as_str()))
        .collect();
    let key = fake.value("blog/staging/KEY");
    let whole = fake.value("blog/sentry");
    let expected = BTreeMap::from([
        ("KEY", key.as_str()),
        ("DSN", "d"),
        ("RATE", "0.5"),
        ("ON", "true"),
        ("WHOLE", whole.as_str()),
        ("P", "pv"),
    ]);
    assert_eq!(shown, expected);
    assert_eq!(secrets.get(&parameter("Q", "/nope", true)).await.unwrap(), None);
    assert!(matches!(
        secrets.get(&generate("ABSENT")).await,
        Err(SecretsError::NotFound { .. })
    ));
    fake.world.lock().unwrap().sealed = true;
    let error = secrets.get(&generate("KEY")).await.unwrap_err();
    assert!(error.to_string().contains("may not read"), "{error}");
}

#[tokio::test]
async fn setting_makes_changes_and_leaves_alone() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    for (wanted, first) in [
        (existing("A", "mine/a", None, false), Written::Created),
        (existing("B", "mine/json", Some("b"), false), Written::Created),
        (existing("C", "mine/json", Some("c"), false), Written::Changed),
        (parameter("D", "/mine/d", false), Written::Created),
    ] {
        assert_eq!(
            secrets.set(&wanted, &secret("one")).await.unwrap(),
            first,
            "{}",
            wanted.variable
        );
        assert_eq!(secrets.set(&wanted, &secret("one")).await.unwrap(), Written::Unchanged);
        assert_eq!(secrets.set(&wanted, &secret("two")).await.unwrap(), Written::Changed);
        assert_eq!(secrets.get(&wanted).await.unwrap(), Some(secret("two")));
    }
    assert_eq!(fake.value("mine/json"), r#"{"b":"two","c":"two"}"#);
    assert_eq!(
        fake.world.lock().unwrap().secrets["mine/a"].versions.len(),
        2,
        "no version for no change"
    );
}

#[tokio::test]
async fn what_is_not_ours_to_change() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    let database = Wanted::new(
        "DATABASE_URL",
        Source::DatabaseUrl {
            arn: Fake::arn("db").parse().unwrap(),
        },
    );
    assert!(matches!(
        secrets.set(&database, &secret("x")).await,
        Err(SecretsError::NotOurs { .. })
    ));
    assert!(matches!(
        secrets.rotate(&database).await,
        Err(SecretsError::NotOurs { .. })
    ));
    fake.given("plain", "text");
    let key = existing("A", "plain", Some("k"), false);
    assert!(matches!(
        secrets.set(&key, &secret("x")).await,
        Err(SecretsError::NoKeys { .. })
    ));
    let arn = existing("A", &Fake::arn("gone"), None, false);
    assert!(matches!(
        secrets.set(&arn, &secret("x")).await,
        Err(SecretsError::NotFound { .. })
    ));
    assert_eq!(fake.value("plain"), "text");
    fake.given("blog/staging/TAKEN", "theirs");
    let error = secrets.push(&values(&[("TAKEN", "x")]), &[]).await.unwrap_err();
    assert!(matches!(error, SecretsError::Taken { .. }), "{error}");
    // Refused before anything is written, though the alphabet puts another first.
    let error = secrets
        .push(&values(&[("A", "x"), ("DATABASE_URL", "x")]), &[database])
        .await
        .unwrap_err();
    assert!(matches!(error, SecretsError::NotOurs { .. }), "{error}");
    assert!(!fake.world.lock().unwrap().secrets.contains_key("blog/staging/A"));
}

#[tokio::test]
async fn a_file_is_compared_pushed_and_imported() {
    let fake = Fake::start().await;
    fake.given("blog/sentry", r#"{"dsn": "live"}"#);
    let secrets = fake.manager();
    let wanted = [
        existing("SENTRY_DSN", "blog/sentry", Some("dsn"), false),
        existing("MAIL", "blog/staging/MAIL", None, true),
        existing("UNSET", "blog/staging/UNSET", None, true),
    ];
    let file = EnvFile::parse("SENTRY_DSN=local\nMAIL='a b'\nEXTRA=1\n").unwrap();
    let live = secrets.environment_for_process(&wanted).await.unwrap();
    assert_eq!(
        diff(&file.values(), &live).to_string(),
        "+ EXTRA\n+ MAIL\n~ SENTRY_DSN\n"
    );

    let imported = secrets.import(&file.values(), &wanted).await.unwrap();
    let expected = BTreeMap::from([
        ("EXTRA".to_owned(), Written::Created),
        ("MAIL".to_owned(), Written::Created),
        ("SENTRY_DSN".to_owned(), Written::Kept),
    ]);
    assert_eq!(imported.written, expected);
    assert_eq!(imported.undeclared, ["EXTRA"]);
    assert_eq!(fake.value("blog/sentry"), r#"{"dsn": "live"}"#);

    let pushed = secrets.push(&file.values(), &wanted).await.unwrap();
    assert_eq!(pushed.written["SENTRY_DSN"], Written::Changed);
    assert_eq!(pushed.written["MAIL"], Written::Unchanged);
    let live = secrets.environment_for_process(&wanted).await.unwrap();
    assert_eq!(diff(&file.values(), &live).only_local, ["EXTRA"]);
    assert_eq!(live["MAIL"].expose(), "a b");

    let listed = secrets.list().await.unwrap();
    let names: Vec<(&str, bool, bool)> = listed.iter().map(|l| (l.name.as_str(), l.ours, l.generated)).collect();
    assert_eq!(
        names,
        [("blog/staging/EXTRA", true, false), ("blog/staging/MAIL", true, false)]
    );
}
