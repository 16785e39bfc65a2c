//! The sample under a name of its own, deployed to a local environment of its own, and what can be asked of it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nuages_testkit::emulators::unique_name;
use serde_json::Value;

use crate::support::{Place, Said, copy_sample, forget_images, without_checks};

const BASE: &str = "blog/templates/base.html";

/// A copy of the sample under a name of its own, so that nothing of it is anybody else's.
pub(crate) struct Blog {
    pub(crate) place: Place,
    pub(crate) name: String,
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
    pub(crate) fn new() -> Self {
        let place = Place::new();
        copy_sample(&place.project());
        let name = unique_name("e2e");
        place.edit("nuages.toml", "name = \"blog\"", &format!("name = \"{name}\""));
        place.edit("nuages.toml", "count = 2", "count = 1");
        without_checks(&place);
        Self { place, name }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let store = self.place.store();
        self.place.run_with(
            args,
            &[("NUAGES_STORE", store.to_str().unwrap()), ("NUAGES_ENV", "local")],
        )
    }

    pub(crate) fn deploy(&self) -> Said {
        self.run(&["deploy"])
    }

    pub(crate) fn status(&self) -> Value {
        let said = self.run(&["status", "--json"]).ended(0).json();
        // That an emulator which was just started is waited for comes before it.
        let told = said.into_iter().find(|line| line.get("event").is_none());
        told.expect("what serves")
    }

    pub(crate) fn release(&self) -> String {
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

    pub(crate) fn get(&self, path: &str) -> String {
        let request = |host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.ask(request, "200")
    }

    pub(crate) fn page(&self) -> String {
        self.get("/")
    }

    /// Django compares a form's origin, its port included, with the host that it sees.
    pub(crate) fn answers_to_forms(&self) {
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
    pub(crate) fn shows(&self, mark: &str) {
        let page = self.page();
        assert!(page.contains(mark), "`{mark}` is not on the page:\n{page}");
    }

    /// What failed left the release alone, and the page.
    #[track_caller]
    pub(crate) fn serves_still(&self, release: &str, mark: &str) {
        assert_eq!(self.release(), release);
        self.shows(mark);
    }

    /// Puts another mark on every page.
    pub(crate) fn mark(&self, mark: &str) {
        let text = self.place.read(BASE);
        let end = text.find("<!-- mark:").unwrap_or_else(|| text.find("</body>").unwrap());
        self.place
            .write(BASE, &format!("{}<!-- mark:{mark} --></body>\n</html>\n", &text[..end]));
    }

    /// How many tasks run in its emulator, once there is one at most: what ends takes a moment.
    pub(crate) fn tasks(&self) -> usize {
        let of_this = format!(
            "{}=nuages-local-{}",
            nuages_emulator::ministack::INSTANCE_LABEL,
            self.name
        );
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let running = docker(&["ps", "--format", "{{.Names}} {{.Labels}}"]);
            let tasks = running
                .lines()
                .filter(|line| line.contains(&of_this) && !line.starts_with("ministack-rds"))
                .count();
            if tasks <= 1 || Instant::now() > deadline {
                return tasks;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// The name of its emulator's container.
    pub(crate) fn emulator(&self) -> String {
        let filter = format!("name=nuages-local-{}", self.name);
        docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"])
            .trim()
            .to_owned()
    }

    /// The name of its database's container.
    pub(crate) fn database(&self) -> String {
        let label = format!("label={}", nuages_emulator::ministack::INSTANCE_LABEL);
        let all = docker(&["ps", "-a", "--filter", &label, "--format", "{{.Names}} {{.Labels}}"]);
        let of_this = format!("=nuages-local-{}", self.name);
        let found = all
            .lines()
            .find(|line| line.starts_with("ministack-rds") && line.contains(&of_this));
        let line = found.unwrap_or_else(|| panic!("no database in:\n{all}"));
        line.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The command of a deployment that tells its events.
    pub(crate) fn deployment(&self) -> Command {
        let mut command = self.place.command(&["deploy", "--env", "local", "--json"]);
        command.env("NUAGES_STORE", self.place.store());
        command
    }

    /// Starts a deployment.
    pub(crate) fn start(&self) -> Running {
        Running::of(self.deployment())
    }

    /// Starts a deployment and waits until a task with such a title runs.
    pub(crate) fn start_until(&self, title: &str) -> Running {
        let mut running = self.start();
        running.until(title);
        running
    }
}

/// A deployment under way.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Running {
    /// Starts it. What it says is read as it comes: a full pipe must not hold it up.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (say, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Waits until a task with such a title runs.
    #[track_caller]
    pub(crate) fn until(&mut self, title: &str) {
        let begins = |event: &Value| event["title"].as_str().is_some_and(|t| t.starts_with(title));
        self.event(title, |event| event["event"] == "task-started" && begins(event));
    }

    /// Waits until it says something that begins so.
    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) {
        let begins = |event: &Value| event["text"].as_str().is_some_and(|text| text.starts_with(words));
        self.event(words, |event| event["event"] == "message" && begins(event));
    }

    #[track_caller]
    fn event(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) {
        while let Ok(line) = self.lines.recv() {
            let event: Value = serde_json::from_str(&line).unwrap();
            self.seen.push_str(&line);
            self.seen.push('\n');
            if is_it(&event) {
                return;
            }
        }
        self.child.wait().unwrap();
        panic!("`{what}` did not come:\n{}", self.seen);
    }

    /// As `kill -9`: no word, no undo.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and answers its exit code and all that it told.
    pub(crate) fn end(mut self) -> (i32, String) {
        for line in &self.lines {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.seen)
    }
}

/// Sends it a signal, as `kill -TERM` does.
pub(crate) fn signal(running: &Running, name: &str) {
    let sent = Command::new("kill")
        .arg(name)
        .arg(running.child.id().to_string())
        .status();
    assert!(sent.unwrap().success(), "kill {name}");
}

pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("the docker command");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What the engine holds that names this blog's environment: containers, images, networks, volumes.
pub(crate) fn left_of(name: &str, account: &str) -> BTreeSet<String> {
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

pub(crate) fn step(what: &str) {
    // Shown where the test fails, and says how far it came.
    #[expect(clippy::print_stderr, reason = "the test's own report")]
    {
        eprintln!("== {what}");
    }
}
