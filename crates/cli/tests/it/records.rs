//! What is on record, and what can be counted, is told without credentials, an emulator or an engine.

use nuages_testkit::http::{FakeServer, xml};
use serde_json::json;

use crate::support::{Place, Said};

const TOML: &str = "\
[app]
name = 'blog'

[services.web]
command = ['gunicorn', 'blog.wsgi']
port = 8000
health = { live = '/livez', ready = '/readyz' }

[environments.local]
emulator = 'ministack'

[environments.staging]
region = 'eu-west-1'
account = '123456789012'
insecure_http = true
";

fn alone(place: &Place, args: &[&str]) -> Said {
    place.run_with(args, &[("DOCKER_HOST", "unix:///nowhere/docker.sock")])
}

#[test]
fn records_are_looked_for_where_they_are_and_none_are_made() {
    let place = Place::with(TOML);
    for env in ["local", "staging"] {
        for verb in [
            &["releases"][..],
            &["releases", "--all"],
            &["history"],
            &["history", "--list"],
        ] {
            let args = [verb, &["--env", env]].concat();
            let said = alone(&place, &args).ended(0).tells(&format!(
                "nuages.db has no record of `{env}`, and what serves there cannot be seen: "
            ));
            assert!(
                !said.err.contains("nothing was deployed"),
                "nobody looked:\n{}",
                said.err
            );
        }
    }
    assert!(
        !place.project().join(".nuages").exists(),
        "who only looks leaves nothing behind"
    );
}

#[test]
fn an_estimate_needs_nobody() {
    let place = Place::with(TOML);
    alone(&place, &["infra", "cost", "--env", "staging"])
        .ended(0)
        .prints("a month (");
    assert!(!place.project().join(".nuages").exists());
}

#[test]
fn what_runs_on_this_machine_costs_nothing_and_needs_no_roles() {
    let place = Place::with(TOML);
    let said = alone(&place, &["infra", "cost", "--env", "local"]).ended(0);
    assert_eq!(
        said.out,
        "`local` runs in an emulator on this machine: it costs nothing\n"
    );
    let [line] = alone(&place, &["infra", "cost", "--env", "local", "--json"])
        .ended(0)
        .json()
        .try_into()
        .unwrap();
    assert_eq!((&line["total"], &line["lines"]), (&json!(0), &json!([])));

    for more in [&[][..], &["--apply", "--yes"]] {
        let args = [&["infra", "bootstrap", "--env", "local"], more].concat();
        alone(&place, &args)
            .ended(4)
            .ends_telling("`local` runs in an emulator on this machine: there is no account to prepare")
            .ends_telling("hint: for an environment with an `account`");
    }
    assert!(!place.project().join(".nuages").exists());
}

const READING: [&[&str]; 4] = [&["releases"], &["history", "--list"], &["lease", "show"], &["status"]];

/// What is no store is told as what it is, by whoever reads and by whoever would write, and left as it is.
#[test]
fn a_place_that_is_no_store_is_not_an_empty_one() {
    let place = Place::with(TOML);
    place.write("notes", "remember the milk");
    let notes = place.project().join("notes");
    let notes = notes.to_str().unwrap();
    let verbs = READING.into_iter().chain([&["deploy"][..], &["resume"]]);
    for verb in verbs {
        for (store, told, code) in [
            ("s3://bucket/x", "s3://bucket/x is no path on this machine", 3),
            (notes, "notes is a file, and a store's folder is needed there", 4),
            #[cfg(unix)]
            ("/dev/null", "/dev/null is neither a file nor a folder", 4),
        ] {
            let args = [verb, &["--env", "local", "--store", store]].concat();
            let said = alone(&place, &args).ended(code);
            said.ends_telling(told)
                .ends_telling("\nhint: --store and NUAGES_STORE name");
        }
    }
    assert!(!place.project().join("s3:").exists() && !place.project().join(".nuages").exists());
    assert_eq!(place.read("notes"), "remember the milk");
}

#[cfg(unix)]
#[test]
fn a_folder_of_records_that_leads_nowhere_is_told() {
    let place = Place::with(TOML);
    let folder = place.project().join(".nuages");
    std::os::unix::fs::symlink("/nowhere/else", &folder).unwrap();
    for verb in READING {
        let args = [verb, &["--env", "local"]].concat();
        alone(&place, &args)
            .ended(4)
            .ends_telling(".nuages is a link to /nowhere/else, which is not there")
            .ends_telling("hint: bring back what it points to, or remove the link");
    }
    std::fs::remove_file(&folder).unwrap();
    std::os::unix::fs::symlink(&folder, &folder).unwrap();
    for verb in READING {
        let args = [verb, &["--env", "local"]].concat();
        alone(&place, &args).ended(4).ends_telling("failed to read ");
    }
}

#[test]
fn a_service_that_the_file_does_not_name_is_told_before_anybody_is_asked() {
    let place = Place::with(TOML);
    for env in ["local", "staging"] {
        alone(&place, &["logs", "--env", env, "wbe"])
            .ended(3)
            .ends_telling("there is no service `wbe` in nuages.toml")
            .ends_telling("hint: the only one is `web`");
    }
}

/// An endpoint for other programs is none for an environment with an emulator of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_the_surroundings_is_left_aside_unless_it_is_said_to_be_the_emulator() {
    let server = FakeServer::start(|_| async { xml(403, "<a/>") }).await;
    let url = server.url();
    let place = Place::with(TOML);
    let run = |env: &[(&str, &str)]| {
        let args = ["status", "--env", "local"];
        tokio::task::block_in_place(|| place.run_with(&args, env))
    };
    let nowhere = ("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let said = run(&[nowhere, ("AWS_ENDPOINT_URL", &url)]);
    let said = said.tells(&format!(
        "AWS_ENDPOINT_URL ({url}) is left aside: `local` has an emulator"
    ));
    said.tells("NUAGES_EMULATOR=ministack").ends_telling("Docker");
    assert_eq!(server.requests().len(), 0);

    // No engine is needed for what runs elsewhere.
    let said = run(&[nowhere, ("AWS_ENDPOINT_URL", &url), ("NUAGES_EMULATOR", "ministack")]);
    assert!(!said.err.contains("left aside"), "{}", said.err);
    assert!(!server.requests().is_empty(), "{}", said.err);
}
