//! Arguments: what the command says of itself, and of what it does not understand.

use serde_json::json;

use crate::support::Place;

#[test]
fn help_names_every_verb() {
    let said = Place::new().run(&["--help"]).ended(0);
    insta::assert_snapshot!(said.out);
}

#[test]
fn deploys_help_names_every_option() {
    let said = Place::new().run(&["deploy", "--help"]).ended(0);
    insta::assert_snapshot!(said.out);
}

#[test]
fn what_is_not_understood_is_bad_input() {
    let place = Place::new();
    place.run(&["deploy"]).ended(3).tells("--env <NAME>");
    place.run(&["frobnicate"]).ended(3).tells("unrecognized subcommand");
    place
        .run(&["deploy", "--env", "Bad_Name!"])
        .ended(3)
        .tells("must begin with a lowercase letter");
    place
        .run(&["deploy", "--env", "local", "--colour"])
        .ended(3)
        .tells("--color");
}

#[test]
fn checks_are_not_skipped_without_a_reason() {
    let said = Place::new().run(&["deploy", "--env", "local", "--skip-checks", " "]);
    said.ended(3).ends_telling("needs a reason").ends_telling("hint: ");
}

#[test]
fn what_destroys_asks_and_nobody_is_there_to_answer() {
    let place = Place::with(
        "[app]\nname = 'blog'\n[services.worker]\ncommand = ['true']\n[environments.local]\nemulator = 'ministack'\n",
    );
    let said = place.run(&["infra", "down", "--env", "local"]);
    said.ended(3).ends_telling("nobody can answer").ends_telling("--yes");
}

#[test]
fn errors_are_json_where_output_is() {
    let said = Place::new().run(&["deploy", "--env", "local", "--json"]).ended(3);
    let lines = said.json();
    let last = lines.last().unwrap();
    assert_eq!(
        (
            last["event"].as_str(),
            last["level"].as_str(),
            last["exit_code"].as_i64()
        ),
        (Some("message"), Some("error"), Some(3))
    );
    assert!(last["text"].as_str().unwrap().contains("nuages.toml"), "{last}");
    assert!(last["hint"].as_str().unwrap().contains("nuages init"), "{last}");
    assert_eq!(said.err, "");
}

#[test]
fn arguments_that_are_not_understood_are_json_where_output_is() {
    for (args, text, hint) in [
        (&["deploy", "--json"][..], "--env <NAME>", "usage: "),
        (
            &["deploy", "--colour", "--json"],
            "unexpected argument '--colour'",
            "'--color'",
        ),
        (
            &["--json", "frobnicate"],
            "unrecognized subcommand 'frobnicate'",
            "nuages --help",
        ),
        (&["--json"], "no verb is named", "nuages --help"),
    ] {
        let said = Place::new().run(args).ended(3);
        let [line] = said.json().try_into().unwrap();
        assert_eq!((&line["event"], &line["level"]), (&json!("message"), &json!("error")));
        assert!(line["text"].as_str().unwrap().contains(text), "{line}");
        assert!(line["hint"].as_str().unwrap().contains(hint), "{line}");
        assert_eq!((said.err.as_str(), &line["exit_code"]), ("", &json!(3)));
    }
}

const TWO: &str = "\
[app]
name = 'blog'
[services.worker]
command = ['true']
[environments.local]
emulator = 'ministack'
[environments.preview]
emulator = 'ministack'
";

#[test]
fn a_missing_environment_is_answered_with_those_there_are() {
    let place = Place::with(TWO);
    for args in [
        &["deploy"][..],
        &["status", "--env"],
        &["logs", "--env", "No!"],
        &["infra", "up"],
    ] {
        place
            .run(args)
            .ended(3)
            .tells("--env <NAME>")
            .tells("\nhint: the environments in nuages.toml are `local`, `preview`");
    }
    // Also in a project elsewhere, and for machines.
    let elsewhere = Place::new();
    let project = place.project();
    let named = ["deploy", "--json", "--project", project.to_str().unwrap()];
    let [line] = elsewhere.run(&named).ended(3).json().try_into().unwrap();
    assert_eq!(line["hint"], "the environments in nuages.toml are `local`, `preview`");
    // Nobody is sent to an environment where another argument is wrong, or where there is none.
    for said in [
        place.run(&["deploy", "--env", "local", "--x"]),
        elsewhere.run(&["deploy"]),
    ] {
        assert!(!said.ended(3).err.contains("hint: "));
    }
}
