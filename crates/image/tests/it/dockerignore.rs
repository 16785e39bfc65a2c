//! `.dockerignore` beside the `docker` command: the same patterns and files, the same list.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use nuages_image::{Context, dockerignore::Ignore};
use nuages_model::Progress;

use crate::{engine, project, write};

/// A small generator of its own, so that a seed says everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Knuth's constants for a 64-bit linear congruence.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn pattern(&mut self) -> String {
        let parts = [
            "a", "b", "c", "ab", "a.b", "*", "**", "?", "a*", "*b", "[ab]", "[^a]", "[!a]", ".", "..", "a+b", "**a",
            "a**", "***", "[a-b]*", "\\a*", "a\\?", "[*]",
        ];
        let count = 1 + self.roll(3);
        let body: Vec<_> = (0..count).map(|_| self.pick(&parts)).collect();
        let (front, back) = (
            self.pick(&["", "", "", "/", "./", " "]),
            self.pick(&["", "", "", "/", " "]),
        );
        let takes_back = self.pick(&["", "", "!", "! "]);
        format!("{takes_back}{front}{}{back}", body.join("/"))
    }
}

const PATHS: [&str; 18] = [
    "a", "b/a", "b/b", "ab", "c/a/b", "c/b/a", "c/ab/x", "c/c/c/c", "d/a.b", "d/axb", "a+b", "aab", "d/a/b/c", "x/y/z",
    "ba", "d/*", "d/a]", "e/!a",
];

/// What the `docker` command sends: its classic client packs the context itself, so an engine's answer shows it.
fn docker_sends(folder: &Path) -> Option<BTreeSet<String>> {
    let output = Command::new("docker")
        .args(["build", "--quiet", "--no-cache", "."])
        .env("DOCKER_BUILDKIT", "0")
        .current_dir(folder)
        .output()
        .expect("the docker command runs");
    if !output.status.success() {
        return None;
    }
    let id = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let docker = |words: &[&str]| {
        Command::new("docker")
            .args(words)
            .output()
            .expect("the docker command runs")
    };
    let saved = docker(&["create", &id, "none"]);
    let container = String::from_utf8(saved.stdout).unwrap().trim().to_owned();
    let exported = docker(&["export", &container]).stdout;
    docker(&["rm", "-f", &container]);
    docker(&["rmi", "-f", &id]);
    let mut archive = tar::Archive::new(exported.as_slice());
    let files = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.header().entry_type().is_file())
        .map(|entry| entry.path().unwrap().display().to_string())
        .filter_map(|path| path.strip_prefix("ctx/").map(str::to_owned))
        .collect();
    Some(files)
}

/// What we would send.
fn we_send(folder: &Path) -> Option<BTreeSet<String>> {
    let context = Context::open(folder, Path::new("Dockerfile"), &Progress::none()).ok()?;
    let files = context
        .entries()
        .iter()
        .filter(|entry| matches!(entry.kind, nuages_image::EntryKind::File { .. }));
    Some(files.map(|entry| entry.path.display().to_string()).collect())
}

/// The classic client looks into an excluded folder only if a `!` pattern begins with its very name. BuildKit, whose rule
/// is ours, also looks where a wildcard might lead.
fn classic_prunes(patterns: &str, ignore: &Ignore, path: &str) -> bool {
    path.match_indices('/').any(|(end, _)| {
        let folder = &path[..end];
        ignore.excludes(folder)
            && !patterns.lines().any(|line| {
                line.trim().strip_prefix('!').is_some_and(|pattern| {
                    let pattern = pattern.trim().trim_start_matches("./").trim_matches('/');
                    format!("{pattern}/").starts_with(&format!("{folder}/"))
                })
            })
    })
}

#[tokio::test]
async fn keeps_and_leaves_out_what_docker_does() {
    // The engine is asked for through our own connection first, for its clear error.
    engine().await;
    let seed = std::env::var("NUAGES_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_121);
    let cases = std::env::var("NUAGES_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(25);
    let mut dice = Dice(seed);
    let mut compared = 0;
    for case in 0..cases {
        let folder = project(&[("Dockerfile", "FROM scratch\nCOPY . /ctx\n")]);
        for path in PATHS {
            write(folder.path(), path, path);
        }
        let patterns: Vec<_> = (0..=dice.roll(4)).map(|_| dice.pattern()).collect();
        let patterns = patterns.join("\n");
        write(folder.path(), ".dockerignore", &patterns);
        let says = format!("seed {seed}, case {case}: {patterns:?}");
        let (theirs, ours) = (docker_sends(folder.path()), we_send(folder.path()));
        let (Some(theirs), Some(ours)) = (&theirs, &ours) else {
            // An empty context makes `COPY . /ctx` fail in the engine; a bad pattern fails in both.
            let nothing = ours.as_ref().is_some_and(BTreeSet::is_empty);
            assert!(
                theirs.is_none() && (ours.is_none() || nothing),
                "{says}: {theirs:?} {ours:?}"
            );
            continue;
        };
        compared += 1;
        let ignore = Ignore::parse(&patterns).unwrap();
        let ours: BTreeSet<_> = ours
            .iter()
            .filter(|path| !classic_prunes(&patterns, &ignore, path))
            .cloned()
            .collect();
        assert_eq!(*theirs, ours, "{says}");
    }
    assert!(compared > cases / 3, "only {compared} of {cases} could be compared");
}
