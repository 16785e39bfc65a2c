//! Finding and making.

use nuages_model::SecretVersion;
use nuages_secrets::{ChangeKind, PlannedAction, SecretsError, Source, Store, Wanted};

use crate::fake::Fake;

pub(crate) fn generate(variable: &str) -> Wanted {
    Wanted::new(variable, Source::Generate { length: 50, name: None })
}

pub(crate) fn existing(variable: &str, secret: &str, key: Option<&str>, optional: bool) -> Wanted {
    Wanted::new(
        variable,
        Source::Existing {
            secret: secret.into(),
            key: key.map(str::to_owned),
            optional,
        },
    )
}

pub(crate) fn parameter(variable: &str, name: &str, optional: bool) -> Wanted {
    Wanted::new(
        variable,
        Source::Parameter {
            name: name.into(),
            optional,
        },
    )
}

#[tokio::test]
async fn a_generated_secret_is_made_once() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    let wanted = [generate("DJANGO_SECRET_KEY")];
    let planned = secrets.inspect(&wanted, &[]).await.unwrap();
    assert_eq!(planned.planned[0].action, PlannedAction::Create { length: 50 });
    assert!(!planned.is_satisfied());
    assert_eq!(fake.calls(), ["DescribeSecret"], "to look is not to make");

    let resolved = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_eq!(resolved.changes[0].kind, ChangeKind::Created);
    let name = "blog/staging/DJANGO_SECRET_KEY";
    let version = &resolved.references[0].version;
    assert_eq!(version.value_from(), Fake::arn(name));
    assert_eq!(
        version.version_id.as_ref(),
        Some(&fake.world.lock().unwrap().secrets[name].versions[0].id)
    );
    assert_eq!(fake.value(name).len(), 50);
    let tags = fake.world.lock().unwrap().secrets[name].tags.clone();
    assert_eq!(
        (tags["nuages:app"].as_str(), tags["nuages:env"].as_str()),
        ("blog", "staging")
    );

    let before = fake.calls().len();
    let again = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_eq!((&again.references, again.changes.len()), (&resolved.references, 0));
    assert_eq!(
        fake.calls()[before..],
        ["DescribeSecret"],
        "a deploy without a change costs one call"
    );
}

#[tokio::test]
async fn a_changed_value_is_another_version() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    let wanted = [generate("KEY")];
    let first = secrets.resolve(&wanted, &[]).await.unwrap();
    let rotated = secrets.rotate(&wanted[0]).await.unwrap();
    let second = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_ne!(first.versions(), second.versions());
    assert_eq!(second.references[0].version.version_id.as_ref(), Some(&rotated.to));
    secrets.undo_rotation(&rotated).await.unwrap();
    assert_eq!(
        secrets.resolve(&wanted, &[]).await.unwrap().references,
        first.references
    );
}

#[tokio::test]
async fn two_deploys_at_once_make_one_secret() {
    let fake = Fake::start().await;
    let (one, two) = (fake.manager(), fake.manager());
    let wanted = [generate("KEY"), generate("OTHER")];
    let (one, two) = tokio::join!(one.resolve(&wanted, &[]), two.resolve(&wanted, &[]));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.references, two.references);
    assert_eq!(one.changes.len() + two.changes.len(), 2, "each was made by one of them");
}

#[tokio::test]
async fn a_secret_scheduled_for_deletion_is_restored_with_its_value() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    let wanted = [generate("KEY")];
    let made = secrets.resolve(&wanted, &[]).await.unwrap();
    let value = fake.value("blog/staging/KEY");
    secrets.undo(&made.changes).await.unwrap();
    assert!(fake.world.lock().unwrap().secrets["blog/staging/KEY"].deleted);
    assert_eq!(
        secrets.inspect(&wanted, &[]).await.unwrap().planned[0].action,
        PlannedAction::Restore
    );
    let restored = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_eq!(restored.changes[0].kind, ChangeKind::Restored);
    assert_eq!(fake.value("blog/staging/KEY"), value);
    assert_eq!(restored.references, made.references);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_being_deleted_is_waited_for() {
    let fake = Fake::start().await;
    let busy = ("CreateSecret", "InvalidRequestException", 400);
    fake.world.lock().unwrap().faults = vec![busy, busy];
    let resolved = fake.manager().resolve(&[generate("KEY")], &[]).await.unwrap();
    assert_eq!(resolved.changes[0].kind, ChangeKind::Created);

    fake.world.lock().unwrap().faults = vec![busy; 9];
    let error = fake.manager().resolve(&[generate("OTHER")], &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "make the secret `blog/staging/OTHER` for `OTHER`");
}

