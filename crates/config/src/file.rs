//! One `nuages.toml`, read and checked for each of its environments.
//!
//! Invariant: a [`ConfigFile`] has at least one environment, and what is wrong in any of them was told when it was read.
//! Only what nuages cannot carry out yet waits until that environment is asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nuages_model::{AppName, EnvName};
use toml::de::DeTable;

use crate::config::{App, Environment};
use crate::merge::overlay;
use crate::node::{Node, Table};
use crate::problem::Problem;
use crate::reader::{Field, Notes, Section};
use crate::words::{nearest, quoted, shown};
use crate::{
    Build, Config, ConfigErrors, Database, Migrations, Network, checks, place, rollout, secrets, service, variables,
};

/// A `nuages.toml` that was read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    /// The path for messages.
    name: String,
    text: Arc<str>,
    root: Node,
    environments: BTreeSet<EnvName>,
}

impl ConfigFile {
    /// Reads a file's text. The path is for messages, and its folder is where relative paths start from.
    ///
    /// Every problem of the file is told, in all of its environments.
    pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        // An editor's mark is no part of what the person wrote.
        let text: Arc<str> = text.strip_prefix('\u{feff}').unwrap_or(text).into();
        let name = name(path);
        let (table, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            // Each is read again from its line on: of noise, the beginning is enough.
            let errors = &errors[..errors.len().min(MOST_SYNTAX)];
            let problems = own_errors(&text, errors).map(syntax).collect();
            return Err(ConfigErrors::new(&name, &text, problems));
        }
        let root = Node::of_table(&table);
        let mut file = Self {
            path: path.to_path_buf(),
            name: name.clone(),
            text: text.clone(),
            root,
            environments: BTreeSet::new(),
        };
        let problems = file.check_all();
        if problems.is_empty() {
            Ok(file)
        } else {
            Err(ConfigErrors::new(&name, &text, problems))
        }
    }

    /// As [`parse`](Self::parse), of what stands in a file, which may be anything.
    ///
    /// ```
    /// let errors = nuages_config::ConfigFile::parse_bytes("nuages.toml", b"[app]\nname = '\xff'").unwrap_err();
    /// assert_eq!(errors.problems()[0].position(), Some((2, 9)));
    /// ```
    pub fn parse_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(path, text),
            Err(error) => {
                let at = error.valid_up_to();
                let problem = Problem::new("the file is not text in UTF-8").at(&(at..at + 1), "here");
                let problem = if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
                    problem.help("it looks like UTF-16, as some shells of Windows write it: save it as UTF-8")
                } else {
                    problem.help("save it as UTF-8 in the editor")
                };
                let text: Arc<str> = String::from_utf8_lossy(bytes).into();
                Err(ConfigErrors::new(&name(path), &text, vec![problem]))
            }
        }
    }

    /// The environments that the file names.
    pub fn environments(&self) -> impl Iterator<Item = &EnvName> {
        self.environments.iter()
    }

    /// Where the file is, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings of one environment.
    ///
    /// Refused where the file does not name it, and where it asks for what nuages cannot do yet.
    pub fn environment(&self, name: &EnvName) -> Result<Config, ConfigErrors> {
        let notes = Notes::default();
        let config = if let Some(field) = self.environment_field(&notes, name.as_str()) {
            self.resolve(&notes, &field)
        } else {
            notes.add(self.unknown(name));
            None
        };
        match (config, notes.into_problems()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigErrors::new(&self.name, &self.text, problems)),
        }
    }

    fn folder(&self) -> PathBuf {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_path_buf()
    }

    fn unknown(&self, name: &EnvName) -> Problem {
        let known: Vec<&str> = self.environments.iter().map(EnvName::as_str).collect();
        let problem = Problem::new(format!("the environment `{name}` is not in the file"));
        let problem = match self.table().get("environments") {
            Some(entry) => problem.at(&entry.key, "those that are there stand here"),
            None => problem,
        };
        problem.help(match nearest(name.as_str(), known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", quoted(&known)),
        })
    }

    fn table(&self) -> &Table {
        static EMPTY: Table = Table::new();
        self.root.as_table().unwrap_or(&EMPTY)
    }

    fn environment_field<'t>(&'t self, notes: &'t Notes, name: &str) -> Option<Field<'t>> {
        let (name, entry) = self.table().get("environments")?.node.as_table()?.get_key_value(name)?;
        Some(Field {
            notes,
            name,
            key: &entry.key,
            node: &entry.node,
        })
    }

    /// Reads every environment and gathers what is wrong, each thing once.
    fn check_all(&mut self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        let notes = Notes::default();
        let mut names = BTreeSet::new();
        let mut section = Section::new(&notes, "", self.root.span.clone(), self.table());
        match section.get("environments").and_then(|field| field.entries()) {
            Some(entries) if !entries.is_empty() => {
                for entry in entries {
                    names.extend(entry.key_as::<EnvName>());
                    self.resolve(&notes, &entry);
                }
            }
            Some(_) => notes.add(no_environment()),
            None => {
                if section.get("environments").is_none() {
                    notes.add(no_environment());
                }
                // The shared keys are told all the same, as an environment on this machine would read them.
                self.read(&notes, self.table(), None);
            }
        }
        for problem in notes.into_problems() {
            if !problem.is_unsupported() && !problems.iter().any(|known| known.repeats(&problem)) {
                problems.push(problem);
            }
        }
        self.environments = names;
        problems
    }

    fn resolve(&self, notes: &Notes, environment: &Field<'_>) -> Option<Config> {
        let Some(own) = environment.node.as_table() else {
            environment.section(format!("environments.{}", environment.name));
            return None;
        };
        self.read(notes, &overlay(self.table(), own), Some(environment))
    }

    /// Reads one environment's keys, its own and the shared ones. Without an environment only the shared keys are read.
    fn read(&self, notes: &Notes, table: &Table, environment: Option<&Field<'_>>) -> Option<Config> {
        let mut root = Section::new(notes, "", self.root.span.clone(), table);
        let name = root
            .require("app", "[app]\nname = \"blog\"")
            .and_then(|field| field.section("app"))
            .and_then(|mut section| {
                let name = section
                    .require("name", "name = \"blog\"")
                    .and_then(|field| field.named::<AppName>());
                section.finish();
                name
            });
        let field = root.get("services");
        let services = service::read(field, &root);
        // Asked of the text, so that a service with a mistake elsewhere still counts as one that serves.
        let ports = field
            .and_then(|field| field.node.as_table())
            .into_iter()
            .flat_map(|services| services.values());
        let serves = ports
            .filter_map(|service| service.node.as_table())
            .any(|service| service.contains_key("port"));
        let place = environment.map(|environment| place::read(&mut root, environment, serves));
        let strategy = rollout::read(root.get("strategy"));
        let build = Build::read(root.section("build"));
        let checks = checks::read(root.get("checks"));
        let database_said = root.get("database").is_some();
        let database = Database::read(
            root.section("database"),
            place.as_ref().is_some_and(|place| place.emulated),
        );
        let network = Network::read(root.section("network"));
        let migrations = Migrations::read(root.section("migrations"));
        let variables_field = root.get("env");
        let variables = variables::read(variables_field);
        let secrets_field = root.get("secrets");
        let (secrets, need_database) = secrets::read(secrets_field);
        if !database_said {
            for span in &need_database {
                notes.add(
                    Problem::new("there is no `[database]` to take the URL from")
                        .at(span, "from which database?")
                        .help("[database]\nengine = \"postgres\""),
                );
            }
        }
        said_twice(notes, table);
        let environment = environment?;
        root.finish();
        let place = place?;
        Some(Config {
            env: Environment {
                name: environment.name.parse().ok()?,
            },
            region: place.region?,
            account: place.account,
            emulator: place.emulator,
            target: place.target,
            strategy,
            domain: place.domain,
            hosted_zone: place.hosted_zone,
            insecure_http: place.insecure_http,
            app: App { name: name? },
            build,
            checks,
            services,
            database,
            network,
            migrations,
            variables,
            secrets,
            project_dir: self.folder(),
        })
    }
}

