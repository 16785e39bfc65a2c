//! The same against LocalStack, and what MiniStack's first deploy needs.

use nuages_aws::AwsContext;
use nuages_model::Secret;
use nuages_secrets::{ChangeKind, Scope, SecretsManager, Written};
use nuages_testkit::aws;
use nuages_testkit::emulators::{self, unique_account};

use crate::resolve::{existing, generate, parameter};

fn manager(aws: &AwsContext) -> SecretsManager {
    SecretsManager::new(aws, Scope::new("blog".parse().unwrap(), "staging".parse().unwrap()))
}

async fn round_trip(aws: &AwsContext) {
    let secrets = manager(aws);
    let wanted = [generate("DJANGO_SECRET_KEY"), generate("OTHER_KEY")];
    assert!(!secrets.inspect(&wanted, &[]).await.unwrap().is_satisfied());
    let made = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_eq!(
        made.changes.iter().map(|c| c.kind).collect::<Vec<_>>(),
        [ChangeKind::Created; 2]
    );
    let again = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_eq!((&again.references, again.changes.len()), (&made.references, 0));
    let value = secrets.get(&wanted[0]).await.unwrap().unwrap();
    assert_eq!(value.expose().len(), 50);

    let rotated = secrets.rotate(&wanted[0]).await.unwrap();
    assert_ne!(secrets.get(&wanted[0]).await.unwrap().unwrap(), value);
    assert_ne!(secrets.resolve(&wanted, &[]).await.unwrap().references, made.references);
    secrets.undo_rotation(&rotated).await.unwrap();
    assert_eq!(secrets.get(&wanted[0]).await.unwrap().unwrap(), value);

    let key = existing("SENTRY_DSN", "blog/sentry", Some("dsn"), false);
    let text = Secret::new("https://example.org/1".to_owned());
    assert_eq!(secrets.set(&key, &text).await.unwrap(), Written::Created);
    assert_eq!(secrets.set(&key, &text).await.unwrap(), Written::Unchanged);
    let missing = existing("SENTRY_DSN", "blog/sentry", Some("nope"), false);
    assert!(
        secrets
            .resolve(&[missing], &[])
            .await
            .unwrap_err()
            .to_string()
            .contains("it has `dsn`")
    );
    assert_eq!(secrets.resolve(&[key], &[]).await.unwrap().references.len(), 1);
    assert_eq!(
        secrets
            .resolve(&[existing("X", "nope", None, true)], &[])
            .await
            .unwrap()
            .omitted
            .len(),
        1
    );

    secrets.undo(&made.changes).await.unwrap();
    let restored = secrets.resolve(&wanted, &[]).await.unwrap();
    assert_eq!(
        restored.changes.iter().map(|c| c.kind).collect::<Vec<_>>(),
        [ChangeKind::Restored; 2]
    );
    assert_eq!(secrets.get(&wanted[0]).await.unwrap().unwrap(), value);

    let names: Vec<String> = secrets.list().await.unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["blog/staging/DJANGO_SECRET_KEY", "blog/staging/OTHER_KEY"]);
    assert_eq!(secrets.delete_generated(true).await.unwrap(), names);
    assert!(secrets.list().await.unwrap().is_empty());
}

async fn parameters(aws: &AwsContext) {
    let secrets = manager(aws);
    let wanted = parameter("MAIL", "/blog/mail", false);
    let value = Secret::new("pass word".to_owned());
    assert_eq!(secrets.set(&wanted, &value).await.unwrap(), Written::Created);
    let first = secrets.resolve(std::slice::from_ref(&wanted), &[]).await.unwrap();
    assert_eq!(secrets.get(&wanted).await.unwrap(), Some(value));
    assert_eq!(
        secrets.set(&wanted, &Secret::new("other".to_owned())).await.unwrap(),
        Written::Changed
    );
    let second = secrets.resolve(std::slice::from_ref(&wanted), &[]).await.unwrap();
    assert_eq!(first.references[0].version.arn, second.references[0].version.arn);
    assert_ne!(
        first.references[0].version.version_id,
        second.references[0].version.version_id
    );
    assert!(
        first.references[0]
            .version
            .value_from()
            .ends_with(":parameter/blog/mail")
    );
}

#[tokio::test]
async fn secrets_on_localstack() {
    round_trip(&aws::localstack(&emulators::localstack().await.url, &unique_account())).await;
}

#[tokio::test]
async fn parameters_on_localstack() {
    parameters(&aws::localstack(&emulators::localstack().await.url, &unique_account())).await;
}

#[tokio::test]
async fn secrets_on_ministack() {
    round_trip(&aws::ministack(&emulators::ministack().await.url, &unique_account())).await;
}

#[tokio::test]
async fn parameters_on_ministack() {
    parameters(&aws::ministack(&emulators::ministack().await.url, &unique_account())).await;
}