#[tokio::test]
async fn somebody_elses_secret_is_never_adopted() {
    let fake = Fake::start().await;
    fake.given("blog/staging/KEY", "theirs");
    let error = fake.manager().resolve(&[generate("KEY")], &[]).await.unwrap_err();
    assert!(matches!(error, SecretsError::Taken { .. }), "{error}");
    assert!(error.hint().unwrap().contains("another `name`"));
    assert_eq!(fake.value("blog/staging/KEY"), "theirs");
    assert_eq!(fake.calls(), ["DescribeSecret"]);
    // Tags of another environment are no better than none.
    fake.edit("blog/staging/KEY", |secret| {
        secret.tags.insert("nuages:app".into(), "blog".into());
        secret.tags.insert("nuages:env".into(), "production".into());
    });
    assert!(matches!(
        fake.manager().rotate(&generate("KEY")).await,
        Err(SecretsError::NotOurs { .. })
    ));
}

#[tokio::test]
async fn keys_of_json_secrets() {
    let fake = Fake::start().await;
    fake.given(
        "blog/sentry",
        r#"{"dsn": "https://hunter2", "rate": 0.5, "nested": {}}"#,
    );
    fake.given("plain", "hunter2");
    let secrets = fake.manager();
    let resolved = secrets
        .resolve(&[existing("SENTRY_DSN", "blog/sentry", Some("dsn"), false)], &[])
        .await
        .unwrap();
    assert_eq!(
        resolved.references[0].version.value_from(),
        format!("{}:dsn::", Fake::arn("blog/sentry"))
    );

    let missing = existing("SENTRY_DSN", "blog/sentry", Some("DSN"), false);
    let error = secrets.resolve(&[missing], &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "find the key `DSN` of the secret `blog/sentry`, which `SENTRY_DSN` needs: it has `dsn`, `nested`, `rate`"
    );
    assert_eq!(error.hint().as_deref(), Some("did you mean `dsn`?"));
    let optional = existing("SENTRY_DSN", "blog/sentry", Some("token"), true);
    let resolved = secrets.resolve(&[optional], &[]).await.unwrap();
    assert_eq!(resolved.omitted[0].why, "`blog/sentry` has no key `token`");
    assert!(resolved.references.is_empty());

    let why = |error: SecretsError| match error {
        SecretsError::NoKeys { why, .. } => why,
        other => panic!("{other}"),
    };
    let nested = existing("A", "blog/sentry", Some("nested"), false);
    assert_eq!(
        why(secrets.resolve(&[nested], &[]).await.unwrap_err()),
        "the key holds no text"
    );
    let plain = existing("A", "plain", Some("k"), false);
    assert_eq!(
        why(secrets.resolve(&[plain], &[]).await.unwrap_err()),
        "it is no JSON object"
    );
    fake.edit("plain", |secret| secret.versions[0].value = None);
    let binary = existing("A", "plain", Some("k"), false);
    assert_eq!(why(secrets.resolve(&[binary], &[]).await.unwrap_err()), "it is binary");
}

#[tokio::test]
async fn a_known_version_is_not_read_again() {
    let fake = Fake::start().await;
    fake.given("blog/sentry", r#"{"dsn": "x"}"#);
    let secrets = fake.manager();
    let wanted = [existing("SENTRY_DSN", "blog/sentry", Some("dsn"), false)];
    let known: Vec<SecretVersion> = secrets
        .resolve(&wanted, &[])
        .await
        .unwrap()
        .references
        .into_iter()
        .map(|r| r.version)
        .collect();
    assert_eq!(fake.calls(), ["DescribeSecret", "BatchGetSecretValue"]);
    secrets.resolve(&wanted, &known).await.unwrap();
    assert_eq!(fake.calls()[2..], ["DescribeSecret"]);
    // Another version may have lost the key.
    fake.given("blog/sentry", "{}");
    fake.edit("blog/sentry", |secret| {
        secret.versions.last_mut().unwrap().id = "another".into();
    });
    assert!(matches!(
        secrets.resolve(&wanted, &known).await,
        Err(SecretsError::KeyMissing { .. })
    ));
}

#[tokio::test]
async fn values_that_may_not_be_read_are_a_warning() {
    let fake = Fake::start().await;
    fake.given("blog/sentry", r#"{"dsn": "x"}"#);
    fake.world.lock().unwrap().sealed = true;
    let wanted = [existing("SENTRY_DSN", "blog/sentry", Some("dsn"), true)];
    let resolved = fake.manager().resolve(&wanted, &[]).await.unwrap();
    assert_eq!(resolved.references.len(), 1);
    assert!(
        resolved.warnings[0].contains("may not be read"),
        "{:?}",
        resolved.warnings
    );
    // The call itself refused is the same.
    fake.world.lock().unwrap().faults = vec![("BatchGetSecretValue", "AccessDeniedException", 400)];
    assert_eq!(fake.manager().resolve(&wanted, &[]).await.unwrap(), resolved);
}

#[tokio::test]
async fn what_is_absent_is_an_error_unless_optional() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    for (required, optional) in [
        (existing("A", "nope", None, false), existing("A", "nope", None, true)),
        (parameter("A", "/nope", false), parameter("A", "/nope", true)),
    ] {
        let error = secrets.resolve(&[required], &[]).await.unwrap_err();
        assert!(error.to_string().contains("nope`, which `A` needs"), "{error}");
        assert!(error.hint().unwrap().contains("optional"));
        let resolved = secrets.resolve(&[optional], &[]).await.unwrap();
        assert!(resolved.omitted[0].why.contains("nope"));
    }
    fake.given("going", "x");
    fake.edit("going", |secret| secret.deleted = true);
    let error = secrets
        .resolve(&[existing("A", "going", None, false)], &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, SecretsError::Deleted { .. }),
        "somebody else's deletion is not taken back: {error}"
    );
    assert_eq!(
        secrets
            .resolve(&[existing("A", "going", None, true)], &[])
            .await
            .unwrap()
            .omitted
            .len(),
        1
    );
}

