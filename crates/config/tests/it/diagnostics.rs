//! What a person sees when a file is wrong. Each snapshot holds the bad inputs of one section.

use std::fmt::Write;

use nuages_config::ConfigFile;

/// The sections of a valid file; a bad input brings its own in place of those it names.
const REST: [(&str, &str); 3] = [
    ("app", "[app]\nname = \"blog\"\n"),
    (
        "services",
        "[services.web]\ncommand = [\"gunicorn\", \"blog.wsgi\"]\nport = 8000\nhealth = { live = \"/livez\", ready = \"/readyz\" }\n",
    ),
    ("environments", "[environments.local]\nemulator = \"ministack\"\n"),
];

fn whole(part: &str) -> String {
    let named = |section: &str| {
        part.lines()
            .any(|line| line.starts_with(section) || line.trim_start_matches('[').starts_with(section))
    };
    let rest = REST
        .iter()
        .filter(|(section, _)| !named(section))
        .map(|(_, text)| *text);
    [part.to_owned()]
        .into_iter()
        .chain(rest.map(str::to_owned))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every problem of each input, as a terminal of 100 columns shows them.
fn told(inputs: &[&str]) -> String {
    let mut out = String::new();
    for part in inputs {
        let text = whole(part);
        let shown = match ConfigFile::parse("nuages.toml", &text) {
            Err(errors) => errors.render(100, false),
            // Valid, and not possible yet: told when the environment is asked for.
            Ok(file) => file
                .environments()
                .filter_map(|name| file.environment(name).err())
                .map(|errors| errors.render(100, false))
                .collect(),
        };
        assert!(!shown.is_empty(), "accepted:\n{text}");
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        let _ = writeln!(out, "━━━ {}\n{}", part.trim().replace('\n', "\n    "), lines.join("\n"));
    }
    out
}

fn assert_told(name: &str, inputs: &[&str]) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, told(inputs)) });
}

#[test]
fn syntax() {
    assert_told(
        "syntax",
        &[
            "build = {",
            "[build]\nbuilder = auto\n",
            "[build]\nbase = \"a\"\nbase = \"b\"\n",
            "[build\nbase = \"a\"\n",
            "[env]\nA = \"not closed\nB = \"x\"\n",
            "[build]\nbase = \"a\ntarget = b\n[env]\nA = \"1\"\nA = \"2\"\n",
        ],
    );
}

#[test]
fn keys() {
    assert_told(
        "keys",
        &[
            "[buidl]\nbase = \"a\"\n",
            "[build]\ndocker_file = \"Dockerfile\"\n",
            "[services.web]\ncomand = [\"gunicorn\", \"blog.wsgi\"]\nport = 8000\nhealth = { live = \"/\", reddy = \"/\" }\n",
            "[environments.staging]\nregion = \"eu-west-1\"\nacount = \"123456789012\"\ninsecure_http = true\n",
            "[network]\nzzz = 1\n",
            "[environments.local]\nemulator = \"ministack\"\n[environments.local.environments.nested]\nregion = \"eu-west-1\"\n",
        ],
    );
}

#[test]
fn kinds() {
    assert_told(
        "kinds",
        &[
            "build = \"docker\"\n",
            "[app]\nname = 7\n",
            "[services.web]\ncommand = \"gunicorn blog.wsgi\"\nport = \"8000\"\nhealth = \"/livez\"\n",
            "[services.web]\ncommand = [\"gunicorn\", 5]\nport = 8000.0\nhealth = { live = \"/livez\" }\n",
            "[database]\nengine = \"postgres\"\nmulti_az = \"true\"\nstorage = 1979-05-27\n",
            "[env]\nDEBUG = false\nWORKERS = 4\n",
            "[checks]\ntests = [\"pytest\"]\n",
            "environments = []\n",
            "[secrets]\nPIN = 1234\nTOKEN = \"sésame\"\n",
        ],
    );
}

#[test]
fn names() {
    assert_told(
        "names",
        &[
            "[app]\nname = \"My Blog\"\n",
            "[app]\nname = \"a-name-that-is-much-too-long\"\n",
            "[environments.Production_EU]\nemulator = \"ministack\"\n",
            "[services.Web]\ncommand = [\"gunicorn\"]\n",
            "[checks.\"no spaces\"]\ncommand = [\"true\"]\n",
            "[env]\n\"django-debug\" = \"1\"\n\"1ST\" = \"x\"\n",
        ],
    );
}

