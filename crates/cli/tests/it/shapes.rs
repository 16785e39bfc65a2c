//! What docs/json.md says of `--json`, compared with what comes out: each line that a test reads is looked up there.
//!
//! An example is matched key by key, both ways. A key in capitals stands for any name, and `…` for anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::support::{Place, copy_sample};

/// One section of the page: its examples, and what it says may be missing.
#[derive(Debug, Default)]
struct Shape {
    examples: Vec<Value>,
    absent: BTreeSet<String>,
    null: BTreeSet<String>,
}

const EVENTS: &str = "Events";
const FAILURE: &str = "The end of a run that failed";

static PAGE: LazyLock<BTreeMap<String, Shape>> = LazyLock::new(|| {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    read(&std::fs::read_to_string(page).unwrap())
});

fn read(page: &str) -> BTreeMap<String, Shape> {
    let mut shapes = BTreeMap::new();
    for section in format!("\n{page}").split("\n#").skip(1) {
        let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
        let mut shape = Shape {
            absent: listed(text, "May be absent: "),
            null: listed(text, "May be `null`: "),
            ..Shape::default()
        };
        for block in text.split("```json\n").skip(1) {
            let block = block.split("```").next().unwrap();
            for example in serde_json::Deserializer::from_str(block).into_iter() {
                shape
                    .examples
                    .push(example.unwrap_or_else(|e| panic!("{heading}: {e}: {block}")));
            }
        }
        shapes.insert(heading.trim_matches(['#', ' ', '`']).to_owned(), shape);
    }
    shapes
}

/// The names in the sentence that begins so.
fn listed(text: &str, beginning: &str) -> BTreeSet<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = text.split_once(beginning).map_or("", |(_, rest)| rest);
    let sentence = sentence.split('.').next().unwrap_or_default();
    sentence.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Fails where the page does not have such a line of this command.
#[track_caller]
pub(crate) fn documented(args: &[String], line: &Value) {
    let said = |heading: &&String| heading.split(' ').all(|word| args.iter().any(|arg| arg == word));
    let heading = if line.get("exit_code").is_some() {
        FAILURE
    } else if line.get("event").is_some() {
        EVENTS
    } else {
        let fitting = PAGE.keys().filter(said);
        fitting
            .max_by_key(|heading| heading.split(' ').count())
            .unwrap_or_else(|| panic!("docs/json.md says nothing of {args:?}: {line}"))
    };
    let shape = &PAGE[heading];
    // Which event, which note, which datum: these words choose the example.
    let chosen = |example: &&Value| {
        heading != EVENTS
            || ["/event", "/note/note", "/name"]
                .iter()
                .all(|word| example.pointer(word) == line.pointer(word))
    };
    let examples: Vec<&Value> = shape.examples.iter().filter(chosen).collect();
    let misfits: Vec<String> = examples
        .iter()
        .filter_map(|example| shape.misfit("", example, line))
        .collect();
    assert!(
        misfits.len() < examples.len(),
        "docs/json.md, {heading}: no example is like {line}\n{}",
        misfits.join("\n")
    );
}

impl Shape {
    /// The first difference between an example and what came out.
    fn misfit(&self, at: &str, example: &Value, actual: &Value) -> Option<String> {
        match (example, actual) {
            (Value::Object(example), Value::Object(actual)) => self.object(at, example, actual),
            (Value::Array(examples), Value::Array(actual)) => actual.iter().find_map(|actual| {
                let mut misfits = examples
                    .iter()
                    .map(|example| self.misfit(&format!("{at}[]"), example, actual));
                match misfits.next() {
                    None => Some(format!("{at}: the example has no entry")),
                    Some(None) => None,
                    Some(first) => misfits.all(|misfit| misfit.is_some()).then_some(first).flatten(),
                }
            }),
            (Value::String(_), Value::String(_))
            | (Value::Number(_), Value::Number(_))
            | (Value::Bool(_), Value::Bool(_)) => None,
            (_, Value::Null) if self.null.contains(name(at)) => None,
            _ => Some(format!("{at} is {actual}")),
        }
    }

