//! What holds for any text and any valid file.

use nuages_config::ConfigFile;
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
        count in 0u32..10,
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

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = ConfigFile::parse("nuages.toml", &text).map_err(|errors| errors.render(80, true));
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
        if let Err(errors) = ConfigFile::parse("nuages.toml", &text) {
            prop_assert!(!errors.problems().is_empty());
            prop_assert!(errors.render(80, false).contains(errors.problems()[0].message().split(' ').next().unwrap()));
        }
    }

    #[test]
    fn a_damaged_file_never_panics(file in valid_file(), from in 0usize..400, length in 0usize..40) {
        let text = toml::to_string(&file).unwrap();
        let damaged: String = text.chars().enumerate().filter(|(at, _)| !(from..from + length).contains(at)).map(|(_, c)| c).collect();
        let _ = ConfigFile::parse("nuages.toml", &damaged).map_err(|errors| errors.render(80, false));
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
