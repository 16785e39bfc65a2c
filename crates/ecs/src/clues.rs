//! The classics: what a stop reason, a log line or a health check's answer means.
//!
//! Invariant: every rule names words that AWS, Python, Django, gunicorn or `PostgreSQL` document or print; where none
//! fits, nothing is guessed.

use std::net::IpAddr;

use nuages_model::{LastWords, Trouble};

use crate::diagnosis::Cause;

/// A cause with its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clue {
    pub(crate) cause: Cause,
    pub(crate) sentence: String,
    pub(crate) hint: Option<String>,
}

impl Clue {
    pub(crate) fn new(cause: Cause, sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            cause,
            sentence: sentence.into(),
            hint: Some(hint.into()),
        }
    }
}

fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// What stands between two marks.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &[char]) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let found = rest.split(after).next()?.trim();
    (!found.is_empty()).then_some(found)
}

const NETWORK: [&str; 8] = [
    "i/o timeout",
    "connection issue between the task and",
    "no route to host",
    "network is unreachable",
    "context deadline exceeded",
    "Client.Timeout",
    "request canceled",
    "no such host",
];

const ROUTE_HINT: &str = "give the tasks a way out: a public address (egress = \"public\"), a NAT gateway, or VPC endpoints \
                          for ECR, S3, logs and secrets; and let their security group send on port 443";

/// The task never started (Amazon ECS developer guide, "Stopped task error messages").
pub(crate) fn before_start(reason: &str) -> Option<Clue> {
    if reason.contains("CannotPullContainer") {
        return Some(pull(reason));
    }
    if !any(
        reason,
        &["ResourceInitializationError", "failed to initialize logging driver"],
    ) {
        return None;
    }
    let secret = || {
        let arn = between(reason, "arn:", &[' ', ',']);
        arn.map_or("a secret".into(), |arn| {
            format!("the secret `arn:{}`", arn.trim_end_matches([':', '.']))
        })
    };
    Some(
        if any(
            reason,
            &["did not contain json key", "does not contain json key", "json key"],
        ) {
            let key = between(reason, "json key ", &[' ', ',', '.', ':']).unwrap_or("it");
            Clue::new(
                Cause::SecretKeyMissing,
                format!("the secret has no key `{}`", key.trim_matches(['"', '\''])),
                "add it to the secret (`aws secretsmanager put-secret-value`), or correct `key` of the entry in `[secrets]`",
            )
        } else if any(
            reason,
            &["looking for beginning of value", "unexpected end of JSON input"],
        ) {
            Clue::new(
                Cause::SecretKeyMissing,
                "the secret is not JSON, and one of its keys is asked for",
                "put JSON into the secret (`aws secretsmanager put-secret-value`), or leave out `key` in `[secrets]`",
            )
        } else if any(reason, &NETWORK) {
            Clue::new(
                Cause::NoRouteToServices,
                "the task does not reach the AWS services that it needs to start",
                ROUTE_HINT,
            )
        } else if any(reason, &["log group", "logger args", "logging driver", "log stream"]) {
            Clue::new(
                Cause::LogGroup,
                "the task cannot write its log",
                "bring the environment's stack up again (`nuages infra up`): the log group or the execution role's right to it is missing",
            )
        } else if any(
            reason,
            &[
                "ResourceNotFoundException",
                "can't find the specified secret",
                "secret not found",
                "was not found",
            ],
        ) {
            Clue::new(
                Cause::SecretMissing,
                format!("{} does not exist, or has no current version", secret()),
                "create it (`aws secretsmanager create-secret`), or correct `[secrets]`",
            )
        } else if any(reason, &["AccessDenied", "not authorized"]) {
            Clue::new(
                Cause::SecretDenied,
                "the execution role may not read a secret, or what encrypts it",
                "a new entry in `[secrets]` is a change of the stack: run `nuages infra up`",
            )
        } else if any(reason, &["retrieve secret", "fetch secret"]) {
            Clue::new(
                Cause::SecretMissing,
                format!("{} cannot be read: it does not exist, or has no such key", secret()),
                "create it (`aws secretsmanager create-secret`), or correct `[secrets]`",
            )
        } else if any(reason, &["No such image", "pull access denied", "unable to pull image"]) {
            Clue::new(
                Cause::ImageMissing,
                "the image is not there to be run",
                "push it again: `nuages push`",
            )
        } else {
            Clue {
                cause: Cause::Unknown,
                sentence: "ECS could not prepare the task".into(),
                hint: None,
            }
        },
    )
}

