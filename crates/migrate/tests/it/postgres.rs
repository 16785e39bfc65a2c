//! A database of the test's own in the shared PostgreSQL server.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use nuages_testkit::emulators::{self, unique_name};

use crate::local_runner::LocalRunner;
use crate::python::{DJANGO, with_django};

/// Dropped with its sessions when the test ends.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: String,
    prefix: String,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.query(
            None,
            &format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name()),
        );
    }
}

impl Postgres {
    /// An empty database.
    pub(crate) async fn start() -> Self {
        let server = emulators::postgres().await.url;
        let prefix = format!("{}-", unique_name("migrate"));
        let postgres = Self { server, prefix };
        let made = postgres.query(None, &format!("CREATE DATABASE \"{}\"", postgres.name()));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres
    }

    /// Its name; the alias that the project's settings add stands at the end.
    fn name(&self) -> String {
        format!("{}default", self.prefix)
    }

    /// A runner whose project uses this database.
    pub(crate) fn runner(&self, data: &std::path::Path) -> LocalRunner {
        LocalRunner::new(data)
            .with("POSTGRES_SERVER", &self.server)
            .with("POSTGRES_PREFIX", &self.prefix)
    }

    fn query(&self, database: Option<&str>, sql: &str) -> Output {
        const PROGRAM: &str = "import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True, **({'dbname': sys.argv[3]} if sys.argv[3:] else {})) as connection:
    cursor = connection.execute(sys.argv[2])
    if cursor.description:
        for row in cursor:
            print('|'.join(str(value) for value in row))";
        let mut command = Command::new(with_django(DJANGO));
        command.args(["-c", PROGRAM, &self.server, sql]).args(database);
        command.output().expect("the virtual environment's Python")
    }

    /// Runs a statement; its rows, columns joined by `|`.
    pub(crate) fn execute(&self, sql: &str) -> Vec<String> {
        let output = self.query(Some(&self.name()), sql);
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// How many other sessions of this database the condition is true for.
    pub(crate) fn sessions(&self, condition: &str) -> String {
        let mut rows = self.execute(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        ));
        rows.remove(0)
    }

    /// A session that has done this, in a transaction that ends when it is dropped.
    pub(crate) fn session(&self, sql: &str) -> Session {
        const PROGRAM: &str = "import sys, psycopg
connection = psycopg.connect(sys.argv[1], dbname=sys.argv[2])
connection.execute(sys.argv[3])
print('done', flush=True)
sys.stdin.read()";
        let mut child = Command::new(with_django(DJANGO))
            .args(["-c", PROGRAM, &self.server, &self.name(), sql])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the virtual environment's Python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line.trim(), "done");
        Session(child)
    }
}

/// Somebody else's session.
#[derive(Debug)]
pub(crate) struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
