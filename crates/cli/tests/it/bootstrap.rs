//! `infra bootstrap`, in an account that has nothing of it yet.

use nuages_testkit::emulators::{self, unique_account};

use crate::support::{Place, Said};

const TOML: &str = r#"
[app]
name = "blog"

[services.web]
command = ["gunicorn", "blog.wsgi"]
port = 8000
health = { live = "/livez", ready = "/readyz" }

[environments.staging]
region = "eu-west-1"
account = "ACCOUNT"
domain = "www.example.org"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_policies_are_shown_asked_about_made_and_left() {
    let emulator = emulators::localstack().await;
    let account = unique_account();
    let place = Place::with(&TOML.replace("ACCOUNT", &account));
    place.write("manage.py", "");
    let run = |args: &[&str]| -> Said {
        let mut all = vec!["infra", "bootstrap", "--env", "staging"];
        all.extend(args);
        let env = [
            ("AWS_ENDPOINT_URL", emulator.url.as_str()),
            ("NUAGES_EMULATOR", "localstack"),
            ("AWS_ACCESS_KEY_ID", &account),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        tokio::task::block_in_place(|| place.run_with(&all, &env))
    };

    let printed = run(&["--json"]).ended(0).json();
    assert_eq!(printed.len(), 6, "{printed:?}");

    // Nobody is there to answer: what is missing is said, and nothing is made.
    for _ in 0..2 {
        let said = run(&["--apply"]).ended(3);
        let said = said.tells("missing: role blog-staging-eu-west-1-deployer");
        said.ends_telling("Make or change 6 of these").ends_telling("`--yes`");
    }

    let states = |args: &[&str]| {
        let lines = run(args).ended(0).json();
        let of = |line: &serde_json::Value| Some(format!("{} {}", line["state"].as_str()?, line["what"].as_str()?));
        lines.iter().filter_map(of).collect::<Vec<_>>()
    };
    let made = states(&["--apply", "--yes", "--json"]);
    assert_eq!(made.len(), 6, "{made:?}");
    assert!(made.iter().all(|line| line.starts_with("made ")), "{made:?}");
    let left = states(&["--apply", "--json"]);
    assert!(left.iter().all(|line| line.starts_with("left ")), "{left:?}");

    // GitHub's runners may deploy from now on.
    let changed = states(&["--apply", "--yes", "--json", "--repository", "ana/blog"]);
    let differing: Vec<&str> = changed
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("left "))
        .collect();
    assert_eq!(
        differing,
        [
            "made identity provider token.actions.githubusercontent.com",
            "changed role blog-staging-eu-west-1-deployer",
        ]
    );
    run(&["--apply", "--repository", "ana"])
        .ended(3)
        .ends_telling("OWNER/NAME");
    run(&["--apply"]).ended(0).tells(&format!(
        "deploy as arn:aws:iam::{account}:role/blog-staging-eu-west-1-deployer"
    ));
}
