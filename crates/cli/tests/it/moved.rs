//! A project whose folder was moved: its emulator stays behind, is told, and can be taken away.

use std::path::PathBuf;
use std::process::Output;

use nuages_testkit::emulators::unique_name;

use crate::blog::docker;
use crate::support::{Place, Said};

/// What is left of an environment goes, also where the test failed half-way.
struct Moved {
    place: Place,
    name: String,
}

impl Drop for Moved {
    fn drop(&mut self) {
        for folder in [self.folder("app"), self.folder("moved")] {
            let folder = folder.display().to_string();
            drop(self.command(&["infra", "down", "--env", "local", "--yes", "--project", &folder]));
        }
    }
}

impl Moved {
    fn folder(&self, name: &str) -> PathBuf {
        self.place.project().with_file_name(name)
    }

    /// Away from the project.
    fn command(&self, args: &[&str]) -> std::io::Result<Output> {
        self.place.command(args).current_dir(self.place.home()).output()
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::of(args, &self.command(args).unwrap())
    }

    fn containers(&self) -> String {
        let filter = format!("name=nuages-local-{}", self.name);
        docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"])
    }
}

#[test]
fn what_a_moved_project_left_behind_is_told_and_can_be_removed() {
    let name = unique_name("e2e");
    let toml = format!(
        "[app]\nname = '{name}'\n[services.worker]\ncommand = ['true']\n[environments.local]\nemulator = 'ministack'\n\
         [environments.staging]\nregion = 'eu-west-1'\naccount = '123456789012'\ninsecure_http = true\n"
    );
    // A sweep of the tests takes what temporary folders left behind.
    let place = Place::at(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    place.write("nuages.toml", &toml);
    place.write("manage.py", "");
    place.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let blog = Moved { place, name };
    let (old, new) = (blog.folder("app"), blog.folder("moved"));
    let (was, is) = (old.display().to_string(), new.display().to_string());
    blog.run(&["infra", "up", "--env", "local", "--project", &was]).ended(0);
    std::fs::rename(&old, &new).unwrap();

    let told = format!("the local emulator of `{}` in {was}, which is gone", blog.name);
    let command = format!("infra down --env local --project {was}`");
    blog.run(&["status", "--env", "local", "--project", &is])
        .ended(4)
        .tells(&told)
        .tells(&command)
        .ends_telling("the local environment is not running");
    let said = blog.run(&["doctor", "--project", &is]).ended(0);
    said.prints(&format!("WARN  left behind: {told}")).prints(&command);
    blog.run(&["infra", "down", "--env", "local", "--yes", "--project", &is])
        .ended(0)
        .tells("nothing was taken down")
        .tells(&told);

    // It has a stack of its own, and is told beside it.
    blog.run(&["infra", "up", "--env", "local", "--project", &is])
        .ended(0)
        .tells(&told);
    let status = blog
        .run(&["status", "--env", "local", "--project", &is, "--json"])
        .ended(0);
    let left = &status.json()[0]["left_behind"];
    let one = left
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["app"] == blog.name.as_str());
    assert_eq!(one.expect("it is told")["project"], was, "{left}");
    assert_eq!(blog.containers().lines().count(), 2);

    let down = ["infra", "down", "--project", &was];
    let with = |more: &[&str]| blog.run(&[&down, more].concat());
    with(&["--env", "staging", "--yes"])
        .ended(3)
        .ends_telling("was not made for the environment `staging`");
    with(&["--env", "local"]).ended(3).ends_telling("--yes");
    with(&["--env", "local", "--yes"])
        .ended(0)
        .tells(&format!("{told}, is removed"));
    assert_eq!(blog.containers().lines().count(), 1, "the other one was left alone");
    blog.run(&["status", "--env", "local", "--project", &is])
        .ended(0)
        .prints("CREATE_COMPLETE");

    // Another name is another emulator, too.
    std::fs::write(new.join("nuages.toml"), toml.replace(&blog.name, "renamed")).unwrap();
    let told = format!("the local emulator of `{}` in {is}, whose nuages.toml names", blog.name);
    blog.run(&["status", "--env", "local", "--project", &is])
        .ended(4)
        .tells(&told);
    let down = ["infra", "down", "--env", "local", "--yes", "--project", &is, "--app"];
    blog.run(&[&down[..], &["nobody"]].concat())
        .ended(3)
        .ends_telling("no local emulator of `nobody` was left behind");
    blog.run(&[&down[..], &[blog.name.as_str()]].concat()).ended(0);
    assert_eq!(blog.containers(), "");
}
