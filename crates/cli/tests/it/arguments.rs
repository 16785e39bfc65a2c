//! Arguments: what the command says of itself, and of what it does not understand.

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
        (last["event"].as_str(), last["level"].as_str()),
        (Some("message"), Some("error"))
    );
    assert!(last["text"].as_str().unwrap().contains("nuages.toml"), "{last}");
    assert!(last["hint"].as_str().unwrap().contains("nuages init"), "{last}");
    assert_eq!(said.err, "");
}