    fn object(&self, at: &str, example: &Map<String, Value>, actual: &Map<String, Value>) -> Option<String> {
        if example.contains_key("…") {
            return None;
        }
        let any = example
            .iter()
            .find(|(key, _)| key.chars().all(|c| c.is_ascii_uppercase()))
            .map(|(_, value)| value);
        if let Some(any) = any {
            return actual
                .iter()
                .find_map(|(key, value)| self.misfit(&format!("{at}.{key}"), any, value));
        }
        let missing = example
            .keys()
            .find(|key| !actual.contains_key(*key) && !self.absent.contains(*key));
        if let Some(key) = missing {
            return Some(format!("{at} has no `{key}`"));
        }
        actual.iter().find_map(|(key, value)| match example.get(key) {
            Some(example) => self.misfit(&format!("{at}.{key}"), example, value),
            None => (!self.absent.contains(key)).then(|| format!("{at} has `{key}`, which is not in the example")),
        })
    }
}

fn name(at: &str) -> &str {
    at.rsplit('.').next().unwrap_or(at).trim_end_matches("[]")
}

#[test]
fn every_example_is_json_with_its_version() {
    for (heading, shape) in PAGE.iter() {
        for example in &shape.examples {
            assert_eq!(example["v"], 1, "{heading}: {example}");
        }
    }
    let help = Place::new().run(&["--help"]).ended(0).out;
    let results: Vec<&String> = PAGE
        .iter()
        .filter(|(_, shape)| !shape.examples.is_empty())
        .map(|(heading, _)| heading)
        .collect();
    for heading in results
        .into_iter()
        .filter(|heading| *heading != EVENTS && *heading != FAILURE)
    {
        let verb = heading.split(' ').next().unwrap();
        assert!(help.contains(&format!("\n  {verb} ")), "there is no verb `{verb}`");
    }
}

#[test]
fn a_difference_is_seen() {
    let shape = Shape {
        examples: Vec::new(),
        absent: ["hint".to_owned()].into(),
        null: ["release".to_owned()].into(),
    };
    let example =
        json!({"v": 1, "release": "v7", "hint": "…", "services": [{"name": "web"}], "leaves": {"APP": ["0001"]}});
    let like = |actual: Value| shape.misfit("", &example, &actual);
    let good = json!({"v": 1, "release": null, "services": [], "leaves": {"blog": ["0001"], "auth": []}});
    assert_eq!(like(good.clone()), None);
    for (key, value) in [
        ("release", json!(7)),
        ("v", json!(null)),
        ("new", json!(1)),
        ("services", json!([{"name": "web", "port": 1}])),
        ("services", json!([{}])),
        ("leaves", json!({"blog": "0001"})),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(like(bad.clone()).is_some(), "{bad}");
    }
}

const TOML: &str = "\
[app]
name = 'blog'

[services.web]
command = ['gunicorn', 'blog.wsgi']
port = 8000
health = { live = '/livez' }

[environments.staging]
region = 'eu-west-1'
account = '123456789012'
insecure_http = true
";

/// Each line is compared where it is read.
#[test]
fn what_needs_no_account_comes_out_as_it_is_documented() {
    let place = Place::with(TOML);
    for (args, code) in [
        (&["infra", "cost", "--env", "staging", "--json"][..], 0),
        (&["status", "--env", "staging", "--json"], 4),
        (&["status", "--env", "nowhere", "--json"], 3),
        (&["deploy", "--json"], 3),
    ] {
        assert!(!place.run(args).ended(code).json().is_empty(), "{args:?}");
    }
    // With an engine or without, on any machine.
    assert!(place.run(&["doctor", "--json"]).json().len() > 3);

    let place = Place::new();
    copy_sample(&place.project());
    std::fs::remove_file(place.project().join("nuages.toml")).unwrap();
    assert_eq!(place.run(&["init", "--json"]).ended(0).json().len(), 1);
    assert_eq!(place.run(&["init", "--json"]).ended(3).json().len(), 1);
}
