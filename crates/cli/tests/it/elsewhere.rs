//! A deployment that died is ended by somebody else: in another folder, with another home, from a copy of the store.
//!
//! And in its own folder, where nothing is as it was when the plan was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuages_releases::Store;
use nuages_saga::{Holder, JournalStore as _};
use serde_json::Value;

use crate::blog::{Blog, step};
use crate::support::{Place, Said};

/// Somebody who has an empty folder and a copy of the blog's store.
struct Somebody {
    place: Place,
    /// Where the blog's emulator is.
    endpoint: String,
}

impl Somebody {
    fn beside(blog: &Blog) -> Self {
        let url = blog.status()["url"].as_str().expect("a URL").to_owned();
        let port = url.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
        let somebody = Self {
            place: Place::new(),
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        carry(&blog.place.store(), &somebody.store());
        somebody
    }

    fn store(&self) -> PathBuf {
        self.place.home().join("carried")
    }

    fn run(&self, args: &[&str]) -> Said {
        let store = self.store();
        let more = ["--env", "local", "--store", store.to_str().unwrap()];
        let args = [args, &more].concat();
        self.place.run_with(&args, &[("AWS_ENDPOINT_URL", &self.endpoint)])
    }

    /// The lease as the copy has it: of a machine that this one knows nothing of, for so long.
    fn held_by_another_machine(&self, time: Duration) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = Store::open(&self.store().join("nuages.db")).await.unwrap();
            let [environment] = &store.environments().await.unwrap()[..] else {
                panic!("one environment")
            };
            environment.break_lease().await.unwrap();
            let here = Holder::here("deploy");
            let there = Holder {
                owner: "ana@laptop".into(),
                host: "laptop".into(),
                boot: Some("another".into()),
                ..here
            };
            environment.acquire(&there, time).await.unwrap();
        });
    }
}

/// The whole folder: what was written last stands beside the file.
fn carry(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn finished(blog: &Blog) {
    step("finished in an empty folder, from a copy of the store");
    blog.mark("second");
    blog.start_until("Wait until").kill();
    let somebody = Somebody::beside(blog);

    let store = somebody.store();
    let alone = ["resume", "--env", "local", "--store", store.to_str().unwrap()];
    let said = somebody.place.run(&alone).ended(4);
    said.ends_telling("is in an emulator")
        .ends_telling("set AWS_ENDPOINT_URL");
    somebody.held_by_another_machine(Duration::from_hours(1));
    somebody
        .run(&["resume"])
        .ended(6)
        .ends_telling("ana@laptop (deploy")
        .ends_telling("holds the environment");
    somebody.run(&["lease", "show"]).ended(0).prints("state     held");
    somebody.held_by_another_machine(Duration::ZERO);
    somebody
        .run(&["resume"])
        .ended(0)
        .tells("is finished")
        .tells("v2 serves");
    somebody.run(&["releases"]).ended(0).prints("→ v2");
    somebody
        .run(&["history"])
        .ended(0)
        .prints("resumed     by ")
        .prints("finished");

    // Whoever has the copy has the records.
    carry(&somebody.store(), &blog.place.store());
    blog.shows("mark:second");
    assert_eq!((blog.release().as_str(), blog.tasks()), ("v2", 1));
    assert_eq!(blog.status()["unfinished"], Value::Null);
}

fn undone(blog: &Blog) {
    step("undone in an empty folder, from a copy of the store");
    blog.mark("third");
    blog.start_until("Wait until").kill();
    let somebody = Somebody::beside(blog);
    somebody.run(&["abort"]).ended(0).tells("is undone").tells("v2 serves");
    carry(&somebody.store(), &blog.place.store());
    blog.serves_still("v2", "mark:second");
    assert_eq!((blog.status()["unfinished"].clone(), blog.tasks()), (Value::Null, 1));
}

fn changed(blog: &Blog) {
    step("finished in its own folder, where another application stands by now");
    blog.mark("fourth");
    blog.start_until("Wait until").kill();
    let toml = blog.place.read("nuages.toml");
    blog.place.write(
        "nuages.toml",
        &format!(
            "{}\n[services.beat]\ncommand = ['python', 'manage.py', 'beat']\n",
            toml.replacen("count = 1", "count = 3", 1)
        ),
    );
    blog.place.write("Dockerfile", "FROM nowhere\n");
    blog.place.write("blog/wsgi.py", "raise SystemExit('half an edit')\n");
    blog.mark("fifth");
    blog.run(&["resume"]).ended(0).tells("is finished");
    blog.shows("mark:fourth");
    let status = blog.status();
    let services = status["services"].as_array().unwrap();
    let web = services.iter().find(|service| service["name"] == "web").unwrap();
    assert_eq!(
        (&web["desired"], &web["state"]),
        (&Value::from(1), &Value::from("steady"))
    );
    assert_eq!(blog.tasks(), 1, "{status}");
    blog.place.write("nuages.toml", &toml);
}

#[test]
fn ended_by_somebody_else_from_the_store_alone() {
    let blog = Blog::new();
    blog.mark("first");
    blog.deploy().ended(0);
    finished(&blog);
    undone(&blog);
    changed(&blog);
}