/// A name in both `[env]` and `[secrets]` would be one variable with two values.
fn said_twice(notes: &Notes, table: &Table) {
    let names = |key: &str| table.get(key).and_then(|entry| entry.node.as_table());
    let (Some(plain), Some(secret)) = (names("env"), names("secrets")) else {
        return;
    };
    for (name, entry) in plain {
        if let Some(other) = secret.get(name) {
            notes.add(
                Problem::new(format!("`{}` is both a plain variable and a secret", shown(name)))
                    .at(&entry.key, "in [env]")
                    .at(&other.key, "in [secrets]")
                    .help("remove one of the two"),
            );
        }
    }
}

/// As short as the person would write it from where they are.
fn name(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here
        .as_deref()
        .and_then(|here| path.strip_prefix(here).ok())
        .unwrap_or(path);
    short.display().to_string()
}

/// Mistakes of syntax that are told at once.
const MOST_SYNTAX: usize = 20;

fn no_environment() -> Problem {
    Problem::new("no environment is named").help("for example\n\n[environments.local]\nemulator = \"ministack\"")
}

/// Without those that only follow from an earlier one: they are gone when the text is read from their line on.
fn own_errors<'e>(text: &'e str, errors: &'e [toml::de::Error]) -> impl Iterator<Item = &'e toml::de::Error> {
    let alone = move |error: &toml::de::Error| {
        let Some(span) = error.span() else { return false };
        let line = text
            .get(..span.start)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |newline| newline + 1);
        let (_, again) = DeTable::parse_recoverable(text.get(line..).unwrap_or_default());
        again
            .first()
            .and_then(toml::de::Error::span)
            .is_some_and(|again| again.start + line == span.start)
    };
    errors
        .iter()
        .enumerate()
        .filter(move |(at, error)| *at == 0 || alone(error))
        .map(|(_, error)| error)
}

fn syntax(error: &toml::de::Error) -> Problem {
    let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
    let problem = Problem::new(message);
    match error.span() {
        Some(span) => problem.at(&span, "here"),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        match ConfigFile::parse("nuages.toml", text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.problems().iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn an_empty_file_says_what_is_missing() {
        let said = errors("");
        assert!(said.iter().any(|s| s.contains("no environment")), "{said:?}");
        assert!(said.iter().any(|s| s.contains("no service")), "{said:?}");
        assert!(said.iter().any(|s| s.contains("`app`")), "{said:?}");
    }

    #[test]
    fn every_problem_once() {
        let said = errors(
            "app.name = 'Blog'\n[services.web]\ncommand='x'\nport=0\n[environments.a]\nemulator='ministack'\n[environments.b]\nemulator='ministak'\n",
        );
        assert_eq!(said.len(), 5, "{said:#?}");
    }

    #[test]
    fn shown_is_short() {
        assert!(shown(&"x".repeat(500)).len() < 70);
    }
}
