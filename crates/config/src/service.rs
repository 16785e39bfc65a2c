//! `[services.NAME]`: the programs that run, from one image and as one release.
//!
//! Invariant: a size is one that Fargate runs, and a service with a port can be asked how it is.

use std::collections::BTreeMap;
use std::time::Duration;

use nuages_model::ServiceName;
use serde::Serialize;

use crate::duration;
use crate::problem::Problem;
use crate::reader::{Field, Section};
use crate::words::shown;
use crate::{fargate, gunicorn};

/// A program of the application, running in so many tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The program and its arguments, as the file says them; see [`effective_command`](Self::effective_command).
    pub command: Vec<String>,
    /// The port that the load balancer sends requests to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How it is asked whether it is well. There where `port` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// CPU units, 1024 to a core.
    pub cpu: u32,
    /// MiB.
    pub memory: u32,
    /// Tasks.
    pub count: u32,
    /// How long it may take to end after SIGTERM.
    #[serde(serialize_with = "duration::serialize")]
    pub stop_timeout: Duration,
    /// The project has a `gunicorn.conf.py`, which gunicorn reads by itself. Looked for by
    /// [`Project::environment`](crate::Project::environment).
    #[serde(skip)]
    pub gunicorn_file: bool,
}

/// How a service is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Asked by the load balancer, for ever, and once in a deployment: is the process alive? It must not ask the database.
    pub live: String,
    /// Asked once in a deployment: is it able to serve?
    pub ready: String,
    /// A page that people see. Asked once in a deployment, and must answer 2xx.
    #[serde(skip_serializing_if = "is_root")]
    pub page: String,
    /// How long a new task may fail before it counts.
    #[serde(serialize_with = "duration::serialize")]
    pub grace: Duration,
}

const CPU: u32 = 256;
const MEMORY: u32 = 512;
const GRACE: Duration = Duration::from_mins(2);
const STOP: Duration = Duration::from_secs(30);
/// The page that is asked for where the file names none.
const PAGE: &str = "/";
const HEALTH_HELP: &str = "health = { live = \"/livez\", ready = \"/readyz\" }";

const OF_ALL: &str =
    "remove it; all services of a release change over alike: strategy = \"rolling\" in the environment";
const SCALING: &str = "services that scale by their load have no code yet";
const FIXED: &str = "remove it; `count` says how many tasks run";

/// What a service will say one day, and why nobody can say it yet.
const LATER: [(&str, &str, &str); 9] = [
    (
        "schedule",
        "services on a schedule have no code yet",
        "remove `schedule`; a worker such as celery beat can start periodic work meanwhile",
    ),
    ("strategy", "a strategy of a single service has no code yet", OF_ALL),
    ("canary", "the strategy \"canary\" has no code yet", OF_ALL),
    ("blue-green", "the strategy \"blue-green\" has no code yet", OF_ALL),
    ("linear", "the strategy \"linear\" has no code yet", OF_ALL),
    ("alarms", "strategies that watch alarms have no code yet", OF_ALL),
    ("scaling", SCALING, FIXED),
    ("autoscaling", SCALING, FIXED),
    (
        "singleton",
        "services of which only one may run have no code yet",
        "remove it; with `count = 1` two run side by side for a moment while a release changes over",
    ),
];

fn is_root(page: &str) -> bool {
    page == PAGE
}

impl Service {
    /// The command that runs: for gunicorn with what it needs behind a load balancer, where the file does not say it.
    ///
    /// ```
    /// # let file = nuages_config::ConfigFile::parse("nuages.toml", r#"
    /// # app.name = "blog"
    /// # services.web = { command = ["gunicorn", "blog.wsgi"], port = 8000, health = { live = "/livez" } }
    /// # environments.local.emulator = "ministack""#)?;
    /// # let config = file.environment(&"local".parse()?)?;
    /// # let web = &config.services[&"web".parse()?];
    /// assert_eq!(web.command, ["gunicorn", "blog.wsgi"]);
    /// assert_eq!(web.effective_command()[..3], ["gunicorn", "--bind", "0.0.0.0:8000"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn effective_command(&self) -> Vec<String> {
        gunicorn::complete(&self.command, self.port, self.stop_timeout, self.gunicorn_file)
    }
}

/// The services, and whether one of them has a port.
pub(crate) fn read(section: Option<Field<'_>>, file: &Section<'_>) -> BTreeMap<ServiceName, Service> {
    let mut services = BTreeMap::new();
    let Some(field) = section else {
        file.notes.add(Problem::new("no service is named").help(
            "for example\n\n[services.web]\ncommand = [\"gunicorn\", \"mysite.wsgi\"]\nport = 8000\n".to_owned()
                + HEALTH_HELP,
        ));
        return services;
    };
    let entries = field.entries().unwrap_or_default();
    if entries.is_empty() {
        field.notes.add(field.problem("no service is named", "empty"));
    }
    for entry in entries {
        let name: Option<ServiceName> = entry.key_as();
        let service = read_one(&entry);
        if let (Some(name), Some(service)) = (name, service) {
            services.insert(name, service);
        }
    }
    services
}

