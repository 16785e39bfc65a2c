//! Diagnoses from stop reasons, log lines and health answers as AWS, Python and Django give them.

use nuages_ecs::{Cause, Evidence, TargetState, TaskState, diagnose};
use nuages_model::ContainerExit;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn task(stop_code: &str, reason: &str, exit_code: Option<i32>, container_reason: Option<&str>) -> TaskState {
    TaskState {
        arn: format!("arn:aws:ecs:eu-west-1:123456789012:task/blog/{ID}"),
        task_definition: "arn:aws:ecs:eu-west-1:123456789012:task-definition/blog-web:7".into(),
        status: "STOPPED".into(),
        started_by: Some("ecs-svc/1234567890123456789".into()),
        created_ms: Some(1),
        started_ms: exit_code.map(|_| 2),
        stopped_ms: Some(3),
        stop_code: Some(stop_code.into()),
        stopped_reason: Some(reason.into()),
        health: None,
        address: Some("10.0.1.23".into()),
        containers: vec![ContainerExit {
            name: "web".into(),
            exit_code,
            reason: container_reason.map(str::to_owned),
        }],
    }
}

fn evidence() -> Evidence {
    Evidence {
        service: "web".into(),
        port: Some(8000),
        health_grace: Some(120),
        failures: 1,
        ..Evidence::default()
    }
}

fn never_started(reason: &str) -> Evidence {
    Evidence {
        task: Some(task("TaskFailedToStart", reason, None, None)),
        ..evidence()
    }
}

fn exited(code: i32, log: &[&str]) -> Evidence {
    Evidence {
        task: Some(task(
            "EssentialContainerExited",
            "Essential container in task exited",
            Some(code),
            None,
        )),
        log_tail: log.iter().map(ToString::to_string).collect(),
        ..evidence()
    }
}

const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/blog-web/0123456789abcdef";

fn unhealthy(why: &str, log: &[&str]) -> Evidence {
    let reason = format!("Task failed ELB health checks in (target-group {GROUP})");
    Evidence {
        task: Some(task("ServiceSchedulerInitiated", &reason, Some(0), None)),
        log_tail: log.iter().map(ToString::to_string).collect(),
        events: vec![format!(
            "(service web) (task {ID}) (port 8000) is unhealthy in (target-group {GROUP}) due to (reason {why})."
        )],
        ..evidence()
    }
}

#[track_caller]
fn check(evidence: &Evidence, cause: Cause, sentence: &str) {
    let diagnosis = diagnose(evidence);
    assert_eq!((diagnosis.cause, diagnosis.sentence.as_str()), (cause, sentence));
    assert!(
        cause == Cause::Unknown || diagnosis.hint.is_some(),
        "a cause that is known has a hint"
    );
    let stored = serde_json::to_string(&diagnosis).unwrap();
    assert_eq!(
        serde_json::from_str::<nuages_ecs::Diagnosis>(&stored).unwrap(),
        diagnosis
    );
}

#[test]
fn before_the_start() {
    let registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let image = format!("{registry}/blog@sha256:0f");
    let cases = [
        (
            format!("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {image}: not found"),
            Cause::ImageMissing,
            "the registry does not have the image",
        ),
        (
            format!("CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref {image}: failed to do request: Head \"https://{registry}/v2/blog/manifests/sha256:0f\": dial tcp 10.0.3.17:443: i/o timeout"),
            Cause::NoRouteToRegistry,
            "the task does not reach the registry",
        ),
        (
            format!("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: pulling from host {registry} failed with status code [manifests sha256:0f]: 403 Forbidden"),
            Cause::ImageDenied,
            "the execution role may not pull the image",
        ),
        (
            "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'".into(),
            Cause::WrongPlatform,
            "the image is built for another processor than the task asks for",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration. RequestError: send request failed caused by: Post \"https://api.ecr.eu-west-1.amazonaws.com/\": dial tcp 52.46.146.144:443: i/o timeout".into(),
            Cause::NoRouteToServices,
            "the task does not reach the AWS services that it needs to start",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/key-AbCdEf from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret.".into(),
            Cause::SecretMissing,
            "the secret `arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/key-AbCdEf` does not exist, or has no current version",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): retrieved secret from Secrets Manager did not contain json key dsn".into(),
            Cause::SecretKeyMissing,
            "the secret has no key `dsn`",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/key-AbCdEf from secrets manager: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/blog-execution/0f is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-west-1:123456789012:secret:blog/key-AbCdEf because no identity-based policy allows the secretsmanager:GetSecretValue action".into(),
            Cause::SecretDenied,
            "the execution role may not read a secret, or what encrypts it",
        ),
        (
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1".into(),
            Cause::LogGroup,
            "the task cannot write its log",
        ),
        (
            "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"gunicron\": executable file not found in $PATH: unknown".into(),
            Cause::CommandNotFound,
            "the image has no program `gunicron`",
        ),
    ];
    for (reason, cause, sentence) in cases {
        check(&never_started(&reason), cause, sentence);
    }
}

