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
fn nobody_is_asked_about_what_is_not_there() {
    let place = Place::with(
        "[app]\nname = 'blog'\n[services.worker]\ncommand = ['true']\n[environments.local]\nemulator = 'ministack'\n",
    );
    let down = ["infra", "down", "--env", "local"];
    place
        .run(&down)
        .ended(0)
        .tells("there is no environment local: nothing was taken down");
    // A store that was named was meant, whatever else would be done.
    for (store, code, told) in [
        ("s3://bucket/x", 3, "s3://bucket/x is no path on this machine"),
        (
            "manage.py",
            4,
            "manage.py is a file, and a store's folder is needed there",
        ),
    ] {
        let said = place.run(&[&down[..], &["--yes", "--store", store]].concat());
        said.ended(code).ends_telling(told);
    }
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
            "`nuages help`",
        ),
        (&["--json"], "no verb is named", "`nuages help`"),
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

/// What is told can be pasted: it names all that this person named, as this person calls it.
#[test]
fn commands_in_hints_are_those_of_the_person() {
    let place = Place::with(TWO);
    let project = place.project();
    let project = project.to_str().unwrap();
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let run = |args: &[&str], called_as: &str| {
        let env = [nowhere[0], ("NUAGES_CALLED_AS", called_as)];
        Place::new().run_with(args, &env)
    };
    let args = [
        "history",
        "01x",
        "--env",
        "local",
        "--project",
        project,
        "--store",
        "kept here",
    ];
    let told = format!("`cargo xtask history --env local --list --store 'kept here' --project {project}` lists");
    run(&args, "cargo xtask").ended(3).ends_telling(&told);
    let [line] = run(&[&args[..], &["--json"]].concat(), "cargo xtask")
        .ended(3)
        .json()
        .try_into()
        .unwrap();
    assert!(line["hint"].as_str().unwrap().starts_with(&told), "{line}");
    // The configuration's crate knows nothing of arguments.
    let said = run(&["deploy", "--env", "local"], "cargo xtask").ended(3);
    said.ends_telling("hint: `cargo xtask init DIR` writes one");
    let said = run(&["deploy", "--env", "local"], "").ended(3);
    assert!(said.err.contains("/nuages init DIR` writes one"), "{}", said.err);

    // Also where the surroundings name a project, as `cargo xtask` does.
    let surroundings = [
        ("NUAGES_CALLED_AS", "cargo xtask"),
        ("NUAGES_PROJECT", project),
        ("NUAGES_STORE", "x"),
    ];
    let said = Place::new().run_with(&["deploy"], &surroundings).ended(3);
    said.tells("Usage: cargo xtask deploy --env <NAME>");
    for (args, usage) in [
        (&["deploy"][..], "Usage: cargo xtask deploy --env <NAME>"),
        (&["infra", "--help"], "Usage: cargo xtask infra "),
        (&["help"], "Usage: cargo xtask [OPTIONS] <COMMAND>"),
    ] {
        let said = run(args, "cargo xtask");
        assert!((said.err.clone() + &said.out).contains(usage), "{said:?}");
    }
    let [line] = run(&["--json"], "cargo xtask").ended(3).json().try_into().unwrap();
    assert_eq!(line["hint"], "`cargo xtask help` lists the verbs");
}

/// A disk that is full takes a script's data away; a reader that had enough does not.
#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_no_success() {
    use std::process::Stdio;

    let place = Place::with(TWO);
    let into = |args: &[&str], out: Stdio| {
        let mut command = place.command(args);
        command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        let ran = command.stdout(out).stderr(Stdio::piped()).output().unwrap();
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    for args in [
        &["infra", "cost", "--env", "local"][..],
        &["infra", "cost", "--env", "local", "--json"],
        &["--help"],
        &["--version"],
        &["doctor", "--json"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, told) = into(args, full.into());
        assert_ne!(code, Some(0), "{args:?}");
        assert!(
            told.ends_with("hint: what was asked for is done; only its output is not whole\n") || code == Some(4),
            "{args:?}: {told}"
        );
        assert!(
            told.contains("error: failed to write the results to stdout"),
            "{args:?}: {told}"
        );
        assert!(told.contains("caused by: No space left on device"), "{args:?}: {told}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, told) = into(args, writer.into());
        assert!([Some(0), Some(4)].contains(&code), "{args:?}: {told}");
        assert_eq!(told, "", "{args:?}");
    }
}
