//! The whole way on this machine: a blog from source to a page, changed, broken, rolled back, interrupted, taken down.
//!
//! One environment, and its steps in the order in which a person comes upon them: each begins where the one before it
//! ended.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nuages_testkit::emulators::unique_name;
use serde_json::Value;

use crate::support::{Place, Said, copy_sample, forget_images, without_checks};

const BASE: &str = "blog/templates/base.html";

/// A copy of the sample under a name of its own, so that nothing of it is anybody else's.
struct Blog {
    place: Place,
    name: String,
}

impl Drop for Blog {
    fn drop(&mut self) {
        // Also where the test failed half-way. What cannot be removed now goes with the next sweep.
        let down = self
            .place
            .command(&["infra", "down", "--env", "local", "--yes"])
            .output();
        drop(down);
        forget_images(&self.name);
    }
}

impl Blog {
    fn new() -> Self {
        let place = Place::new();
        copy_sample(&place.project());
        let name = unique_name("e2e");
        place.edit("nuages.toml", "name = \"blog\"", &format!("name = \"{name}\""));
        place.edit("nuages.toml", "count = 2", "count = 1");
        without_checks(&place);
        Self { place, name }
    }

    fn run(&self, args: &[&str]) -> Said {
        let store = self.place.store();
        self.place.run_with(
            args,
            &[("NUAGES_STORE", store.to_str().unwrap()), ("NUAGES_ENV", "local")],
        )
    }

    fn deploy(&self) -> Said {
        self.run(&["deploy"])
    }

    fn status(&self) -> Value {
        self.run(&["status", "--json"]).ended(0).json().remove(0)
    }

    fn release(&self) -> String {
        self.status()["release"].as_str().expect("a release serves").to_owned()
    }

    /// Asks the load balancer as a browser would, which is told by the Host header; answers once it says this.
    fn ask(&self, request: impl Fn(&str) -> String, status: &str) -> String {
        let url = self.status()["url"].as_str().expect("a URL").to_owned();
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let port: u16 = host.rsplit_once(':').unwrap().1.parse().unwrap();
        // A load balancer of the emulator sends requests to old targets for a moment.
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(request(&host).as_bytes()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if answer.starts_with(&format!("HTTP/1.1 {status}")) {
                return answer;
            }
            assert!(Instant::now() < deadline, "not {status}, but:\n{answer}");
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn get(&self, path: &str) -> String {
        let request = |host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.ask(request, "200")
    }

    fn page(&self) -> String {
        self.get("/")
    }

    /// Django compares a form's origin, its port included, with the host that it sees.
    fn answers_to_forms(&self) {
        let form = self.get("/admin/login/");
        let after = |text: &str, end: char| {
            let (_, rest) = form.split_once(text).unwrap_or_else(|| panic!("no {text} in:\n{form}"));
            rest.split(end).next().unwrap_or_default().to_owned()
        };
        let cookie = after("csrftoken=", ';');
        let token = after("name=\"csrfmiddlewaretoken\" value=\"", '"');
        let body = format!("csrfmiddlewaretoken={token}&username=nobody&password=wrong");
        let post = |origin: &str, host: &str| {
            format!(
                "POST /admin/login/ HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nCookie: csrftoken={cookie}\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let answer = self.ask(|host| post(&format!("http://{host}"), host), "200");
        assert!(answer.contains("correct username and password"), "{answer}");
        self.ask(|host| post("http://elsewhere.example", host), "403");
    }

    #[track_caller]
    fn shows(&self, mark: &str) {
        let page = self.page();
        assert!(page.contains(mark), "`{mark}` is not on the page:\n{page}");
    }

    /// What failed left the release alone, and the page.
    #[track_caller]
    fn serves_still(&self, release: &str, mark: &str) {
        assert_eq!(self.release(), release);
        self.shows(mark);
    }

    /// Puts another mark on every page.
    fn mark(&self, mark: &str) {
        let text = self.place.read(BASE);
        let end = text.find("<!-- mark:").unwrap_or_else(|| text.find("</body>").unwrap());
        self.place
            .write(BASE, &format!("{}<!-- mark:{mark} --></body>\n</html>\n", &text[..end]));
    }

    /// Starts a deployment and waits until a task with such a title runs.
    fn start_until(&self, title: &str) -> Running {
        let store = self.place.store();
        let mut child = self
            .place
            .command(&["deploy", "--env", "local", "--json"])
            .env("NUAGES_STORE", store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = String::new();
        for line in &mut lines {
            let line = line.unwrap();
            seen.push_str(&line);
            seen.push('\n');
            let event: Value = serde_json::from_str(&line).unwrap();
            let began =
                event["event"] == "task-started" && event["title"].as_str().is_some_and(|t| t.starts_with(title));
            if began {
                // Nobody reads on; a full pipe must not hold the process up.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Running { child };
            }
        }
        child.wait().unwrap();
        panic!("no task `{title}` began:\n{seen}");
    }
}

/// A deployment under way.
struct Running {
    child: Child,
}

impl Running {
    /// As `kill -9`: no word, no undo.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("the docker command");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What the engine holds that names this blog's environment: containers, images, networks, volumes.
fn left_of(name: &str, account: &str) -> BTreeSet<String> {
    let containers = docker(&["ps", "-a", "--format", "container {{.Names}} {{.Image}} {{.Labels}}"]);
    let images = docker(&["images", "--format", "image {{.Repository}}:{{.Tag}}"]);
    let networks = docker(&["network", "ls", "--format", "network {{.Name}} {{.Labels}}"]);
    let volumes = docker(&["volume", "ls", "--format", "volume {{.Name}} {{.Labels}}"]);
    let all = [containers, images, networks, volumes].concat();
    all.lines()
        .filter(|line| line.contains(name) || line.contains(account))
        .map(str::to_owned)
        .collect()
}

fn step(what: &str) {
    // Shown where the test fails, and says how far it came.
    #[expect(clippy::print_stderr, reason = "the test's own report")]
    {
        eprintln!("== {what}");
    }
}

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
    blog.run(&["plan"]).ended(2);
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
    let said = blog.deploy().ended(1).tells("│ the ink is out");
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
    let said = blog.deploy().ended(1);
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
    blog.run(&["lease", "break"]).ended(3).ends_telling("--yes");
    first.kill();
    blog.run(&["lease", "show"]).ended(0).prints("its process is gone");
    blog.run(&["lease", "break", "--yes"]).ended(0).tells("nuages abort");
    blog.run(&["lease", "show"]).ended(0).prints("Nobody holds");
    blog.run(&["abort"]).ended(0).tells("is undone");
    blog.shows("mark:third");
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
    blog.deploy().ended(0);
    blog.shows("mark:fourth");

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
    blog.run(&["infra", "down", "--yes"]).ended(0).tells("local is down");
    assert_eq!(left_of(&blog.name, &account), BTreeSet::new());
    blog.run(&["infra", "down", "--yes"])
        .ended(0)
        .tells("nothing was taken down");
    blog.run(&["status"]).ended(4).ends_telling("nuages deploy --env local");
}