/// Reasons as ECS gave them to others, word for word but for names and numbers.
#[test]
fn as_others_met_it_before_the_start() {
    let asm = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
               unable to retrieve secret from asm: service call has been retried 1 time(s): ";
    let ssm = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
               unable to retrieve secrets from ssm: service call has been retried 5 time(s): ";
    let pull = "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ";
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let cases = [
        // https://github.com/aws/containers-roadmap/issues/2687
        (format!("{pull}{host}/example-service:image-tag@sha256:0f: not found"), Cause::ImageMissing),
        // https://github.com/aws/containers-roadmap/issues/2493
        (
            format!("{pull}{host}/otel:latest@sha256:0f: unexpected status from HEAD request to https://{host}/v2/otel/blobs/sha256:0f: 403 Forbidden"),
            Cause::ImageDenied,
        ),
        // https://github.com/aws/aws-cdk/issues/14457
        (
            "CannotPullContainerError: inspect image has been retried 1 time(s): failed to resolve ref \"x\": unexpected status code [manifests 6981141]: 403 Forbidden".into(),
            Cause::ImageDenied,
        ),
        // https://github.com/deepfence/terraform-aws-cloud-scanner/issues/13
        (
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref quay.io/x/scanner:latest: failed to do request: Head \"https://quay.io/v2/x/scanner/manifests/latest\": dial tcp 3.210.148.47:443: i/o timeout".into(),
            Cause::NoRouteToRegistry,
        ),
        // github.com/DEFRA/cdp-portal-backend, Resources/ecs/tests/task-stop-missing-secret.json
        (
            format!("{asm}retrieved secret from Secrets Manager did not contain json key MY_SECRET"),
            Cause::SecretKeyMissing,
        ),
        // https://github.com/rileydakota/valheim-ecs-fargate-cdk/issues/9
        (
            format!("{asm}invalid character '\\'' looking for beginning of value"),
            Cause::SecretKeyMissing,
        ),
        // https://github.com/GiamPy5/terraform-aws-directus/issues/10
        (
            format!("{asm}failed to fetch secret arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-EaPYTy from secrets manager: AccessDeniedException: Access to KMS is not allowed status code: 400, request id: a87a66d9"),
            Cause::SecretDenied,
        ),
        // https://github.com/hashicorp/terraform-provider-aws/issues/33044
        (
            format!("{ssm}RequestCanceled: request context canceled caused by: context deadline exceeded. Please check your task network configuration."),
            Cause::NoRouteToServices,
        ),
        // As several public accounts of it have it, on instances.
        (
            "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.".into(),
            Cause::LogGroup,
        ),
        // As a public guide has it: the same without a way to CloudWatch Logs.
        (
            "ResourceInitializationError: failed to initialize logging driver: dial tcp: lookup logs.ap-northeast-2.amazonaws.com: i/o timeout".into(),
            Cause::NoRouteToServices,
        ),
    ];
    for (reason, cause) in cases {
        let said = diagnose(&never_started(&reason));
        assert_eq!(said.cause, cause, "{reason}");
        assert!(said.hint.is_some(), "{reason}");
    }
}