#[test]
fn services() {
    assert_told(
        "services",
        &[
            "[services.web]\ncommand = []\nport = 0\nhealth = { live = \"livez\", grace = \"30s\" }\ncount = -1\n",
            "[services.web]\ncommand = [\"gunicorn\"]\n",
            "[services.web]\ncommand = [\"gunicorn\"]\nport = 70000\n",
            "[services.web]\ncommand = [\"gunicorn\"]\nport = 8000\nhealth = { live = \"/a b\", ready = \"/readyz#top\" }\nstop_timeout = \"5m\"\n",
            "[services.web]\ncommand = [\"gunicorn\"]\nport = 8000\nhealth = { live = \"/\" }\ncpu = 256\nmemory = 4096\n",
            "[services.web]\ncommand = [\"gunicorn\"]\nport = 8000\nhealth = { live = \"/\" }\ncpu = 300\n",
            "[services.api]\ncommand = [\"gunicorn\"]\nport = 0\n",
            "[services.worker]\ncommand = [\"celery\"]\nhealth = { live = \"/\" }\n",
            "[services.beat]\ncommand = [\"celery\"]\nschedule = \"rate(5 minutes)\"\n",
            "[services.worker]\ncommand = [\"celery\"]\ncanary = { percent = 10 }\nautoscaling = 4\nsingleton = true\n",
            "services = {}\n",
        ],
    );
}

#[test]
fn build_and_checks() {
    assert_told(
        "build_and_checks",
        &[
            "[build]\nbuilder = \"layers\"\n",
            "[build]\nbuilder = \"dokcer\"\nplatform = \"arm64\"\n",
            "[build]\ndockerfile = \"../Dockerfile\"\ncontext = \"/srv\"\nbase = \"Python:3.13 slim\"\ntarget = \"the app\"\n",
            "[build]\nca_bundle = \"\"\nargs = { BASE = \"python\", \"A-B\" = \"1\" }\n",
            "[checks.tests]\ncommand = \"pytest -q\"\ntimeout = \"15 minutes\"\n[checks.lint]\ntarget = \"test\"\ntimeout = 60\n",
        ],
    );
}

#[test]
fn database_migrations_and_network() {
    assert_told(
        "database_migrations_and_network",
        &[
            "[database]\nversion = \"17\"\n",
            "[database]\nengine = \"mysql\"\n",
            "[database]\nengine = \"postgers\"\nversion = \"9.6\"\nclass = \"t4g.micro\"\nstorage = 5\nbackup_retention = 60\n",
            "[database]\nengine = \"postgres\"\nversion = 17\n",
            "[network]\negress = \"natt\"\n",
            "[migrations]\ndatabases = [\"default\", \"default\"]\nlock_timeout = \"2 s\"\nbackup = \"snapshot\"\n",
            "[migrations]\ndatabases = []\nlock_timeout = \"10m\"\n",
            "[migrations]\nbackup = \"rds-snapshot\"\n",
            "[migrations]\nbackup = \"pg-dump\"\n",
        ],
    );
}

#[test]
fn secrets() {
    assert_told(
        "secrets",
        &[
            "[secrets]\nDJANGO_SECRET_KEY = \"hunter2\"\n",
            "[secrets]\nA = {}\nB = { generate = 50, secret = \"x\" }\nC = { generate = 5 }\n",
            "[secrets]\nDATABASE_URL = { from = \"databse\" }\n",
            "[secrets]\nDATABASE_URL = { from = \"database\" }\n",
            "[secrets]\nA = { secret = \"a b\", kee = \"x\" }\nB = { parameter = \"blog/dsn\" }\nC = { generate = 50, key = \"x\", optional = true }\n",
            "[secrets]\nA = { secret = \"arn:aws:ssm:eu-west-1:123456789012:parameter/x\" }\n",
            "[env]\nTOKEN = \"x\"\n[secrets]\nTOKEN = { generate = 50 }\n",
        ],
    );
}

