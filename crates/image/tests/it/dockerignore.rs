//! `.dockerignore` beside the `docker` command and the engine: the same patterns and files, the same list.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use nuages_image::{Context, dockerignore::Ignore};
use nuages_model::Progress;
use nuages_testkit::http::{FakeServer, text};

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

/// A folder of all the paths, with a `.dockerignore` that the dice wrote.
fn drawn(dice: &mut Dice) -> (tempfile::TempDir, String) {
    let folder = project(&[("Dockerfile", "FROM scratch\nCOPY . /ctx\n")]);
    for path in PATHS {
        write(folder.path(), path, path);
    }
    let patterns: Vec<_> = (0..=dice.roll(4)).map(|_| dice.pattern()).collect();
    let patterns = patterns.join("\n");
    write(folder.path(), ".dockerignore", &patterns);
    (folder, patterns)
}

/// What we would send, without what the classic client does not look into.
fn as_the_classic_client(patterns: &str, ours: BTreeSet<String>) -> BTreeSet<String> {
    let ignore = Ignore::parse(patterns).unwrap();
    let ours = ours.into_iter();
    ours.filter(|path| !classic_prunes(patterns, &ignore, path)).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn seed() -> u64 {
    number("NUAGES_SEED").unwrap_or(20_261_121)
}

/// An engine that takes every context and builds nothing: only what was sent is looked at.
async fn taker() -> FakeServer {
    FakeServer::start(|request| async move {
        let path = request.uri().path();
        if path.ends_with("/build") {
            return text(200, "{\"aux\":{\"ID\":\"sha256:0\"}}\n");
        }
        let mut answer = text(if path.ends_with("/_ping") { 200 } else { 404 }, "{}");
        for (name, value) in [
            ("api-version", "1.41"),
            ("ostype", "linux"),
            ("content-type", "application/json"),
        ] {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer
    })
    .await
}

/// What the `docker` command packs for such an engine; nothing where it refuses the patterns.
async fn docker_packs(folder: &Path, engine: &FakeServer) -> Option<BTreeSet<String>> {
    let before = engine.requests().len();
    let output = tokio::process::Command::new("docker")
        .args(["build", "--quiet", "."])
        .env("DOCKER_BUILDKIT", "0")
        .env("DOCKER_HOST", format!("tcp://{}", engine.address()))
        .env_remove("DOCKER_CONTEXT")
        .env_remove("DOCKER_TLS_VERIFY")
        .current_dir(folder)
        .output()
        .await
        .expect("the docker command runs");
    let requests = engine.requests();
    let Some(sent) = requests[before..]
        .iter()
        .find(|request| request.uri().path().ends_with("/build"))
    else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("error checking context"),
            "the docker command sent nothing: {said}"
        );
        return None;
    };
    let mut archive = tar::Archive::new(sent.body().as_ref());
    let entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.header().entry_type().is_file());
    Some(files.map(|entry| entry.path().unwrap().display().to_string()).collect())
}

/// The command sends the Dockerfile and `.dockerignore` in any case, and an engine takes them away again.
fn without_its_own(mut files: BTreeSet<String>) -> BTreeSet<String> {
    files.remove("Dockerfile");
    files.remove(".dockerignore");
    files
}

#[tokio::test]
async fn keeps_and_leaves_out_what_the_docker_command_does() {
    let seed = seed();
    let cases = number("NUAGES_SOAK_DOCKERIGNORE").unwrap_or(200);
    let engine = taker().await;
    let mut dice = Dice(seed);
    let (mut compared, mut some, mut refused) = (0, 0, 0);
    for case in 0..cases {
        let (folder, patterns) = drawn(&mut dice);
        let says = format!("seed {seed}, case {case}: {patterns:?}");
        match (docker_packs(folder.path(), &engine).await, we_send(folder.path())) {
            (Some(theirs), Some(ours)) => {
                let ours = without_its_own(as_the_classic_client(&patterns, ours));
                let theirs = without_its_own(theirs);
                assert_eq!(theirs, ours, "{says}");
                compared += 1;
                some += u64::from(!ours.is_empty() && ours.len() < PATHS.len());
            }
            (None, None) => refused += 1,
            (theirs, ours) => panic!("{says}: {theirs:?} {ours:?}"),
        }
    }
    println!("{cases} .dockerignore files (NUAGES_SEED={seed}): {compared} the same, {refused} refused by both");
    assert!(
        some > cases / 4,
        "only {some} of {cases} left something out and something in"
    );
}

#[tokio::test]
async fn keeps_and_leaves_out_what_docker_does() {
    // The engine is asked for through our own connection first, for its clear error.
    engine().await;
    let (seed, cases) = (seed(), number("NUAGES_CASES").unwrap_or(25));
    let mut dice = Dice(seed);
    let mut compared = 0;
    for case in 0..cases {
        let (folder, patterns) = drawn(&mut dice);
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
        let ours = as_the_classic_client(&patterns, ours.clone());
        assert_eq!(*theirs, ours, "{says}");
    }
    assert!(compared > cases / 3, "only {compared} of {cases} could be compared");
}