fn read_one(field: &Field<'_>) -> Option<Service> {
    let mut section = field.section(format!("services.{}", field.name))?;
    let command = section
        .require("command", "for example command = [\"gunicorn\", \"mysite.wsgi\"]")
        .and_then(|field| field.command());
    let port = port(field, &mut section);
    let health = match port {
        Port::Later => {
            section.get("health");
            None
        }
        Port::None => health(&mut section, false),
        Port::Said(_) => health(&mut section, true),
    };
    let size = size(&mut section);
    // What requests are sent to must be there; what only works may rest.
    let least = u32::from(!matches!(port, Port::None));
    let count = section.get("count").map_or(Some(1), |field| field.number(least..=500));
    // ECS kills after 120 s at the latest; below 2 s nothing is left to finish a request in.
    let stop_timeout = section.get("stop_timeout").map_or(Some(STOP), |field| {
        field.duration(Duration::from_secs(2)..=Duration::from_mins(2))
    });
    for (key, message, help) in LATER {
        if let Some(field) = section.get_unlisted(key) {
            field.refuse_for_now(message, help);
        }
    }
    section.finish();
    let (cpu, memory) = size?;
    let port = match port {
        Port::Said(port) => port,
        Port::None | Port::Later => None,
    };
    Some(Service {
        command: command?,
        port,
        health: health.filter(|_| port.is_some()),
        cpu,
        memory,
        count: count?,
        stop_timeout: stop_timeout?,
        gunicorn_file: false,
    })
}

/// What a service says of its port.
#[derive(Clone, Copy)]
enum Port {
    /// Nothing.
    None,
    /// A number, or something that is none.
    Said(Option<u16>),
    /// One where nothing carries it out yet.
    Later,
}

fn port(service: &Field<'_>, section: &mut Section<'_>) -> Port {
    let web = service.name == "web";
    let Some(field) = section.get("port") else {
        if web {
            section.notes.add(
                Problem::new("`port` is missing in `[services.web]`").at(&section.span, "here").help(
                    "the load balancer sends requests to the service `web`: port = 8000; a service that answers none has another name",
                ),
            );
        }
        return Port::None;
    };
    if !web {
        field.notes.add(
            Problem::new("only the service `web` can have a port")
                .at(field.key, "not behind the load balancer")
                .help("one service answers requests for now; name it `web`, or remove `port`")
                .unsupported(),
        );
        return Port::Later;
    }
    Port::Said(field.number(1..=u16::MAX))
}

fn health(section: &mut Section<'_>, has_port: bool) -> Option<Health> {
    let Some(field) = section.get("health") else {
        if has_port {
            section.notes.add(
                Problem::new(format!("`health` is missing in `[{}]`", section.path))
                    .at(&section.span, "has a port, and nobody can ask how it is")
                    .help(HEALTH_HELP),
            );
        }
        return None;
    };
    if !has_port {
        section.notes.add(
            Problem::new("`health` needs a `port`")
                .at(field.key, "there is nothing to ask")
                .help("remove `health`, or add `port`"),
        );
    }
    let mut health = field.section(section.join("health"))?;
    let live = health.require("live", HEALTH_HELP).and_then(|field| path(&field));
    let ready = health.get("ready").map(|field| path(&field));
    let page = health
        .get("page")
        .map_or_else(|| Some(PAGE.to_owned()), |field| path(&field));
    // Below two minutes a slow first start is killed and started again, for ever.
    let grace = health
        .get("grace")
        .map_or(Some(GRACE), |field| field.duration(GRACE..=Duration::from_hours(1)));
    health.finish();
    let live = live?;
    let ready = ready.unwrap_or_else(|| Some(live.clone()))?;
    Some(Health {
        live,
        ready,
        page: page?,
        grace: grace?,
    })
}

fn path(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let printable = text.chars().all(|c| c.is_ascii_graphic());
    let wrong = if !text.starts_with('/') {
        Some("must begin with `/`")
    } else if !printable {
        Some("must not have spaces or characters outside ASCII")
    } else if text.contains('#') {
        Some("must not have a `#` part: a server never sees it")
    } else if text.len() > 1024 {
        Some("must have at most 1024 characters")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        let mut problem = field.problem(format!("the path `{}` {wrong}", shown(text)), "here");
        if !text.starts_with('/') && printable && !text.contains("://") {
            problem = problem.help(format!("{} = \"/{}\"", field.name, shown(text)));
        }
        field.notes.add(problem);
        return None;
    }
    Some(text.to_owned())
}

fn size(section: &mut Section<'_>) -> Option<(u32, u32)> {
    let cpu_field = section.get("cpu");
    let memory_field = section.get("memory");
    let cpu = cpu_field.map_or(Some(CPU), |field| field.number(1..=1_000_000))?;
    let memory = memory_field.map_or(Some(MEMORY), |field| field.number(1..=10_000_000))?;
    if fargate::fits(cpu, memory) {
        return Some((cpu, memory));
    }
    let near = fargate::nearest(cpu, memory);
    let mut problem = Problem::new(format!("Fargate has no size of cpu = {cpu} with memory = {memory}"));
    for (field, label) in [(memory_field, "MiB"), (cpu_field, "CPU units")] {
        if let Some(field) = field {
            problem = problem.at(&field.node.span, label);
        }
    }
    let more = match fargate::memory_for(cpu) {
        Some(memory) => format!("with cpu = {cpu}, memory is {memory}"),
        None => format!("cpu is one of {}", fargate::cpus()),
    };
    section
        .notes
        .add(problem.help(format!("the nearest is cpu = {}, memory = {}; {more}", near.0, near.1)));
    None
}
