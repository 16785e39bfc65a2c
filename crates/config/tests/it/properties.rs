//! What holds for any text and any valid file.

use nuages_config::{ConfigError, ConfigErrors, ConfigFile};
use proptest::prelude::*;
use toml::Value;

/// A text that TOML can say, with what tends to break quoting.
fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 äß\"'\\\\/=#$\n\t-]{0,16}"
}

fn command() -> impl Strategy<Value = Vec<String>> {
    (
        prop_oneof![Just("gunicorn".to_owned()), "[a-z]{1,8}"],
        prop::collection::vec(text(), 0..3),
    )
        .prop_map(|(program, arguments)| [vec![program], arguments].concat())
}

fn size() -> impl Strategy<Value = (i64, i64)> {
    prop::sample::select(vec![
        (256, 512),
        (256, 2048),
        (512, 1024),
        (1024, 8192),
        (4096, 30_720),
        (16_384, 122_880),
    ])
}

prop_compose! {
    fn valid_file()(
        app in "[a-z]{1,12}",
        web in command(),
        worker in prop::option::of(command()),
        port in 1u16..,
        (cpu, memory) in size(),
        count in 1u32..10,
        seconds in 120u64..3600,
        variables in prop::collection::btree_map("[A-Z][A-Z0-9_]{0,8}", text(), 0..4),
        generate in prop::option::of(16u32..4096),
        database in any::<bool>(),
        emulated in any::<bool>(),
        arm in any::<bool>(),
    ) -> Value {
        let mut services = toml::Table::new();
        let mut service = toml::toml! { health = { live = "/livez" } };
        service.insert("command".into(), web.into());
        service.insert("port".into(), i64::from(port).into());
        service.insert("cpu".into(), cpu.into());
        service.insert("memory".into(), memory.into());
        service.insert("count".into(), i64::from(count).into());
        service["health"].as_table_mut().unwrap().insert("grace".into(), format!("{seconds}s").into());
        services.insert("web".into(), service.into());
        if let Some(worker) = worker {
            services.insert("worker".into(), Value::Table(toml::Table::from_iter([("command".into(), worker.into())])));
        }
        let mut file = toml::Table::new();
        file.insert("app".into(), Value::Table(toml::Table::from_iter([("name".into(), app.into())])));
        file.insert("services".into(), services.into());
        file.insert("env".into(), Value::Table(variables.into_iter().map(|(name, text)| (name, text.into())).collect()));
        let mut secrets = toml::Table::new();
        if let Some(generate) = generate {
            secrets.insert("_KEY".into(), Value::Table(toml::Table::from_iter([("generate".into(), i64::from(generate).into())])));
        }
        if database {
            file.insert("database".into(), toml::toml! { engine = "postgres" }.into());
            secrets.insert("_URL".into(), toml::toml! { from = "database" }.into());
        }
        file.insert("secrets".into(), secrets.into());
        if arm {
            file.insert("build".into(), toml::toml! { platform = "linux/arm64" }.into());
        }
        let place = if emulated {
            toml::toml! { emulator = "ministack" }
        } else {
            toml::toml! { region = "eu-west-1" account = "123456789012" domain = "example.org" }
        };
        file.insert("environments".into(), Value::Table(toml::Table::from_iter([("e".into(), place.into())])));
        Value::Table(file)
    }
}

/// What a configuration serialises to, as a file again: its place belongs to the environment.
fn as_file(config: &nuages_config::Config) -> String {
    let Value::Table(mut table) = Value::try_from(config).unwrap() else {
        panic!("a table")
    };
    let name = table.remove("environment").unwrap()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut place = toml::Table::new();
    for key in [
        "region",
        "account",
        "emulator",
        "target",
        "strategy",
        "domain",
        "hosted_zone",
        "insecure_http",
    ] {
        place.extend(table.remove(key).map(|value| (key.to_owned(), value)));
    }
    table.insert(
        "environments".into(),
        Value::Table(toml::Table::from_iter([(name, Value::Table(place))])),
    );
    toml::to_string(&table).unwrap()
}

/// Whatever a file holds, it is read, or each problem is told with a place that is in it.
fn told_in_place(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    let inside = |(line, column)| (1..=lines.len()).contains(&line) && (1..=lines[line - 1] + 1).contains(&column);
    let check = |errors: &ConfigErrors| {
        assert!(!errors.problems().is_empty());
        for problem in errors.problems() {
            assert!(!problem.places().is_empty(), "{problem}");
            for place in problem.places() {
                let (begin, end) = ((place.line, place.column), (place.end_line, place.end_column));
                assert!(inside(begin) && inside(end) && begin <= end, "{problem}: {place:?}");
            }
            assert!(!problem.message().contains(char::is_control), "{problem:?}");
        }
        assert!(
            errors.render(80, false).contains("nuages.toml:"),
            "no place is shown:\n{}",
            errors.render(80, false)
        );
        errors.render(20, true);
    };
    match ConfigFile::parse_bytes("nuages.toml", bytes) {
        Err(errors) => check(&errors),
        Ok(file) => file
            .environments()
            .filter_map(|name| file.environment(name).err())
            .for_each(|errors| check(&errors)),
    }
}

