//! A deployment that is interrupted, as a person, a CI system and a closed terminal do it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::blog::{Blog, Running, signal, step};

/// Nothing is open, nobody holds the lease, and this is served.
#[track_caller]
fn at_rest(blog: &Blog, mark: &str) {
    assert_eq!(blog.status()["unfinished"], Value::Null);
    blog.run(&["lease", "show"]).ended(0).prints("Nobody holds");
    blog.shows(mark);
    assert_eq!(blog.tasks(), 1);
}

/// Ended without an undo, and with work left for `resume`.
#[track_caller]
fn detached(blog: &Blog, running: Running) {
    let (code, told) = running.end();
    assert_eq!(code, 7, "{told}");
    assert!(!told.contains("\"id\":\"undo/"), "no undo is begun:\n{told}");
    assert_ne!(blog.status()["unfinished"], Value::Null);
}

fn interrupted(blog: &Blog) {
    step("Ctrl-C while the image is built");
    blog.mark("built");
    let serving = blog.release();
    let running = blog.start_until("Build the image");
    signal(&running, "-INT");
    let (code, told) = running.end();
    assert_eq!(code, 130, "{told}");
    assert!(
        told.contains(&format!("interrupted; {serving} serves as before")),
        "{told}"
    );
    at_rest(blog, "mark:first");

    step("Ctrl-C while tasks start");
    let running = blog.start_until("Wait until");
    signal(&running, "-INT");
    let (code, told) = running.end();
    assert_eq!(code, 130, "{told}");
    at_rest(blog, "mark:first");

    step("Ctrl-C while it migrates: the migration is waited for, and stays");
    blog.place.write(
        "posts/migrations/0007_slow.py",
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n    dependencies = [(\"posts\", \
         \"0006_search_index\")]\n    operations = [migrations.RunSQL(\"CREATE TABLE slow (id int); SELECT \
         pg_sleep(4)\", \"DROP TABLE slow\")]\n",
    );
    let running = blog.start_until("Migrate");
    signal(&running, "-INT");
    let (code, told) = running.end();
    assert_eq!(code, 130, "{told}");
    at_rest(blog, "mark:first");
    let said = blog.run(&["plan"]).ended(2);
    assert!(!said.err.contains("0007_slow"), "it is applied:\n{}", said.err);
}

fn detaching(blog: &Blog) {
    step("Ctrl-C twice, and resumed");
    blog.mark("twice");
    let mut running = blog.start_until("Wait until");
    signal(&running, "-INT");
    // Two that come before one was taken are one to the system.
    running.says("interrupted");
    signal(&running, "-INT");
    let (code, told) = running.end();
    assert_eq!(code, 7, "{told}");
    assert_ne!(blog.status()["unfinished"], Value::Null);
    // The undo may have begun before the second one came; it is gone on with then.
    let said = blog.run(&["resume"]);
    match said.code {
        0 => at_rest(blog, "mark:twice"),
        1 | 130 => at_rest(blog, "mark:first"),
        code => panic!("{code}:\n{}", said.err),
    }
    blog.deploy().ended(0);
    blog.shows("mark:twice");

    step("SIGTERM, and undone");
    blog.mark("terminated");
    let running = blog.start_until("Wait until");
    signal(&running, "-TERM");
    detached(blog, running);
    blog.run(&["abort"]).ended(0);
    at_rest(blog, "mark:twice");

    step("SIGHUP, and resumed");
    let running = blog.start_until("Wait until");
    signal(&running, "-HUP");
    detached(blog, running);
    blog.run(&["resume"]).ended(0);
    at_rest(blog, "mark:terminated");
}

/// A deployment whose stdout is closed after its first line, and with `all` its stderr too.
fn unread(blog: &Blog, all: bool) -> std::process::Child {
    let mut command: Command = blog.deployment();
    let stderr = if all { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with('{'), "{line}");
    drop(child.stderr.take());
    child
}

fn unheard(blog: &Blog) {
    step("nobody reads what it says");
    blog.mark("unread");
    assert_eq!(unread(blog, false).wait().unwrap().code(), Some(0));
    at_rest(blog, "mark:unread");

    step("the terminal is closed");
    blog.mark("closed");
    let mut child = unread(blog, true);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let sent = Command::new("kill")
        .arg("-HUP")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(sent.success());
    let code = child.wait().unwrap().code();
    assert!([Some(7), Some(130)].contains(&code), "{code:?}");
    if blog.status()["unfinished"] != Value::Null {
        blog.run(&["abort"]).ended(0);
    }
    at_rest(blog, "mark:unread");
}

#[test]
fn a_deployment_that_is_interrupted() {
    let blog = Blog::new();
    blog.mark("first");
    blog.deploy().ended(0);
    interrupted(&blog);
    detaching(&blog);
    unheard(&blog);
}
