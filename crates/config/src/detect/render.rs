//! The first `nuages.toml` of a project, and what is left to do.
//!
//! Invariant: whatever was found, the text is a valid file with an environment that runs on this machine.

use std::fmt::Write;

use toml::Value;

use super::{DatabaseKind, Detected, LockFile, Server};

const PORT: u16 = 8000;

/// A text as TOML writes it.
fn text(text: &str) -> String {
    Value::from(text).to_string()
}

fn command(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| text(word)).collect();
    format!("[{}]", words.join(", "))
}

pub(super) fn render(found: &Detected) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    line("# How this project is deployed. `nuages plan --env local` shows what would happen.");
    line("");
    line("[app]");
    line(&format!("name = {}", text(found.name.as_str())));
    line("");
    build(found, &mut line);
    checks(found, &mut line);
    services(found, &mut line);
    database(found, &mut line);
    line("[network]");
    line("egress = \"public\"            # or \"nat\": private subnets, and the price of NAT gateways");
    line("");
    environment(found, &mut line);
    places(found, &mut line);
    out
}

fn build(found: &Detected, line: &mut dyn FnMut(&str)) {
    line("[build]");
    if !found.dockerfile {
        line("# There is no Dockerfile here yet, and the image is built from one.");
    }
    line("builder = \"docker\"");
    let base = format!("base = {}", text(&format!("python:{}-slim", found.python)));
    if found.takes_base {
        line(&base);
    } else {
        line(&format!("# {base}   # given to a Dockerfile that says `ARG BASE`"));
    }
    let certificates = "ca_bundle = \"host\"          # for networks that inspect TLS; the build alone sees it";
    let mark = if found.takes_certificates { "" } else { "# " };
    line(&format!("{mark}{certificates}"));
    line("");
}

fn checks(found: &Detected, line: &mut dyn FnMut(&str)) {
    let target = if found.stages.iter().any(|stage| stage == "test") {
        ", target = \"test\""
    } else {
        ""
    };
    let has = |name: &str| found.packages.contains(name);
    line("# Nothing is pushed unless these pass, in a container of the image with a throw-away database.");
    line("[checks]");
    let tests: &[&str] = if has("pytest") || has("pytest-django") {
        &["pytest", "-q"]
    } else {
        &["python", "manage.py", "test", "--noinput"]
    };
    let tests = format!("tests = {{ command = {}{target} }}", command(tests));
    line(&if found.tests {
        tests
    } else {
        format!("# {tests}   # no test was found, and a check that runs none fails")
    });
    line(&format!(
        "deploy-check = {{ command = {} }}",
        command(&["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"])
    ));
    if has("ruff") {
        line(&format!(
            "lint = {{ command = {}{target} }}",
            command(&["ruff", "check", "."])
        ));
    }
    line("");
}

fn services(found: &Detected, line: &mut dyn FnMut(&str)) {
    line("[services.web]");
    let port = PORT.to_string();
    match &found.server {
        Server::Wsgi(module) => {
            line(&format!(
                "command = {}   # nuages adds what gunicorn lacks behind a load balancer",
                command(&["gunicorn", module])
            ));
        }
        Server::Asgi(module) => {
            let application = format!("{module}:application");
            let words: Vec<&str> = if found.packages.contains("daphne") && !found.packages.contains("uvicorn") {
                vec!["daphne", "-b", "0.0.0.0", "-p", &port, &application]
            } else if found.packages.contains("hypercorn") && !found.packages.contains("uvicorn") {
                let bind = format!("0.0.0.0:{port}");
                line(&format!(
                    "command = {}",
                    command(&["hypercorn", "--bind", &bind, &application])
                ));
                Vec::new()
            } else {
                vec!["uvicorn", &application, "--host", "0.0.0.0", "--port", &port]
            };
            if !words.is_empty() {
                line(&format!("command = {}", command(&words)));
            }
        }
    }
    line(&format!("port = {PORT}"));
    let (alive, ready) = found
        .health
        .clone()
        .unwrap_or_else(|| ("/livez".to_owned(), "/readyz".to_owned()));
    if found.health.is_none() {
        line(
            "# No such paths were found in the code. `live` answers 200 while the process works and asks no database;",
        );
        line(
            "# `ready` answers 200 when a page could be served. Both come before the host check and the HTTPS redirect.",
        );
    }
    line(&format!(
        "health = {{ live = {}, ready = {} }}",
        text(&alive),
        text(&ready)
    ));
    line("cpu = 256");
    line("memory = 512");
    line("count = 2");
    line("");
    if let Some(celery) = &found.celery {
        line("[services.worker]");
        line(&format!("command = {}", command(&["celery", "-A", celery, "worker"])));
        line("");
        if found.celery_beat {
            line("[services.beat]               # one, or every periodic task runs more than once");
            line(&format!("command = {}", command(&["celery", "-A", celery, "beat"])));
            line("count = 1");
            line("");
        }
    }
}