/// Pieces of a file, right and wrong, with bytes that are no text between them.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "[app]\nname = 'blog'\n",
        "[services.web]\n",
        "command = ['a']\n",
        "port = 8000\n",
        "health = { live = '/' }\n",
        "[environments.local]\nemulator = 'ministack'\n",
        "[secrets]\nA = 'x'\n",
        "strategy = { kind = 'canary' }\n",
        "target = 'ec2'\n",
        "\r\n",
        "ä = \"é",
        "[[",
        "]]",
        "{",
        "}",
        "'''",
        "\"\"\"",
        "=",
        ".",
        "#",
        ",",
        "\u{feff}",
        "\0",
    ]);
    let piece = prop_oneof![
        4 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

#[test]
fn much_of_the_same_mistake_is_told_in_a_screenful() {
    // Each line is wrong by itself: reading the rest again for every one of them would never end.
    let keys: Vec<String> = (0..5_000).map(|n| format!("k{n}=1\n")).collect();
    for noise in ["]\n".repeat(20_000), "a b\n".repeat(10_000), keys.concat()] {
        told_in_place(noise.as_bytes());
        let errors = ConfigFile::parse("nuages.toml", &noise).unwrap_err();
        let shown = errors.render(80, false);
        assert!(shown.lines().count() < 250, "{shown}");
    }
    // And one line of noise is not printed whole.
    let noise = format!("a = {}", "[".repeat(100_000));
    let shown = ConfigFile::parse("nuages.toml", &noise).unwrap_err().render(80, false);
    assert!(shown.len() < 1000 && shown.contains("nuages.toml:1:"), "{shown}");
}

#[test]
fn a_value_that_is_hidden_has_its_place_all_the_same() {
    // Stars take the place of bytes, and columns count characters.
    let text = "[secrets]\nA = ['ß', 'ß']\n";
    told_in_place(text.as_bytes());
    let errors = ConfigFile::parse("nuages.toml", text).unwrap_err();
    let place = &errors
        .problems()
        .iter()
        .find(|p| p.message().contains("`A`"))
        .unwrap()
        .places()[0];
    assert_eq!((place.column, place.end_column), (5, 15));
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nuages.toml");
    let open = || nuages_config::Project::open(dir.path()).unwrap_err();
    std::fs::write(&path, b"\xff\xfe[\0a\0").unwrap();
    let ConfigError::Invalid(errors) = open() else {
        panic!("another error")
    };
    assert_eq!(errors.problems()[0].message(), "the file is not text in UTF-8");
    assert!(errors.problems()[0].hint().unwrap().contains("UTF-16"));
    std::fs::write(&path, "#".repeat(300_000)).unwrap();
    let error = open();
    assert!(error.to_string().contains("larger than 256 KiB"), "{error}");
    assert!(error.hint().is_some());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        told_in_place(&bytes);
    }

    #[test]
    fn no_pieces_make_it_panic(bytes in pieces()) {
        told_in_place(&bytes);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        told_in_place(text.as_bytes());
    }

    #[test]
    fn no_toml_makes_it_panic(
        lines in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "app", "name", "build", "services", "services.web", "command", "port", "health", "database", "env",
                    "secrets", "environments", "environments.local", "emulator", "strategy", "checks", "a", "\"ä \\n\"",
                ]),
                prop::sample::select(vec![
                    "1", "-9223372036854775808", "99999999999999999999", "0x10", "1.5", "true", "\"\"", "\"ministack\"",
                    "\"web\"", "[]", "[1]", "['a']", "{}", "{ a = 1 }", "{ kind = 'canary' }", "1979-05-27", "nan",
                ]),
                any::<bool>(),
            ),
            0..12,
        )
    ) {
        let text: String = lines
            .iter()
            .map(|(key, value, header)| if *header { format!("[{key}]\n") } else { format!("{key} = {value}\n") })
            .collect();
        told_in_place(text.as_bytes());
    }

    #[test]
    fn a_damaged_file_never_panics(file in valid_file(), from in 0usize..400, length in 0usize..40) {
        let text = toml::to_string(&file).unwrap();
        let damaged: String = text.chars().enumerate().filter(|(at, _)| !(from..from + length).contains(at)).map(|(_, c)| c).collect();
        told_in_place(damaged.as_bytes());
    }

    #[test]
    fn a_valid_file_comes_back_from_what_it_was_read_to(file in valid_file()) {
        let name = "e".parse().unwrap();
        let read = |text: &str| match ConfigFile::parse("nuages.toml", text) {
            Ok(file) => file.environment(&name).unwrap(),
            Err(errors) => panic!("{}\n{text}", errors.render(100, false)),
        };
        let once = read(&toml::to_string(&file).unwrap());
        let twice = read(&as_file(&once));
        prop_assert_eq!(once.fingerprint(), twice.fingerprint());
        prop_assert_eq!(once, twice);
    }
}