/// Log lines and events as others met them.
#[test]
fn as_others_met_it_after_the_start() {
    for line in [
        // https://github.com/runatlantis/atlantis/issues/2001
        "standard_init_linux.go:228: exec user process caused: exec format error",
        // https://github.com/aws-samples/amazon-bedrock-serverless-prompt-chaining/issues/213
        "exec /usr/local/bin/streamlit: exec format error",
    ] {
        assert_eq!(diagnose(&exited(1, &[line])).cause, Cause::WrongPlatform, "{line}");
    }
    let event = |message: String, log: &[&str]| {
        diagnose(&Evidence {
            log_tail: log.iter().map(ToString::to_string).collect(),
            events: vec![message],
            ..evidence()
        })
    };
    // `aws ecs describe-services` of others: with a task, an instance, or neither.
    for subject in [
        "(task 82d3e95d731b499eb89033eba032d8c2) ",
        "(instance i-0812a3bcd94babf12) ",
        "",
    ] {
        let unhealthy = |why: &str| {
            format!("(service web) {subject}(port 8000) is unhealthy in (target-group {GROUP}) due to (reason {why}).")
        };
        let host = "django.core.exceptions.DisallowedHost: Invalid HTTP_HOST header: '10.0.10.100:8000'. You may need to \
                    add '10.0.10.100' to ALLOWED_HOSTS.";
        let said = event(unhealthy("Health checks failed with these codes: [400]"), &[host]);
        assert_eq!(said.cause, Cause::AllowedHosts, "{subject}");
        assert!(said.sentence.contains("10.0.10.100:8000"), "{}", said.sentence);
        let listens = ["[1] [INFO] Listening at: http://0.0.0.0:8000 (1)"];
        let cases = [
            ("Health checks failed with these codes: [307]", Cause::HealthRedirected),
            ("Health checks failed with these codes: [404]", Cause::HealthPathMissing),
            ("Health checks failed with these codes: [503]", Cause::HealthStatus),
            ("Request timed out", Cause::HealthTimeout),
            ("Health checks failed", Cause::HealthTimeout),
        ];
        for (why, cause) in cases {
            assert_eq!(event(unhealthy(why), &listens).cause, cause, "{subject}{why}");
        }
    }
}

/// A task whose program was killed, beside containers that were stopped because of that: the event that ECS sent
/// (github.com/DEFRA/cdp-portal-backend, Resources/ecs/tests/task-stop-out-of-memory.json).
#[test]
fn the_container_that_failed_is_found_among_those_that_were_stopped() {
    let container = |name: &str, exit_code: i32, reason: Option<&str>| ContainerExit {
        name: name.into(),
        exit_code: Some(exit_code),
        reason: reason.map(str::to_owned),
    };
    let of = |containers: Vec<ContainerExit>, log: &[&str]| {
        let mut task = task(
            "EssentialContainerExited",
            "Essential container in task exited",
            None,
            None,
        );
        task.containers = containers;
        Evidence {
            task: Some(task),
            log_tail: log.iter().map(ToString::to_string).collect(),
            ..evidence()
        }
    };
    let killed = vec![
        container("timeout", 143, None),
        container("log_router", 0, None),
        container("web", 1, Some("OutOfMemoryError: Container killed due to memory usage")),
        container("sidecar", 143, None),
    ];
    let said = diagnose(&of(killed, &[]));
    assert_eq!(
        (said.cause, said.container.as_deref()),
        (Cause::OutOfMemory, Some("web"))
    );
    let crashed = vec![container("sidecar", 143, None), container("web", 3, None)];
    let said = diagnose(&of(crashed, &["KeyError: 'DATABASE_URL'"]));
    assert_eq!((said.exit_code, said.container.as_deref()), (Some(3), Some("web")));
}

#[test]
fn a_module_that_is_not_there_is_a_requirement_a_name_or_the_settings() {
    let frozen = "  File \"<frozen importlib._bootstrap>\", line 1331, in _find_and_load_unlocked";
    let settings = "  File \"/usr/lib/python3.13/site-packages/django/conf/__init__.py\", line 190, in __init__";
    let own = "  File \"/app/blog/settings/production.py\", line 3, in <module>";
    let missing = "ModuleNotFoundError: No module named 'blog.settings.prodution'";
    let found = |log: &[&str]| {
        let said = diagnose(&exited(3, log));
        assert_eq!(said.cause, Cause::Module);
        (said.sentence, said.hint.unwrap())
    };
    let (sentence, hint) = found(&[
        "Traceback (most recent call last):",
        settings,
        "    mod = import",
        frozen,
        missing,
    ]);
    assert_eq!(
        sentence,
        "the settings module `blog.settings.prodution` is not in the image"
    );
    assert!(hint.contains("DJANGO_SETTINGS_MODULE in `[env]`"), "{hint}");
    // The settings are there, and what they import is not.
    let (sentence, hint) = found(&[
        settings,
        frozen,
        own,
        frozen,
        "ModuleNotFoundError: No module named 'environ'",
    ]);
    assert_eq!(sentence, "Python finds no module `environ`");
    assert!(hint.contains("requirements"), "{hint}");
    let (_, hint) = found(&[own, frozen, "ModuleNotFoundError: No module named 'blog.utlis'"]);
    assert!(
        hint.starts_with("`blog` is in the image, and `blog.utlis` is not"),
        "{hint}"
    );
    let (sentence, hint) = found(&["ImportError: cannot import name 'slug' from 'blog.text' (/app/blog/text.py)"]);
    assert!(
        sentence.starts_with("Python cannot import: cannot import name 'slug'"),
        "{sentence}"
    );
    assert!(!hint.contains("requirements"), "{hint}");
}

