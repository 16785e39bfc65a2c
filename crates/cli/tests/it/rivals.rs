//! Two who deploy at once, and one who is stopped and goes on.
//!
//! `NUAGES_SOAK_LEASES` sets how many times two deploy at times drawn from a seed (2), `NUAGES_SEED` repeats a run.

use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::blog::{Blog, signal, step};
use crate::chance::{Chance, many};

/// When each deployment began to act and when it last wrote, in order.
fn acted(blog: &Blog) -> Vec<(Timestamp, Timestamp)> {
    let listed = blog.run(&["history", "--list", "--json"]).ended(0).json();
    let at = |value: &Value| value.as_str().unwrap_or_default().parse::<Timestamp>().unwrap();
    let mut acted: Vec<_> = listed
        .iter()
        .map(|entry| (at(&entry["created"]), at(&entry["updated"])))
        .collect();
    acted.sort();
    acted
}

fn together(blog: &Blog, chance: &mut Chance, number: usize) {
    let (first, second) = (chance.below(12_000), chance.below(12_000));
    step(&format!(
        "seed {}: two deploy, after {first} and {second} ms",
        chance.seed()
    ));
    let mark = format!("both-{number}");
    blog.mark(&mark);
    let begin = |after: u64| {
        sleep(Duration::from_millis(after));
        blog.start()
    };
    let (early, late) = (first.min(second), first.max(second));
    let (one, other) = (begin(early), begin(late - early));
    let (one, other) = (one.end(), other.end());
    let codes = [one.0, other.0];
    // Who comes second is told that somebody else deploys, or finds nothing left to do.
    assert!(codes.contains(&0), "{codes:?}\n{}\n{}", one.1, other.1);
    assert!(
        codes.iter().all(|code| [0, 6].contains(code)),
        "{codes:?}\n{}\n{}",
        one.1,
        other.1
    );
    blog.shows(&format!("mark:{mark}"));
}

fn stopped(blog: &Blog) {
    step("stopped for longer than its lease, and continued");
    let release = blog.release();
    blog.mark("stopped");
    let running = blog.start_until("Wait until");
    // Who is stopped in the middle of a write keeps everybody from the store: a moment later it writes nothing.
    let refused = loop {
        signal(&running, "-STOP");
        let said = blog.run(&["abort"]);
        if !said.err.contains("database is locked") {
            break said;
        }
        signal(&running, "-CONT");
        sleep(Duration::from_millis(100));
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    // The holder lives, so its time has to run out.
    refused.ended(6);
    while blog.run(&["abort"]).code != 0 {
        assert!(Instant::now() < deadline, "the lease did not run out");
        sleep(Duration::from_secs(2));
    }
    blog.serves_still(&release, "mark:both-");
    let before = blog.status();
    signal(&running, "-CONT");
    let (code, told) = running.end();
    assert!(
        [6, 7].contains(&code),
        "it ends without a word of success: {code}\n{told}"
    );
    blog.serves_still(&release, "mark:both-");
    let after = blog.status();
    for what in ["release", "services", "unfinished"] {
        assert_eq!(after[what], before[what], "`{what}` is as it was");
    }
    assert_eq!(blog.tasks(), 1);
}

#[test]
fn only_one_acts_at_a_time() {
    let mut chance = Chance::new();
    let blog = Blog::new();
    blog.mark("first");
    blog.deploy().ended(0);
    let times = many("NUAGES_SOAK_LEASES", 2);
    for number in 0..times {
        together(&blog, &mut chance, number);
    }
    let acted = acted(&blog);
    assert!(acted.len() > times, "{acted:?}");
    for pair in acted.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two acted at once: {pair:?}");
    }
    stopped(&blog);
    blog.deploy().ended(0);
    blog.shows("mark:stopped");
    step(&format!("{times} schedules of two, seed {}", chance.seed()));
}
