//! What is on record, and what can be counted, is told without credentials, an emulator or an engine.

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
            alone(&place, &args)
                .ended(0)
                .tells(&format!("nothing was deployed to {env} yet"));
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
    for env in ["local", "staging"] {
        alone(&place, &["infra", "cost", "--env", env])
            .ended(0)
            .prints("a month (");
    }
    assert!(!place.project().join(".nuages").exists());
}