fn pull(reason: &str) -> Clue {
    if any(
        reason,
        &["not contain descriptor matching platform", "no matching manifest"],
    ) {
        Clue::new(
            Cause::WrongPlatform,
            "the image is built for another processor than the task asks for",
            "build for the platform of the environment, or change it",
        )
    } else if any(reason, &["toomanyrequests", "429 Too Many Requests"]) {
        Clue::new(
            Cause::ImagePull,
            "the registry refuses for a while: too many pulls",
            "wait, or copy the image to ECR",
        )
    } else if any(reason, &NETWORK) {
        Clue::new(
            Cause::NoRouteToRegistry,
            "the task does not reach the registry",
            ROUTE_HINT,
        )
    } else if any(
        reason,
        &[
            "not found",
            "manifest unknown",
            "name unknown",
            "No such image",
            "does not exist",
        ],
    ) {
        Clue::new(
            Cause::ImageMissing,
            "the registry does not have the image",
            "push it again (`nuages push`); the repository's lifecycle rules may have removed it",
        )
    } else if any(
        reason,
        &[
            "403 Forbidden",
            "AccessDenied",
            "not authorized",
            "no basic auth",
            "denied",
        ],
    ) {
        Clue::new(
            Cause::ImageDenied,
            "the execution role may not pull the image",
            "bring the environment's stack up again: the role needs ECR's pull actions on the repository",
        )
    } else {
        Clue {
            cause: Cause::ImagePull,
            sentence: "the image could not be pulled".into(),
            hint: None,
        }
    }
}

/// Killed by the kernel.
pub(crate) fn out_of_memory(reason: &str, exit: Option<i32>, log: &[String]) -> Option<Clue> {
    let worker = || log.iter().any(|l| any(l, &["Perhaps out of memory?", "MemoryError"]));
    (reason.contains("OutOfMemory")
        || (exit == Some(137) && worker())
        || (exit != Some(0) && exit.is_some() && worker()))
    .then(|| {
        Clue::new(
            Cause::OutOfMemory,
            "its memory was not enough",
            "raise `memory` of the service, or run fewer gunicorn workers",
        )
    })
}

/// The program could not be executed at all.
pub(crate) fn cannot_execute(reason: &str, log: &[String]) -> Option<Clue> {
    let format = "exec format error";
    if reason.contains(format) || log.iter().any(|l| l.contains(format)) {
        return Some(Clue::new(
            Cause::WrongPlatform,
            "the image is built for another processor than the task runs on (exec format error)",
            "build for the platform of the environment (linux/amd64 or linux/arm64)",
        ));
    }
    let missing = [
        "executable file not found",
        "no such file or directory: unknown",
        "exec: \"",
    ];
    if any(
        reason,
        &[
            "CannotStartContainer",
            "OCI runtime",
            "runc create failed",
            "ContainerRuntimeError",
        ],
    ) || reason.contains(missing[0])
    {
        let program = between(reason, "exec: \"", &['"']).unwrap_or("of its command");
        return any(reason, &missing).then(|| {
            Clue::new(
                Cause::CommandNotFound,
                format!("the image has no program `{program}`"),
                "check `command` in nuages.toml, and that the program is installed in the image",
            )
        });
    }
    None
}

/// No room, or a limit.
pub(crate) fn capacity(sentence: &str) -> Option<Clue> {
    if any(sentence, &["reached the limit on the number of vCPUs", "vCPU limit"]) {
        return Some(Clue::new(
            Cause::Capacity,
            "the account's limit of Fargate processors is reached",
            "ask for a higher quota \"Fargate On-Demand vCPU resource count\", or run fewer tasks",
        ));
    }
    any(
        sentence,
        &[
            "Capacity is unavailable",
            "RESOURCE:ENI",
            "insufficient free addresses",
            "not enough free addresses",
        ],
    )
    .then(|| {
        Clue::new(
            Cause::Capacity,
            "AWS has no room for the task now, or the subnets have no free address",
            "try again, or give the environment more subnets",
        )
    })
}