#[tokio::test]
async fn order_keys_and_stores_are_reported() {
    let fake = Fake::start().await;
    fake.given("blog/database", "postgres://u:hunter2@h/d");
    fake.edit("blog/database", |secret| secret.kms_key = Some("alias/blog".into()));
    {
        let mut world = fake.world.lock().unwrap();
        world
            .parameters
            .insert("/blog/secure".into(), ("hunter2".into(), 3, "SecureString"));
        world
            .parameters
            .insert("/blog/plain".into(), ("hunter2".into(), 1, "String"));
    }
    let database = Source::DatabaseUrl {
        arn: Fake::arn("blog/database").parse().unwrap(),
    };
    let wanted = [
        parameter("P", "/blog/secure", false),
        generate("Z"),
        Wanted::new("DATABASE_URL", database),
        generate("A"),
        parameter("Q", "/blog/plain", false),
    ];
    let resolved = fake.manager().resolve(&wanted, &[]).await.unwrap();
    let names: Vec<&str> = resolved.references.iter().map(|r| r.variable.as_str()).collect();
    assert_eq!(names, ["P", "Z", "DATABASE_URL", "A", "Q"]);
    assert_eq!(resolved.references[0].store, Store::SecureParameter);
    assert_eq!(resolved.references[0].version.version_id.as_deref(), Some("3"));
    assert!(
        resolved.references[0]
            .version
            .value_from()
            .ends_with(":parameter/blog/secure")
    );
    assert_eq!(resolved.references[4].store, Store::PlainParameter);
    assert_eq!(resolved.kms_keys().into_iter().collect::<Vec<_>>(), ["alias/blog"]);
    assert_eq!(resolved.arns().len(), 5);
}

#[tokio::test]
async fn batches_keep_the_limits() {
    let fake = Fake::start().await;
    let mut wanted = Vec::new();
    for n in 0..45 {
        fake.given(&format!("json/{n}"), r#"{"k": "v"}"#);
        wanted.push(existing(&format!("S{n}"), &format!("json/{n}"), Some("k"), false));
        fake.world
            .lock()
            .unwrap()
            .parameters
            .insert(format!("/p/{n}"), ("v".into(), 1, "SecureString"));
        wanted.push(parameter(&format!("P{n}"), &format!("/p/{n}"), false));
    }
    // Several keys of one secret are one secret.
    wanted.push(existing("AGAIN", "json/0", Some("k"), false));
    assert_eq!(fake.manager().resolve(&wanted, &[]).await.unwrap().references.len(), 91);
    let count = |name: &str| fake.calls().iter().filter(|call| *call == name).count();
    assert_eq!(
        (
            count("DescribeSecret"),
            count("BatchGetSecretValue"),
            count("GetParameters")
        ),
        (45, 3, 5)
    );
}

#[tokio::test]
async fn only_what_was_generated_here_is_deleted() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    secrets
        .resolve(&[generate("A"), generate("B"), generate("C")], &[])
        .await
        .unwrap();
    secrets
        .set(
            &existing("D", "blog/staging/D", None, false),
            &nuages_model::Secret::new("given".into()),
        )
        .await
        .unwrap();
    fake.given("blog/staging/theirs", "x");
    fake.given("blog/staging2/other", "x");
    let names = ["blog/staging/A", "blog/staging/B", "blog/staging/C"];
    assert_eq!(secrets.delete_generated(false).await.unwrap(), names);
    assert_eq!(
        secrets.delete_generated(false).await.unwrap(),
        [""; 0],
        "they are scheduled already"
    );
    assert_eq!(secrets.delete_generated(true).await.unwrap(), names);
    let left: Vec<String> = fake.world.lock().unwrap().secrets.keys().cloned().collect();
    assert_eq!(left, ["blog/staging/D", "blog/staging/theirs", "blog/staging2/other"]);
}

#[tokio::test]
async fn a_failed_call_is_described() {
    let fake = Fake::start().await;
    fake.world.lock().unwrap().faults = vec![("DescribeSecret", "AccessDeniedException", 400)];
    let error = fake.manager().resolve(&[generate("KEY")], &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "look up the secret `blog/staging/KEY`");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.starts_with("secretsmanager:DescribeSecret failed: AccessDeniedException: as the test wants"),
        "{source}"
    );
    assert!(error.hint().unwrap().contains("secretsmanager:DescribeSecret"));
}