#[test]
fn environments() {
    assert_told(
        "environments",
        &[
            "environments = {}\n",
            "[environments.local]\nemulator = \"mini-stack\"\n",
            "[environments.staging]\ntarget = \"ecs\"\n",
            "[environments.staging]\nregion = \"europe\"\naccount = 1234\ndomain = \"https://Example.org/\"\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"1234\"\ninsecure_http = false\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\ndomain = \"example.org\"\n",
            "[environments.local]\nemulator = \"ministack\"\ndomain = \"example.org\"\nhosted_zone = \"/hostedzone/Z1\"\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\nhosted_zone = \"Z1\"\ntarget = \"ec2-compose\"\nstore = \"dynamodb\"\nstrategy = \"blue-green\"\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\ntarget = \"ec2-compose\"\nstore = \"dynamodb\"\nstrategy = \"blue-green\"\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\ntarget = \"fargate\"\nstrategy = { kind = \"canary\", percent = 100, bake = 10, alarm = [] }\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\ntarget = \"ec2\"\nstore = \"sqllite\"\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\nstrategy = { kind = \"canary\" }\n",
            "[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ninsecure_http = true\nstrategy = { kind = \"canry\" }\n",
            "[services.worker]\ncommand = [\"celery\"]\n[environments.staging]\nregion = \"eu-west-1\"\naccount = \"123456789012\"\ndomain = \"example.org\"\n",
        ],
    );
}

#[test]
fn an_override_points_at_the_line_that_says_it() {
    // The size is wrong only together: one half is shared, the other the environment's.
    assert_told(
        "an_override_points_at_the_line_that_says_it",
        &[
            "[services.web]\ncommand = [\"gunicorn\"]\nport = 8000\nhealth = { live = \"/\" }\ncpu = 1024\nmemory = 2048\n\n[environments.local]\nemulator = \"ministack\"\n\n[environments.local.services.web]\nmemory = 1024\n",
        ],
    );
}

#[test]
fn an_unknown_environment_names_the_nearest() {
    let file = ConfigFile::parse(
        "nuages.toml",
        &whole(
            "[environments.staging]\nemulator = \"ministack\"\n[environments.production]\nemulator = \"ministack\"\n",
        ),
    )
    .unwrap();
    let hint = |name: &str| {
        file.environment(&name.parse().unwrap()).unwrap_err().problems()[0]
            .hint()
            .unwrap()
            .to_owned()
    };
    assert_eq!(hint("stagign"), "did you mean `staging`?");
    assert_eq!(hint("prod"), "did you mean `production`?");
    assert_eq!(hint("live"), "it has \"production\", \"staging\"");
}

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let error = nuages_config::Project::find(dir.path()).unwrap_err();
    assert!(error.to_string().contains("failed to find nuages.toml"), "{error}");
    assert!(error.hint().unwrap().contains("nuages init"));
    assert!(nuages_config::Project::open(&dir.path().join("absent")).is_err());
}

#[test]
fn what_is_no_file_is_not_taken_for_an_absent_one() {
    let above = tempfile::tempdir().unwrap();
    std::fs::write(above.path().join("nuages.toml"), whole("")).unwrap();
    let dir = above.path().join("blog");
    let file = dir.join("nuages.toml");
    std::fs::create_dir_all(&file).unwrap();
    let told = || {
        let found = nuages_config::Project::find(&dir).unwrap_err();
        let opened = nuages_config::Project::open(&dir).unwrap_err();
        assert_eq!(found.to_string(), opened.to_string());
        assert!(found.hint().is_some(), "{found}");
        let whole = found.to_string();
        whole.rsplit_once("nuages.toml: ").unwrap().1.to_owned()
    };
    assert_eq!(told(), "it is a folder");
    #[cfg(unix)]
    {
        std::fs::remove_dir(&file).unwrap();
        std::os::unix::fs::symlink("shared.toml", &file).unwrap();
        assert_eq!(told(), "it is a link to shared.toml, which is not there");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(told(), "it is no file", "and nobody reads it to its end");
    }
}

#[test]
fn the_secret_of_a_neighbouring_line_is_not_quoted() {
    for text in [
        "[env]\nDJANGO_SECRET_KEY = \"hunter2\"\nLOG_LEVL = 3.5.5\n",
        "[env]\nCACHE_URL = \"redis://:hunter2@cache/0\"\nlog level = \"INFO\"\n",
        "[env]\nDATABASE_URL = \"postgres://a:hunter2@c/d\"\n[secrets]\nDATABASE_URL = { from = \"database\" }\n",
    ] {
        let errors = ConfigFile::parse("nuages.toml", text).unwrap_err();
        let drawn = errors.render(80, false);
        assert!(drawn.contains("***") && !drawn.contains("hunter2"), "{drawn}");
    }
}