#[test]
fn at_the_start() {
    check(
        &exited(1, &["exec /usr/local/bin/gunicorn: exec format error"]),
        Cause::WrongPlatform,
        "the image is built for another processor than the task runs on (exec format error)",
    );
    check(
        &exited(
            3,
            &[
                "  File \"<frozen importlib._bootstrap>\", line 1331, in _find_and_load_unlocked",
                "ModuleNotFoundError: No module named 'blog.wsgi'",
                "[INFO] Worker exiting (pid: 7)",
                "[ERROR] Reason: Worker failed to boot.",
            ],
        ),
        Cause::Module,
        "Python finds no module `blog.wsgi`",
    );
    check(
        &exited(
            3,
            &["django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty."],
        ),
        Cause::Setting,
        "Django is not configured: The SECRET_KEY setting must not be empty",
    );
    check(
        &exited(1, &["KeyError: 'DATABASE_URL'"]),
        Cause::Setting,
        "the variable `DATABASE_URL` is missing",
    );
    check(
        &exited(1, &["KeyError: 'lower'"]),
        Cause::ExitedWithError,
        "the program ended with exit code 1",
    );
    check(
        &exited(
            1,
            &[
                "django.db.utils.OperationalError: connection failed: connection to server at \"10.0.2.5\", port 5432 failed: timeout expired",
            ],
        ),
        Cause::DatabaseUnreachable,
        "the database does not answer",
    );
    check(
        &exited(
            1,
            &[
                "django.db.utils.OperationalError: connection failed: connection to server at \"10.0.2.5\", port 5432 failed: FATAL:  password authentication failed for user \"blog\"",
            ],
        ),
        Cause::DatabaseRefused,
        "the database refuses: django.db.utils.OperationalError: connection failed: connection to server at \"10.0.2.5\", port 5432 failed: FATAL:  password authentication failed for user \"blog\"",
    );
    check(
        &exited(1, &["SyntaxError: invalid syntax"]),
        Cause::Syntax,
        "Python cannot read the code: SyntaxError: invalid syntax",
    );
    check(
        &exited(0, &["done"]),
        Cause::ExitedCleanly,
        "the program ended by itself with exit code 0",
    );
    check(
        &exited(139, &[]),
        Cause::ExitedWithError,
        "the program ended with exit code 139 (segmentation fault)",
    );
    let killed = Evidence {
        task: Some(task(
            "EssentialContainerExited",
            "Essential container in task exited",
            Some(137),
            Some("OutOfMemoryError: Container killed due to memory usage"),
        )),
        ..evidence()
    };
    check(&killed, Cause::OutOfMemory, "its memory was not enough");
    check(
        &exited(
            3,
            &[
                "[CRITICAL] WORKER TIMEOUT (pid:9)",
                "[ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?",
            ],
        ),
        Cause::OutOfMemory,
        "its memory was not enough",
    );
}

