//! Django projects and their database, as far as nuages' migration driver shows them.
//!
//! Invariant: what is applied is applied once, and never taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use serde_json::{Value, json};

use super::world::World;

/// Projects and one database.
#[derive(Debug, Clone, Default)]
pub(super) struct Django {
    /// The migrations, `app.name`, of images whose name contains this.
    pub(super) projects: Vec<(String, Vec<String>)>,
    pub(super) applied: Vec<String>,
    pub(super) runs: Vec<Ran>,
}

/// One run of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The run's own id.
    pub run: String,
    /// `probe` or `apply`.
    pub verb: String,
    /// What it applied.
    pub applied: Vec<String>,
}

impl World {
    /// Does what the driver does, and answers its lines.
    pub(super) fn migrate(&mut self, task: usize) -> Vec<String> {
        let (definition, command) = (&self.tasks[task].definition, &self.tasks[task].command);
        let image = self
            .definition(definition)
            .map(|d| d.body["containerDefinitions"].to_string())
            .unwrap_or_default();
        // `python -c PROGRAM REQUEST`
        let words: Value = serde_json::from_str(command).unwrap_or_default();
        let request = words.as_array().and_then(|words| words.last()?.as_str());
        let request: Value = request
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let (Some(run), Some(verb)) = (request["run"].as_str(), request["verb"].as_str()) else {
            return vec!["this is no command of nuages".to_owned()];
        };
        let Some(django) = &mut self.django else {
            return Vec::new();
        };
        let known = django.projects.iter().rev().find(|(part, _)| image.contains(part));
        let code = known.map(|(_, migrations)| migrations.clone()).unwrap_or_default();
        let pending: Vec<String> = code.iter().filter(|m| !django.applied.contains(m)).cloned().collect();
        let ran = if verb == "apply" { pending.clone() } else { Vec::new() };
        django.applied.extend(ran.iter().cloned());
        django.runs.push(Ran {
            run: run.to_owned(),
            verb: verb.to_owned(),
            applied: ran.clone(),
        });
        let mut applied: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (app, name) in django.applied.iter().filter_map(|migration| migration.split_once('.')) {
            applied.entry(app).or_default().insert(name);
        }
        let left: Vec<&String> = code.iter().filter(|m| !django.applied.contains(m)).collect();
        let report = json!({
            "verb": verb, "python": "3.13.5", "django": "5.2.1", "failure": null,
            "databases": {"default": {
                "vendor": "postgresql", "version": "17.5", "plan": pending, "ran": ran, "pending": left,
                "applied": applied,
            }},
        });
        lines(run, report.to_string().as_bytes())
    }
}

/// A report as the driver writes it.
fn lines(run: &str, report: &[u8]) -> Vec<String> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(report).expect("memory takes it");
    let packed = zlib.finish().expect("memory takes it");
    let digest = nuages_model::Digest::of(&packed);
    let hash = digest.hex();
    vec![
        format!("NUAGES1 {run} 1/1 {}", aws_smithy_types::base64::encode(&packed)),
        format!("NUAGES1 {run} sha256 1 {hash}"),
    ]
}
