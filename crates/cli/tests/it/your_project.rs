//! docs/your-project.md, followed to the letter: a project as `django-admin startproject` makes it, and what the page has
//! to copy, is deployed and serves.

use std::path::Path;
use std::process::Command;

use nuages_testkit::emulators::unique_name;

use crate::blog::Blog;
use crate::support::Place;

const PAGE: &str = include_str!("../../../../docs/your-project.md");

/// The blocks of the page, in its order.
fn blocks() -> Vec<&'static str> {
    let fenced = PAGE.split("\n```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').expect("a block has lines").1)
        .collect()
}

/// The block with this first line.
fn block(first: &str) -> &'static str {
    let found = blocks().into_iter().find(|block| block.lines().next() == Some(first));
    found.unwrap_or_else(|| panic!("the page has no block that begins with `{first}`"))
}

#[track_caller]
fn run(program: &Path, args: &[&str], dir: &Path) {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} {args:?}:\n{told}", program.display());
}

/// As `django-admin startproject` makes it, with what the page has.
fn by_the_page(place: &Place) {
    let (venv, project) = (place.home().join("venv"), place.project());
    run(
        "python3".as_ref(),
        &["-m", "venv", venv.to_str().unwrap()],
        &place.home(),
    );
    let bin = venv.join("bin");
    run(&bin.join("pip"), &["install", "--quiet", "django"], &place.home());
    run(&bin.join("django-admin"), &["startproject", "blog", "."], &project);
    for first in ["# requirements.txt", "# blog/probes.py", "# blog/urls.py"] {
        place.write(&first[2..], block(first));
    }
    let settings = place.read("blog/settings.py");
    place.write("blog/settings.py", &(settings + "\n" + block("import os")));
    place.write("Dockerfile", block("ARG BASE=python:3.13-slim"));
    place.write(".dockerignore", block(".git"));
}

#[test]
fn a_new_project_that_follows_the_page_serves() {
    let (place, name) = (Place::new(), unique_name("e2e"));
    by_the_page(&place);
    let blog = Blog { place, name };
    let said = blog.run(&["init"]).ended(0);
    assert!(
        !said.err.contains("there is no") && !said.err.contains("no health check"),
        "{}",
        said.err
    );
    blog.place
        .edit("nuages.toml", "name = \"blog\"", &format!("name = \"{}\"", blog.name));
    blog.deploy().ended(0).tells("v1 serves");
    blog.shows("It works.");
    let admin = blog.get("/admin/login/");
    assert!(admin.contains("csrfmiddlewaretoken"), "{admin}");

    // It has no tests, and Django's runner is content with that.
    blog.place.edit("nuages.toml", "# tests = ", "tests = ");
    blog.run(&["check"])
        .ended(1)
        .ends_telling("hint: `tests` ran no test: write one, or take the check out of nuages.toml");
    blog.place.edit("nuages.toml", "tests = ", "# tests = ");

    // Without its page it has nothing at `/`, as it was made, and that is told soon.
    blog.place.edit("blog/urls.py", "    path(\"\", home),\n", "");
    blog.deploy()
        .ended(1)
        .ends_telling("answered 404")
        .ends_telling("hint: the project has no page at `/`");
    blog.place.edit(
        "nuages.toml",
        "ready = \"/readyz\"",
        "ready = \"/readyz\", page = \"/admin/login/\"",
    );
    blog.deploy().ended(0).tells("v3 serves");
}
