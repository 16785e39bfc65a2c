//! The whole way on this machine: a blog from source to a page, changed, broken, rolled back, interrupted, taken down.
//!
//! One environment, and its steps in the order in which a person comes upon them: each begins where the one before it
//! ended.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::blog::{Blog, docker, left_of, step};

#[test]
fn a_blog_from_source_to_a_page_and_back() {
    let blog = Blog::new();

    step("a plan leaves nothing behind, not even an emulator");
    blog.mark("first");
    blog.run(&["plan"]).ended(2);
    let container = format!("name=nuages-local-{}", blog.name);
    assert_eq!(docker(&["ps", "-aq", "--filter", &container]), "");

    step("the first deployment");
    blog.deploy().ended(0).tells("v1 serves");
    blog.shows("mark:first");
    blog.answers_to_forms();

    step("again: nothing changed");
    let said = blog.run(&["deploy", "--json"]).ended(0);
    let events = said.json();
    let release = events
        .iter()
        .find(|event| event["name"] == "release")
        .expect("the release is told");
    assert_eq!(release["value"]["changed"], false, "{release}");
    assert_eq!(release["value"]["number"], "v1", "{release}");
    let built = events.iter().any(|event| event["id"] == "build");
    assert!(!built, "nothing is built where nothing changed");
    blog.run(&["plan"]).ended(0);

    step("another template: another page, another release");
    blog.mark("second");
    blog.run(&["plan"])
        .ended(2)
        .prints("changed since v1: `blog/templates/base.html`.");
    blog.deploy().ended(0).tells("v2 serves");
    blog.shows("mark:second");

    step("what is on record");
    let releases = blog.run(&["releases", "--json"]).ended(0).json();
    let numbers: Vec<&str> = releases
        .iter()
        .map(|release| release["number"].as_str().unwrap_or("?"))
        .collect();
    assert_eq!(numbers, ["v2", "v1"], "{releases:?}");
    let status = blog.status();
    assert_eq!(status["services"][0]["state"], "steady", "{status}");
    assert_eq!(status["unfinished"], Value::Null, "{status}");
    blog.run(&["verify"]).ended(0);
    for (args, code) in [
        (&["history"][..], 0),
        (&["history", "--list"], 0),
        (&["lease", "show"], 0),
        (&["lease", "break"], 0),
        (&["logs"], 0),
        (&["verify"], 0),
        (&["plan"], 0),
        (&["infra", "plan"], 0),
        (&["infra", "drift"], 0),
        (&["infra", "bootstrap"], 4),
    ] {
        // Each line is compared with docs/json.md where it is read.
        blog.run(&[args, &["--json"]].concat()).ended(code).json();
    }

    step("releases and deployments that are not there");
    blog.run(&["rollback", "--to", "v99"])
        .ended(3)
        .ends_telling("there is no release `v99`")
        .ends_telling("hint: `nuages releases --env local` lists the releases");
    blog.run(&["rollback", "--to", "v2"])
        .ended(4)
        .ends_telling("v2 serves already");
    blog.run(&["history", "zz"])
        .ended(3)
        .ends_telling("no deployment of local begins with `zz`");

    step("rollback");
    blog.run(&["rollback"]).ended(0).tells("serves again");
    blog.shows("mark:first");

    step("and forward again");
    blog.deploy().ended(0);
    blog.shows("mark:second");
    let serving = blog.release();
    let definition = blog.status()["services"][0]["task_definition"].clone();

    step("a release that does not start");
    let good = blog.place.read("blog/wsgi.py");
    let broken = format!(
        "{good}\nfrom django.core.exceptions import ImproperlyConfigured\nraise ImproperlyConfigured(\"the blog has no ink\")\n"
    );
    blog.place.write("blog/wsgi.py", &broken);
    let said = blog.deploy().ended(1);
    said.ends_telling("the blog has no ink").ends_telling("was undone");
    blog.serves_still(&serving, "mark:second");
    blog.place.write("blog/wsgi.py", &good);

    step("an image that does not build");
    let dockerfile = blog.place.read("Dockerfile");
    let broken =
        |command: &str| dockerfile.replacen("USER 10001:10001", &format!("RUN {command}\nUSER 10001:10001"), 2);
    blog.place.write("Dockerfile", &broken("echo the ink is out && exit 7"));
    let said = blog.deploy().ended(1).tells(" | the ink is out");
    said.ends_telling("failed to build").ends_telling("hint: mend");
    blog.serves_still(&serving, "mark:second");

    step("a disk that is full in mid-build");
    blog.place
        .write("Dockerfile", &broken("dd if=/dev/zero of=/dev/full bs=1 count=1"));
    let said = blog.deploy().ended(1).tells("No space left on device");
    said.ends_telling("hint: the engine's disk is full");
    blog.serves_still(&serving, "mark:second");

    step("an image without manage.py");
    blog.place.write("Dockerfile", &broken("rm manage.py"));
    let said = blog.deploy().ended(1);
    said.ends_telling("manage.py").ends_telling("hint: ");
    blog.serves_still(&serving, "mark:second");
    blog.place.write("Dockerfile", &dockerfile);

    step("a secret that does not exist");
    let toml = blog.place.read("nuages.toml");
    blog.place.write(
        "nuages.toml",
        &toml.replace(
            "[secrets]\n",
            "[secrets]\nMAIL_PASSWORD = { secret = \"nowhere/mail\" }\n",
        ),
    );
    let said = blog.deploy().ended(4);
    said.ends_telling("failed to find `nowhere/mail`, which `MAIL_PASSWORD` needs")
        .ends_telling("hint: `aws secretsmanager create-secret --name nowhere/mail");
    blog.serves_still(&serving, "mark:second");
    blog.place.write("nuages.toml", &toml);

    step("a health check that never passes");
    let probes = blog.place.read("blog/probes.py");
    blog.place.write(
        "blog/probes.py",
        &probes.replace(
            "def readyz():\n",
            "def readyz():\n    raise OSError(\"the ink is frozen\")\n",
        ),
    );
    let said = blog.deploy().ended(1);
    said.ends_telling("/readyz answered 500")
        .ends_telling("was undone")
        .ends_telling("hint: ");
    blog.serves_still(&serving, "mark:second");
    blog.place.write("blog/probes.py", &probes);

    step("a migration that fails");
    let migration = |operation: &str| {
        format!(
            "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n    dependencies = [(\"posts\", \
             \"0006_search_index\")]\n    operations = [migrations.RunSQL({operation:?}, migrations.RunSQL.noop)]\n"
        )
    };
    blog.place.write(
        "posts/migrations/0007_more.py",
        &migration("ALTER TABLE nowhere ADD COLUMN x int"),
    );
    let said = blog.deploy().ended(1);
    said.ends_telling("posts.0007_more")
        .ends_telling("relation \"nowhere\" does not exist");
    assert_eq!(
        blog.status()["services"][0]["task_definition"],
        definition,
        "the service was not touched"
    );
    blog.serves_still(&serving, "mark:second");
    std::fs::remove_file(blog.place.project().join("posts/migrations/0007_more.py")).unwrap();

    step("a check that fails");
    let toml = blog.place.read("nuages.toml");
    let gate = "[checks]\nink = { command = [\"python\", \"-c\", \"raise SystemExit('the ink is dry')\"] }\n";
    blog.place.write("nuages.toml", &format!("{toml}\n{gate}"));
    let said = blog.deploy().ended(1).tells("the ink is dry");
    said.ends_telling("the check `ink` did not pass: nothing was pushed");
    blog.serves_still(&serving, "mark:second");
    blog.place.write("nuages.toml", &toml);

    step("killed while it migrates, and resumed");
    blog.place
        .write("posts/migrations/0007_more.py", &migration("SELECT pg_sleep(3)"));
    blog.mark("third");
    blog.start_until("Migrate").kill();
    blog.deploy()
        .ended(4)
        .ends_telling("nuages resume --env local")
        .ends_telling("nuages abort --env local");
    blog.run(&["resume"]).ended(0).tells("is finished").tells("serves");
    blog.shows("mark:third");
    blog.run(&["resume"]).ended(0).tells("nothing was interrupted");

    step("a rollback across a migration is refused, unless it is of the code alone");
    blog.run(&["rollback"]).ended(4).ends_telling("--code-only");
    blog.shows("mark:third");

    step("two at once, one killed while tasks start, and undone");
    blog.mark("fourth");
    let first = blog.start_until("Wait until");
    blog.deploy().ended(6).ends_telling("nuages lease show");
    blog.run(&["lease", "show"]).ended(0).prints("state     held");
    blog.run(&["status"]).ended(0).prints("under way    deploy ");
    blog.run(&["lease", "break"]).ended(3).ends_telling("--yes");
    first.kill();
    blog.run(&["lease", "show"]).ended(0).prints("its process is gone");
    blog.run(&["lease", "break", "--yes"]).ended(0).tells("nuages abort");
    blog.run(&["lease", "show"]).ended(0).prints("Nobody holds");
    blog.run(&["status"])
        .ended(0)
        .prints("unfinished")
        .prints("nuages abort --env local");
    blog.run(&["abort"]).ended(0).tells("is undone");
    blog.shows("mark:third");
    let undone = blog.run(&["releases", "--json"]).ended(0).json().remove(0);
    assert_eq!(undone["outcome"], "interrupted", "{undone}");
    assert!(undone["deployment"].is_string(), "{undone}");
    let page = tempfile::NamedTempFile::new().unwrap();
    blog.run(&["history", "--page", page.path().to_str().unwrap()])
        .ended(0)
        .prints("undo: Update web")
        .prints("aborted");
    assert!(std::fs::read_to_string(page).unwrap().contains("Update web"));

    step("the emulator is restarted");
    let container = docker(&[
        "ps",
        "--filter",
        &format!("name=nuages-local-{}", blog.name),
        "--format",
        "{{.Names}}",
    ]);
    docker(&["restart", "-t", "60", container.trim()]);
    blog.deploy()
        .ended(0)
        .tells("the local emulator had been restarted since it was last used");
    blog.shows("mark:fourth");
    docker(&["restart", "-t", "60", container.trim()]);
    blog.deploy()
        .ended(0)
        .tells("it makes the containers of the database and of all tasks again")
        .tells("serves again with 1 task, and nothing changed");
    blog.shows("mark:fourth");

    step("the records are elsewhere");
    let records = blog.place.store();
    let elsewhere = records.with_extension("elsewhere");
    std::fs::rename(&records, &elsewhere).unwrap();
    blog.run(&["plan"])
        .ended(2)
        .prints("this store has no record of what serves")
        .prints(&format!("~ service web: {}-local-web:", blog.name));
    blog.run(&["status"])
        .ended(0)
        .prints("none on record here")
        .tells("hint: where another store has the records");
    for verb in ["releases", "history"] {
        blog.run(&[verb])
            .ended(0)
            .tells("has no record of it: `web` runs ")
            .tells("name it with `--store PATH`");
    }
    blog.run(&["rollback"])
        .ended(4)
        .ends_telling("has no record of what serves in `local` (`web` runs ")
        .ends_telling("name it with `--store PATH`");
    let _ = std::fs::remove_file(&records);
    let _ = std::fs::remove_dir_all(&records);
    std::fs::rename(&elsewhere, &records).unwrap();

    step("the database's container is stopped, and started again");
    let ours = docker(&["ps", "--filter", "label=db_id", "--format", "{{.Names}}"]);
    let database = format!("instance-{}-local", blog.name);
    let database = ours.lines().find(|name| name.ends_with(&database)).expect("a database");
    docker(&["stop", database]);
    blog.deploy()
        .ended(0)
        .tells("the local database was stopped, and is started again");

    step("the database is gone, container and volume");
    docker(&["rm", "-f", database]);
    docker(&["volume", "rm", &format!("{database}-data")]);
    blog.deploy()
        .ended(0)
        .tells("the local database was gone, and is made again, empty")
        .tells("migrations are pending");
    blog.shows("mark:fourth");

    step("what is on record is told while the emulator is stopped");
    docker(&["stop", "-t", "60", container.trim()]);
    blog.run(&["releases"]).ended(0).prints("→ v");
    blog.run(&["history", "--list"]).ended(0).prints("undone");
    blog.run(&["status"])
        .ended(4)
        .ends_telling("the local environment is not running");
    blog.mark("planned");
    blog.run(&["plan"]).ended(2).tells("Stop the local emulator again");
    blog.run(&["status"])
        .ended(4)
        .ends_telling("the local environment is not running");
    docker(&["start", container.trim()]);

    step("down");
    let image = blog.status()["services"][0]["task_definition"]
        .as_str()
        .unwrap()
        .to_owned();
    let account = image.split(':').nth(4).unwrap().to_owned();
    assert!(
        !left_of(&blog.name, &account).is_empty(),
        "the list would find what is there"
    );
    let said = blog.run(&["infra", "down"]).ended(3);
    said.ends_telling("nobody can answer").ends_telling("--yes");
    blog.run(&["infra", "down", "--yes"]).ended(0).tells("local is down");
    assert_eq!(left_of(&blog.name, &account), BTreeSet::new());
    blog.run(&["infra", "down", "--yes"])
        .ended(0)
        .tells("nothing was taken down");
    // What was there is on record, and nobody takes it for what is there.
    for verb in ["releases", "history"] {
        let told = format!("`nuages {verb} --env local --all`");
        blog.run(&[verb])
            .ended(0)
            .tells("nothing is deployed to local now")
            .tells(&told);
    }
    let all = blog.run(&["releases", "--all", "--json"]).ended(0).json();
    assert!(
        !all.is_empty() && all.iter().all(|release| release["archived"] == true),
        "{all:?}"
    );
    assert!(blog.run(&["releases", "--json"]).ended(0).out.is_empty());
    let deployment = all[0]["deployment"].as_str().unwrap();
    blog.run(&["history", deployment]).ended(0).prints(deployment);
    blog.run(&["status"]).ended(4).ends_telling("nuages deploy --env local");
}