/// What the program itself said, last words first.
pub(crate) fn in_log(log: &[String]) -> Option<Clue> {
    (0..log.len()).rev().find_map(|at| {
        LastWords::of_line(&log[at], &log[..at])
            .map(in_task)
            .or_else(|| said(&log[at]))
    })
}

/// What mends it in a task.
fn in_task(words: LastWords) -> Clue {
    let (cause, hint) = match words.trouble {
        Trouble::Setting { variable: None } => (
            Cause::Setting,
            "set it in `[env]` or `[secrets]` of nuages.toml".to_owned(),
        ),
        Trouble::Setting { variable: Some(name) } => (
            Cause::Setting,
            format!("set `{name}` in `[env]` or `[secrets]` of nuages.toml"),
        ),
        Trouble::Syntax => (
            Cause::Syntax,
            "correct it; `nuages check` runs the project's checks in the image".to_owned(),
        ),
        Trouble::SettingsModule => (
            Cause::Module,
            "correct DJANGO_SETTINGS_MODULE in `[env]`, or what sets it where that does not (wsgi.py, manage.py), or see \
             that .dockerignore leaves the file in"
                .to_owned(),
        ),
        Trouble::Package => (
            Cause::Module,
            "add it to the project's requirements, or correct the command's module path".to_owned(),
        ),
        Trouble::Module { package, module } => (
            Cause::Module,
            format!(
                "`{package}` is in the image, and `{module}` is not: correct the name in `command` or where it is \
                 imported, or see that .dockerignore leaves the file in"
            ),
        ),
        Trouble::Import => (
            Cause::Module,
            "correct the import, or require the version of the package that the project is developed with".to_owned(),
        ),
    };
    Clue::new(cause, words.sentence, hint)
}

fn said(line: &str) -> Option<Clue> {
    if any(
        line,
        &[
            "password authentication failed",
            "no pg_hba.conf entry",
            "FATAL:  database \"",
            "FATAL:  role \"",
            "Access denied for user",
        ],
    ) {
        return Some(Clue::new(
            Cause::DatabaseRefused,
            format!("the database refuses: {}", line.trim()),
            "check DATABASE_URL's user, password and database name",
        ));
    }
    let unreachable = [
        "could not connect to server",
        "could not translate host name",
        "connection to server at",
        "Name or service not known",
        "Temporary failure in name resolution",
        "Can't connect to MySQL server",
        "Connection refused",
        "timeout expired",
    ];
    if any(
        line,
        &[
            "OperationalError",
            "psycopg",
            "connection failed",
            "connection to server",
        ],
    ) && any(line, &unreachable)
    {
        return Some(Clue::new(
            Cause::DatabaseUnreachable,
            "the database does not answer",
            "is it running, is DATABASE_URL its address, and may the tasks' security group reach its port?",
        ));
    }
    if refused_to_listen(line) {
        return Some(Clue::new(
            Cause::Bind,
            format!("the program cannot listen: {}", line.trim()),
            "a port below 1024 needs root; two programs cannot share a port",
        ));
    }
    if any(line, &["Invalid HTTP_HOST header", "DisallowedHost"]) {
        return Some(allowed_hosts(Some(line)));
    }
    if any(line, &["executable file not found", "command not found", ": not found"]) && !line.contains("HTTP") {
        return Some(Clue::new(
            Cause::CommandNotFound,
            format!("a program is not in the image: {}", line.trim()),
            "install it in the image, or correct the command",
        ));
    }
    None
}

/// Whether a server says that it may not listen where it wants to. gunicorn's control socket is a file, which it does
/// without: a line about it says nothing of why a task ended.
fn refused_to_listen(line: &str) -> bool {
    let taken = ["ddress already in use", "Connection in use: (", "[Errno 98]"];
    let forbidden = ["ermission denied", "[Errno 13]"];
    let listens = ["bind", "Can't connect to (", "Permission denied: ('"];
    !line.contains("Control server") && (any(line, &taken) || any(line, &forbidden) && any(line, &listens))
}

