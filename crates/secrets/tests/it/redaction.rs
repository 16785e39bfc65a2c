//! No value in any output, whatever is printed or stored.

use nuages_model::Secret;
use nuages_secrets::{EnvFile, diff};
use nuages_testkit::fuzz::everything_told;

use crate::fake::Fake;
use crate::resolve::{existing, generate, parameter};

const VALUE: &str = "hunter2-plain-as-day";

/// Everything an error or answer can be turned into.
fn shown(of: &(impl std::fmt::Debug + ?Sized)) -> String {
    format!("{of:?}\n{of:#?}\n")
}

#[tokio::test]
async fn no_output_has_a_value() {
    let fake = Fake::start().await;
    let secrets = fake.manager();
    let json = format!(r#"{{"dsn": "{VALUE}", "other": "{VALUE}"}}"#);
    fake.given("blog/json", &json);
    // What a JSON parser quotes in its errors.
    fake.given("blog/number", "9876543219");
    fake.given("blog/string", &format!("\"{VALUE}\""));
    fake.given("blog/broken", &format!("{{\"dsn\": {VALUE}}}"));
    fake.world
        .lock()
        .unwrap()
        .parameters
        .insert("/p".into(), (VALUE.into(), 1, "SecureString"));
    fake.world
        .lock()
        .unwrap()
        .parameters
        .insert("/plain".into(), (VALUE.into(), 1, "String"));
    let value = Secret::new(VALUE.to_owned());
    let mut text = shown(&secrets);

    let wanted = [
        generate("KEY"),
        existing("DSN", "blog/json", Some("dsn"), false),
        parameter("P", "/p", false),
        parameter("Q", "/plain", false),
    ];
    let inspection = secrets.inspect(&wanted, &[]).await.unwrap();
    text += &(shown(&inspection) + &serde_json::to_string(&inspection).unwrap());
    let resolved = secrets.resolve(&wanted, &[]).await.unwrap();
    text += &(shown(&resolved) + &serde_json::to_string(&resolved).unwrap());
    let rotated = secrets.rotate(&wanted[0]).await.unwrap();
    text += &(shown(&rotated) + &serde_json::to_string(&rotated).unwrap());
    let listed = secrets.list().await.unwrap();
    text += &(shown(&listed) + &serde_json::to_string(&listed).unwrap());
    let environment = secrets.environment_for_process(&wanted).await.unwrap();
    assert!(
        environment.values().any(|v| v.expose() == VALUE),
        "the values are there"
    );
    text += &shown(&environment);
    let file = EnvFile::from_values(environment.clone()).unwrap();
    text += &(shown(&file) + &shown(&file.to_text()));
    let other = EnvFile::parse(&format!("DSN=x\nNEW={VALUE}\nKEY={VALUE}")).unwrap();
    let diff = diff(&other.values(), &environment);
    text += &(shown(&diff) + &diff.to_string() + &serde_json::to_string(&diff).unwrap());
    let pushed = secrets
        .push(&EnvFile::parse(&format!("NEW={VALUE}")).unwrap().values(), &wanted)
        .await
        .unwrap();
    text += &(shown(&pushed) + &serde_json::to_string(&pushed).unwrap());

    for name in ["blog/json", "blog/number", "blog/string", "blog/broken"] {
        let error = secrets
            .resolve(&[existing("X", name, Some("nope"), false)], &[])
            .await
            .unwrap_err();
        text += &(everything_told(&error) + &error.hint().unwrap_or_default());
        let error = secrets
            .get(&existing("X", name, Some("nope"), false))
            .await
            .unwrap_err();
        text += &(everything_told(&error) + &error.hint().unwrap_or_default());
    }
    for operation in ["CreateSecret", "PutSecretValue", "BatchGetSecretValue"] {
        fake.world.lock().unwrap().faults = vec![(operation, "InternalServiceError", 500)];
        for entry in [
            existing("X", "blog/new", None, false),
            existing("X", "blog/json", None, false),
        ] {
            if let Err(error) = secrets.set(&entry, &value).await {
                text += &everything_told(&error);
            }
        }
        fake.world.lock().unwrap().faults.clear();
    }
    fake.world.lock().unwrap().faults = vec![("PutParameter", "InternalServerError", 500)];
    text += &everything_told(&secrets.set(&parameter("X", "/new", false), &value).await.unwrap_err());

    let generated = fake.value("blog/staging/KEY");
    for secret in [VALUE, generated.as_str(), "9876543219"] {
        assert!(!text.contains(secret), "`{secret}` is in:\n{text}");
    }
    assert!(
        text.contains("blog/json") && text.contains("`dsn`, `other`"),
        "names are shown: {text}"
    );
}

#[tokio::test]
async fn looking_asks_for_no_value() {
    let fake = Fake::start().await;
    fake.given("blog/plain", VALUE);
    fake.world
        .lock()
        .unwrap()
        .parameters
        .insert("/p".into(), (VALUE.into(), 1, "SecureString"));
    let wanted = [existing("A", "blog/plain", None, false), parameter("P", "/p", false)];
    fake.manager().resolve(&wanted, &[]).await.unwrap();
    for request in fake.server.requests() {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        assert!(!body.contains("\"WithDecryption\":true"), "{body}");
    }
    assert!(
        !fake.calls().contains(&"BatchGetSecretValue".to_owned()),
        "{:?}",
        fake.calls()
    );
}
