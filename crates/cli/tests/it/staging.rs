//! The sample's `staging`, as its file says it, in an account that is an emulator's: the way to AWS with another endpoint.

use std::time::Duration;

use nuages_emulator::Engine;
use nuages_emulator::local::{LocalEmulator, LocalSettings};
use nuages_model::Progress;
use nuages_testkit::emulators::unique_name;

use crate::support::{Place, copy_sample, forget_images, without_checks};

/// The account in the sample's file.
const ACCOUNT: &str = "123456789012";

#[tokio::test(flavor = "multi_thread")]
async fn staging_is_deployed_to_the_account_that_its_file_names() {
    let place = Place::new();
    copy_sample(&place.project());
    without_checks(&place);
    // Nothing else is changed. Under a name of its own its database is nobody else's.
    let name = unique_name("stg");
    place.edit("nuages.toml", "name = \"blog\"", &format!("name = \"{name}\""));

    let engine = Engine::connect().await.unwrap();
    let mut settings = LocalSettings::new(name.clone(), &place.project()).unwrap();
    ACCOUNT.clone_into(&mut settings.account);
    let running = LocalEmulator::ensure(&engine, &settings, &Progress::none())
        .await
        .unwrap();

    let endpoint = running.endpoint.clone();
    let run = tokio::task::spawn_blocking(move || {
        let store = place.store();
        let env = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        let args = |verb: &'static [&'static str]| {
            let mut args = verb.to_vec();
            args.extend(["--env", "staging", "--store", store.to_str().unwrap()]);
            place.run_with(&args, &env)
        };
        let deployed = args(&["deploy"]);
        let again = args(&["deploy", "--json"]);
        let down = args(&["infra", "down", "--yes"]);
        (deployed, again, down)
    });
    let said = tokio::time::timeout(Duration::from_mins(10), run).await;
    // Before anything is judged: the emulator goes in any case.
    LocalEmulator::down(&engine, &settings, &Progress::none())
        .await
        .unwrap();
    forget_images(&name);
    let (deployed, again, down) = said.expect("it ends").unwrap();
    deployed.ended(0).tells("v1 serves");
    let events = again.ended(0).json();
    let release = events
        .iter()
        .find(|event| event["name"] == "release")
        .expect("the release is told");
    assert_eq!(release["value"]["changed"], false, "{release}");
    down.ended(0).tells("staging is down");
}