fn allowed_hosts(line: Option<&str>) -> Clue {
    let host = line.and_then(|l| between(l, "Invalid HTTP_HOST header: ", &[' ']));
    let host = host.map_or(String::new(), |h| format!(" {}", h.trim_matches(['\'', '"', '.', ','])));
    Clue::new(
        Cause::AllowedHosts,
        format!("Django answers 400: the health check's host{host} is not in ALLOWED_HOSTS"),
        "health checks carry the task's own address as Host: answer them in a middleware before CommonMiddleware, or let \
         ALLOWED_HOSTS contain the task's address",
    )
}

/// Where a server said last that it listens: gunicorn, granian, uvicorn, hypercorn, daphne, waitress, Django's own.
/// gunicorn names all its addresses in one line.
fn listening(log: &[String]) -> Vec<(String, u16)> {
    const MARKS: [&str; 6] = [
        "Listening at: ",
        "Uvicorn running on ",
        "Running on ",
        "Listening on TCP address ",
        "Serving on ",
        "development server at ",
    ];
    let told = log.iter().rev().map(|line| {
        let rest = MARKS.iter().find_map(|mark| line.split_once(mark));
        let rest = rest.map_or("", |(_, rest)| rest);
        let addresses = rest.split([' ', '(']).next().unwrap_or_default();
        addresses.split(',').filter_map(address).collect()
    });
    told.into_iter()
        .find(|all: &Vec<_>| !all.is_empty())
        .unwrap_or_default()
}

fn address(text: &str) -> Option<(String, u16)> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = text.split('/').next()?.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// Whether only the machine itself can reach it.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// A failing health check of the load balancer.
pub(crate) fn health(codes: &[u16], said: &[&str], log: &[String], port: Option<u16>, grace: Option<u32>) -> Clue {
    let listens = listening(log);
    // An answer came: the way is open, the port is right.
    if let Some(code) = codes.first() {
        let refused = log
            .iter()
            .rev()
            .find(|l| any(l, &["Invalid HTTP_HOST header", "DisallowedHost"]));
        return match code {
            400 => allowed_hosts(refused.map(String::as_str)),
            301 | 302 | 307 | 308 => Clue::new(
                Cause::HealthRedirected,
                format!("the health check is redirected ({code})"),
                "SECURE_SSL_REDIRECT or APPEND_SLASH redirects it: answer health checks in a middleware before Django's own",
            ),
            404 => Clue::new(
                Cause::HealthPathMissing,
                "the health check's page does not exist (404)",
                "serve it, or correct `health.live` of the service",
            ),
            code => Clue {
                cause: Cause::HealthStatus,
                sentence: format!("the health check gets {code}"),
                hint: in_log(log).and_then(|clue| clue.hint).or_else(|| {
                    Some("the page must answer 200 without the database: it says that the process lives".into())
                }),
            },
        };
    }
    if let Some((host, _)) = listens.first()
        && listens.iter().all(|(host, _)| is_loopback(host))
    {
        return Clue::new(
            Cause::LoopbackOnly,
            format!("the program listens on {host} only, where the load balancer cannot reach it"),
            "bind to 0.0.0.0: nuages adds it to gunicorn unless `bind` is given",
        );
    }
    if let (Some((_, actual)), Some(wanted)) = (listens.first(), port)
        && listens.iter().all(|(_, port)| *port != wanted)
    {
        return Clue::new(
            Cause::WrongPort,
            format!("the program listens on port {actual}, and the health check asks port {wanted}"),
            format!("set `port = {actual}` of the service, or let the program listen on {wanted}"),
        );
    }
    if let Some(clue) = in_log(log) {
        return clue;
    }
    let grace = grace.map_or("the grace period".into(), |s| format!("the grace period of {s} s"));
    if listens.is_empty() {
        return Clue::new(
            Cause::SlowBoot,
            format!("the program did not listen within {grace}"),
            "raise `health.grace`, or make the start faster (no migrations, no collectstatic at start)",
        );
    }
    let timed_out = said
        .iter()
        .any(|s| any(s, &["Target.Timeout", "Request timed out", "timed out"]));
    let sentence = if timed_out {
        "the program listens, but the health check gets no answer in time"
    } else {
        "the program listens, but the load balancer cannot connect to it"
    };
    Clue::new(
        Cause::HealthTimeout,
        sentence,
        "the tasks' security group must admit the load balancer's on that port; the check's page must answer at once",
    )
}
