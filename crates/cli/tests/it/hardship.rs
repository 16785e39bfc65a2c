//! Deployments while real parts fail: the emulator frozen, its network cut, the database stopped, the disk full, the
//! clock stepped.
//!
//! Each ends deployed or restored, and the blog answers afterwards.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::blog::{Blog, Running, docker, step};

/// The deployment ended well, and its page is served.
#[track_caller]
fn deployed(blog: &Blog, (code, told): (i32, String), mark: &str) {
    assert_eq!(code, 0, "{told}");
    blog.shows(mark);
}

fn frozen(blog: &Blog) {
    step("the emulator is frozen for half a minute while tasks start");
    blog.mark("frozen");
    let running = blog.start_until("Wait until");
    let emulator = blog.emulator();
    docker(&["pause", &emulator]);
    sleep(Duration::from_secs(30));
    docker(&["unpause", &emulator]);
    deployed(blog, running.end(), "mark:frozen");
}

fn cut_off(blog: &Blog) {
    step("the emulator's network is cut for some seconds while tasks start");
    blog.mark("cut-off");
    let emulator = blog.emulator();
    let format = "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}{{end}}";
    let network = docker(&["inspect", "--format", format, &emulator]);
    let network = network.trim();
    let running = blog.start_until("Wait until");
    docker(&["network", "disconnect", "--force", network, &emulator]);
    sleep(Duration::from_secs(8));
    docker(&["network", "connect", network, &emulator]);
    deployed(blog, running.end(), "mark:cut-off");
}

fn without_database(blog: &Blog) {
    step("the database is stopped in the middle of a migration");
    let release = blog.release();
    blog.place.write(
        "posts/migrations/0007_slow.py",
        "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n    dependencies = [(\"posts\", \
         \"0006_search_index\")]\n    operations = [migrations.RunSQL(\"CREATE TABLE slow (id int); SELECT \
         pg_sleep(6)\", \"DROP TABLE slow\")]\n",
    );
    blog.mark("slow");
    let running = blog.start_until("Migrate");
    // The task starts, Django loads, and the statement runs.
    sleep(Duration::from_secs(4));
    let database = blog.database();
    docker(&["stop", "-t", "10", &database]);
    let (code, told) = running.end();
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("posts.0007_slow"), "the migration is named:\n{told}");
    assert_eq!(blog.release(), release);
    blog.deploy().ended(0);
    blog.shows("mark:slow");
}

/// Deploys twice with a disk of its own, of so many KiB more than it holds, at this folder: first as it is, then with
/// room enough. Answers how each ended and what it said.
fn on_a_small_disk(blog: &Blog, folder: &Path, free: u64) -> [(i32, String); 2] {
    // What lies in the folder goes onto the disk and, afterwards, back.
    const SCRIPT: &str = r#"
        folder=$1 kept=$2 free=$3 out=$4
        deploy() {
            code=0
            "$NUAGES_UNDER_TEST" deploy --env local >"$out/$1" 2>&1 || code=$?
            echo "$code" >"$out/$1.code"
        }
        cp -a "$folder/." "$kept/"
        used=$(du -sk "$kept" | cut -f1)
        mount -t tmpfs -o "size=$((used + free))k" tmpfs "$folder"
        cp -a "$kept/." "$folder/"
        deploy 1
        mount -o remount,size=256m "$folder"
        deploy 2
        rm -rf "$kept"
        cp -a "$folder" "$kept"
        umount "$folder"
        rm -rf "$folder"
        cp -a "$kept" "$folder"
    "#;
    let place = tempfile::tempdir().unwrap();
    let (kept, out) = (place.path().join("kept"), place.path().join("out"));
    fs::create_dir(&kept).unwrap();
    fs::create_dir(&out).unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-euc", SCRIPT, "sh"]);
    command.args([folder, &kept]).arg(free.to_string()).arg(&out);
    let model = blog.deployment();
    command.current_dir(blog.place.project()).env_clear();
    command.envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("NUAGES_UNDER_TEST", env!("CARGO_BIN_EXE_nuages"));
    let ran = command
        .output()
        .expect("unshare of util-linux, which gives a disk of its own");
    assert!(
        ran.status.success(),
        "no disk could be mounted in a user namespace: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    [1, 2].map(|n| {
        let code = fs::read_to_string(out.join(format!("{n}.code"))).unwrap();
        let said = fs::read_to_string(out.join(n.to_string())).unwrap();
        (code.trim().parse().unwrap(), said)
    })
}

fn full_disk_of_records(blog: &Blog) {
    for free in [0, 16, 48, 96] {
        step(&format!("{free} KiB are left for the records"));
        let mark = format!("mark:small-{free}");
        blog.mark(mark.trim_start_matches("mark:"));
        let [(code, said), (again, said_then)] = on_a_small_disk(blog, &blog.place.store(), free);
        step(&format!("ended with {code}, and with {again}"));
        if code != 0 {
            assert!(said.contains("full"), "it is told what is missing:\n{said}");
            assert!(said.contains("hint: "), "{said}");
        }
        // What was begun is gone on with; what was not is begun.
        match again {
            0 => {}
            4 => drop(blog.run(&["resume"]).ended(0)),
            _ => panic!("{again}:\n{said_then}"),
        }
        blog.deploy().ended(0);
        blog.shows(&mark);
    }
}

fn full_disk_of_layers(blog: &Blog) {
    step("no room for the image's layers");
    blog.mark("layers");
    let cache = blog.place.home().join(".cache/nuages/blobs");
    let _ = fs::remove_dir_all(&cache);
    let [(code, said), (again, said_then)] = on_a_small_disk(blog, &cache, 256);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("hint: the disk is full"), "{said}");
    assert_eq!(again, 0, "{said_then}");
    blog.shows("mark:layers");
}

fn stepped_clock(blog: &Blog) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fetched = runtime.block_on(nuages_emulator::apt::fetch(&["libfaketime"]));
    let fetched = fetched.unwrap_or_else(|why| panic!("libfaketime steps the clock, and there is none: {why}"));
    let libraries = fetched.root().join("usr/lib");
    let library = fs::read_dir(&libraries)
        .unwrap()
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|library| library.exists())
        .expect("the package holds its library");
    let clock = tempfile::NamedTempFile::new().unwrap();
    for (mark, by) in [("later", "+2h"), ("earlier", "-2h")] {
        step(&format!("the clock is stepped by {by} while tasks start"));
        fs::write(clock.path(), "+0").unwrap();
        blog.mark(mark);
        let mut command = blog.deployment();
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", clock.path())
            .env("FAKETIME_NO_CACHE", "1")
            // As when a machine's clock is set: what measures how long something takes goes on.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut running = Running::of(command);
        running.until("Wait until");
        fs::write(clock.path(), by).unwrap();
        deployed(blog, running.end(), &format!("mark:{mark}"));
        assert_eq!(blog.status()["unfinished"], Value::Null);
    }
}

#[test]
fn parts_that_fail_under_a_deployment() {
    let blog = Blog::new();
    blog.mark("first");
    blog.deploy().ended(0);
    frozen(&blog);
    cut_off(&blog);
    stepped_clock(&blog);
    full_disk_of_records(&blog);
    full_disk_of_layers(&blog);
    without_database(&blog);
}