/// In the servers' own words: gunicorn's (`sock.py`, `ctl/server.py` of 27.0) and uvicorn's, around asyncio's.
#[test]
fn a_server_that_may_not_listen_and_one_that_only_lacks_a_control_socket() {
    for line in [
        "[ERROR] Connection in use: ('0.0.0.0', 8000)",
        "[ERROR] Can't connect to ('0.0.0.0', 80): [Errno 13] Permission denied",
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        "ERROR:    [Errno 13] error while attempting to bind on address ('0.0.0.0', 80): permission denied",
        "OSError: [Errno 98] Address already in use",
    ] {
        check(
            &exited(1, &[line]),
            Cause::Bind,
            &format!("the program cannot listen: {line}"),
        );
    }
    check(
        &exited(
            3,
            &[
                "ModuleNotFoundError: No module named 'blog.wsgy'",
                "[ERROR] Reason: Worker failed to boot.",
                "[ERROR] Control server error: [Errno 13] Permission denied: '/.gunicorn'",
            ],
        ),
        Cause::Module,
        "Python finds no module `blog.wsgy`",
    );
}

#[test]
fn unhealthy_by_an_answer() {
    let codes = |code: u16| format!("Health checks failed with these codes: [{code}]");
    check(
        &unhealthy(
            &codes(400),
            &["Invalid HTTP_HOST header: '10.0.1.23:8000'. You may need to add '10.0.1.23' to ALLOWED_HOSTS."],
        ),
        Cause::AllowedHosts,
        "Django answers 400: the health check's host 10.0.1.23:8000 is not in ALLOWED_HOSTS",
    );
    check(
        &unhealthy(&codes(301), &[]),
        Cause::HealthRedirected,
        "the health check is redirected (301)",
    );
    check(
        &unhealthy(&codes(404), &[]),
        Cause::HealthPathMissing,
        "the health check's page does not exist (404)",
    );
    check(
        &unhealthy(&codes(503), &[]),
        Cause::HealthStatus,
        "the health check gets 503",
    );
}

#[test]
fn unhealthy_without_an_answer() {
    let silent = "Health checks failed";
    check(
        &unhealthy(
            silent,
            &["[2025-10-09 08:00:00 +0000] [1] [INFO] Listening at: http://127.0.0.1:8000 (1)"],
        ),
        Cause::LoopbackOnly,
        "the program listens on 127.0.0.1 only, where the load balancer cannot reach it",
    );
    check(
        &unhealthy(silent, &["Starting development server at http://127.0.0.1:8000/"]),
        Cause::LoopbackOnly,
        "the program listens on 127.0.0.1 only, where the load balancer cannot reach it",
    );
    check(
        &unhealthy(silent, &["[1] [INFO] Listening at: http://0.0.0.0:8080 (1)"]),
        Cause::WrongPort,
        "the program listens on port 8080, and the health check asks port 8000",
    );
    check(
        &unhealthy(
            silent,
            &["INFO:     Uvicorn running on http://0.0.0.0:9000 (Press CTRL+C to quit)"],
        ),
        Cause::WrongPort,
        "the program listens on port 9000, and the health check asks port 8000",
    );
    check(
        &unhealthy(silent, &["Running migrations:", "  Applying blog.0001_initial..."]),
        Cause::SlowBoot,
        "the program did not listen within the grace period of 120 s",
    );
    check(
        &unhealthy(
            "Request timed out",
            &["[1] [INFO] Listening at: http://0.0.0.0:8000 (1)"],
        ),
        Cause::HealthTimeout,
        "the program listens, but the health check gets no answer in time",
    );
    check(
        &unhealthy(silent, &["[1] [INFO] Listening at: http://0.0.0.0:8000 (1)"]),
        Cause::HealthTimeout,
        "the program listens, but the load balancer cannot connect to it",
    );
    let own = task(
        "ServiceSchedulerInitiated",
        "Task failed container health checks",
        Some(0),
        None,
    );
    check(
        &Evidence {
            task: Some(own),
            ..evidence()
        },
        Cause::ContainerHealth,
        "the health check inside the container failed",
    );
}

/// What servers printed when they were started, each in its own way: gunicorn 27.0, granian 2.8, uvicorn, daphne 4.2,
/// hypercorn 0.18, waitress 3.0, Django 5.2's `runserver`. `HOST:PORT` is where each was told to listen.
const LISTENING: [&str; 7] = [
    "[2026-11-22 00:06:55 +0000] [1] [INFO] Listening at: http://HOST:PORT (1)",
    "[INFO] Listening at: http://HOST:PORT",
    "INFO:     Uvicorn running on http://HOST:PORT (Press CTRL+C to quit)",
    "2026-11-22 00:07:22,336 INFO     Listening on TCP address HOST:PORT",
    "[2026-11-22 00:07:30 +0000] [1] [INFO] Running on http://HOST:PORT (CTRL + C to quit)",
    "INFO:waitress:Serving on http://HOST:PORT",
    "Starting development server at http://HOST:PORT/",
];