fn managed(found: &Detected) -> bool {
    matches!(found.database, DatabaseKind::Postgres | DatabaseKind::Unknown)
}

fn database(found: &Detected, line: &mut dyn FnMut(&str)) {
    let comment = if managed(found) { "" } else { "# " };
    match found.database {
        DatabaseKind::Mysql => line("# MySQL is not managed by nuages: give the URL of yours as a secret, below."),
        DatabaseKind::Sqlite => {
            line("# SQLite is a file that is gone with its container. With psycopg installed, take PostgreSQL:");
        }
        DatabaseKind::Postgres | DatabaseKind::Unknown => {}
    }
    for text in [
        "[database]",
        "engine = \"postgres\"",
        "version = \"17\"",
        "class = \"db.t4g.micro\"",
        "storage = 20",
    ] {
        line(&format!("{comment}{text}"));
    }
    line("");
}

fn environment(found: &Detected, line: &mut dyn FnMut(&str)) {
    line("[env]");
    match &found.settings {
        Some(settings) => line(&format!("DJANGO_SETTINGS_MODULE = {}", text(settings))),
        None => line("# DJANGO_SETTINGS_MODULE = \"mysite.settings\"   # manage.py does not say which"),
    }
    line("");
    line("# Only where the values are, never the values.");
    line("[secrets]");
    let key = found.secret_key.as_deref().unwrap_or("DJANGO_SECRET_KEY");
    line(&format!("{key} = {{ generate = 50 }}"));
    if key != "DATABASE_URL" {
        line(match found.database {
            DatabaseKind::Mysql => "# DATABASE_URL = { secret = \"NAME/database-url\" }",
            DatabaseKind::Sqlite => "# DATABASE_URL = { from = \"database\" }",
            DatabaseKind::Postgres | DatabaseKind::Unknown => "DATABASE_URL = { from = \"database\" }",
        });
    }
    line("");
}

fn places(found: &Detected, line: &mut dyn FnMut(&str)) {
    line("# This machine: an emulator of AWS in Docker.");
    line("[environments.local]");
    line("emulator = \"ministack\"");
    line("");
    if let Some(hosts) = found
        .allowed_hosts
        .as_deref()
        .filter(|hosts| Some(*hosts) != found.secret_key.as_deref())
    {
        line("[environments.local.env]");
        line(&format!("{hosts} = \".alb.localhost,localhost,127.0.0.1\""));
        line("");
    }
    for text in [
        "# [environments.staging]",
        "# region = \"eu-west-1\"",
        "# account = \"123456789012\"      # nuages deploys to no other",
        "# domain = \"staging.example.org\"",
    ] {
        line(text);
    }
    if let Some(hosts) = &found.allowed_hosts {
        line("#");
        line("# [environments.staging.env]");
        line(&format!("# {hosts} = \"staging.example.org\""));
    }
}

pub(super) fn advice(found: &Detected) -> Vec<String> {
    let mut advice = Vec::new();
    let mut say = |text: String| advice.push(text);
    let has = |name: &str| found.packages.contains(name);
    if found.settings.is_none() {
        say("manage.py does not name its settings: set DJANGO_SETTINGS_MODULE in [env]".to_owned());
    }
    if !found.dockerfile {
        say("there is no Dockerfile: the image is built from one".to_owned());
    }
    match found.lock {
        None => say("nothing pins the packages: write a lock file, so that every build is the same".to_owned()),
        Some(LockFile::Requirements) => {
            say("requirements.txt has no hashes: what is installed may change from build to build".to_owned());
        }
        Some(_) => {}
    }
    if matches!(found.server, Server::Wsgi(_)) && !has("gunicorn") {
        say("gunicorn is not among the packages, and the service `web` starts it".to_owned());
    }
    match found.database {
        DatabaseKind::Sqlite => {
            say("the settings know SQLite only, whose file is gone with its container: read DATABASE_URL".to_owned());
        }
        DatabaseKind::Mysql => say("MySQL is not managed by nuages: put its URL into a secret".to_owned()),
        DatabaseKind::Unknown => say("no database was found in settings or packages: PostgreSQL is assumed".to_owned()),
        DatabaseKind::Postgres => {}
    }
    if found.secret_key.is_none() {
        say("SECRET_KEY does not come from the environment: read DJANGO_SECRET_KEY in the settings".to_owned());
    }
    if !found.whitenoise {
        say("nothing was found that serves static files: whitenoise does".to_owned());
    }
    if !found.static_root {
        say("STATIC_ROOT is not set: collectstatic needs it".to_owned());
    }
    if found.health.is_none() {
        say("no health check was found: answer /livez and /readyz, ahead of Django's own middleware".to_owned());
    }
    advice
}
