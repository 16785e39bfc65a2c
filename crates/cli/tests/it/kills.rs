//! `kill -9` on real parts: at five places, and at times drawn from a seed.
//!
//! After each the blog answers, `resume` or `abort` ends well, and nothing of the deployment is left over.
//!
//! `NUAGES_SOAK_KILLS` sets how many times are drawn (3), `NUAGES_SEED` repeats a run.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::blog::{Blog, step};
use crate::chance::{Chance, many};

/// What a person does after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Resume,
    Abort,
}

/// A migration of its own for each round: what was killed after it stays migrated, and the next round builds on it.
fn another_migration(blog: &Blog, round: usize) {
    let before = match round {
        0 => "0006_search_index".to_owned(),
        n => format!("01{:02}_round", n - 1),
    };
    blog.place.write(
        &format!("posts/migrations/01{round:02}_round.py"),
        &format!(
            "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n    dependencies = \
             [(\"posts\", {before:?})]\n    operations = [migrations.RunSQL(\n        \"CREATE TABLE round_{round} (id \
             int); SELECT pg_sleep(1)\",\n        \"DROP TABLE round_{round}\",\n    )]\n"
        ),
    );
}

/// Whatever was left half done is ended, and everything is as it should be: the marks are those of the release before
/// and of the one that was killed.
fn settles(blog: &Blog, then: Then, old: &str, new: &str) {
    let status = blog.status();
    let open = status["unfinished"] != Value::Null;
    let page = blog.page();
    assert!(
        page.contains(old) || page.contains(new),
        "neither {old} nor {new} is served meanwhile:\n{page}"
    );
    let verb = match then {
        Then::Resume => "resume",
        Then::Abort => "abort",
    };
    let said = blog.run(&[verb]).ended(0);
    let status = blog.status();
    assert_eq!(
        status["unfinished"],
        Value::Null,
        "after {verb}: {status}\n{}",
        said.err
    );
    assert_eq!(status["services"][0]["state"], "steady", "after {verb}: {status}");
    blog.run(&["lease", "show"]).ended(0).prints("Nobody holds");
    match (open, then) {
        // Killed before the saga began, nothing was touched; killed after its last step, all was done.
        (false, _) => {}
        (true, Then::Resume) => blog.shows(new),
        (true, Then::Abort) => blog.shows(old),
    }
    assert_eq!(
        blog.tasks(),
        1,
        "one task of the service, and none of a migration or a probe"
    );
}

/// One round at a time of its own choosing; answers which mark is served afterwards.
fn round(blog: &Blog, number: usize, then: Then, served: &str, kill: impl FnOnce(&Blog)) -> String {
    let new = format!("mark:round-{number}");
    another_migration(blog, number);
    blog.mark(&format!("round-{number}"));
    kill(blog);
    settles(blog, then, served, &new);
    if blog.page().contains(&new) {
        new
    } else {
        served.to_owned()
    }
}

#[test]
fn killed_at_five_places_and_at_any_time() {
    let times = many("NUAGES_SOAK_KILLS", 3);
    let mut chance = Chance::new();
    let blog = Blog::new();
    blog.mark("first");
    blog.deploy().ended(0);
    let mut served = "mark:first".to_owned();

    let places = ["Push the image", "Migrate", "Update web", "Wait until", "Smoke test"];
    for (number, place) in places.into_iter().enumerate() {
        let then = if number % 2 == 0 { Then::Resume } else { Then::Abort };
        step(&format!("killed at `{place}`, then {then:?}"));
        served = round(&blog, number, then, &served, |blog| blog.start_until(place).kill());
    }

    step("how long a deployment takes");
    blog.mark("measured");
    let began = Instant::now();
    blog.deploy().ended(0);
    let length = began.elapsed();
    blog.shows("mark:measured");
    served = "mark:measured".into();
    for number in places.len()..places.len() + times {
        let after = Duration::from_millis(chance.below(u64::try_from(length.as_millis()).unwrap()));
        let then = if chance.below(2) == 0 {
            Then::Resume
        } else {
            Then::Abort
        };
        step(&format!(
            "seed {}: killed after {} ms, then {then:?}",
            chance.seed(),
            after.as_millis()
        ));
        served = round(&blog, number, then, &served, |blog| {
            let running = blog.start();
            std::thread::sleep(after);
            running.kill();
        });
    }

    step("and a deployment ends as ever");
    blog.mark("last");
    blog.deploy().ended(0);
    blog.shows("mark:last");
    step(&format!("{} kills, seed {}", places.len() + times, chance.seed()));
}