/// The event of <https://github.com/aws/amazon-ecs-agent/issues/1872>, with the words of every server beside it.
#[test]
fn where_a_server_listens_is_found_in_its_own_words() {
    for line in LISTENING {
        for (at, cause) in [
            ("127.0.0.1:8000", Cause::LoopbackOnly),
            ("[::1]:8000", Cause::LoopbackOnly),
            ("localhost:8000", Cause::LoopbackOnly),
            ("0.0.0.0:8080", Cause::WrongPort),
            ("[::]:8080", Cause::WrongPort),
            ("0.0.0.0:8000", Cause::HealthTimeout),
        ] {
            let line = line.replace("HOST:PORT", at);
            let found = diagnose(&unhealthy("Request timed out", &[&line]));
            assert_eq!(found.cause, cause, "{line}");
        }
    }
}

/// gunicorn with two `--bind`: one for the machine itself, one for the load balancer.
#[test]
fn a_server_may_listen_at_several_places() {
    let at = |addresses: &str| {
        let line = format!("[2026-11-22 00:07:04 +0000] [1] [INFO] Listening at: {addresses} (1)");
        diagnose(&unhealthy("Health checks failed", &[&line])).cause
    };
    assert_eq!(at("http://127.0.0.1:9100,http://0.0.0.0:8000"), Cause::HealthTimeout);
    assert_eq!(at("http://0.0.0.0:8808,http://[::1]:8809"), Cause::WrongPort);
    assert_eq!(at("http://127.0.0.1:8000,http://[::1]:8000"), Cause::LoopbackOnly);
    // A socket of the file system beside it, and a name that is no address.
    assert_eq!(at("unix:/run/app.sock,http://0.0.0.0:8000"), Cause::HealthTimeout);
}

/// Tasks that end with 0 because the load balancer gave them up before they listened, in others' words:
/// <https://github.com/aws/amazon-ecs-agent/issues/1236>, <https://github.com/hackoregon/civic-devops/issues/263>.
#[test]
fn a_start_that_is_slower_than_the_load_balancers_patience() {
    let slow = unhealthy(
        "Health checks failed",
        &[
            "Operations to perform:",
            "  Apply all migrations: admin, auth, contenttypes, sessions",
        ],
    );
    check(
        &slow,
        Cause::SlowBoot,
        "the program did not listen within the grace period of 120 s",
    );
    // A server that listens and then works on its own start says so itself.
    let boots = unhealthy(
        "Request timed out",
        &[&LISTENING[0].replace("HOST:PORT", "0.0.0.0:8000")],
    );
    check(
        &boots,
        Cause::HealthTimeout,
        "the program listens, but the health check gets no answer in time",
    );
}

#[test]
fn nothing_is_guessed() {
    check(&evidence(), Cause::Unknown, "its tasks do not come up");
    check(
        &never_started("Task failed to start"),
        Cause::Unknown,
        "ECS says: Task failed to start",
    );
    let room = Evidence {
        events: vec!["(service web) was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently.".into()],
        ..evidence()
    };
    check(
        &room,
        Cause::Capacity,
        "the account's limit of Fargate processors is reached",
    );
}

#[test]
fn one_answer_shows_all_that_it_used() {
    let mut evidence = unhealthy(
        "Health checks failed with these codes: [400]",
        &[
            "[1] [INFO] Listening at: http://0.0.0.0:8000 (1)",
            "Invalid HTTP_HOST header: '10.0.1.23:8000'. You may need to add '10.0.1.23' to ALLOWED_HOSTS.",
        ],
    );
    evidence.target = Some(TargetState {
        address: "10.0.1.23".into(),
        port: 8000,
        state: "unhealthy".into(),
        reason: Some("Target.ResponseCodeMismatch".into()),
        description: Some("Health checks failed with these codes: [400]".into()),
    });
    insta::assert_snapshot!(diagnose(&evidence));
    insta::assert_json_snapshot!(diagnose(&exited(
        3,
        &["ModuleNotFoundError: No module named 'blog.wsgi'"]
    )));
}
