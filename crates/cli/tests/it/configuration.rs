//! `nuages.toml` and `nuages init`: what is wrong is told with its place, and what is written can be read.

use serde_json::json;

use crate::support::{Place, copy_sample};

const GOOD: &str = "\
[app]
name = 'blog'

[services.worker]
command = ['true']
cpu = 256

[environments.local]
emulator = 'ministack'
";

#[test]
fn without_a_file_init_is_named() {
    let place = Place::new();
    let said = place.run(&["deploy", "--env", "local"]).ended(3);
    insta::assert_snapshot!(place.anonymous(&said.err));
}

#[test]
fn an_unknown_key_is_shown_in_its_line() {
    let place = Place::with(&GOOD.replace("cpu =", "cup ="));
    let said = place.run(&["deploy", "--env", "local"]).ended(3);
    insta::assert_snapshot!(place.anonymous(&said.err));
}

#[test]
fn a_malformed_file_is_shown_where_it_breaks() {
    let place = Place::with(&GOOD.replace("[app]", "[app"));
    let said = place.run(&["deploy", "--env", "local"]).ended(3);
    insta::assert_snapshot!(place.anonymous(&said.err));
}

#[test]
fn a_mistake_has_its_place_in_json() {
    let place = Place::with(&GOOD.replace("cpu =", "cup =").replace("ministack", "minstack"));
    let said = place.run(&["deploy", "--env", "local", "--json"]).ended(3);
    let [line] = said.json().try_into().unwrap();
    let problems = line["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{line}");
    assert_eq!(
        problems[0],
        json!({
            "file": "nuages.toml", "message": "unknown key `cup` in `[services.worker]`", "hint": "did you mean `cpu`?",
            "places": [{"line": 6, "column": 1, "end_line": 6, "end_column": 4, "label": "not a key of nuages.toml"}],
        })
    );
    assert_eq!(problems[1]["places"][0]["line"], 9, "{line}");
    assert_eq!((&line["hint"], said.err.as_str()), (&problems[0]["hint"], ""));
}

#[test]
fn what_has_no_code_yet_is_refused_in_one_sentence() {
    let toml = |more: &str| {
        format!(
            "[app]\nname = 'blog'\n[services.worker]\ncommand = ['true']\n[environments.live]\nregion = 'eu-west-1'\n\
             account = '123456789012'\n{more}\n"
        )
    };
    for (more, what) in [
        (
            "strategy = { kind = 'canary' }",
            "the strategy \"canary\" has no code yet",
        ),
        ("target = 'ec2-compose'", "deploying to EC2 instances has no code yet"),
    ] {
        let said = Place::with(&toml(more)).run(&["deploy", "--env", "live"]).ended(3);
        assert_eq!(said.err.matches('×').count(), 1, "{}", said.err);
        said.tells(what);
    }
    let said = Place::with(&toml("target = 'ec2'"))
        .run(&["deploy", "--env", "live"])
        .ended(3);
    said.tells("the only one is \"ecs\"; \"ec2-compose\" and \"ec2-image\" have no code yet");
}

#[test]
fn an_unknown_environment_is_told_beside_the_known_ones() {
    let said = Place::with(GOOD).run(&["deploy", "--env", "staging"]);
    said.ended(3)
        .tells("the environment `staging` is not in the file")
        .tells("\"local\"");
}

#[test]
fn a_folder_that_is_not_there_is_told_with_what_names_it() {
    let said = Place::with(GOOD).run(&["status", "--env", "local", "--project", "/nowhere"]);
    said.ended(3)
        .ends_telling("failed to read /nowhere")
        .ends_telling("hint: name a folder that exists: with `--project DIR`");
}

#[test]
fn the_nearest_file_upward_is_taken() {
    let place = Place::with(GOOD);
    std::fs::create_dir_all(place.project().join("deep/down")).unwrap();
    let deep = place
        .command(&["status", "--env", "nowhere"])
        .current_dir(place.project().join("deep/down"))
        .output();
    let err = String::from_utf8(deep.unwrap().stderr).unwrap();
    assert!(err.contains("the environment `nowhere` is not in the file"), "{err}");
}

#[test]
fn init_needs_one_django_project() {
    let place = Place::new();
    place
        .run(&["init"])
        .ended(3)
        .ends_telling("failed to find manage.py")
        .ends_telling("hint: ");
    place.write("shop/manage.py", "");
    place.write("blog/manage.py", "");
    place
        .run(&["init"])
        .ended(3)
        .ends_telling("2 Django projects")
        .ends_telling("nuages init ./blog")
        .ends_telling("nuages init ./shop");
    assert!(!place.project().join("nuages.toml").exists());
}

#[test]
fn init_goes_where_the_project_is_named() {
    let place = Place::new();
    for project in ["shop", "blog"] {
        place.write(&format!("{project}/manage.py"), "");
    }
    let deploy = "`nuages deploy --env local --project shop`";
    place
        .run(&["init", "--project", "shop"])
        .ended(0)
        .tells("wrote shop/nuages.toml")
        .tells(deploy);
    // An argument says more than the surroundings.
    place
        .run_with(&["init", "blog"], &[("NUAGES_PROJECT", "shop")])
        .ended(0)
        .tells("wrote blog/nuages.toml");
    place
        .run(&["init", "blog", "--project", "shop"])
        .ended(3)
        .ends_telling("DIR and --project both name the project's folder");
    assert!(!place.project().join("nuages.toml").exists());
}

#[test]
fn init_writes_a_file_that_can_be_read_and_never_a_second_one() {
    let place = Place::new();
    copy_sample(&place.project());
    std::fs::remove_file(place.project().join("nuages.toml")).unwrap();
    place.run(&["init"]).ended(0).tells("next: `nuages deploy --env local`");
    let written = place.read("nuages.toml");
    assert!(written.contains("[services.web]"), "{written}");
    // It is read whole, and only then is the environment missed.
    place
        .run(&["status", "--env", "nowhere"])
        .ended(3)
        .tells("is not in the file");

    place.run(&["init"]).ended(3).ends_telling("never overwritten");
    assert_eq!(place.read("nuages.toml"), written);
}

#[test]
fn no_localstack_is_started() {
    let place = Place::with(&GOOD.replace("ministack", "localstack"));
    let said = place.run(&["deploy", "--env", "local"]).ended(4);
    said.ends_telling("nuages starts no LocalStack")
        .tells("emulator = \"ministack\"");
}
